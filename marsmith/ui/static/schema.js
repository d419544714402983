// What a request's options may be, from their JSON Schema.

/** The fields of a form, one for each option. */
export function fields(schema) {
  return Object.entries(schema?.properties ?? {}).map(([name, said]) => field(name, said));
}

function field(name, said) {
  const kinds = said.anyOf ?? [said];
  const kind = kinds.find((one) => one.type !== "null") ?? {};
  const base = { name, hint: said.description ?? "", initial: said.default ?? null };
  if (kind.enum) {
    return { ...base, kind: "choice", choices: kind.enum, optional: kinds.length > 1 };
  }
  if (kind.type === "boolean") return { ...base, kind: "switch" };
  if (kind.type === "integer" || kind.type === "number") {
    const [low, high] = [said.minimum ?? kind.minimum, said.maximum ?? kind.maximum];
    const whole = kind.type === "integer";
    const spread = high - low;
    const slides = low !== undefined && high !== undefined && spread <= 1000;
    const step = whole ? 1 : spread <= 2 ? 0.01 : "any";
    return { ...base, kind: slides ? "range" : "number", low, high, whole, step };
  }
  if (kind.type === "array") return { ...base, kind: "list", most: said.maxItems };
  return { ...base, kind: kind.type === "string" ? "text" : "json" };
}

/**
 * The value that a field's text stands for; undefined where it says nothing.
 * Raises an Error with a sentence for people.
 */
export function read(field, text) {
  if (typeof text === "boolean") return text;
  if (text.trim() === "" && field.kind !== "text") return undefined;
  if (field.kind === "range" || field.kind === "number") {
    const number = Number(text);
    if (!Number.isFinite(number)) throw new Error(`${field.name} must be a number`);
    return number;
  }
  if (field.kind === "list") {
    return text.split("\n").map((line) => line.trim()).filter(Boolean);
  }
  if (field.kind === "choice") return field.choices.find((one) => String(one) === text);
  if (field.kind === "json") {
    try { return JSON.parse(text); } catch { return text; }
  }
  return text === "" && field.initial === null ? undefined : text;
}

/** Whether a value is what the model takes anyway. */
export function isInitial(field, value) {
  return value === undefined || JSON.stringify(value) === JSON.stringify(field.initial);
}
