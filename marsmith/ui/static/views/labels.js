// Labels and their scores, as bars.

import { h } from "../dom.js";
import { percent, short } from "../format.js";
import { entries } from "../ordered.js";

export const fits = ({ answer, description }) => {
  const found = scores(answer, description);
  return found && Object.keys(found).length ? 2 : 0;
};

/** The scores by label: an answer's own, or one that is nothing but scores. */
export function scores(answer, description) {
  const found = answer?.scores ?? answer?.probabilities
    ?? (description.output?.additionalProperties?.type === "number" ? answer : null);
  const isOne = found && typeof found === "object" && !Array.isArray(found);
  return isOne && Object.values(found).every((one) => typeof one === "number") ? found : null;
}

/** Bars, best first: of 1, or where a score is greater, of the greatest. */
export function bars(pairs) {
  const shares = pairs.every(([, score]) => score >= 0 && score <= 1);
  const most = Math.max(1, ...pairs.map(([, score]) => Math.abs(score)));
  return h("ol", { class: "bars" }, pairs.map(([label, score], place) =>
    h("li", { class: place ? "" : "first" }, h("span", null, label),
      h("span", { class: "value" }, shares ? percent(score) : short(score)),
      h("span", { class: "track" }, h("span", { class: "fill", style: { width: `${Math.max(0, score / most) * 100}%` } })))));
}

export function show({ answer, description }) {
  const notes = [];
  if (answer.truncated) notes.push("The model was not given all of it.");
  if (typeof answer.tokens === "number") notes.push(`${answer.tokens} tokens.`);
  if (typeof answer.seconds === "number") notes.push(`${answer.seconds.toFixed(2)} s of sound.`);
  return h("div", null, bars(entries(scores(answer, description))),
    notes.length ? h("p", { class: "note" }, notes.join(" ")) : []);
}
