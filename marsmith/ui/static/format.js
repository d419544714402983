// Numbers and texts as people read them.

import { entries } from "./ordered.js";

/** A share of 1, such as "97.1 %". */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  return `${(share * 100).toFixed(share > 0.9995 && share < 1 ? 2 : 1)} %`;
}

/** A number with three digits that count. */
export function short(number) {
  if (!Number.isFinite(number)) return "–";
  if (number !== 0 && (Math.abs(number) < 0.001 || Math.abs(number) >= 1e6)) {
    return number.toExponential(2);
  }
  return String(Number(number.toPrecision(Math.abs(number) >= 100 ? 6 : 3)));
}

/** Milliseconds, or seconds. */
export function duration(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "–";
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

/** A place in a recording, such as "1:04.2". */
export function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  const rest = (seconds - minutes * 60).toFixed(2);
  return minutes ? `${minutes}:${rest.padStart(5, "0")}` : `${rest} s`;
}

/** A name such as image_classification, for people. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}

/** Bytes, as kB or MB. */
export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  return count < 1e6 ? `${Math.round(count / 1000)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

/** JSON with an indent, in which short lists stay on a line and long ones are cut. */
export function json(value, indent = "") {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const flat = line(value);
  if (flat.length <= 76) return flat;
  const deeper = `${indent}  `;
  if (Array.isArray(value)) {
    const shown = value.slice(0, 200).map((item) => json(item, deeper));
    if (value.length > 200) shown.push(`… ${value.length - 200} more`);
    const simple = value.every((item) => item === null || typeof item !== "object");
    const between = simple ? ", " : `,\n${deeper}`;
    return `[\n${deeper}${shown.join(between)}\n${indent}]`;
  }
  const lines = entries(value).map(([key, item]) =>
    `${deeper}${JSON.stringify(key)}: ${json(item, deeper)}`);
  return `{\n${lines.join(",\n")}\n${indent}}`;
}

function line(value) {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.slice(0, 80).map(line).join(", ")}]${value.length > 80 ? " ".repeat(80) : ""}`;
  return `{${entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${line(item)}`).join(", ")}}`;
}
