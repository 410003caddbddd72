// The face wall: a picture enlarges, arrow keys go from picture to picture, and one choice of worst, median or best holds
// for all walls. Data sets, defenses and attacks are filtered by the bar of the page (filters.js).
(() => {
  const walls = [...document.querySelectorAll("table.wall")];
  if (!walls.length) return;
  const make = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const seen = (element) => element.getClientRects().length > 0;
  const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

  // The visible picture beside another one: in the same row, or in the same column of the next row that has it.
  function beside(face, [down, across]) {
    const cell = face.parentElement;
    const line = across
      ? [...cell.parentElement.cells]
      : [...cell.closest("tbody").rows].map((row) => row.cells[cell.cellIndex]);
    const faces = line.map((c) => c.querySelector(".face")).filter((f) => f && seen(f));
    return faces[faces.indexOf(face) + (across || down)];
  }

  // ---- one large picture -------------------------------------------------------------------------------------------

  const title = make("h2", { id: "enlarged-title" });
  const why = make("p");
  const picture = make("span");
  picture.setAttribute("role", "img");
  const numbers = make("dl");
  const turn = (text, way) => {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", () => go(way));
    return button;
  };
  const before = turn("← Previous", [0, -1]);
  const after = turn("Next →", [0, 1]);
  const close = make("button", { type: "button", textContent: "Close" });
  const dialog = make("dialog", { className: "enlarged" }, title, why, picture, numbers);
  dialog.append(make("div", { className: "turn" }, before, close, after));
  dialog.setAttribute("aria-labelledby", title.id);
  document.body.append(dialog);
  let shown = null;

  function show(face) {
    shown = face;
    const row = face.closest("tr");
    const head = face.closest("table").tHead.rows[0].cells[face.parentElement.cellIndex];
    title.textContent = [...head.childNodes].map((node) => node.textContent).join(", ");
    const said = [...row.cells[0].querySelectorAll(":scope > .kind, :scope > small:not(:has(b))")];
    why.textContent = said.map((part) => part.textContent).join(" · ");
    picture.className = face.className;
    picture.setAttribute("aria-label", face.getAttribute("aria-label"));
    numbers.replaceChildren();
    for (const value of face.parentElement.querySelectorAll("small > b")) {
      const name = value.previousSibling.textContent.trim();
      const by = value.parentElement.title;
      const said = make("dd", { textContent: by ? `${value.textContent}, ${by}` : value.textContent });
      numbers.append(make("dt", { textContent: name }), said);
    }
    before.disabled = !beside(face, [0, -1]);
    after.disabled = !beside(face, [0, 1]);
    if (!dialog.open) dialog.showModal();
    if (document.activeElement?.disabled || !dialog.contains(document.activeElement)) close.focus();
  }

  function go(way) {
    const next = beside(shown, way);
    if (next) show(next);
  }

  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => reach(shown));
  dialog.addEventListener("keydown", (event) => {
    if (!ARROWS[event.key]) return;
    event.preventDefault();
    go(ARROWS[event.key]);
  });

  // ---- the keyboard: one stop per wall, arrows inside --------------------------------------------------------------

  function reach(face) {
    for (const other of face.closest("table").querySelectorAll(".face[tabindex='0']")) other.tabIndex = -1;
    face.tabIndex = 0;
    face.focus();
  }

  function stop(wall) {
    const faces = [...wall.querySelectorAll(".face")];
    const first = faces.find((face) => face.tabIndex === 0 && seen(face)) ?? faces.find(seen);
    for (const face of faces) face.tabIndex = face === first ? 0 : -1;
  }

  for (const wall of walls) {
    for (const face of wall.querySelectorAll(".face")) {
      face.setAttribute("role", "button");
      face.setAttribute("aria-haspopup", "dialog");
      face.tabIndex = -1;
      face.addEventListener("click", () => show(face));
      face.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") show(face);
        else if (ARROWS[event.key]) {
          const next = beside(face, ARROWS[event.key]);
          if (next) reach(next);
        } else return;
        event.preventDefault();
      });
    }
    wall.querySelector(".face").tabIndex = 0;
  }

  // ---- filters -----------------------------------------------------------------------------------------------------

  const bar = document.querySelector("form.filters");
  if (!bar) return;
  const rows = walls.flatMap((wall) => [...wall.querySelectorAll("tr[data-face]")]);
  const kinds = ["worst", "median", "best"].filter((kind) => rows.some((row) => row.dataset.face === kind));
  const select = make("select", {}, make("option", { value: "", textContent: "all" }));
  for (const kind of kinds) select.append(make("option", { value: kind, textContent: kind }));
  const label = make("label", {}, "face", select);
  if (kinds.length > 1) bar.querySelector("label:last-of-type").after(label);

  // What was in view before a choice stays where it was.
  let kept = null;
  const keep = () => {
    const there = rows.filter((one) => seen(one) && one.getBoundingClientRect().bottom > 0);
    const row = there.find((one) => one.getBoundingClientRect().top >= 0) ?? there[0];
    kept = row && row.getBoundingClientRect().top < innerHeight ? [row, row.getBoundingClientRect().top] : null;
  };
  const settle = () => {
    for (const row of rows) {
      const ranked = kinds.includes(row.dataset.face);
      row.classList.toggle("unfit", ranked && select.value !== "" && row.dataset.face !== select.value);
    }
    for (const wall of walls) {
      const columns = [...wall.tHead.rows[0].cells].slice(1);
      wall.classList.toggle("unfit", columns.every((head) => head.classList.contains("unfit")));
      stop(wall);
    }
    hold();
    requestAnimationFrame(hold); // tables and the browser's own anchoring settle after this
  };
  const hold = () => {
    if (!kept) return;
    const [row, top] = kept;
    const next = seen(row) ? row : [...row.closest("tbody").rows].find(seen);
    if (next) scrollBy({ top: next.getBoundingClientRect().top - top, behavior: "instant" });
  };
  for (const event of ["change", "click"]) {
    bar.addEventListener(event, keep, true);
    bar.addEventListener(event, settle);
  }
  bar.querySelector("button").addEventListener("click", () => (select.value = ""));
})();
