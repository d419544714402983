// One model: what it is, what goes in, what comes out, the request behind it, and its figures.

import { answering } from "./answering.js";
import { ranked } from "./choose.js";
import { choice, h, newId } from "./dom.js";
import { live } from "./figures.js";
import { words } from "./format.js";
import { options } from "./options.js";
import { shownRequest } from "./shown.js";

/** Make it: {element, leave()}, to be called when another takes its place. */
export function model({ name, description, server, modules, describe }) {
  const state = { verb: "predict", inputs: ranked(modules.inputs, description), rival: null, running: null };
  const streams = Boolean(description.input?.streams);
  const forms = {
    predict: options(description.options, ["stream"]),
    explain: description.explanations?.options ? options(description.explanations.options) : null,
  };

  const holder = h("div");
  const optionsHolder = h("div");
  const problem = h("p", { class: "bad small", role: "alert" });
  const request = shownRequest();
  const answers = h("div", { class: "answers" }, h("p", { class: "empty" }, "Try the example, or bring something of your own."));
  const stop = h("button", { type: "button", class: "second", hidden: true, on: { click: () => state.running?.abort() } }, "Stop");
  const streaming = h("input", { type: "checkbox", checked: true });

  function use(module) {
    state.input = module.make({ description });
    holder.replaceChildren(state.input.element);
    state.input.example();
  }

  const kinds = state.inputs.map((module) => [module.label, module.label]);
  const byLabel = (label) => state.inputs.find((module) => module.label === label);
  const kind = kinds.length > 1 ? choice("What to send", kinds, kinds[0][0], (label) => use(byLabel(label))) : [];

  function showOptions() {
    const { count, element } = forms[state.verb];
    optionsHolder.replaceChildren(...(count ? [h("details", { open: count <= 2 },
      h("summary", null, "Options ", h("span", { class: "quiet" }, count)), element)] : []));
  }

  function asked() {
    const input = { ...state.input.value(), goesOn: description.task === "text_generation" };
    const chosen = forms[state.verb].values();
    if (streams && state.verb === "predict" && streaming.checked) chosen.stream = true;
    return { input, options: chosen, verb: state.verb };
  }

  async function send() {
    problem.textContent = "";
    let what;
    try { what = asked(); } catch (error) { problem.textContent = error.message; return; }
    state.running?.abort();
    state.running = new AbortController();
    const { signal } = state.running;
    const rivals = [{ model: name, version: state.rival?.mine ?? "", description }, ...(state.rival ? [state.rival] : [])];
    const where = { address: server.address, key: server.key, model: name, verb: what.verb, version: rivals[0].version };
    request.show(what.input, what.options, where);
    const parts = rivals.map((rival) => answering({ rival, titled: rivals.length > 1, views: modules.views, what, signal }));
    desk.classList.toggle("side-by-side", rivals.length > 1);
    answers.replaceChildren(...parts.map(({ element }) => element));
    [go.disabled, stop.hidden] = [true, !what.options.stream];
    await Promise.allSettled(parts.map(({ done }) => done));
    [go.disabled, stop.hidden] = [false, true];
  }

  const go = h("button", { type: "submit", class: "go" }, "Predict");
  const mode = forms.explain ? choice("What to ask", [["predict", "Predict"], ["explain", "Explain"]], "predict", (verb) => {
    state.verb = verb;
    go.textContent = verb === "predict" ? "Predict" : "Explain";
    showOptions();
  }) : [];
  const form = h("form", { class: "part", on: { submit: (event) => { event.preventDefault(); send(); },
    keydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(go); } } } },
  h("div", { class: "part-head" }, h("h3", null, "Input"), kind), holder,
  h("p", null, h("button", { type: "button", class: "plain", on: { click: () => state.input.example() } }, "Use the model's example")),
  optionsHolder, compared({ name, description, server, describe, chosen: (rival) => { state.rival = rival; } }),
  problem, h("div", { class: "bar" }, go, stop,
    streams ? h("label", { class: "check" }, streaming, h("span", null, "word by word")) : [],
    h("span", { class: "quiet small" }, "Ctrl + Enter")));
  // What is out of its range is said by the browser, which needs to see the field.
  form.addEventListener("invalid", ({ target }) => target.closest("details")?.setAttribute("open", ""), true);
  const desk = h("div", { class: "desk" }, form, h("section", { class: "part", "aria-label": "Answer" }, answers, request.element));

  use(state.inputs[0]);
  showOptions();
  const paste = (event) => { if (!event.target.closest?.("textarea, input")) state.input.paste?.(event); };
  document.addEventListener("paste", paste);
  const figures = live(name);
  return {
    element: h("div", null, head(name, description, mode), desk, figures.element),
    leave() {
      state.running?.abort();
      document.removeEventListener("paste", paste);
      figures.leave();
    },
  };
}

function head(name, description, mode) {
  const said = [description.task ? words(description.task) : "It doesn't describe itself.",
    description.runtime && `${description.runtime} ${description.precision}`, description.device,
    (description.versions ?? []).length ? `version ${description.versions[0]}` : null];
  const report = description.report ? [" · ", h("a", { href: `/reports/${encodeURIComponent(name)}`, target: "_blank", rel: "noopener" }, "report")] : [];
  return h("header", { class: "head" }, h("div", null, h("h2", { class: "title" }, name),
    h("p", { class: "facts" }, said.filter(Boolean).join(" · "), report)), mode);
}

/** The choice of another model of the task, or of two versions, to be asked the same. */
function compared({ name, description, server, describe, chosen }) {
  const id = newId("rival");
  const select = h("select", { id }, h("option", { value: "" }, "nothing"));
  const element = h("div", { class: "field", hidden: true, style: { marginTop: "1.25rem" } }, h("label", { for: id }, "Compare with"), select);
  const rivals = [];
  const offer = (label, rival) => {
    rivals.push(rival);
    select.append(h("option", { value: String(rivals.length) }, label));
    element.hidden = false;
  };
  const [mine, ...others] = description.versions ?? [];
  for (const version of others) offer(`version ${version}`, { model: name, version, mine, description });
  for (const { name: other } of server.models.filter((one) => one.name !== name)) {
    describe(other).then((said) => { if (said.task && said.task === description.task) offer(other, { model: other, version: "", description: said }); }, () => {});
  }
  select.addEventListener("change", () => chosen(rivals[select.value - 1] ?? null));
  return element;
}
