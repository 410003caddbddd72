// Leaderboards: filters over all of them, sorting within ranked, controls and not ranked, and the columns of attackers.
"use strict";
(() => {
  const choices = document.getElementById("choices");
  if (!choices) return;
  const tables = [...document.querySelectorAll("table.standings")];
  const rows = tables.flatMap((table) => [...table.querySelectorAll("tbody tr:not(.group)")]);
  const text = document.getElementById("f-text");
  const selects = [...choices.querySelectorAll("select")];
  const count = document.getElementById("f-count");
  const value = (row, name) => (name === "goal" ? row.closest("table").dataset.goal : row.dataset[name]);

  // ---- filters ----
  for (const select of selects) {
    const known = [...new Set(rows.map((row) => value(row, select.dataset.filter)))].sort();
    for (const name of known) select.append(new Option(name, name));
    if (known.length < 2) select.parentElement.hidden = true;
  }
  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = selects.every((s) => !s.value || value(row, s.dataset.filter) === s.value)
        && words.every((word) => row.dataset.text.toLowerCase().includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    for (const body of document.querySelectorAll("table.standings tbody")) {
      body.hidden = ![...body.rows].some((row) => !row.hidden && !row.classList.contains("group"));
    }
    for (const section of document.querySelectorAll("section.leaderboard")) {
      section.hidden = ![...section.querySelectorAll("tbody")].some((body) => !body.hidden);
    }
    count.textContent = shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
  };
  text.addEventListener("input", apply);
  for (const select of selects) select.addEventListener("change", apply);
  document.getElementById("f-reset").addEventListener("click", () => {
    text.value = "";
    for (const select of selects) select.value = "";
    apply();
  });

  // ---- sorting: rows stay within their part of the table ----
  const sort = (table, head) => {
    const at = [...head.parentElement.children].indexOf(head);
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const own = [...body.rows].filter((row) => !row.classList.contains("group"));
      const key = (row) => {
        const found = Number.parseFloat(row.cells[at].dataset.order);
        return Number.isFinite(found) && found > -1e8 ? found : null;
      };
      own.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return rising ? x - y : y - x;
      });
      body.append(...own);
    }
  };
  const button = (kind, label) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = kind;
    made.textContent = label;
    return made;
  };
  for (const table of tables) {
    for (const head of table.tHead.querySelectorAll("th.sortable")) {
      const link = head.querySelector("a");
      const made = button("sort", link ? "" : head.firstChild.textContent.trim());
      if (link) {
        made.setAttribute("aria-label", `sort by ${link.textContent}`);
        head.append(made);
      } else head.firstChild.replaceWith(made);
      made.addEventListener("click", () => sort(table, head));
      const { channel, count: number } = head.dataset;
      if (channel && Number(number) > 0) {
        const more = button("more", "");
        const label = (open) => {
          more.textContent = open ? "− attackers" : `+ ${number} attacker${number === "1" ? "" : "s"}`;
          more.setAttribute("aria-expanded", String(open));
        };
        label(false);
        more.addEventListener("click", () => label(table.classList.toggle(`open-${channel}`)));
        head.append(more);
      }
    }
  }
  choices.hidden = false;
  apply();
})();
