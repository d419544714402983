// What somebody has chosen before, of which recommendations are made.

import { h, newId } from "../dom.js";
import { instance } from "../example.js";
import { words } from "../format.js";

export const label = "History";
export const fits = (description) => typeof description.input?.history === "string" ? 3 : 0;

/** The ids that lines stand for: numbers where they look like numbers and the catalogue's are. */
export function ids(text, numbers) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean)
    .map((line) => (numbers && /^-?\d+$/.test(line) ? Number(line) : line));
}

export function make({ description }) {
  const given = instance(description);
  const numbers = (given.history ?? given).some((one) => typeof one === "number");
  const id = newId("history");
  const box = h("textarea", { id, rows: 6, spellcheck: "false", placeholder: "one a line, the latest last" });
  const features = (description.input.features ?? []).map((name) => {
    const cell = h("input", { id: newId("feature"), type: "text", inputmode: "decimal" });
    return { name, cell, element: h("div", { class: "field" }, h("label", { for: cell.id }, words(name)), cell) };
  });
  return {
    element: h("div", { class: "fields" }, h("div", { class: "field" }, h("label", { for: id }, "history"), box,
      h("p", null, `Ids of the catalogue's ${description.input.items} items, one a line, the latest last.`)),
      features.map(({ element }) => element)),
    example() {
      box.value = (given.history ?? given).join("\n");
      for (const { name, cell } of features) cell.value = given.features?.[name] ?? "";
    },
    value() {
      const said = features.filter(({ cell }) => cell.value.trim());
      const wrong = said.find(({ cell }) => !Number.isFinite(Number(cell.value)));
      if (wrong) throw new Error(`${wrong.name} must be a number`);
      const body = { history: ids(box.value, numbers) };
      if (said.length) body.features = Object.fromEntries(said.map(({ name, cell }) => [name, Number(cell.value)]));
      return { kind: "json", body };
    },
  };
}
