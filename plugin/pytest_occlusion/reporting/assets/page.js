"use strict";
(() => {
  const packed = JSON.parse(document.getElementById("results").textContent);
  const unpacked = ({ columns, rows }) =>
    rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
  const cells = unpacked(packed.tables.cells);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const at = (id) => document.getElementById(id);
  all(".needs-script").forEach((part) => (part.hidden = false));
  all("form").forEach((form) => form.addEventListener("submit", (event) => event.preventDefault()));

  // Charts: one condition at a time, and only the models that are ticked.
  const showCondition = () => {
    const chosen = at("condition").value;
    all("[data-condition]").forEach((part) => {
      part.hidden = chosen !== "all" && part.dataset.condition !== chosen;
    });
  };
  at("condition").addEventListener("change", showCondition);
  showCondition();
  document.body.classList.add("ready"); // until now the style sheet hid all but the first
  const boxes = all("input[data-model]");
  const showModels = () => {
    const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.dataset.model));
    all("[data-m]").forEach((part) => {
      if (shown.has(part.dataset.m)) part.removeAttribute("hidden");
      else part.setAttribute("hidden", "");
    });
  };
  boxes.forEach((box) => box.addEventListener("change", showModels));
  all("button[data-models]").forEach((button) =>
    button.addEventListener("click", () => {
      boxes.forEach((box) => (box.checked = button.dataset.models === "all"));
      showModels();
    }),
  );
  showModels(); // a browser that goes back restores the boxes

  // Groups: the rows and lines of one, or of all.
  const group = at("group");
  const showGroup = () =>
    all("[data-group]").forEach((part) =>
      part.toggleAttribute("hidden", group.value !== "" && part.dataset.group !== group.value),
    );
  if (group) {
    group.addEventListener("change", showGroup);
    showGroup();
  }

  // The table of cells.
  const percent = (value) => (value == null ? "" : (100 * value).toFixed(1));
  const baseline = (cell) =>
    cell.baseline_hits == null ? null : cell.baseline_hits / (cell.baseline_queries || cell.queries);
  const change = (cell) => (baseline(cell) == null ? null : cell.recall - baseline(cell));
  const signed = (value) => {
    const text = (100 * value).toFixed(1);
    return Number(text) === 0 ? "0.0" : (value > 0 ? "+" : "") + text;
  };
  const p = (value) => (value == null ? "" : value >= 0.01 ? value.toFixed(2) : value.toExponential(0));
  const signs = { regressed: "\u25bc", improved: "\u25b2", new: "+", same: "=", "within-tolerance": "\u2248" };
  const severity = ["regressed", "improved", "new", "within-tolerance", "same"];
  const columns = [
    { name: "model", value: (c) => c.model },
    { name: "direction", value: (c) => c.direction },
    { name: "occluder", value: (c) => c.occluder },
    {
      name: cells.some((c) => c.severity != null) ? "blocked % or severity" : "blocked %",
      value: (c) => c.ratio,
      text: (c) => (c.severity != null ? "severity " + c.severity : String(+(100 * c.ratio).toFixed(2))),
      n: 1,
    },
    { name: "k", value: (c) => c.k, n: 1 },
    { name: "recall %", value: (c) => c.recall, text: (c) => percent(c.recall), n: 1 },
    { name: "95 % CI", value: (c) => c.ci_low, text: (c) => percent(c.ci_low) + " \u2013 " + percent(c.ci_high), n: 1 },
    { name: "hits", value: (c) => c.hits, n: 1 },
    { name: "chance %", value: (c) => c.chance, text: (c) => percent(c.chance), n: 1 },
    { name: "baseline %", value: baseline, text: (c) => percent(baseline(c)), n: 1 },
    { name: "change", value: change, text: (c) => (change(c) == null ? "" : signed(change(c))), n: 1 },
    { name: "p (Holm)", value: (c) => c.p_adjusted, text: (c) => p(c.p_adjusted), n: 1 },
    {
      name: "verdict",
      value: (c) => severity.indexOf(c.verdict),
      text: (c) => (signs[c.verdict] || "?") + " " + (c.verdict || "new"),
      css: (c) => "v " + (signs[c.verdict] ? c.verdict : "other"),
    },
  ].filter((column) => column.name !== "direction" || new Set(cells.map((c) => c.direction)).size > 1);

  const step = 100;
  let shown = step;
  let sorted = { column: null, down: false };
  const table = at("cell-table");
  const head = table.tHead.insertRow();
  const heads = columns.map((column) => {
    const th = document.createElement("th");
    const button = document.createElement("button");
    th.scope = "col";
    th.setAttribute("aria-sort", "none");
    if (column.n) th.className = "n";
    button.type = "button";
    button.textContent = column.name;
    button.addEventListener("click", () => {
      sorted = { column, down: sorted.column === column && !sorted.down };
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      th.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      draw();
    });
    th.append(button);
    head.append(th);
    return th;
  });

  const compare = (a, b) => {
    if (a == null || b == null) return (a == null) - (b == null);
    return typeof a === "string" ? (a < b ? -1 : a > b ? 1 : 0) : a - b;
  };
  const chosen = () => {
    const text = at("contains").value.trim().toLowerCase();
    const filters = all("select[data-filter]").filter((select) => select.value !== "");
    const found = cells.filter(
      (cell) =>
        cell.id.toLowerCase().includes(text) &&
        filters.every((select) => {
          const value = cell[select.dataset.filter];
          return typeof value === "number" ? value === Number(select.value) : String(value) === select.value;
        }),
    );
    const { column, down } = sorted;
    if (column) {
      // Cells without a value stay last, whichever way.
      const known = found.filter((cell) => column.value(cell) != null);
      const rest = found.filter((cell) => column.value(cell) == null);
      known.sort((a, b) => compare(column.value(a), column.value(b)) * (down ? -1 : 1));
      return [...known, ...rest];
    }
    return found;
  };
  const draw = () => {
    const found = chosen();
    const rows = found.slice(0, shown).map((cell) => {
      const row = document.createElement("tr");
      columns.forEach((column, i) => {
        const part = document.createElement(i ? "td" : "th");
        if (!i) part.scope = "row";
        part.textContent = column.text ? column.text(cell) : column.value(cell);
        part.className = column.css ? column.css(cell) : column.n ? "n" : "";
        row.append(part);
      });
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    const showing = rows.length < found.length ? ", the first " + rows.length + " shown" : "";
    at("cell-count").textContent = found.length + " of " + cells.length + " cells" + showing;
    at("cell-more").hidden = rows.length >= found.length;
  };
  const again = () => {
    shown = step;
    draw();
  };
  at("contains").addEventListener("input", again);
  all("select[data-filter]").forEach((select) => select.addEventListener("change", again));
  at("cell-more").addEventListener("click", () => {
    shown += 5 * step;
    draw();
  });
  draw();

  // The document, as it was written.
  at("download").addEventListener("click", () => {
    const tables = Object.entries(packed.tables).map(([name, table]) => [name, unpacked(table)]);
    const whole = { ...packed.document, ...Object.fromEntries(tables) };
    const text = JSON.stringify(whole, null, 1) + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "results.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
})();
