// A row of a table: a field for each column.

import { h, newId } from "../dom.js";
import { instance } from "../example.js";
import { words } from "../format.js";

export const label = "Row";
export const fits = (description) => Array.isArray(description.input?.columns) ? 3 : 0;

/** The row that texts stand for: an empty one is a value that is missing. */
export function row(columns, texts) {
  return Object.fromEntries(columns.map((column, index) => {
    const text = texts[index].trim();
    if (text === "") return [column.name, null];
    const number = Number(text);
    if (column.values) return [column.name, text];
    if (!Number.isFinite(number)) throw new Error(`${column.name} must be a number`);
    return [column.name, number];
  }));
}

export function make({ description }) {
  const { columns } = description.input;
  const cells = columns.map((column) => {
    const id = newId("cell");
    const cell = column.values
      ? h("select", { id }, h("option", { value: "" }, "missing"),
        column.values.map((value) => h("option", { value }, value)))
      : h("input", { id, type: "text", inputmode: "decimal", placeholder: "missing" });
    return { cell, element: h("div", { class: "field" }, h("label", { for: id }, words(column.name)), cell) };
  });
  return {
    element: h("div", { class: "columns", role: "group", "aria-label": "Columns", tabindex: 0 }, cells.map(({ element }) => element)),
    example() {
      const given = instance(description);
      columns.forEach(({ name }, index) => { cells[index].cell.value = given[name] ?? ""; });
    },
    value: () => ({ kind: "json", body: { data: row(columns, cells.map(({ cell }) => cell.value)) } }),
  };
}
