// What was said, with its words or segments over the waveform at their times.

import { h, svg } from "../dom.js";
import { clock, percent } from "../format.js";
import { decode, outline, peaks } from "../wav.js";

export const fits = ({ answer }) => typeof answer?.text === "string" && typeof answer.seconds === "number" ? 4 : 0;

const PARTS = 400;

/** The lane of each span, so that no two overlap; widths are guessed from their letters. */
export function lanes(spans, seconds) {
  const ends = [];
  return spans.map(({ start, text }) => {
    const lane = [0, 1, 2].find((one) => (ends[one] ?? -1) <= start) ?? 2;
    ends[lane] = start + (text.length + 2) * 0.018 * seconds;
    return lane;
  });
}

export function show({ answer, input }) {
  const spans = (answer.words ?? answer.segments ?? []).map((one) => ({ ...one, text: one.word ?? one.text }));
  const seconds = answer.seconds || 1;
  const notes = [input.kind !== "file" && clock(answer.seconds), answer.language && `language: ${answer.language}`, answer.tokens !== undefined && `${answer.tokens} tokens`];
  const said = h("p", { class: "said" }, answer.text || "Nothing was said.");
  const note = h("p", { class: "note" }, notes.filter(Boolean).join(" · "));
  if (input.kind !== "file") return h("div", null, said, table(spans), note);
  const player = h("audio", { controls: true, src: URL.createObjectURL(input.blob), "aria-label": "The recording", style: { width: "100%" } });
  const play = (start) => { player.currentTime = start; player.play(); };
  const wave = svg("svg", { viewBox: `0 0 ${PARTS} 2`, preserveAspectRatio: "none", role: "img", "aria-label": "How loud it is along the way" });
  const found = lanes(spans, seconds);
  const rows = ["", " two", " three"][Math.max(0, ...found)];
  const labels = h("div", { class: `words${rows}` }, spans.map((one, place) => h("button", {
    type: "button", class: `lane-${found[place]}`, style: { left: `${Math.min(95, (one.start / seconds) * 100)}%` },
    title: `${clock(one.start)} to ${clock(one.end)}`, on: { click: () => play(one.start) } }, one.text)));
  wave.append(...spans.map(({ start, end }) => svg("rect", { class: "span", x: (start / seconds) * PARTS, y: 0,
    width: Math.max(1, ((end - start) / seconds) * PARTS), height: 2 })));
  decode(input.blob).then(({ samples }) => wave.append(svg("path", { d: outline(peaks(samples, PARTS)) })), () => wave.remove());
  return h("div", null, said, h("div", { class: "sound" }, wave, spans.length ? labels : []),
    h("div", { class: "axis" }, h("span", null, "0"), h("span", null, clock(answer.seconds))), player, table(spans), note);
}

function table(spans) {
  if (!spans.length) return [];
  return h("table", { class: "finds" }, h("tbody", null, spans.map(({ text, start, end, score }) => h("tr", null,
    h("th", { scope: "row" }, text), h("td", { class: "quiet" }, `${clock(start)} – ${clock(end)}`),
    h("td", { class: "number" }, score === undefined ? "" : percent(score))))));
}
