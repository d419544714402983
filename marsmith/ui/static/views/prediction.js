// What is predicted of a row: a label with the others' probabilities, or numbers.

import { h } from "../dom.js";
import { short } from "../format.js";
import { entries } from "../ordered.js";
import { bars } from "./labels.js";

export const fits = ({ answer }) => answer && answer.prediction !== undefined ? 3 : 0;

export function show({ answer }) {
  const said = [answer.prediction].flat().map((one) => typeof one === "number" ? short(one) : one).join(", ");
  return answer.probabilities ? bars(entries(answer.probabilities)) : h("p", { class: "lead" }, said);
}
