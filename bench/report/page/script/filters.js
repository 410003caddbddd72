// One bar that hides what is not of a chosen data set, defense or attack: rows of tables, cells, pictures of the wall.
// An element belongs to the values that its data-dataset, data-defense and data-attack name, a line each; where it has
// no such attribute it fits any value.
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
  const said = make("span", { className: "said" });
  said.setAttribute("role", "status");
  const reset = button("Show all", () => {
    for (const label of selects) label.querySelector("select").value = "";
    for (const axis of Object.keys(chosen)) delete chosen[axis];
    apply();
    selects[0].querySelector("select").focus();
  });
  reset.hidden = true;
  const bar = make("form", { className: "filters", aria: { label: "Filter all tables and faces" } }, "Show", ...selects, reset, said);
  bar.setAttribute("role", "search");
  bar.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector("main").append(bar);

  function apply() {
    const asked = Object.keys(AXES).map((axis) => chosen[axis]);
    const any = asked.some((value) => value !== undefined);
    for (const { element, values } of members) {
      const fits = asked.every((value, k) => value === undefined || !values[k] || values[k].includes(value));
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
    said.textContent = any ? `Showing ${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows` : "";
    reset.hidden = !any;
    bar.classList.toggle("active", any);
  }
})();
