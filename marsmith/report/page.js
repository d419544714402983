// Sorts and filters the table of candidates; without it, the page shows all of them as they are.
(() => {
  "use strict";
  const table = document.querySelector("table.candidates");
  const search = document.querySelector(".search");
  const said = search.querySelector("output");
  const bodies = [...table.tBodies];

  const value = (body, column) => {
    const cell = body.querySelector(".figures").cells[column];
    if (cell.dataset.value === undefined) return cell.textContent.trim();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };

  const order = (column, up) => (one, other) => {
    const [a, b] = [value(one, column), value(other, column)];
    if (a === null || b === null) return (a === null) - (b === null); // what is unknown comes last
    const turn = typeof a === "number" ? a - b : a.localeCompare(b);
    return up ? turn : -turn;
  };

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.ariaSort !== "ascending";
      for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
      head.ariaSort = up ? "ascending" : "descending";
      table.append(...bodies.sort(order(column, up)));
    });
  });

  search.hidden = false;
  search.querySelector("input").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const body of bodies) {
      const why = body.querySelector(".why p").textContent.toLowerCase();
      const rows = [...body.querySelectorAll(".figures")];
      for (const row of rows) {
        const text = row.textContent.toLowerCase() + why;
        row.hidden = !words.every((word) => text.includes(word));
      }
      const left = rows.filter((row) => !row.hidden).length;
      body.hidden = left === 0;
      shown += left;
    }
    said.textContent = `${shown} of ${said.dataset.of} shown`;
  });
})();
