// What each pixel added to a label, over the picture: red speaks for it, blue against it.

import { h } from "../dom.js";
import { isPicture, opacity, over } from "../over.js";

export const fits = ({ answer }) => Array.isArray(answer?.heat_map) ? 3 : 0;

const [FOR, AGAINST] = [[178, 24, 43], [33, 102, 172]];

/** A canvas of the map's size; the strongest pixel has the full colour, what adds nothing is clear. */
export function drawn(map) {
  const [height, width] = [map.length, map[0].length];
  const most = Math.max(...map.flat().map(Math.abs)) || 1;
  const image = new ImageData(width, height);
  map.flat().forEach((value, place) =>
    image.data.set([...(value > 0 ? FOR : AGAINST), Math.round((Math.abs(value) / most) * 255)], place * 4));
  const canvas = h("canvas", { width, height, "aria-hidden": "true" });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Put a canvas where the map's box lies in a picture, all in shares of the picture's size. */
function placed(canvas, box, width, height) {
  const [left, top, right, bottom] = box;
  Object.assign(canvas.style, { inset: "auto", left: `${(left / width) * 100}%`, top: `${(top / height) * 100}%`,
    width: `${((right - left) / width) * 100}%`, height: `${((bottom - top) / height) * 100}%` });
  return canvas;
}

export function show({ answer, input }) {
  const canvas = drawn(answer.heat_map);
  canvas.style.imageRendering = answer.heat_map.length < 64 ? "pixelated" : "auto";
  canvas.style.opacity = 0.8;
  const note = h("p", { class: "note" }, "Red: what speaks for it. Blue: what speaks against it.");
  const title = h("p", { class: "lead" }, `What speaks for “${answer.label}”`);
  const slider = opacity("Colours", 0.8, (value) => { canvas.style.opacity = value; });
  if (isPicture(input) && answer.box) {
    return h("div", null, title, over(input, (width, height) => placed(canvas, answer.box, width, height)), slider, note);
  }
  // Where it lies in the picture isn't known: an older archive's answer, or a tensor.
  Object.assign(canvas.style, { position: "static", width: "20rem", height: "auto", background: "#f7f7f7" });
  return h("div", null, title, h("div", { class: "over" }, canvas), note);
}
