// The request behind an answer, for a terminal and for Python.

import { choice, h } from "./dom.js";
import { curl, python } from "./request.js";

const LONGEST = 20000;

/** {element, show(input, options, where)}; `where` as `request.curl` takes it. */
export function shownRequest() {
  const code = h("pre", { tabindex: 0, role: "region", "aria-label": "The request" });
  const copied = h("span", { class: "hidden", role: "status" });
  let [texts, kind] = [{}, "curl"];
  const copy = h("button", { type: "button", class: "plain", on: { click: async () => {
    await navigator.clipboard.writeText(texts[kind]);
    [copy.textContent, copied.textContent] = ["Copied", "copied"];
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  } } }, "Copy");
  const draw = () => {
    const text = texts[kind];
    code.textContent = text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text;
  };
  const element = h("details", { class: "request", hidden: true }, h("summary", null, "The same request from elsewhere"),
    h("div", null, h("div", { class: "part-head" }, choice("Language", [["curl", "curl"], ["python", "Python"]], "curl", (chosen) => { kind = chosen; draw(); }), copy, copied), code));
  return {
    element,
    show(input, options, where) {
      texts = { curl: curl(input, options, where), python: python(input, options, where) };
      element.hidden = false;
      draw();
    },
  };
}
