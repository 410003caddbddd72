// The dialog behind every number of the page: its definition, the cells that it was computed from, their components and
// stages, and the commands that compute them again. The address `#cell-<id>` opens the dialog of a cell. All text from the
// data is set as text, never as HTML.
(() => {
  const data = report.rows;
  if (!data || !data.cells.size) return;
  const AT_ONCE = 100; // The number of cells that a list shows before the reader requests more.
  const NAMED = 8; // A command lists the ids of at most so many cells.

  // ---- data ----------------------------------------------------------------------------------------------------------

  // A column of the data is [values, codes]: `codes` are indices into the distinct values, null if there is one value for
  // each row, and undefined if all rows have the same value. Return the function from a row to its value.
  const column = ([values, codes]) => (i) => values[codes ? codes[i] : codes === null ? i : 0];
  const columns = (found) => Object.fromEntries(Object.entries(found).map(([name, c]) => [name, column(c)]));
  const cell = columns(data.cells.columns);
  cell.own ??= cell.cell; // On a page of several runs, the id of a cell in its own run (`own`) differs from that on the page.
  const stage = columns(data.cells.stages);
  const byId = new Map();
  for (let i = data.cells.size - 1; i >= 0; i--) byId.set(cell.cell(i), i);

  const numbers = (text) => (text ? text.split(" ").map(Number) : []);
  // Return the indices of the cells in a set; sets are stored as text such as "0-3,7".
  const members = (set) =>
    data.sets[set].split(",").filter(Boolean).flatMap((run) => {
      const [from, to = from] = run.split("-").map(Number);
      return Array.from({ length: to - from + 1 }, (_, k) => from + k);
    });

  function measurementOf(k) {
    const [q, value, span, n, interval, m, set, paper, difference, note, people, repeats] = data.measurements[k];
    const [name, unit, direction] = data.metrics[q];
    const shown = n && unit ? `${value} ${unit}` : value; // Without N, the value is the text of a status.
    return { name, unit, direction, value, shown, span, n, people, repeats, interval, paper, difference, note, set, ...data.definitions[m] };
  }

  function labelOf(i) {
    const { defense, authorised, attack, via, dataset, evaluated, repeat } = cell;
    const words = [dataset(i), authorised(i) ? `${defense(i)} for ${authorised(i)}` : defense(i)];
    words.push(via(i) && !attack(i).includes(via(i)) ? `${attack(i)} via ${via(i)}` : attack(i));
    if (evaluated(i)) words.push(`evaluated by ${evaluated(i)}`);
    if (repeat(i)) words.push(`repeat ${repeat(i)}`);
    return words.join(" · ");
  }

  // ---- elements ------------------------------------------------------------------------------------------------------

  function make(tag, about = {}, ...children) {
    const { dataset = {}, aria = {}, ...own } = about;
    const element = Object.assign(document.createElement(tag), own);
    Object.assign(element.dataset, dataset);
    for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const button = (text, onclick, about = {}) => {
    const element = make("button", { type: "button", ...about }, text);
    element.addEventListener("click", onclick);
    return element;
  };
  const pairs = (items, about = {}) => {
    const known = items.filter(([, value]) => value !== "" && value !== null && value !== undefined && value !== 0);
    return make("dl", about, ...known.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  };
  const code = (text) => make("code", {}, text);

  function grid(caption, heads, rows) {
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    const body = rows.map((row) =>
      make("tr", {}, ...row.map((value, k) => (k ? make("td", {}, value) : make("th", { scope: "row" }, value)))),
    );
    const table = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
    const region = make("div", { className: "scroll", tabIndex: 0, aria: { label: caption } }, table);
    region.setAttribute("role", "group");
    return region;
  }

  // Return an element with a command and a button that copies it, or selects it if the clipboard cannot be written.
  function command(what, text) {
    const shown = code(text);
    const copy = button("Copy", async () => {
      getSelection().selectAllChildren(shown);
      let copied = false;
      try {
        await navigator.clipboard.writeText(text);
        copied = true;
      } catch {
        copied = document.execCommand("copy"); // Browsers may forbid the clipboard to a page that was opened from a file.
      }
      copy.textContent = copied ? "Copied" : "Selected";
    }, { aria: { label: `Copy: ${what}` } });
    return make("div", { className: "command" }, make("p", {}, what), make("div", {}, shown, copy));
  }

  // ---- commands ------------------------------------------------------------------------------------------------------

  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);
  const shell = (...words) => words.map(quoted).join(" ");
  const runOf = (i) => data.runs[cell.run(i)];
  const exported = (rows, of) =>
    shell("bench", "export", runOf(of[0]).place, "--rows", rows, ...of.flatMap((i) => ["--cell", cell.own(i)]), "-o", `${rows}.csv`);

  function commandsOf(i) {
    const { place, command: whole } = runOf(i);
    const id = cell.own(i);
    const rows = { images: ["verification", "images"], attributes: ["attributes"] }[cell.outputs(i)] ?? ["verification"];
    const again = whole.length && cell.status(i) !== "skipped";
    return [
      again ? command("Compute this cell again", shell(...whole, "--cell", id)) : null,
      command("Explain it", shell("bench", "explain", place, id)),
      ...(cell.status(i) === "ok" ? rows.map((name) => command(`Its rows of ${name}`, exported(name, [i]))) : []),
    ];
  }

  // ---- the dialog ----------------------------------------------------------------------------------------------------

  const title = make("h2", { id: "rows-title", tabIndex: -1 });
  const content = make("div", { className: "content" });
  const close = button("Close", () => dialog.close(), { className: "close" });
  const dialog = make("dialog", { className: "rows", aria: { labelledby: "rows-title" } });
  dialog.append(make("div", { className: "head" }, title, close), content);
  document.body.append(dialog);

  function show(heading, ...children) {
    title.textContent = heading;
    content.replaceChildren(...children.filter((child) => child !== null));
    content.scrollTop = 0;
    if (!dialog.open) dialog.showModal();
    title.focus({ preventScroll: true });
  }

  const methods = { clustered: "clustered by people", drawn: "draws of people", Wilson: "Wilson" };

  function showMeasurement(k) {
    const f = measurementOf(k);
    const found = members(f.set);
    const interval = f.span ? `${f.span} (95 %${f.interval ? `, ${methods[f.interval] ?? f.interval}` : ""})` : "";
    const named = found.length > 1 && found.length <= NAMED && found.every((i) => cell.run(i) === cell.run(found[0]));
    const about = pairs([
      ["Interval", interval],
      ["N", f.n ? `${f.n.toLocaleString("en")}${f.people ? ` of ${f.people.toLocaleString("en")} people` : ""}` : ""],
      ["Repeats", f.repeats ? `${f.repeats}; the interval contains the spread between them` : ""],
      ["Paper", f.paper ? (f.difference ? `${f.paper} (ours ${f.difference})` : f.paper) : ""],
      ["Reads", f.direction],
      ["How", f.about],
      ["At", f.at],
      ["Rows", f.source ? code(f.source) : ""],
      [f.n ? "Note" : "Reason", f.note],
    ]);
    const rows = f.rows && f.n && named ? command("The rows behind it", exported(f.rows, found)) : null;
    const one = found.length === 1;
    forgetCell();
    show(
      `${f.name}: ${f.shown}`,
      about,
      make("h3", {}, `Rests on ${found.length.toLocaleString("en")} cell${one ? "" : "s"}`),
      ...(one ? detailsOf(found[0]) : [listOf(found, k)]),
      rows,
    );
  }

  // Return a list of cells, AT_ONCE at a time, with a search field if there are more than 10.
  function listOf(found, measurement) {
    const list = make("ol", { className: "cells" });
    const statusLine = make("p", { className: "note" });
    statusLine.setAttribute("role", "status");
    let fitting = found;
    const add = () => {
      const shown = list.children.length;
      const next = fitting.slice(shown, shown + AT_ONCE).map((i) => {
        const status = cell.status(i) === "ok" ? null : make("span", { className: "status" }, cell.status(i));
        return make("li", {}, button(labelOf(i), () => showCell(i, measurement)), status);
      });
      list.append(...next);
      more.hidden = list.children.length >= fitting.length;
    };
    const more = button(`Show ${AT_ONCE} more`, add, { className: "more" });
    const input = make("input", { type: "search", autocomplete: "off" });
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = (text) => words.every((word) => text.includes(word));
      fitting = found.filter((i) => fits(`${labelOf(i)} ${cell.cell(i)} ${cell.status(i)}`.toLowerCase()));
      list.replaceChildren();
      add();
      statusLine.textContent = fitting.length ? `${fitting.length} of ${found.length} cells` : "No cells fit.";
    });
    add();
    const filter = found.length > 10 ? make("label", { className: "filter" }, "Filter cells ", input) : null;
    return make("div", {}, ...[filter, statusLine, list, more].filter(Boolean));
  }

  function showCell(i, measurement) {
    const back =
      measurement === undefined
        ? null
        : button(`Back to ${measurementOf(measurement).name}: ${measurementOf(measurement).shown}`, () => showMeasurement(measurement), { className: "back" });
    history.replaceState(null, "", hashOf(i));
    show(labelOf(i), back, ...detailsOf(i));
  }

  const hashOf = (i) => `#cell-${encodeURIComponent(cell.cell(i))}`;

  function detailsOf(i) {
    const link = make("a", { href: hashOf(i) }, cell.cell(i));
    const how = { authorised: "authorised", unauthorised: "not authorised" }[cell.role(i)];
    const facts = pairs([
      ["Cell", link],
      ["Status", cell.status(i)],
      ["Reason", cell.reason(i)],
      ["Experiment", cell.table(i) ? `${cell.experiment(i)}, Table ${cell.table(i)}` : cell.experiment(i)],
      ["Data set", cell.dataset(i)],
      ["Defense", cell.defense(i)],
      ["Not reproducible", cell.unstable(i)],
      ["Attack not reproducible", cell.attack_unstable(i)],
      ["Authorised", cell.authorised(i) || "no model"],
      ["Attack", cell.attack(i)],
      ["Via", cell.via(i)],
      ["It knows", cell.threat(i)],
      ["Evaluated", cell.evaluated(i) && how ? `${cell.evaluated(i)}, ${how}` : cell.evaluated(i)],
      ["Uploaded", cell.upload(i)],
      ["Pairs", cell.pairs(i)],
      ["Fixed κ", String(cell.kappa(i))],
      ["Service's threshold", cell.service(i)],
      ["Adversary's threshold", cell.adversary(i)],
      ["Note on it", cell.threshold_note(i)],
      ["Repeat", String(cell.repeat(i))],
      ["Run", data.runs.length > 1 ? runOf(i).place : ""],
      ["Suite seed", runOf(i).seed],
      ["Device", cell.device(i)],
      ["Time", cell.seconds(i)],
      ["Batch", cell.batch(i)],
    ], { className: "wide" });
    return [...commandsOf(i), ...printedOf(i), facts, partsOf(i), stagesOf(i)];
  }

  function partsOf(i) {
    const rows = numbers(cell.parts(i)).map((p) => {
      const [kind, label, plugin, from, params, digest, weights, instead] = data.cells.parts[p];
      const small = (text) => (text && text !== "–" ? make("small", {}, text) : null);
      const name = make("span", {}, label, ...[small(params), small(instead && `in place of ${instead}`)].filter(Boolean));
      return [name, kind, `${plugin} (${from})`, code(digest || "–"), code(weights || "–")];
    });
    if (!rows.length) return null;
    const heads = ["name, parameters", "kind", "plugin", "code, sha256", "weights or data, sha256"];
    return grid("What took part, with the first digits of hashes", heads, rows);
  }

  function stagesOf(i) {
    const rows = numbers(cell.stages(i)).map((s) => [
      stage.name(s), stage.status(s), stage.seconds(s), stage.device(s), code(stage.seed(s)), code(stage.key(s)),
    ]);
    if (!rows.length) return null;
    return grid("What was computed for it, inputs first", ["stage", "status", "time", "device", "seed", "key"], rows);
  }

  function printedOf(i) {
    const printed = [["Traceback", cell.traceback(i)], ["Log", cell.log(i)]];
    return printed
      .filter(([, text]) => text)
      .flatMap(([heading, text]) => [make("h3", {}, heading), make("pre", { tabIndex: 0 }, text)]);
  }

  // ---- opening and closing -------------------------------------------------------------------------------------------

  let opener = null; // The element that opened the dialog; it gets the focus back.
  const forgetCell = () => {
    if (location.hash.startsWith("#cell-")) history.replaceState(null, "", location.pathname + location.search);
  };
  dialog.addEventListener("close", () => {
    forgetCell();
    opener?.focus({ preventScroll: true });
    opener = null;
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // A click outside of the content hits the dialog itself.
  });
  document.addEventListener("click", (event) => {
    const number = event.target.closest?.("[data-measurement]");
    if (!number || dialog.contains(number)) return;
    event.preventDefault();
    report.openMeasurement(Number(number.dataset.measurement), number);
  });

  report.openMeasurement = (k, from = document.activeElement) => {
    opener = from;
    showMeasurement(k);
  };
  report.openCell = (i, from = document.activeElement) => {
    opener = from;
    showCell(i);
  };
  report.cells = { size: data.cells.size, of: cell, main: data.main, measurementOf, make, button };

  // Open the dialog of the cell that the address names.
  function openFromAddress() {
    if (!location.hash.startsWith("#cell-")) return;
    let id = location.hash.slice("#cell-".length);
    try {
      id = decodeURIComponent(id);
    } catch {
      return; // The address is not validly encoded, so it is no id of a cell.
    }
    if (byId.has(id)) showCell(byId.get(id));
  }
  addEventListener("hashchange", openFromAddress);

  // ---- numbers become buttons ----------------------------------------------------------------------------------------

  // Replace an element with a number by a button that opens its dialog.
  function upgrade(element) {
    const { name, shown } = measurementOf(Number(element.dataset.measurement));
    const own = element.querySelector("u") ? ", authorised" : "";
    const number = make("button", { type: "button", className: `v ${element.className}`.replace("v v", "v") });
    number.dataset.measurement = element.dataset.measurement;
    number.setAttribute("aria-label", `${shown}, ${name}${own}: show its rows`);
    number.setAttribute("aria-haspopup", "dialog");
    number.append(...element.childNodes);
    element.replaceWith(number);
  }
  for (const element of document.querySelectorAll("main [data-measurement]:not(button)")) upgrade(element);
  openFromAddress();
})();
