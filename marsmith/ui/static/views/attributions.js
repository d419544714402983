// What each column added to a prediction: bars to the right for it, to the left against it.

import { h } from "../dom.js";
import { short, words } from "../format.js";
import { entries } from "../ordered.js";

const MOST = 10;

export const fits = ({ answer }) => answer?.attributions && answer.target !== undefined ? 3 : 0;

export function show({ answer }) {
  const pairs = entries(answer.attributions).sort(([, one], [, other]) => Math.abs(other) - Math.abs(one));
  const most = Math.max(...pairs.map(([, value]) => Math.abs(value))) || 1;
  const line = ([name, value]) => {
    const width = (Math.abs(value) / most) * 50;
    return h("li", null, h("span", null, words(name)), h("span", { class: "value" }, `${value < 0 ? "−" : "+"}${short(Math.abs(value))}`),
      h("span", { class: "track both" }, h("span", { class: `fill ${value < 0 ? "minus" : "plus"}`,
        style: { width: `${width}%`, left: value < 0 ? `${50 - width}%` : "50%" } })));
  };
  const list = (some) => h("ol", { class: "bars" }, some.map(line));
  return h("div", null, h("p", { class: "lead" }, `What speaks for “${answer.target}”`), list(pairs.slice(0, MOST)),
    pairs.length > MOST ? h("details", null, h("summary", null, `${pairs.length - MOST} more`), list(pairs.slice(MOST))) : [],
    h("p", { class: "note" }, "To the right: what speaks for it. To the left: what speaks against it."));
}
