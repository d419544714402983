// Anything else, as JSON.

import { h } from "../dom.js";
import { json } from "../format.js";

export const fits = () => 1;

export function show({ answer }) {
  return h("pre", { tabindex: 0, role: "region", "aria-label": "The answer as JSON" }, typeof answer === "string" ? answer : json(answer));
}
