// The OpenAPI document as Swagger UI shows it: with a form for each operation. Requests go to the page's
// own server, which has the key; the document to download names the model server.

import { get } from "./api.js";
import { h } from "./dom.js";

const main = document.getElementById("main");

get("/api/openapi.json").then((spec) => {
  const { security, ...rest } = spec;
  const components = { ...spec.components, securitySchemes: undefined };
  window.SwaggerUIBundle({
    spec: { ...rest, components, servers: [{ url: "/api/described" }] },
    domNode: main,
    deepLinking: true,
    defaultModelsExpandDepth: -1,
    docExpansion: "list",
    displayRequestDuration: true,
    requestSnippetsEnabled: false,
  });
}, (error) => {
  main.replaceChildren(h("div", { role: "alert" }, h("strong", null, error.message), ` ${error.hint ?? ""}`));
});
