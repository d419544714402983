// The model's live figures, as small charts.

import { get } from "./api.js";
import { h, svg } from "./dom.js";
import { duration, short } from "./format.js";
import { between } from "./rates.js";

const [EVERY_MS, KEPT, WIDE, HIGH] = [2000, 60, 120, 40];

/** What is drawn: a name, the value of a look, and how it reads. */
const CHARTS = [
  ["Requests / s", ({ requests }) => requests, short],
  ["Latency, median", ({ median }) => median * 1000, duration],
  ["95th percentile", ({ slowest }) => slowest * 1000, duration],
  ["On their way", ({ on }) => on, short],
  ["Waiting", ({ queue }) => queue, short],
  ["Workers ready", ({ workers }) => workers, short],
];

/** The line of values, and the ground under it; gaps where there is none. */
export function lines(values) {
  const most = Math.max(...values.filter(Number.isFinite), 0) || 1;
  const at = (value, place) => [((KEPT - values.length + place) / (KEPT - 1)) * WIDE, HIGH - (value / most) * (HIGH - 3) - 1];
  const runs = [[]];
  values.forEach((value, place) => {
    if (Number.isFinite(value)) runs.at(-1).push(at(value, place)); else if (runs.at(-1).length) runs.push([]);
  });
  const found = runs.filter((run) => run.length);
  const path = (run) => `M${run.map((point) => point.map((one) => one.toFixed(2)).join(" ")).join("L")}`;
  return {
    line: found.map((run) => (run.length > 1 ? path(run) : `${path(run)}h.01`)).join(""),
    under: found.map((run) => `${path(run)}V${HIGH}H${run[0][0].toFixed(2)}Z`).join(""),
  };
}

function chart([name, value, reads]) {
  const [line, under] = [svg("path", { class: "line" }), svg("path", { class: "under" })];
  const number = h("dd", null, "–");
  const picture = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    under, svg("line", { class: "ground", x1: 0, x2: WIDE, y1: HIGH, y2: HIGH }), line);
  return {
    element: h("div", { class: "chart" }, h("dt", null, name), number, picture),
    draw(looks) {
      const values = looks.map(value);
      const last = values.findLast(Number.isFinite);
      number.textContent = last === undefined ? "–" : reads(last);
      const drawn = lines(values);
      line.setAttribute("d", drawn.line);
      under.setAttribute("d", drawn.under);
    },
  };
}

/** The charts of a model: {element, leave()}. Where the key is not for metrics, there is nothing. */
export function live(model) {
  const charts = CHARTS.map(chart);
  const element = h("section", { class: "live", hidden: true, "aria-label": "Live figures" }, h("h3", null, "Now"),
    h("dl", { class: "charts" }, charts.map((one) => one.element)));
  const looks = [];
  let [before, at, timer] = [null, 0, null];

  async function look() {
    if (document.hidden) return;
    let all;
    try { all = await get("/api/figures"); } catch { return; }
    const now = performance.now();
    const after = all[model];
    if (!after) return;
    const { in_flight: on = 0, queue = 0, workers = NaN } = after.now;
    const known = { on, queue, workers };
    if (before) looks.push({ ...between(before, after, (now - at) / 1000), ...known });
    else looks.push({ requests: NaN, median: NaN, slowest: NaN, ...known });
    if (looks.length > KEPT) looks.shift();
    [before, at] = [after, now];
    element.hidden = false;
    charts.forEach((one) => one.draw(looks));
  }

  look();
  timer = setInterval(look, EVERY_MS);
  return { element, leave: () => clearInterval(timer) };
}
