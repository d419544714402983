// The example that a model gives of itself.

// Of a model that says nothing of itself: {}.
const NOTHING = { content_type: "application/json", body_base64: "e30=" };

/** Its media type and bytes. */
export function example(description) {
  const { content_type: type, body_base64: text } = description.example ?? NOTHING;
  return { type, bytes: Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)) };
}

/** Its instance: JSON without the parameters around it, or text; undefined for other bytes. */
export function instance(description) {
  const { type, bytes } = example(description);
  if (type !== "application/json" && !type.startsWith("text/")) return undefined;
  const text = new TextDecoder().decode(bytes);
  if (type !== "application/json") return text;
  const body = JSON.parse(text);
  return body !== null && typeof body === "object" && "data" in body ? body.data : body;
}
