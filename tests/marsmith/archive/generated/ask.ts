// Ask a server through openapi-fetch, with the types that openapi-typescript has written; print the
// answers, JSON by name: ask.js ADDRESS KEY PICTURE.

import fs from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./served.js";

const [address, key, picture] = process.argv.slice(2) as [string, string, string];
const encoded = fs.readFileSync(picture.replace(/png$/, "b64"), "utf8");
const file = new Blob([fs.readFileSync(picture)], { type: "image/png" });
const api = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${key}` } });

/** The answer, of the type of its operation; a refusal ends the program. */
function good<T>(result: { data?: T; error?: unknown }): T {
  if (result.data === undefined) throw new Error(JSON.stringify(result.error));
  return result.data;
}

/** A form's body: openapi-fetch writes JSON unless it is told otherwise. */
function form(body: object): FormData {
  const found = new FormData();
  for (const [name, value] of Object.entries(body)) found.append(name, value instanceof Blob ? value : String(value));
  return found;
}

const label = "/predictions/new_image_classification";
const scores: Record<string, number> = good(
  await api.POST(label, { body: { data: encoded, parameters: { top_k: 2 } } }),
);
const bytes = good(
  await api.POST(label, {
    body: file,
    bodySerializer: (body) => body as Blob,
    headers: { "Content-Type": "application/octet-stream" },
  }),
);
const formed = good(await api.POST(label, { body: { data: file, top_k: 2 }, bodySerializer: form }));
const several = good(
  await api.POST("/v1/models/new_image_classification:predict", { body: { instances: [encoded, encoded] } }),
);
const tensors = good(
  await api.POST("/v2/models/new_image_classification/infer", {
    body: { inputs: [{ name: "image", shape: [1], datatype: "BYTES", data: [encoded] }] },
  }),
);
const explanation = good(await api.POST("/explanations/new_image_classification", { body: { data: encoded } }));
const boxes = good(
  await api.POST("/predictions/new_object_detection", {
    body: { data: file },
    bodySerializer: form,
  }),
);
const answer = good(
  await api.POST("/predictions/new_question_answering", {
    body: { question: "Who?", context: "It was Ada.", top_k: 1 },
    bodySerializer: form,
  }),
);
const row = good(await api.POST("/predictions/new_tabular", { body: { data: { age: 40, town: null } } }));

const wrong = await api.POST(label, { body: { data: encoded, parameters: { top_k: 0 } } });
const said: components["schemas"]["Error"] | components["schemas"]["TorchServeError"] | undefined = wrong.error;

const prompt = { data: "import this", parameters: { max_new_tokens: 8, temperature: 0, stream: true } };
const stream = await api.POST("/predictions/new_text_generation", {
  body: prompt,
  headers: { Accept: "text/event-stream" },
  parseAs: "text",
});
const pieces = good(stream)
  .split("\n\n")
  .filter((event) => event.startsWith("data: "))
  .map((event) => JSON.parse(event.slice(6)) as components["schemas"]["new_text_generation.Piece"]);
const written = pieces.map((piece) => ("text" in piece ? piece.text : "")).join("");

const stranger = createClient<paths>({ baseUrl: address, headers: { Authorization: "Bearer nobody" } });
const refused = await stranger.POST(label, { body: { data: encoded } });

console.log(
  JSON.stringify({
    json: scores,
    bytes,
    form: formed,
    v1: several.predictions,
    v2: Object.fromEntries(tensors.outputs.map((output) => [output.name, output.data])),
    explanation,
    error: said,
    boxes,
    answer,
    row,
    text: written,
    stranger: { status: refused.response.status, error: (refused.error as { error: string }).error },
  }),
);
