// A text as it sounds: a player.

import { h } from "../dom.js";
import { wav } from "../wav.js";

export const fits = ({ answer }) => Array.isArray(answer?.samples) && answer.sampling_rate ? 3 : 0;

export function show({ answer }) {
  const { samples, sampling_rate: rate, seconds } = answer;
  const player = h("audio", { controls: true, src: URL.createObjectURL(wav(samples, rate)), "aria-label": "The text as it sounds" });
  return h("div", null, player, h("p", { class: "note" }, `${seconds.toFixed(2)} s, ${rate} samples per second.`));
}
