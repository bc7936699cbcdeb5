"use strict";
const SHOWN = 300; // rows: the largest differences
const data = JSON.parse(document.getElementById("data").textContent);
for (const form of document.querySelectorAll("form.pair")) {
  const table = data[Number(form.dataset.table)];
  const section = form.parentElement;
  const show = () => {
    const a = table.scores[form.score.value][Number(form.a.value)];
    const b = table.scores[form.score.value][Number(form.b.value)];
    const rows = table.images.map((name, index) => [name, a[index], b[index], b[index] - a[index]]);
    const more = rows.filter((row) => row[3] > 0).length;
    const less = rows.filter((row) => row[3] < 0).length;
    rows.sort((one, other) => Math.abs(other[3]) - Math.abs(one[3]));
    section.querySelector(".told").textContent =
      `B is above A on ${more} images, below on ${less}, equal on ${rows.length - more - less}` +
      (rows.length > SHOWN ? `; the ${SHOWN} largest differences:` : ":");
    const body = section.querySelector(".tall tbody");
    body.replaceChildren(...rows.slice(0, SHOWN).map((row) => {
      const line = document.createElement("tr");
      line.append(...row.map((value) => {
        const cell = document.createElement("td");
        cell.textContent = typeof value === "number" ? String(Number(value.toFixed(4))) : value;
        return cell;
      }));
      return line;
    }));
  };
  form.addEventListener("change", show);
  show();
}
