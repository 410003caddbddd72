// Plots. Vega-Embed draws each one as SVG when it scrolls near the window, with the page's CSS variables as colours.
(() => {
  const charts = report.charts;
  if (!charts?.plots) return;

  const NEAR = "600px"; // A plot is drawn when it is at most this far above or below the window.
  const PANEL = 300; // The least width, in pixels, of two panels side by side.
  const drawn = new Map(); // element -> {view, room}: the plots drawn so far, and the width they were drawn for
  const chosen = new Map(); // id of a plot -> {hidden, stressed}: the choices made in its legend

  const refuse = () => Promise.reject(new Error("a report loads nothing"));
  const options = {
    mode: "vega-lite",
    renderer: "svg",
    ast: true, // Expressions are interpreted: the content security policy of the page forbids eval.
    actions: false,
    defaultStyle: false,
    loader: { load: refuse, sanitize: refuse, http: refuse, file: refuse },
    tooltip: { disableDefaultStyle: true },
  };

  // ---- drawing

  /** Return the specification of a plot for a width of `room` pixels: one or two columns of panels. */
  function sized(spec, room) {
    const beside = room >= 2 * PANEL ? Math.min(2, spec.concat.length) : 1;
    const width = Math.min(Math.floor(room / beside) - charts.around, 560);
    return { ...spec, columns: beside, concat: spec.concat.map((panel) => ({ ...panel, width })) };
  }

  /** Draw the plot of an element; do nothing if it is invisible or already drawn for this width. */
  async function draw(element) {
    const room = element.clientWidth;
    const before = drawn.get(element);
    if (!room || before?.room === room) return;
    const now = { room };
    drawn.set(element, now);
    const id = element.dataset.plot;
    // Vega gives the inner element a role of its own; it is hidden from screen readers, which read the outer one's label.
    const inner = element.firstElementChild;
    const { view } = await vegaEmbed(inner, sized(charts.plots[id].spec, room), { ...options, config: charts.config });
    before?.view?.finalize();
    now.view = view;
    if (chosen.has(id)) choose(id);
  }

  /** Apply the choices of a legend to its plot: which series are hidden, and which one is stressed. */
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

  const WIDTH = 900; // The width of a download, in pixels.
  const TEXTS = new Set(["domain", "title", "text", "label", "mark", "series", "note"]); // Keys with text, never a colour.

  /** Return a copy of a specification in which every colour that the map `light` has is replaced. */
  function recoloured(value, light, key = "") {
    if (TEXTS.has(key) && typeof value !== "object") return value;
    if (typeof value === "string") return light.get(value) ?? value;
    if (Array.isArray(value)) return key === "domain" ? value : value.map((v) => recoloured(v, light));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, recoloured(v, light, k)]));
  }

  /** Download a plot as a file; `kind` is "svg" or "png". */
  async function save(id, kind) {
    const { spec, file, light } = charts.plots[id];
    const colours = new Map(Object.entries({ ...charts.light, ...light }));
    const config = recoloured(charts.config, colours);
    config.background = "white";
    config.legend.disable = false;
    const lightSpec = recoloured(sized(spec, WIDTH), colours);
    const { view } = await vegaEmbed(document.createElement("div"), lightSpec, { ...options, config });
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
