// Documents, the most relevant first, with their texts.

import { h } from "../dom.js";
import { percent, short } from "../format.js";

export const fits = ({ answer }) => Array.isArray(answer?.results) && answer.results.every((one) => "index" in one) ? 3 : 0;

export function show({ answer, input }) {
  const documents = input.kind === "json" ? input.body?.documents ?? [] : [];
  const text = ({ index, document }) => document?.text ?? document ?? documents[index]?.text ?? documents[index] ?? `document ${index}`;
  const shares = answer.results.every(({ score }) => score >= 0 && score <= 1);
  return h("div", null, h("ol", { class: "ranked" }, answer.results.map((one) => h("li", null, h("span", null, text(one)),
    h("span", { class: "quiet" }, shares ? percent(one.score) : short(one.score))))),
    answer.truncated ? h("p", { class: "note" }, "Of some document, not all was read.") : []);
}
