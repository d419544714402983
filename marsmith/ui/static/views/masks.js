// What may stand in the place of each mask.

import { h } from "../dom.js";
import { bars } from "./labels.js";

export const fits = ({ answer }) => Array.isArray(answer?.masks) ? 3 : 0;

export function show({ answer }) {
  return h("div", { class: "fields" }, answer.masks.map((tokens, place) => h("div", null,
    answer.masks.length > 1 ? h("h4", { class: "note" }, `Mask ${place + 1}`) : [],
    h("p", { class: "lead" }, tokens[0]?.sequence ?? ""),
    bars(tokens.map(({ token_str: token, score }) => [token, score])))));
}
