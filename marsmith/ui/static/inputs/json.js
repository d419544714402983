// Any body in JSON, as it travels: what no other form can say.

import { h, newId } from "../dom.js";
import { instance } from "../example.js";

export const label = "JSON";
export const fits = () => 1;

export function make({ description }) {
  const id = newId("json");
  const box = h("textarea", { id, class: "code", rows: 12, spellcheck: "false" });
  return {
    element: h("div", { class: "field" }, h("label", { for: id }, "The body of the request"), box),
    example() {
      const given = instance(description);
      box.value = JSON.stringify(description.example ? { data: given ?? description.example.body_base64 } : {}, null, 2);
    },
    value() {
      try {
        return { kind: "json", body: JSON.parse(box.value) };
      } catch (error) {
        throw new Error(`this is not JSON: ${error.message}`);
      }
    },
  };
}
