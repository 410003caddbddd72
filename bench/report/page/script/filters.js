// The filter bar at the bottom of the page. It hides everything that does not belong to the chosen data set, defense and
// attack: rows of tables, cells, pictures of the face wall. The attributes data-dataset, data-defense and data-attack of
// an element list the values that it belongs to, one per line; without such an attribute it belongs to all values.
(() => {
  if (!report.cells) return;
  const { size, of, make, button } = report.cells;
  const AXES = { dataset: "data set", defense: "defense", attack: "attack" };
  const members = [...document.querySelectorAll("main :is([data-dataset], [data-defense], [data-attack])")].map((element) => ({
    element,
    values: Object.keys(AXES).map((axis) => element.dataset[axis]?.split("\n")),
  }));
  const rows = members.filter(({ element }) => element.matches("tr"));
  const choices = Object.entries(AXES)
    .map(([axis, title]) => [axis, title, [...new Set(Array.from({ length: size }, (_, i) => of[axis](i)))]])
    .filter(([, , values]) => values.length > 1);
  if (!choices.length || !members.length) return;

  const chosen = {};
  const selects = choices.map(([axis, title, values]) => {
    const select = make("select", {}, make("option", { value: "" }, "all"));
    values.forEach((value, k) => select.append(make("option", { value: String(k + 1) }, value)));
    select.addEventListener("change", () => {
      if (select.value) chosen[axis] = values[Number(select.value) - 1];
      else delete chosen[axis];
      apply();
    });
    return make("label", {}, title, select);
  });
  const statusLine = make("span", { className: "status" });
  statusLine.setAttribute("role", "status");
  const reset = button("Show all", () => {
    for (const label of selects) label.querySelector("select").value = "";
    for (const axis of Object.keys(chosen)) delete chosen[axis];
    apply();
    selects[0].querySelector("select").focus();
  });
  reset.hidden = true;
  const bar = make("form", { className: "filters", aria: { label: "Filter all tables and faces" } }, "Show", ...selects, reset, statusLine);
  bar.setAttribute("role", "search");
  bar.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector("main").append(bar);

  function apply() {
    const wanted = Object.keys(AXES).map((axis) => chosen[axis]);
    const any = wanted.some((value) => value !== undefined);
    for (const { element, values } of members) {
      const fits = wanted.every((value, k) => value === undefined || !values[k] || values[k].includes(value));
      element.classList.toggle("unfit", !fits);
    }
    for (const body of document.querySelectorAll("table.measurements > tbody")) {
      const heading = body.querySelector(":scope > tr.group:first-child");
      const own = [...body.rows].filter((row) => row !== heading);
      heading?.classList.toggle("unfit", any && own.length > 0 && own.every((row) => row.classList.contains("unfit")));
    }
    report.linked = any ? (i) => Object.entries(chosen).every(([axis, value]) => of[axis](i) === value) : null;
    for (const dt of report.tables ?? []) dt.draw();
    report.allCells?.draw();
    const shown = rows.filter(({ element }) => !element.classList.contains("unfit")).length;
    statusLine.textContent = any ? `Showing ${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows` : "";
    reset.hidden = !any;
    bar.classList.toggle("active", any);
  }
})();
