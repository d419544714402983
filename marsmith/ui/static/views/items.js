// Items that are recommended, best first.

import { h } from "../dom.js";
import { short } from "../format.js";

export const fits = ({ answer }) => Array.isArray(answer?.items) && Array.isArray(answer.scores) ? 3 : 0;

export function show({ answer }) {
  const told = answer.from_popularity ? "The most popular: nothing is known of this user." : "For this history";
  return h("table", null, h("caption", null, told),
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "Item"), h("th", { scope: "col", class: "number" }, answer.from_popularity ? "Count" : "Score"))),
    h("tbody", null, answer.items.map((item, place) => h("tr", null, h("th", { scope: "row" }, item), h("td", { class: "number" }, short(answer.scores[place]))))));
}
