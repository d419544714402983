// Entities, marked in the text that they were found in.

import { h } from "../dom.js";
import { percent } from "../format.js";
import { marked } from "../marked.js";

export const fits = ({ answer }) => Array.isArray(answer?.entities) ? 3 : 0;

export function show({ answer, input }) {
  const text = input.kind === "text" ? input.text : input.body?.text ?? input.body?.data;
  const marks = answer.entities.map(({ label, score, start, end }) => ({ label, start, end, title: `${label}, ${percent(score)}` }));
  const kinds = [...new Set(marks.map(({ label }) => label))];
  const row = ({ label, score, text: said }) => h("tr", null, h("th", { scope: "row" }, said),
    h("td", null, h("span", { class: `tag mark-${(kinds.indexOf(label) % 6) + 1}` }, label)), h("td", { class: "number" }, percent(score)));
  return h("div", null, typeof text === "string" ? marked(text, marks, kinds) : [],
    h("table", { class: "finds" }, h("caption", null, marks.length ? `${marks.length} found` : "Nothing was found."),
      marks.length ? h("tbody", null, answer.entities.map(row)) : []),
    answer.truncated ? h("p", { class: "note" }, "The end of the text was not read.") : []);
}
