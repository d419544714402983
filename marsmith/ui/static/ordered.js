// JSON whose objects keep the order in which they were sent. JavaScript's own put keys that look like
// numbers first, and labels often do: an answer that is best first, or by classes, would be another one.

const ORDER = Symbol("order");
const TOKEN = /\s*([{}[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}[\],:"]+)/y;

/** What JSON.parse gives, whose objects `entries` reads in the order of the text. */
export function parse(text) {
  const whole = JSON.parse(text);
  return /"\d+"\s*:/.test(text) ? read(tokens(text)) : whole;
}

/** The pairs of an object, as they were sent. */
export function entries(object) {
  return (object[ORDER] ?? Object.keys(object)).map((key) => [key, object[key]]);
}

function tokens(text) {
  let place = 0;
  return () => {
    TOKEN.lastIndex = place;
    const [, token] = TOKEN.exec(text);
    place = TOKEN.lastIndex;
    return token;
  };
}

function read(next, token = next()) {
  if (token === "[") {
    const list = [];
    for (let one = next(); one !== "]"; one = next()) if (one !== ",") list.push(read(next, one));
    return list;
  }
  if (token !== "{") return JSON.parse(token);
  const [found, keys] = [{}, []];
  for (let one = next(); one !== "}"; one = next()) {
    if (one === ",") continue;
    const key = JSON.parse(one);
    next(); // the colon
    if (!Object.hasOwn(found, key)) keys.push(key);
    Object.defineProperty(found, key, { value: read(next), enumerable: true, configurable: true });
  }
  return Object.defineProperty(found, ORDER, { value: keys });
}
