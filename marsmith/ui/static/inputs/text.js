// A text; or an object of texts and lists of texts, where the model describes one.

import { h, newId } from "../dom.js";
import { instance } from "../example.js";
import { words } from "../format.js";

export const label = "Text";
export const fits = (description) => parts(description).length ? 2 : 0;

/** The fields: [{name, many, needed}]. A description has them as '{"query": "...", ...}'. */
export function parts(description) {
  const input = description.input ?? {};
  const found = new Map();
  const alone = typeof input.text === "string";
  if (alone) found.set("text", { name: "text", many: false, needed: true });
  for (const said of Object.values(input)) {
    const template = typeof said === "string" ? /^\{.*?\}(?=$|,)/.exec(said) : null;
    if (!template) continue;
    for (const [name, value] of Object.entries(JSON.parse(template[0]))) {
      if (!found.has(name)) found.set(name, { name, many: Array.isArray(value), needed: !alone });
    }
  }
  return [...found.values()];
}

/** What travels of the fields' texts: a text, or an object. */
export function body(fields, texts) {
  const said = fields.map((field, index) => {
    const lines = texts[index].split("\n").map((line) => line.trim()).filter(Boolean);
    return [field, field.many ? lines : texts[index]];
  }).filter(([field, value]) => field.needed || value.length);
  const missing = said.find(([field, value]) => field.needed && !value.length);
  if (missing) throw new Error(`write ${words(missing[0].name)} first`);
  if (said.length === 1 && said[0][0].name === "text") return { kind: "text", text: said[0][1] };
  return { kind: "json", body: Object.fromEntries(said.map(([{ name }, value]) => [name, value])) };
}

export function make({ description }) {
  const fields = parts(description);
  const boxes = fields.map(({ name, many, needed }) => {
    const id = newId("text");
    const box = h("textarea", { id, spellcheck: "false", rows: many ? 4 : fields.length > 1 ? 3 : 7,
      placeholder: many ? "one a line" : undefined });
    if (fields.length > 1) box.style.minHeight = many ? "8rem" : "4.5rem";
    const optional = needed ? [] : h("span", { class: "quiet" }, " · optional");
    return { box, element: h("div", { class: "field" }, h("label", { for: id }, words(name), optional), box) };
  });
  return {
    element: h("div", { class: "fields" }, boxes.map(({ element }) => element)),
    example() {
      const given = instance(description);
      fields.forEach(({ name }, index) => {
        const value = typeof given === "string" ? (index ? "" : given) : given?.[name] ?? "";
        boxes[index].box.value = Array.isArray(value) ? value.join("\n") : value;
      });
    },
    value: () => body(fields, boxes.map(({ box }) => box.value)),
  };
}
