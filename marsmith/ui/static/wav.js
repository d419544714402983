// Sound as numbers: a WAV file of samples, and how loud they are along the way.

/** A WAV file (PCM, 16 bits, one channel) of samples in [-1, 1]. */
export function wav(samples, rate) {
  const data = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const letters = (place, text) => [...text].forEach((one, index) => data.setUint8(place + index, one.charCodeAt(0)));
  letters(0, "RIFF");
  data.setUint32(4, 36 + samples.length * 2, true);
  letters(8, "WAVEfmt ");
  data.setUint32(16, 16, true);
  data.setUint16(20, 1, true); // PCM
  data.setUint16(22, 1, true); // a channel
  data.setUint32(24, rate, true);
  data.setUint32(28, rate * 2, true);
  data.setUint16(32, 2, true);
  data.setUint16(34, 16, true);
  letters(36, "data");
  data.setUint32(40, samples.length * 2, true);
  samples.forEach((sample, index) => {
    const bounded = Math.max(-1, Math.min(1, sample));
    data.setInt16(44 + index * 2, Math.round(bounded * 32767), true);
  });
  return new Blob([data.buffer], { type: "audio/wav" });
}

/** The greatest of the samples' sizes in each of so many equal parts, the greatest of all being 1. */
export function peaks(samples, parts) {
  const found = new Array(parts).fill(0);
  samples.forEach((sample, index) => {
    const part = Math.min(parts - 1, Math.floor((index * parts) / samples.length));
    found[part] = Math.max(found[part], Math.abs(sample));
  });
  const most = Math.max(...found) || 1;
  return found.map((peak) => peak / most);
}

/** The outline of a waveform, as the path of an SVG that is `parts` wide and 2 high. */
export function outline(loudness) {
  const above = loudness.map((peak, x) => `${x} ${(1 - Math.max(peak, 0.01)).toFixed(3)}`);
  const below = loudness.map((peak, x) => `${x} ${(1 + Math.max(peak, 0.01)).toFixed(3)}`).reverse();
  return `M${above.join("L")}L${below.join("L")}Z`;
}

/** The samples of a file that this browser can read: {samples, seconds}. */
export async function decode(blob) {
  const context = new OfflineAudioContext(1, 1, 16000);
  const found = await context.decodeAudioData(await blob.arrayBuffer());
  return { samples: found.getChannelData(0), seconds: found.duration };
}
