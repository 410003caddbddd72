// The face walls. A click enlarges a picture, the arrow keys move from picture to picture, and one choice of the worst,
// median or best face applies to all walls. The filter bar (filters.js) hides data sets, defenses and attacks.
(() => {
  const walls = [...document.querySelectorAll("table.wall")];
  if (!walls.length) return;
  const make = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const isVisible = (element) => element.getClientRects().length > 0;
  const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

  // Return the next visible picture in a direction: in the same row, or in the same column of another row. The direction
  // is one of ARROWS. Return undefined if there is no further picture.
  function neighbour(face, [down, across]) {
    const cell = face.parentElement;
    const line = across
      ? [...cell.parentElement.cells]
      : [...cell.closest("tbody").rows].map((row) => row.cells[cell.cellIndex]);
    const faces = line.map((c) => c.querySelector(".face")).filter((f) => f && isVisible(f));
    return faces[faces.indexOf(face) + (across || down)];
  }

  // ---- one large picture -------------------------------------------------------------------------------------------

  const title = make("h2", { id: "enlarged-title" });
  const why = make("p");
  const picture = make("span");
  picture.setAttribute("role", "img");
  const numbers = make("dl");
  const turnButton = (text, direction) => {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", () => go(direction));
    return button;
  };
  const before = turnButton("← Previous", [0, -1]);
  const after = turnButton("Next →", [0, 1]);
  const close = make("button", { type: "button", textContent: "Close" });
  const dialog = make("dialog", { className: "enlarged" }, title, why, picture, numbers);
  dialog.append(make("div", { className: "turn" }, before, close, after));
  dialog.setAttribute("aria-labelledby", title.id);
  document.body.append(dialog);
  let shown = null;

  // Show a picture of a wall enlarged, with the text and the numbers that stand beside it in the wall.
  function show(face) {
    shown = face;
    const row = face.closest("tr");
    const head = face.closest("table").tHead.rows[0].cells[face.parentElement.cellIndex];
    title.textContent = [...head.childNodes].map((node) => node.textContent).join(", ");
    const parts = [...row.cells[0].querySelectorAll(":scope > .kind, :scope > small:not(:has(b))")];
    why.textContent = parts.map((part) => part.textContent).join(" · ");
    picture.className = face.className;
    picture.setAttribute("aria-label", face.getAttribute("aria-label"));
    numbers.replaceChildren();
    for (const value of face.parentElement.querySelectorAll("small > b")) {
      const name = value.previousSibling.textContent.trim();
      const by = value.parentElement.title;
      const number = make("dd", { textContent: by ? `${value.textContent}, ${by}` : value.textContent });
      numbers.append(make("dt", { textContent: name }), number);
    }
    before.disabled = !neighbour(face, [0, -1]);
    after.disabled = !neighbour(face, [0, 1]);
    if (!dialog.open) dialog.showModal();
    if (document.activeElement?.disabled || !dialog.contains(document.activeElement)) close.focus();
  }

  function go(direction) {
    const next = neighbour(shown, direction);
    if (next) show(next);
  }

  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => focusFace(shown));
  dialog.addEventListener("keydown", (event) => {
    if (!ARROWS[event.key]) return;
    event.preventDefault();
    go(ARROWS[event.key]);
  });

  // ---- the keyboard: Tab moves from wall to wall, the arrow keys move within a wall --------------------------------

  function focusFace(face) {
    for (const other of face.closest("table").querySelectorAll(".face[tabindex='0']")) other.tabIndex = -1;
    face.tabIndex = 0;
    face.focus();
  }

  // Make one visible picture of a wall reachable with Tab: the current one, if it is visible.
  function setTabStop(wall) {
    const faces = [...wall.querySelectorAll(".face")];
    const first = faces.find((face) => face.tabIndex === 0 && isVisible(face)) ?? faces.find(isVisible);
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
          const next = neighbour(face, ARROWS[event.key]);
          if (next) focusFace(next);
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

  // A filter changes the height of the page. The face that was in view before a choice is scrolled back to its place.
  let anchor = null; // [row, distance from the top of the window in pixels] of that face
  const rememberPosition = () => {
    const below = rows.filter((row) => isVisible(row) && row.getBoundingClientRect().bottom > 0);
    const row = below.find((one) => one.getBoundingClientRect().top >= 0) ?? below[0];
    anchor = row && row.getBoundingClientRect().top < innerHeight ? [row, row.getBoundingClientRect().top] : null;
  };
  const applyChoice = () => {
    for (const row of rows) {
      const ranked = kinds.includes(row.dataset.face);
      row.classList.toggle("unfit", ranked && select.value !== "" && row.dataset.face !== select.value);
    }
    for (const wall of walls) {
      const columns = [...wall.tHead.rows[0].cells].slice(1);
      wall.classList.toggle("unfit", columns.every((head) => head.classList.contains("unfit")));
      setTabStop(wall);
    }
    restorePosition();
    requestAnimationFrame(restorePosition); // Tables and the browser's scroll anchoring may move the page after this.
  };
  const restorePosition = () => {
    if (!anchor) return;
    const [row, top] = anchor;
    const next = isVisible(row) ? row : [...row.closest("tbody").rows].find(isVisible);
    if (next) scrollBy({ top: next.getBoundingClientRect().top - top, behavior: "instant" });
  };
  for (const event of ["change", "click"]) {
    bar.addEventListener(event, rememberPosition, true);
    bar.addEventListener(event, applyChoice);
  }
  bar.querySelector("button").addEventListener("click", () => (select.value = ""));
})();
