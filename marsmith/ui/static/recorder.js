// What the microphone hears, as samples. Browsers record formats that models don't read; this is WAV.

import { wav } from "./wav.js";

/** Start recording; `stop()` of what it gives is the WAV file. */
export async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext();
  await context.audioWorklet.addModule("/static/recorder-worklet.js");
  const [source, node] = [context.createMediaStreamSource(stream), new AudioWorkletNode(context, "recorder")];
  const parts = [];
  node.port.onmessage = ({ data }) => parts.push(data);
  source.connect(node);
  return {
    async stop() {
      source.disconnect();
      stream.getTracks().forEach((track) => track.stop());
      await context.close();
      const samples = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
      parts.reduce((place, part) => (samples.set(part, place), place + part.length), 0);
      return wav(samples, context.sampleRate);
    },
  };
}
