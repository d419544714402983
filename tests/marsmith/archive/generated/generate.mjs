// Write the types of an OpenAPI document, in which a file is a Blob: generate.mjs DOCUMENT OUT.

import fs from "node:fs";
import { pathToFileURL } from "node:url";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const [document, out] = process.argv.slice(2);
const blob = ts.factory.createTypeReferenceNode("Blob");
const tree = await openapiTS(pathToFileURL(document), {
  defaultNonNullable: false, // what has a default may be left out
  transform: (schema) => (schema.format === "binary" ? blob : undefined),
});
fs.writeFileSync(out, astToString(tree));
