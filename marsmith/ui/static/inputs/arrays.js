// A file of arrays, for models that take any tensors.

import { h } from "../dom.js";
import { dropping } from "../dropping.js";
import { example } from "../example.js";
import { bytes } from "../format.js";

export const label = "File";
export const fits = (description) => description.input?.files ? 2 : 0;

const TYPES = { npy: "application/x-npy", npz: "application/x-npz" };

export function make({ description }) {
  let file = null;
  const place = dropping({ accepts: ".npy,.npz", words: "Drop an .npy or .npz file here", took: take });
  const told = Object.entries(description.input.tensors ?? {}).map(([name, each]) =>
    h("tr", null, h("th", { scope: "row" }, name), h("td", null, each.datatype),
      h("td", null, `(${(each.shape ?? []).join(", ")})`)));

  function take(taken) {
    file = taken;
    place.show(h("p", null, taken.name), h("p", { class: "hint" }, bytes(taken.size)));
  }

  return {
    element: h("div", { class: "fields" }, place.element,
      h("table", null, h("caption", null, "What the model takes"), h("tbody", null, told))),
    paste: place.paste,
    example() {
      const { type, bytes: body } = example(description);
      take(new File([body], "example.npz", { type }));
    },
    value() {
      if (!file) throw new Error("choose a file first");
      const type = file.type || TYPES[file.name.split(".").pop()] || "application/octet-stream";
      return { kind: "file", blob: file, type, name: file.name };
    },
  };
}
