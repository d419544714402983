// A text that was written; piece by piece, while it is written.

import { h } from "../dom.js";

export const fits = ({ answer }) => typeof answer?.text === "string" ? 2 : 0;

const WHY = { stop: "It ended by itself.", length: "As many tokens as were allowed.", time: "Time was up." };

/** What is shown while it is written: {element, push(piece)}. */
export function stream({ input }) {
  const element = box(input, "");
  element.classList.add("writing");
  element.setAttribute("aria-busy", "true");
  return { element, push: (piece) => element.append(piece) };
}

function box(input, text) {
  const given = input.goesOn && input.kind === "text" ? h("span", { class: "given" }, input.text) : [];
  return h("div", { class: "written" }, given, text);
}

export function show({ answer, input }) {
  const said = [WHY[answer.finish_reason], answer.tokens !== undefined && `${answer.tokens} tokens.`,
    answer.truncated && "The model was not given all of it."].filter(Boolean);
  return h("div", null, box(input, answer.text), h("p", { class: "note" }, said.join(" ")));
}
