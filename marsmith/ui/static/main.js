// The page: its list of models, and the one that is chosen.

import { get } from "./api.js";
import { h } from "./dom.js";
import { words } from "./format.js";
import { model } from "./model.js";

const main = document.getElementById("main");
const known = new Map();

/** What a model says of itself; asked once. */
function describe(name) {
  if (!known.has(name)) {
    const asked = get(`/api/models/${encodeURIComponent(name)}`);
    asked.catch(() => known.delete(name));
    known.set(name, asked);
  }
  return known.get(name);
}

const load = (kind, names) => Promise.all(names.map((name) => import(`./${kind}/${name}`)));

function link({ name, up }) {
  const task = h("small", { class: up ? "" : "down" }, " ");
  describe(name).then(({ task: said }) => { task.textContent = words(said ?? "any request"); }, () => { task.textContent = "can't be asked"; });
  return h("li", null, h("a", { href: `#/${encodeURIComponent(name)}` }, name, task));
}

function failed(error) {
  main.replaceChildren(h("div", { class: "error", role: "alert" }, h("strong", null, error.message), error.hint ?? ""));
}

/** Scroll the list, and nothing else, to one of its links: scrollIntoView would move where Tab begins. */
function uncover(one) {
  for (const box of [one.closest("ul"), one.closest("nav")]) {
    const [inner, outer] = [one.getBoundingClientRect(), box.getBoundingClientRect()];
    if (inner.left < outer.left || inner.right > outer.right) box.scrollLeft += inner.left - outer.left - 16;
    if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - 16;
  }
}

let [leave, shown] = [() => {}, 0];

async function open(server, modules) {
  const name = decodeURIComponent(location.hash.slice(2)) || server.models[0].name;
  for (const one of document.querySelectorAll("#models a")) {
    const chosen = one.getAttribute("href") === `#/${encodeURIComponent(name)}`;
    if (chosen) one.setAttribute("aria-current", "page"); else one.removeAttribute("aria-current");
    if (chosen) uncover(one);
  }
  leave();
  leave = () => {};
  shown += 1;
  const mine = shown;
  try {
    const description = await describe(name);
    if (mine !== shown) return; // another was chosen meanwhile
    const made = model({ name, description, server, modules, describe });
    leave = made.leave;
    main.replaceChildren(made.element);
    document.title = `${name} – marsmith`;
  } catch (error) {
    if (mine === shown) failed(error);
  }
}

async function start() {
  const server = await get("/api/server");
  document.getElementById("address").textContent = server.address.replace(/^https?:\/\//, "");
  document.getElementById("models").replaceChildren(h("ul", null, server.models.map(link)));
  const [inputs, views] = await Promise.all([load("inputs", server.inputs), load("views", server.views)]);
  const modules = { inputs, views };
  window.addEventListener("hashchange", () => { open(server, modules).then(() => main.focus()); });
  await open(server, modules);
}

start().catch(failed);
