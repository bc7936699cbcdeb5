"use strict";

// Tables: a click on a heading sorts by its column, another click turns the order round. Empty cells stay last.
function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return descending ? -order : order;
  };
  const rows = [...body.rows].map((row) => [key(row), row]);
  rows.sort(([a], [b]) => compare(a, b));
  body.append(...rows.map(([, row]) => row));
}

const table = document.getElementById("per-image");
table.tHead.addEventListener("click", (event) => {
  const heading = event.target.closest("button")?.closest("th");
  if (!heading) return;
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  sortBy(table, heading.cellIndex, descending);
});

document.getElementById("model").addEventListener("change", (event) => {
  for (const row of table.tBodies[0].rows) {
    row.hidden = event.target.value !== "" && row.dataset.model !== event.target.value;
  }
});

// Gallery: each slider moves the line between the two pictures that lie below it.
const move = (slider) => slider.parentElement.style.setProperty("--cut", `${slider.value}%`);
const sliders = document.querySelectorAll(".compare input");
const gallery = document.getElementById("gallery");
gallery.addEventListener("input", (event) => {
  if (event.target.closest(".compare")) move(event.target);
});
document.getElementById("all").addEventListener("input", (event) => {
  for (const slider of sliders) {
    slider.value = event.target.value;
    move(slider);
  }
});
document.getElementById("size").addEventListener("input", (event) => {
  gallery.style.setProperty("--tile", `${event.target.value}px`);
});
// A reloaded page may remember the sliders.
sliders.forEach(move);
