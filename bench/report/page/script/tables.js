// Sorting and filtering of tables, by DataTables. The rows of a data set stay together, and missing numbers come last.
// Small tables are set up at once. A table with more than MANY rows is split into pages, and set up when it scrolls near
// the window or the browser is idle. All rows are printed.
(() => {
  if (typeof DataTable !== "function") return;
  const FILTERED = 4; // A table with at least so many rows gets a filter.
  const MANY = 200; // The number of rows on one page of a table.
  DataTable.ext.errMode = "throw";

  const compare = (sign) => (a, b) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * (a - b));
  const key = (text) => (text === "" || text === null || text === undefined ? null : Number(text));
  const UNITS = { ms: 0.001, s: 1, min: 60, h: 3600 };
  // Return the number to sort by for text such as "1,024", or seconds for a time such as "2 min 3 s"; null for other text.
  function amount(text) {
    const plain = String(text).replace(/<[^>]*>/g, "").replaceAll(",", "").replace("−", "-").trim();
    const times = [...plain.matchAll(/([\d.]+) (ms|s|min|h)(?![a-z])/g)];
    if (times.length) return times.reduce((sum, [, n, unit]) => sum + Number(n) * UNITS[unit], 0);
    return plain === "" || Number.isNaN(Number(plain)) ? null : Number(plain);
  }
  DataTable.type("amount", { order: { pre: amount, asc: compare(1), desc: compare(-1) } });
  DataTable.type("measurement", { order: { pre: key, asc: compare(1), desc: compare(-1) } });

  const made = (report.tables = []);
  let printing = false;

  // DataTables needs a single table body. Move the rows of all data sets into the first body and append a hidden cell with
  // the index and the name of its data set to each. Return the headings of the data sets; null if the table has none.
  function gather(table) {
    const bodies = [...table.tBodies];
    const headings = bodies.map((body) => body.querySelector("tr.group"));
    if (!headings.some(Boolean)) return null;
    table.tHead.rows[0].append(Object.assign(document.createElement("th"), { textContent: "data set" }));
    bodies.forEach((body, i) => {
      headings[i]?.remove();
      for (const row of [...body.rows]) {
        const cell = row.insertCell();
        cell.dataset.order = i;
        cell.textContent = headings[i]?.textContent ?? "";
        bodies[0].append(row);
      }
      if (i) body.remove();
    });
    return headings;
  }

  // Give each cell of a column of numbers a key to sort by, unless the page already has such keys for the column.
  function addSortKeys(table) {
    const rows = [...table.tBodies[0].rows];
    [...table.tHead.rows[0].cells].forEach((_, i) => {
      const cells = rows.map((row) => row.cells[i]);
      if (cells.some((cell) => "order" in cell.dataset) || !cells.some((cell) => cell.querySelector(".v"))) return;
      for (const cell of cells) {
        const shown = Number.parseFloat((cell.querySelector(".v")?.textContent ?? "").replace("−", "-"));
        cell.dataset.order = Number.isNaN(shown) ? "" : shown;
      }
    });
  }

  // Return the column definitions for DataTables. `group` is the index of the hidden column with the data set, or -1.
  function columnsOf(table, group) {
    const first = table.tBodies[0].rows[0];
    const heads = [...table.tHead.rows[0].cells];
    return heads.map((head, i) => {
      if (i === group) return { type: "num", visible: false };
      const ariaTitle = [...head.childNodes].map((part) => part.textContent.trim()).filter(Boolean).join(", ");
      const number = first.cells[i].dataset.order !== undefined;
      if (number) return { ariaTitle, type: "measurement", orderSequence: ["desc", "asc", ""] };
      const text = { ariaTitle, orderSequence: ["asc", "desc", ""] };
      return head.classList.contains("num") ? { ...text, type: "amount" } : text;
    });
  }

  // Add a search field above a table, and beside it the number of rows that match.
  function addFilter(table, dt) {
    const scroll = table.closest(".scroll");
    const input = Object.assign(document.createElement("input"), { type: "search", autocomplete: "off" });
    const statusLine = document.createElement("span");
    statusLine.setAttribute("role", "status");
    const label = document.createElement("label");
    label.append("Filter rows ", input);
    const name = scroll.getAttribute("aria-label");
    if (name) input.setAttribute("aria-label", `Filter rows: ${name}`);
    const bar = document.createElement("div");
    bar.className = "filter";
    bar.append(label, statusLine);
    scroll.before(bar);
    input.addEventListener("input", () => dt.search(input.value).draw());
    dt.on("draw", () => {
      const { recordsDisplay: shown, recordsTotal: all } = dt.page.info();
      if (!printing) statusLine.textContent = shown === all ? "" : `${shown} of ${all} rows`;
    });
  }

  // Set aria-sort of the sorted column. In a grouped table DataTables sets it to the direction of the hidden group column.
  function markSortedColumn(dt) {
    for (const [column, direction] of dt.order().filter(([, direction]) => direction)) {
      dt.column(column).header().setAttribute("aria-sort", direction === "asc" ? "ascending" : "descending");
    }
  }

  // Turn a table of the page into one that sorts and filters.
  function make(table) {
    const headings = gather(table);
    addSortKeys(table);
    const rows = table.tBodies[0].rows.length;
    const group = headings ? table.tHead.rows[0].cells.length - 1 : -1;
    const paged = rows > MANY;
    const none = { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null };
    const dt = new DataTable(table, {
      autoWidth: false,
      columns: columnsOf(table, group),
      language: { zeroRecords: "No rows fit.", info: "Rows _START_ to _END_ of _TOTAL_", infoFiltered: "", infoEmpty: "" },
      layout: paged ? { ...none, bottomStart: ["info", "paging"] } : none,
      order: [],
      paging: paged,
      pageLength: MANY,
      ...(headings && {
        orderFixed: { pre: [[group, "asc"]] },
        rowGroup: { dataSrc: (row) => row[group]["@data-order"], startRender: (_, i) => headings[i] },
      }),
    });
    dt.search.fixed("linked", (_, __, i) => printing || !dt.row(i).node().classList.contains("unfit"));
    if (rows >= FILTERED) addFilter(table, dt);
    if (headings) dt.on("draw", () => markSortedColumn(dt));
    made.push(dt);
    dt.draw(false);
  }

  const waiting = new Set(); // Large tables that are not set up yet.
  function makeWaiting(table) {
    near.unobserve(table);
    if (waiting.delete(table)) make(table);
  }
  // Set up the first visible table that waits, and request the next idle time for the next one.
  function makeNext() {
    const next = [...waiting].find((table) => table.checkVisibility());
    if (next) makeWaiting(next);
    if (next) whenIdle();
  }
  const whenIdle = () => (window.requestIdleCallback ?? setTimeout)(makeNext);
  const near = new IntersectionObserver(
    (seen) => {
      for (const { target, isIntersecting } of seen) {
        if (isIntersecting) makeWaiting(target);
      }
    },
    { rootMargin: "400px" },
  );
  for (const table of document.querySelectorAll("table.measurements, table.grid")) {
    const rows = table.querySelectorAll("tbody > tr:not(.group)");
    const whole = [...rows].every((row) => row.cells.length === table.tHead.rows[0].cells.length);
    if (rows.length < 2 || !whole) continue;
    if (rows.length <= MANY) make(table);
    else {
      waiting.add(table);
      near.observe(table);
    }
  }
  addEventListener("load", whenIdle);
  addEventListener("toggle", whenIdle, true); // What was folded is visible now. The event does not bubble.

  const before = new Map(); // The search, page length and page of each table, to restore them after printing.
  addEventListener("beforeprint", () => {
    printing = true;
    for (const dt of made) {
      before.set(dt, { search: dt.search(), length: dt.page.len(), page: dt.page() });
      dt.search("").page.len(-1).draw();
    }
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const [dt, was] of before) dt.search(was.search).page.len(was.length).page(was.page).draw("page");
    before.clear();
  });
})();
