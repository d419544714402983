// Something drawn over the picture that was sent.

import { h } from "./dom.js";

/** Colours of labels that are easy to tell apart, on bright pictures and on dark ones. */
export const COLOURS = ["#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#00a5b5", "#f032e6", "#9a6324", "#808000", "#000075"];

/** The picture, with what `draw` makes of its width and height over it. */
export function over(input, draw) {
  const frame = h("div", { class: "over" });
  const image = h("img", { src: URL.createObjectURL(input.blob), alt: "The picture that was sent" });
  image.addEventListener("load", () => {
    image.classList.toggle("tiny", image.naturalWidth < 240);
    frame.append(draw(image.naturalWidth, image.naturalHeight));
  });
  frame.append(image);
  return frame;
}

/** A slider for how much one sees of what is drawn. */
export function opacity(label, initial, changed) {
  const slider = h("input", { type: "range", min: 0, max: 1, step: 0.05, value: initial, "aria-label": label,
    on: { input: () => changed(slider.value) } });
  return h("div", { class: "scale" }, h("span", null, label), slider);
}

/** Whether a request was one picture. */
export const isPicture = (input) => input.kind === "file";
