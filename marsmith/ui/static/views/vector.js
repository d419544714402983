// An embedding: a strip of its numbers, and how alike other texts are.

import { h } from "../dom.js";
import { short } from "../format.js";
import { bars } from "./labels.js";

export const fits = ({ answer }) => Array.isArray(answer?.embedding) ? 3 : 0;

/** A canvas with a column for each number: red above 0, blue below. */
function strip(vector) {
  const most = Math.max(...vector.map(Math.abs)) || 1;
  const image = new ImageData(vector.length, 1);
  vector.forEach((value, place) => {
    const strength = Math.round((Math.abs(value) / most) * 255);
    image.data.set([...(value > 0 ? [178, 24, 43] : [33, 102, 172]), strength], place * 4);
  });
  const canvas = h("canvas", { class: "strip", width: vector.length, height: 1, role: "img",
    "aria-label": `${vector.length} numbers, from ${short(Math.min(...vector))} to ${short(Math.max(...vector))}` });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export function show({ answer, input }) {
  const { embedding, similarities } = answer;
  const texts = input.kind === "json" ? input.body?.compare_with ?? [] : [];
  const pairs = (similarities ?? []).map((value, place) => [texts[place] ?? `text ${place + 1}`, value]);
  const length = Math.hypot(...embedding);
  return h("div", null, pairs.length ? h("div", { style: { marginBottom: "1.5rem" } },
    bars(pairs.sort(([, one], [, other]) => other - one))) : [], strip(embedding),
  h("p", { class: "note" }, `${embedding.length} numbers of length ${short(length)}: ${embedding.slice(0, 6).map(short).join(", ")} …`));
}
