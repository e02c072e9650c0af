// Sorting and filtering of the scoreboard, and boxes that scroll made reachable by keyboard.

/** What a cell is sorted by: its data-value as a number if it is one, else its text. */
function key(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

/** Sort by a column; once more turns the order round. Equal rows keep their order. */
function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const down = heads[column].getAttribute("aria-sort") === "ascending";
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
  rows.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sortBy(table, column));
    head.replaceChildren(button);
  });
  table.tHead.rows[0].cells[0].setAttribute("aria-sort", "ascending");
}

/** Show the rows that hold all words, and say how many there are. */
function filterRows(table) {
  const words = document.getElementById("score-filter").value.toLowerCase().split(/\s+/);
  const only = document.getElementById("score-bad").checked;
  let count = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    const bad = row.querySelector(".verdict.bad") !== null;
    row.hidden = (only && !bad) || !words.every((word) => text.includes(word));
    count += row.hidden ? 0 : 1;
  }
  document.getElementById("score-count").textContent = `${count} claims shown`;
}

function reachable() {
  const boxes = ".bd-article div.math, .bd-article .output, .bd-article pre, .pst-scrollable-table-container";
  for (const box of document.querySelectorAll(boxes)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}

document.querySelectorAll("table.scoreboard").forEach((table) => {
  makeSortable(table);
  if (document.getElementById("score-filter")) {
    ["score-filter", "score-bad"].forEach((id) =>
      document.getElementById(id).addEventListener("input", () => filterRows(table)));
    filterRows(table);
  }
});
// Formulas are as wide as they are only when they are set.
window.addEventListener("load", () => {
  reachable();
  window.MathJax?.startup?.promise?.then(reachable);
});
window.addEventListener("resize", reachable);
