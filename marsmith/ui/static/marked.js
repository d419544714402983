// A text with parts of it marked. Places are in code points, as Python counts.

import { h } from "./dom.js";

/** Cut a text at marks: [{text, mark}], in order; of marks that overlap, the earlier one holds. */
export function cut(text, marks) {
  const letters = Array.from(text);
  const found = [];
  let place = 0;
  for (const mark of [...marks].sort((one, other) => one.start - other.start || one.end - other.end)) {
    if (mark.start < place || mark.end <= mark.start) continue;
    if (mark.start > place) found.push({ text: letters.slice(place, mark.start).join("") });
    found.push({ text: letters.slice(mark.start, mark.end).join(""), mark });
    place = mark.end;
  }
  if (place < letters.length) found.push({ text: letters.slice(place).join("") });
  return found;
}

/** The text with its marks: {start, end, label}; equal labels have the same colour. */
export function marked(text, marks, kinds = [...new Set(marks.map(({ label }) => label))]) {
  return h("p", { class: "prose" }, cut(text, marks).map((part) => part.mark
    ? h("mark", { class: `mark-${(kinds.indexOf(part.mark.label) % 6) + 1}`, title: part.mark.title },
      part.text, part.mark.label ? h("small", null, part.mark.label) : [])
    : part.text));
}
