// A place where files are dropped, pasted or chosen.

import { h, newId } from "./dom.js";

/**
 * Make it.
 * `accepts` says which files, as an input does; `words` what to do; `took` gets the file.
 * Returns {element, show(content, ...more)}: what is shown in it once there is a file.
 */
export function dropping({ accepts, words, took, more = [] }) {
  const id = newId("file");
  const chooser = h("input", { id, type: "file", accept: accepts, class: "hidden",
    on: { change: () => chooser.files[0] && took(chooser.files[0]) } });
  const choose = h("button", { type: "button", class: "second",
    on: { click: () => chooser.click() } }, "Choose a file");
  const shown = h("div", { class: "shown" });
  const element = h("div", { class: "drop", role: "group", "aria-label": words },
    shown, h("p", { class: "empty-words" }, words), h("div", { class: "bar" }, choose, more), chooser);
  chooser.tabIndex = -1;
  chooser.setAttribute("aria-label", "File");
  const over = (event) => { event.preventDefault(); element.classList.add("over"); };
  element.addEventListener("dragover", over);
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    if (event.dataTransfer.files[0]) took(event.dataTransfer.files[0]);
  });
  return {
    element,
    paste(event) {
      const file = [...(event.clipboardData?.files ?? [])][0];
      if (file) { event.preventDefault(); took(file); }
    },
    show(...content) {
      shown.replaceChildren(...content);
      element.querySelector(".empty-words").hidden = true;
    },
  };
}
