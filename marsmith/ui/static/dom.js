// Elements, in few words. Text is always text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "style") Object.assign(element.style, value);
    else if (name === "on") {
      for (const [event, heard] of Object.entries(value)) element.addEventListener(event, heard);
    } else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of HTML: its attributes, `style` and `on` (events), and what is in it. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same of SVG. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

let made = 0;

/** An id that no other element has. */
export function newId(word) {
  made += 1;
  return `${word}-${made}`;
}

/** A few choices, one of which holds. */
export function choice(name, choices, chosen, changed) {
  const group = newId("choice");
  return h("fieldset", { class: "choice" }, h("legend", { class: "hidden" }, name),
    choices.map(([value, label]) => h("label", null,
      h("input", { type: "radio", name: group, value, checked: value === chosen,
        on: { change: () => changed(value) } }), label)));
}
