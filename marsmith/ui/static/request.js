// A request: what travels, and how to send the same from a terminal or from Python.
//
// What an input gives is one of
//   {kind: "file", blob, type, name}
//   {kind: "text", text}
//   {kind: "json", body}

const PATHS = { predict: "predictions", explain: "explanations" };

/** How an input and its options travel: {body, type, form}; `form` lists the parts of a form. */
export function encode(input, options = {}) {
  const asked = Object.keys(options).length > 0;
  if (input.kind === "file") {
    if (!asked) return { body: input.blob, type: input.type };
    const form = Object.entries(options).map(([name, value]) =>
      [name, typeof value === "string" ? value : JSON.stringify(value)]);
    const body = new FormData();
    for (const [name, value] of form) body.append(name, value);
    body.append("data", new File([input.blob], input.name, { type: input.type }));
    return { body, form };
  }
  if (input.kind === "text" && !asked) return { body: input.text, type: "text/plain" };
  return { body: JSON.stringify(whole(input, options)), type: "application/json" };
}

/** The JSON that a text or JSON travels as, with its options. */
function whole(input, options) {
  const body = input.kind === "text" ? { data: input.text } : input.body;
  if (!Object.keys(options).length) return body;
  const named = body !== null && typeof body === "object" && !Array.isArray(body);
  const around = named ? body : { data: body };
  return { ...around, parameters: { ...around.parameters, ...options } };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The request as a command line. `where` is {address, key, model, verb, version}. */
export function curl(input, options, where) {
  const { body, type, form } = encode(input, options);
  const path = `/${PATHS[where.verb]}/${encodeURIComponent(where.model)}`;
  const version = where.version ? `/${encodeURIComponent(where.version)}` : "";
  const lines = [`curl ${where.address}${path}${version}`];
  if (options.stream) lines[0] += " -N";
  if (where.key) lines.push(`-H "Authorization: Bearer $(cat ${quoted(where.key)})"`);
  if (form) {
    lines.push(`-F ${quoted(`data=@${input.name};type=${input.type}`)}`);
    for (const [name, value] of form) lines.push(`--form-string ${quoted(`${name}=${value}`)}`);
  } else {
    if (type) lines.push(`-H ${quoted(`Content-Type: ${type}`)}`);
    lines.push(input.kind === "file" ? `--data-binary ${quoted(`@${input.name}`)}`
      : `--data-raw ${quoted(body)}`);
  }
  return lines.join(" \\\n  ");
}

/** A value of JSON as Python writes it. */
export function literal(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    const pairs = Object.entries(value).map(([key, item]) => `${literal(key)}: ${literal(item)}`);
    return `{${pairs.join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** The request as a program with marsmith's client. */
export function python(input, options, where) {
  const { stream, ...others } = options;
  const lines = input.kind === "file" || where.key ? ["from pathlib import Path", ""] : [];
  lines.push("import marsmith", "");
  const key = where.key ? `, key_file=Path(${literal(where.key)})` : "";
  lines.push(`with marsmith.Client(${literal(where.address)}${key}) as client:`);
  const given = { file: () => `Path(${literal(input.name)}).read_bytes()`,
    text: () => literal(input.text), json: () => literal(input.body) }[input.kind]();
  const told = [literal(where.model), given];
  if (input.kind === "file" && input.type) told.push(`content_type=${literal(input.type)}`);
  if (Object.keys(others).length) told.push(`options=${literal(others)}`);
  if (stream) {
    lines.push(`    for piece in client.stream(${told.join(", ")}):`);
    lines.push('        print(piece["text"], end="", flush=True)');
  } else lines.push(`    print(client.${where.verb}(${told.join(", ")}))`);
  return lines.join("\n");
}
