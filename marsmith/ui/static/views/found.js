// Answers to a question, marked in the text that they were found in.

import { h } from "../dom.js";
import { percent } from "../format.js";
import { marked } from "../marked.js";
import { bars } from "./labels.js";

export const fits = ({ answer }) => Array.isArray(answer?.answers) && answer.answers.every((one) => "start" in one) ? 3 : 0;

export function show({ answer, input }) {
  const [best] = answer.answers;
  const context = input.kind === "json" ? input.body?.context : undefined;
  const said = answer.answers.map((one) => [one.answer || "(no answer)", one.score]);
  return h("div", null,
    best ? h("p", { class: "lead" }, best.answer || "There is no answer in it.") : h("p", { class: "lead" }, "No answer."),
    typeof context === "string" && best?.answer ? marked(context, [{ start: best.start, end: best.end, label: "" }]) : [],
    said.length > 1 ? h("div", { class: "finds" }, bars(said)) : h("p", { class: "note" }, best ? `Sure to ${percent(best.score)}.` : ""),
    answer.truncated ? h("p", { class: "note" }, "The end of the context was not read.") : []);
}
