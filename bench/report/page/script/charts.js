// Plots: drawn when they come near the window, by Vega-Embed in SVG with the page's CSS variables for colours.
(() => {
  const charts = report.charts;
  if (!charts?.plots) return;

  const NEAR = "600px"; // below or above the window
  const PANEL = 300; // pixels: the least width of panels beside one another
  const drawn = new Map(); // element -> {view, width}
  const chosen = new Map(); // id -> {hidden, stressed}

  const refuse = () => Promise.reject(new Error("a report loads nothing"));
  const options = {
    mode: "vega-lite",
    renderer: "svg",
    ast: true, // no eval: the policy of the page forbids it
    actions: false,
    defaultStyle: false,
    loader: { load: refuse, sanitize: refuse, http: refuse, file: refuse },
    tooltip: { disableDefaultStyle: true },
  };

  // ---- drawing

  /** The specification of a plot for so many pixels. */
  function sized(spec, room) {
    const beside = room >= 2 * PANEL ? Math.min(2, spec.concat.length) : 1;
    const width = Math.min(Math.floor(room / beside) - charts.around, 560);
    return { ...spec, columns: beside, concat: spec.concat.map((panel) => ({ ...panel, width })) };
  }

  async function draw(element) {
    const room = element.clientWidth;
    const before = drawn.get(element);
    if (!room || before?.room === room) return;
    const now = { room };
    drawn.set(element, now);
    const id = element.dataset.plot;
    const inner = element.firstElementChild; // hidden from screen readers: Vega gives it a role, element has our words
    const { view } = await vegaEmbed(inner, sized(charts.plots[id].spec, room), { ...options, config: charts.config });
    before?.view?.finalize();
    now.view = view;
    if (chosen.has(id)) choose(id);
  }

  /** Tell a plot what its legend hides and stresses. */
  function choose(id) {
    const { hidden, stressed } = chosen.get(id);
    for (const [element, { view }] of drawn) {
      if (element.dataset.plot === id) view?.signal("hidden", [...hidden]).signal("stressed", stressed).runAsync();
    }
  }

  const elements = [...document.querySelectorAll("[data-plot]")];
  const near = new IntersectionObserver(
    (entries) => entries.filter((e) => e.isIntersecting).forEach((e) => draw(e.target)),
    { rootMargin: NEAR },
  );
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) if (drawn.has(target)) draw(target);
  });
  for (const element of elements) {
    near.observe(element);
    resized.observe(element);
  }
  window.addEventListener("beforeprint", () => elements.forEach(draw));

  // ---- legends

  for (const legend of document.querySelectorAll(".legend[data-of]")) {
    const id = legend.dataset.of;
    if (!chosen.has(id)) chosen.set(id, { hidden: new Set(), stressed: "" });
    const choice = chosen.get(id);
    const stress = (key) => () => {
      choice.stressed = key;
      choose(id);
    };
    for (const button of legend.querySelectorAll("button")) {
      const { key } = button.dataset;
      button.disabled = false;
      button.addEventListener("click", () => {
        const hide = !choice.hidden.delete(key);
        if (hide) choice.hidden.add(key);
        button.setAttribute("aria-pressed", String(!hide));
        choose(id);
      });
      for (const event of ["pointerenter", "focus"]) button.addEventListener(event, stress(key));
      for (const event of ["pointerleave", "blur"]) button.addEventListener(event, stress(""));
    }
  }

  // ---- downloads: the whole plot with its legend, in light colours, on white

  const WIDTH = 900; // pixels of a download
  const NAMES = new Set(["domain", "title", "text", "label", "mark", "series"]); // hold text, never a colour

  function lit(value, light, key = "") {
    if (NAMES.has(key) && typeof value !== "object") return value;
    if (typeof value === "string") return light.get(value) ?? value;
    if (Array.isArray(value)) return key === "domain" ? value : value.map((v) => lit(v, light));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, lit(v, light, k)]));
  }

  async function save(id, kind) {
    const { spec, file, light } = charts.plots[id];
    const colours = new Map(Object.entries({ ...charts.light, ...light }));
    const config = lit(charts.config, colours);
    config.background = "white";
    config.legend.disable = false;
    const { view } = await vegaEmbed(document.createElement("div"), lit(sized(spec, WIDTH), colours), { ...options, config });
    const blob =
      kind === "svg"
        ? new Blob([await view.toSVG()], { type: "image/svg+xml" })
        : await view.toCanvas(2).then((canvas) => new Promise((done) => canvas.toBlob(done)));
    view.finalize();
    const link = document.createElement("a");
    link.download = `${file}.${kind}`;
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  for (const saver of document.querySelectorAll(".save[data-of]")) {
    saver.hidden = false;
    for (const button of saver.querySelectorAll("button")) {
      button.addEventListener("click", () => save(saver.dataset.of, button.dataset.as));
    }
  }
})();
