// The table of all cells. It is built from the data of the page when it scrolls near the window, and DataTables creates
// the elements of a row only when the row is shown.
(() => {
  const place = document.getElementById("all-cells");
  if (!place || !report.cells || typeof DataTable !== "function") return;
  const { size, of, main, measurementOf, make, button } = report.cells;
  const AXES = [
    ["experiment", "experiment"],
    ["dataset", "data set"],
    ["defense", "defense"],
    ["authorised", "authorised"],
    ["attack", "attack"],
    ["evaluated", "evaluated"],
    ["status", "status"],
  ];
  const attackOf = (i) => (of.via(i) && !of.attack(i).includes(of.via(i)) ? `${of.attack(i)} via ${of.via(i)}` : of.attack(i));
  const text = (value) => document.createTextNode(value);
  const number = (shown) => (shown === null ? null : Number(shown.replace("−", "-")));

  const named = (title, value) => ({
    title,
    data: null,
    render: (_, type, i) => (type === "display" ? text(value(i)) : value(i)),
  });
  function measured(title) {
    const measurements = main[title].map((k) => (k === null ? null : measurementOf(k)));
    const unit = measurements.find(Boolean).unit;
    return {
      title: unit ? `${title}, ${unit}` : title,
      className: "num",
      data: null,
      type: "measurement",
      orderSequence: ["desc", "asc", ""],
      searchable: false,
      render(_, type, i) {
        const f = measurements[i];
        if (type !== "display") return f ? number(f.value) : "";
        if (!f) return text("");
        const opens = button(f.value, (event) => report.openMeasurement(main[title][i], event.currentTarget), { className: "v" });
        opens.setAttribute("aria-label", `${f.shown}, ${f.name}: show its rows`);
        return make("span", {}, opens, make("small", {}, `${f.span ? `${f.span} · ` : ""}N ${f.n.toLocaleString("en")}`));
      },
    };
  }
  const id = {
    title: "cell",
    data: null,
    render(_, type, i) {
      if (type !== "display") return of.cell(i);
      const opens = button(of.cell(i).slice(0, 10), (event) => report.openCell(i, event.currentTarget), { className: "v" });
      opens.setAttribute("aria-label", `${of.cell(i)}: show the cell`);
      return opens;
    },
  };

  function build() {
    const chosen = {};
    const controls = AXES.map(([axis, title]) => {
      const values = [...new Set(Array.from({ length: size }, (_, i) => of[axis](i)))];
      if (values.length < 2) return null;
      const select = make("select", {}, make("option", { value: "" }, "all"));
      values.forEach((value, k) => select.append(make("option", { value: String(k + 1) }, value || "none")));
      select.addEventListener("change", () => {
        if (select.value) chosen[axis] = values[Number(select.value) - 1];
        else delete chosen[axis];
        dt.draw();
      });
      return make("label", {}, title, select);
    });
    const input = make("input", { type: "search", autocomplete: "off" });
    input.addEventListener("input", () => dt.search(input.value).draw());
    const statusLine = make("p", { className: "note" });
    statusLine.setAttribute("role", "status");
    const table = make("table", { className: "grid all-cells" }, make("caption", { className: "sr" }, "All cells"));
    const scroll = make("div", { className: "scroll", tabIndex: 0, aria: { label: "All cells" } }, table);
    scroll.setAttribute("role", "group");
    place.append(make("div", { className: "choices" }, make("label", {}, "search", input), ...controls), statusLine, scroll);

    const status = AXES.at(-1);
    const dt = new DataTable(table, {
      autoWidth: false,
      data: Array.from({ length: size }, (_, i) => i),
      columns: [
        id,
        ...AXES.slice(0, -1).map(([axis, title]) => named(title, axis === "attack" ? attackOf : of[axis])),
        ...Object.keys(main).map(measured),
        named(status[1], of[status[0]]),
      ],
      deferRender: true,
      language: { zeroRecords: "No cells fit.", info: "Cells _START_ to _END_ of _TOTAL_", infoEmpty: "", infoFiltered: "" },
      layout: { topStart: null, topEnd: null, bottomStart: ["info", "paging"], bottomEnd: null },
      order: [],
      pageLength: 25,
    });
    dt.search.fixed("chosen", (_, __, i) => Object.entries(chosen).every(([axis, value]) => of[axis](i) === value));
    dt.search.fixed("linked", (_, __, i) => !report.linked || report.linked(i));
    const update = () => {
      const { recordsDisplay, recordsTotal } = dt.page.info();
      statusLine.textContent = `Showing ${recordsDisplay.toLocaleString("en")} of ${recordsTotal.toLocaleString("en")} cells.`;
    };
    dt.on("draw", update);
    update();
    report.allCells = dt;
    if (report.linked) dt.draw();
  }

  new IntersectionObserver((seen, observer) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    build();
  }, { rootMargin: "600px" }).observe(place);
})();
