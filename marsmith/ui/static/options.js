// The form of a request's options.

import { h, newId } from "./dom.js";
import { words } from "./format.js";
import { fields, isInitial, read } from "./schema.js";

/** A form: {element, values()}; `values` are those that differ from what holds anyway. */
export function options(schema, hidden = []) {
  const made = fields(schema).filter((field) => !hidden.includes(field.name)).map(one);
  return {
    element: h("div", { class: "options" }, made.map(({ element }) => element)),
    count: made.length,
    values() {
      const found = made.map(({ field, text }) => [field, read(field, text())]);
      return Object.fromEntries(found.filter(([field, value]) => !isInitial(field, value))
        .map(([field, value]) => [field.name, value]));
    },
  };
}

function one(field) {
  const id = newId("option");
  const hint = h("p", { id: `${id}-hint` }, field.hint);
  const told = { id, "aria-describedby": `${id}-hint` };
  if (field.kind === "switch") {
    const box = h("input", { ...told, type: "checkbox", checked: field.initial === true });
    const element = h("div", { class: "field" }, h("label", { class: "check" }, box,
      h("span", null, words(field.name))), hint);
    return { field, element, text: () => box.checked };
  }
  const control = controls[field.kind](field, told);
  const element = h("div", { class: "field" }, h("label", { for: id }, words(field.name)),
    control.element, hint);
  return { field, element, text: control.text };
}

const shown = (value) => value === null ? "" : Array.isArray(value) ? value.join("\n") : String(value);
const bounds = ({ low, high, step, whole }) => ({ min: low, max: high, step: step ?? (whole ? 1 : "any") });

function number(field, told) {
  const element = h("input", { ...told, type: "number", inputmode: "decimal", ...bounds(field), step: field.whole ? 1 : "any",
    placeholder: field.initial === null ? "the model's own" : undefined, value: shown(field.initial) });
  return { element, text: () => element.value };
}

const controls = {
  number,
  range(field, told) {
    const exact = number(field, told);
    const slider = h("input", { type: "range", ...bounds(field), value: shown(field.initial ?? field.low),
      "aria-label": words(field.name), on: { input: () => { exact.element.value = slider.value; } } });
    exact.element.addEventListener("input", () => { slider.value = exact.element.value; });
    return { element: h("div", { class: "row" }, slider, exact.element), text: exact.text };
  },
  choice(field, told) {
    const none = field.optional || field.initial === null ? [h("option", { value: "" }, "the model's own")] : [];
    const element = h("select", told, none, field.choices.map((value) =>
      h("option", { value: String(value), selected: value === field.initial }, String(value))));
    return { element, text: () => element.value };
  },
  list(field, told) {
    const element = h("textarea", { ...told, rows: 2, placeholder: "one a line" }, shown(field.initial));
    element.style.minHeight = "3.4rem";
    return { element, text: () => element.value };
  },
  text(field, told) {
    const element = h("input", { ...told, type: "text", value: shown(field.initial) });
    return { element, text: () => element.value };
  },
  json(field, told) {
    return controls.text(field, told);
  },
};
