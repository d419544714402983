// What the page asks of its own server, which has the key.

import { parse } from "./ordered.js";

export class Refusal extends Error {
  constructor(status, error, hint) {
    super(error);
    [this.status, this.hint] = [status, hint];
  }
}

async function refused(response) {
  let said = {};
  try { said = await response.json(); } catch { /* not JSON: the status has to do */ }
  const error = said.error ?? said.message ?? `the server answered ${response.status}`;
  return new Refusal(response.status, typeof error === "string" ? error : error.message, said.hint ?? "");
}

/** A JSON answer of a path. */
export async function get(path) {
  const response = await fetch(path);
  if (!response.ok) throw await refused(response);
  return response.json();
}

/**
 * Ask a model.
 * `piece` takes each part of a stream; `signal` calls it off.
 * Returns {answer, took, model}: JSON, and milliseconds, whole and of the model server alone.
 */
export async function ask({ model, verb, version, sent, streams, piece, signal }) {
  const query = version ? `?version=${encodeURIComponent(version)}` : "";
  const began = performance.now();
  const response = await fetch(`/api/models/${encodeURIComponent(model)}/${verb}${query}`, {
    method: "POST", body: sent.body, signal,
    headers: { Accept: "application/json", ...(sent.type ? { "Content-Type": sent.type } : {}) },
  });
  if (!response.ok) throw await refused(response);
  const answer = streams ? await lines(response, piece) : await decoded(response);
  if (answer && answer.error !== undefined && answer.hint !== undefined) {
    throw new Refusal(500, answer.error, answer.hint); // its headers had been sent before it failed
  }
  const timing = /dur=([\d.]+)/.exec(response.headers.get("Server-Timing") ?? "");
  return { answer, took: performance.now() - began, model: timing ? Number(timing[1]) : NaN };
}

async function decoded(response) {
  const text = await response.text();
  try { return parse(text); } catch { return text; }
}

async function lines(response, piece) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, text, last] = ["", "", {}];
  for (;;) {
    const { value, done } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = done ? "" : parts.pop();
    for (const line of parts.filter((part) => part.trim())) {
      last = JSON.parse(line);
      if (last.error !== undefined) return last;
      text += last.text ?? "";
      piece(last.text ?? "");
    }
    if (done) break;
  }
  if (last.finish_reason === undefined) {
    throw new Refusal(502, "the stream ended before its last piece", "see the server's log");
  }
  return { ...last, text };
}
