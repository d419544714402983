// The class of each pixel: colours over the picture, and how much there is of each.

import { h } from "../dom.js";
import { percent } from "../format.js";
import { entries } from "../ordered.js";
import { COLOURS, isPicture, opacity, over } from "../over.js";

export const fits = ({ answer }) => Array.isArray(answer?.lengths) && Array.isArray(answer?.classes) && answer.height ? 3 : 0;

/** The number of each pixel's class, row after row, from runs of equal ones. */
export function numbers(classes, lengths) {
  return classes.flatMap((number, run) => new Array(lengths[run]).fill(number));
}

/** The colours of classes by their numbers, RGB. */
export function colours(found) {
  const known = [...new Set(found)].sort((one, other) => one - other);
  return new Map(known.map((number, place) => {
    const text = COLOURS[place % COLOURS.length];
    return [number, [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16))];
  }));
}

export function show({ answer, input }) {
  const { width, height } = answer;
  const pixels = numbers(answer.classes, answer.lengths);
  const palette = colours(answer.classes);
  const canvas = h("canvas", { width, height, "aria-hidden": "true", style: { opacity: 0.65 } });
  const image = new ImageData(width, height);
  // What most of a picture is, mostly its ground, is drawn more lightly than what stands on it.
  const most = Math.max(...Object.values(answer.areas));
  const sizes = new Map();
  answer.classes.forEach((number, run) => sizes.set(number, (sizes.get(number) ?? 0) + answer.lengths[run]));
  pixels.forEach((number, place) => image.data.set([...palette.get(number), sizes.get(number) === most ? 90 : 255], place * 4));
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.style.imageRendering = "pixelated";
  // `areas` has the labels in the order of their numbers.
  const known = [...palette.values()];
  const legend = h("ul", { class: "legend" }, entries(answer.areas).map(([label, count], place) =>
    h("li", null, h("i", { style: { background: `rgb(${known[place % known.length].join(" ")})` } }),
      `${label} `, h("span", { class: "quiet" }, percent(count / pixels.length)))));
  const shown = isPicture(input) ? over(input, () => canvas) : h("div", { class: "over" }, canvas);
  return h("div", null, shown, opacity("Colours", 0.65, (value) => { canvas.style.opacity = value; }), legend);
}
