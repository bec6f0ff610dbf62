"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  all(".needs-script").forEach((part) => (part.hidden = false));
  document.body.classList.add("ready");

  // Only the models that are ticked.
  const boxes = all("input[data-model]");
  const showModels = () => {
    const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.dataset.model));
    all("[data-m]").forEach((part) => part.toggleAttribute("hidden", !shown.has(part.dataset.m)));
  };
  boxes.forEach((box) => box.addEventListener("change", showModels));
  showModels(); // a browser that goes back restores the boxes

  // A heading sorts by its column: numbers by value, the largest first; empty entries come last.
  const value = (cell) => {
    const text = cell.textContent.trim();
    const number = parseFloat(text.replace(/,/g, "").replace("\u2212", "-"));
    return cell.classList.contains("n") ? (text === "" ? null : number) : text.toLowerCase();
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  all("table.sorts").forEach((table) => {
    const heads = all("thead th", table);
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const first = head.classList.contains("n") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const way = before === first ? other : first;
        heads.forEach((one) => one.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", way);
        const rows = all("tbody tr", table).map((row) => [value(row.cells[at]), row]);
        const known = rows.filter(([key]) => key !== null);
        const rest = rows.filter(([key]) => key === null);
        known.sort(([a], [b]) => compare(a, b) * (way === "ascending" ? 1 : -1));
        table.tBodies[0].replaceChildren(...[...known, ...rest].map(([, row]) => row));
      });
    });
  });
})();
