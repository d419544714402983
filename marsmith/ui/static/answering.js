// One answer: on its way, and as people look at it.

import { ask } from "./api.js";
import { answers, ranked } from "./choose.js";
import { choice, h } from "./dom.js";
import { duration, json } from "./format.js";
import { encode } from "./request.js";

/** Ask, and show: {element, done}. */
export function answering({ rival, titled, views, what, signal }) {
  const { model, version, description } = rival;
  const { input, options, verb } = what;
  const [title, took, body] = [h("h3", null, titled ? `${model}${version ? ` ${version}` : ""}` : "Answer"), h("span", { class: "took" }), h("div", { "aria-live": "polite" })];
  const element = h("article", { "aria-label": `Answer of ${model}` }, h("div", { class: "part-head" }, title, took), body);
  const described = verb === "explain" ? { ...description, output: description.explanations.output } : description;
  const fitting = (answer) => ranked(views, { answer, description: described, verb });

  function show(answer) {
    const draw = (kind) => body.replaceChildren(...answers(answer).map((one) => {
      const [view] = fitting(one);
      return h("div", null, kind === "json" ? plain(one) : view.show({ answer: one, description: described, input, verb }));
    }), choices);
    const choices = h("div", { class: "note" }, choice("How to show it", [["view", "Answer"], ["json", "JSON"]], "view", redraw));
    function redraw(kind) {
      draw(kind);
      choices.querySelector(`[value=${kind}]`).focus();
    }
    draw("view");
  }

  async function run() {
    const [view] = fitting({ text: "" });
    const written = options.stream ? view.stream?.({ input }) : null;
    if (written) body.replaceChildren(written.element);
    else body.replaceChildren(h("p", { class: "empty waiting" }, "…"));
    try {
      const found = await ask({ model, verb, version, signal, sent: encode(input, options), streams: Boolean(options.stream), piece: (text) => written?.push(text) });
      took.textContent = duration(found.took);
      took.title = `of it ${duration(found.model)} until the model server began to answer`;
      show(found.answer);
    } catch (error) {
      if (error.name === "AbortError") {
        written?.element.classList.remove("writing");
        took.textContent = "stopped";
        return;
      }
      body.replaceChildren(h("div", { class: "error", role: "alert" }, h("strong", null, error.message), error.hint ?? ""));
    }
  }

  return { element, done: run() };
}

function plain(answer) {
  return h("pre", { tabindex: 0, role: "region", "aria-label": "The answer as JSON" }, typeof answer === "string" ? answer : json(answer));
}
