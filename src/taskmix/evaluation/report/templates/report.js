// Adds to a page that is complete without it: a click on a column's head sorts the table by it.
"use strict";
document.querySelectorAll("table.sortable").forEach((table) => {
  const body = table.tBodies[0];
  const number = (cell) => {
    const text = (cell.dataset.v || cell.firstChild?.textContent || "").replace(/,/g, "").replace("−", "-");
    const found = parseFloat(text);
    return Number.isFinite(found) ? found : null;
  };
  table.querySelectorAll("thead th").forEach((head, column) => {
    if (!head.textContent.trim()) return;
    head.tabIndex = 0;
    head.setAttribute("role", "button");
    head.title = "sort by this column";
    const sort = () => {
      const up = head.getAttribute("aria-sort") === "descending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [number(row.cells[column]), row.cells[column].textContent.trim(), row]);
      const numeric = rows.filter((row) => row[0] !== null).length > rows.length / 2;
      rows.sort((a, b) => {
        if (!numeric) return up ? a[1].localeCompare(b[1]) : b[1].localeCompare(a[1]);
        if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null);
        return up ? a[0] - b[0] : b[0] - a[0];
      });
      rows.forEach((row) => body.append(row[2]));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
});
