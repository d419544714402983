// The OpenAPI document, for people; each path leads to the page where it can be tried.

import { get } from "./api.js";
import { h } from "./dom.js";
import { json } from "./format.js";

const main = document.getElementById("main");

/** The schema that a reference names, all others within it as they are. */
function found(document, schema) {
  const path = schema?.$ref?.split("/").slice(1);
  return path ? path.reduce((place, name) => place[name], document) : schema;
}

function schema(document, type, said) {
  const whole = found(document, said);
  const forms = (whole?.anyOf ?? [whole]).map((one) => found(document, one)).filter(Boolean);
  return h("details", null, h("summary", null, type, h("span", { class: "quiet" }, forms.length ? "" : " · bytes")),
    h("pre", { tabindex: 0, role: "region", "aria-label": type }, forms.length ? forms.map((one) => json(one)).join("\n\n") : "The bytes themselves."));
}

function operation(document, path, verb, said) {
  const model = path.split("/").pop();
  const content = (part) => Object.entries(part?.content ?? {}).map(([type, one]) => schema(document, type, one.schema));
  return h("section", null, h("h2", null, said.summary ?? path),
    h("p", { class: "path" }, h("span", { class: "verb" }, verb.toUpperCase()), path),
    h("p", { class: "small" }, h("a", { href: `/#/${model}` }, "Try it")),
    said.description ? h("details", null, h("summary", null, "What it takes"), h("p", { class: "quiet small" }, said.description)) : [],
    h("h3", null, "Request"), content(said.requestBody),
    Object.entries(said.responses).map(([status, one]) => [h("h3", null, `${status} `, h("span", { class: "quiet" }, one.description)), content(one)]));
}

get("/api/openapi.json").then((document) => {
  main.replaceChildren(...Object.entries(document.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, said]) => operation(document, path, verb, said))));
}, (error) => {
  main.replaceChildren(h("div", { class: "error", role: "alert" }, h("strong", null, error.message), error.hint ?? ""));
});
