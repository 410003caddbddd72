// The search of a site: pages whose title, kind or words contain every word of the query. Texts are inserted as text only.
"use strict";
(() => {
  const box = document.getElementById("search");
  const input = document.getElementById("query");
  const hits = document.getElementById("hits");
  const count = document.getElementById("hit-count");
  const pages = JSON.parse(document.getElementById("site-data").textContent).pages
    .map(([title, kind, path, words]) => ({ title, kind, path, text: `${title} ${kind} ${words}`.toLowerCase() }));
  const MOST = 12;
  let chosen = -1;
  box.hidden = false;

  const found = (query) => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const rank = (page) => (page.title.toLowerCase().startsWith(words[0]) ? 0 : page.title.toLowerCase().includes(words[0]) ? 1 : 2);
    return pages.filter((page) => words.every((word) => page.text.includes(word))).sort((a, b) => rank(a) - rank(b));
  };

  const entry = (page, i) => {
    const link = document.createElement("a");
    link.href = box.dataset.root + page.path;
    link.id = `hit-${i}`;
    link.setAttribute("role", "option");
    link.setAttribute("aria-selected", "false");
    link.tabIndex = -1;
    const name = document.createElement("bdi");
    name.textContent = page.title;
    const kind = document.createElement("small");
    kind.textContent = page.kind;
    link.append(name, kind);
    return link;
  };

  const choose = (i) => {
    const links = [...hits.querySelectorAll("a")];
    chosen = links.length ? (i + links.length) % links.length : -1;
    links.forEach((link, k) => link.setAttribute("aria-selected", String(k === chosen)));
    if (chosen < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", links[chosen].id);
      links[chosen].scrollIntoView({ block: "nearest" });
    }
  };

  const close = () => {
    hits.hidden = true;
    chosen = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };

  const show = () => {
    const all = found(input.value);
    hits.replaceChildren(...all.slice(0, MOST).map(entry));
    chosen = -1;
    input.removeAttribute("aria-activedescendant");
    const open = all.length > 0;
    hits.hidden = !open;
    input.setAttribute("aria-expanded", String(open));
    count.textContent = input.value.trim() ? (all.length === 1 ? "1 page found" : `${all.length} pages found`) : "";
  };

  input.addEventListener("input", show);
  input.addEventListener("focus", () => { if (input.value.trim()) show(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen < 0 ? -1 : chosen - 1);
    else if (event.key === "Escape") close();
    else if (event.key === "Enter") {
      const links = hits.querySelectorAll("a");
      const link = links[Math.max(0, chosen)];
      if (link && !hits.hidden) link.click();
    } else return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => { if (!box.contains(event.target)) close(); });
  document.addEventListener("keydown", (event) => {
    const typing = /^(input|select|textarea)$/i.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      input.focus();
      event.preventDefault();
    }
  });
})();
