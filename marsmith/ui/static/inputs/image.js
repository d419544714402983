// A picture: dropped, pasted or chosen.

import { h } from "../dom.js";
import { dropping } from "../dropping.js";
import { example } from "../example.js";
import { bytes } from "../format.js";

export const label = "Picture";
export const fits = (description) => description.input?.image ? 3 : 0;

export function make({ description }) {
  let file = null;
  const place = dropping({ accepts: "image/*", words: "Drop a picture here, or paste one", took: take });

  function take(taken) {
    file = taken;
    const url = URL.createObjectURL(taken);
    const size = h("p", { class: "hint" }, bytes(taken.size));
    const image = h("img", { src: url, alt: `The picture ${taken.name}`, on: {
      load: () => {
        size.textContent = `${image.naturalWidth} × ${image.naturalHeight} pixels, ${bytes(taken.size)}`;
        image.classList.toggle("tiny", image.naturalWidth < 120);
      },
      error: () => { size.textContent = `${taken.name}, ${bytes(taken.size)}: no picture that this browser shows`; },
    } });
    place.show(image, size);
  }

  return {
    element: place.element,
    paste: place.paste,
    example() {
      const { type, bytes: body } = example(description);
      take(new File([body], `example.${type.split("/")[1]}`, { type }));
    },
    value() {
      if (!file) throw new Error("choose a picture first");
      return { kind: "file", blob: file, type: file.type, name: file.name || "picture.png" };
    },
  };
}
