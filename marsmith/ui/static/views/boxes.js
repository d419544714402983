// What was found in a picture: boxes over it, and a list.

import { h, svg } from "../dom.js";
import { percent } from "../format.js";
import { COLOURS, isPicture, over } from "../over.js";

export const fits = ({ answer, description }) => {
  const known = description.output?.items?.properties?.box;
  return Array.isArray(answer) && (known || answer[0]?.box) ? 3 : 0;
};

export function show({ answer, input }) {
  const labels = [...new Set(answer.map(({ label }) => label))];
  const colour = (label) => COLOURS[labels.indexOf(label) % COLOURS.length];
  const rects = answer.map(({ label, box: [left, top, right, bottom] }) =>
    svg("rect", { x: left, y: top, width: right - left, height: bottom - top, stroke: colour(label) }));
  const point = (chosen) => rects.forEach((rect, place) => rect.classList.toggle("quiet-box", chosen !== null && place !== chosen));
  const row = ({ label, score, box }, place) => h("tr", { on: { mouseenter: () => point(place), mouseleave: () => point(null) } },
    h("th", { scope: "row" }, h("span", { class: "legend" }, h("span", null, h("i", { style: { background: colour(label) } }), label))),
    h("td", { class: "quiet small" }, box.map((one) => Math.round(one)).join(", ")),
    h("td", { class: "number" }, percent(score)));
  const list = h("table", { class: "finds" }, h("caption", null, answer.length ? `${answer.length} found` : "Nothing was found."),
    answer.length ? h("tbody", null, answer.map(row)) : []);
  list.querySelectorAll(".legend").forEach((one) => { one.style.margin = "0"; });
  if (!isPicture(input)) return list;
  return h("div", null, over(input, (width, height) =>
    svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, rects)), list);
}
