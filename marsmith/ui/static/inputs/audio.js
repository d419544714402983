// A recording: dropped, chosen, or made here.

import { h } from "../dom.js";
import { dropping } from "../dropping.js";
import { example } from "../example.js";
import { bytes } from "../format.js";
import { record } from "../recorder.js";

export const label = "Sound";
export const fits = (description) => description.input?.recording ? 3 : 0;

export function make({ description }) {
  let [file, running] = [null, null];
  const said = h("p", { class: "hint", role: "status" });
  const button = h("button", { type: "button", class: "second", on: { click: toggle } }, "Record");
  const place = dropping({ accepts: "audio/*", words: "Drop a recording here, or make one", took: take, more: [button] });
  place.element.append(said);

  function take(taken) {
    file = taken;
    const player = h("audio", { controls: true, src: URL.createObjectURL(taken), "aria-label": `The recording ${taken.name}` });
    place.show(player, h("p", { class: "hint" }, `${taken.name}, ${bytes(taken.size)}`));
  }

  async function toggle() {
    try {
      if (running) {
        const sound = await running.stop();
        running = null;
        take(new File([sound], "recording.wav", { type: "audio/wav" }));
      } else running = await record();
      said.textContent = running ? "Recording …" : "";
    } catch (error) {
      running = null;
      said.textContent = `there is no microphone to record with: ${error.message}`;
    }
    button.textContent = running ? "Stop" : "Record";
  }

  return {
    element: place.element,
    paste: place.paste,
    example() {
      const { type, bytes: body } = example(description);
      if (type.startsWith("audio/")) take(new File([body], "example.wav", { type }));
      else {
        const sound = Uint8Array.from(atob(JSON.parse(new TextDecoder().decode(body)).data), (one) => one.charCodeAt(0));
        take(new File([sound], "example.wav", { type: "audio/wav" }));
      }
    },
    value() {
      if (!file) throw new Error("choose or record a sound first");
      return { kind: "file", blob: file, type: file.type, name: file.name || "recording.wav" };
    },
  };
}
