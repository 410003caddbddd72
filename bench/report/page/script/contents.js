// The contents and the folded parts of the page. Browsers open a folded part for a link or a search; where one does not,
// this script does, and it opens everything for print. It also marks the entry of the contents that is being read.
(() => {
  /** Open the folded parts around the element that the address names, and scroll to it. */
  function reveal() {
    let target = null;
    try {
      target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    } catch {
      return; // The address is not validly encoded, so it names nothing on the page.
    }
    const folded = [];
    for (let part = target?.closest("details"); part; part = part.parentElement.closest("details")) folded.push(part);
    if (!folded.some((part) => !part.open)) return;
    for (const part of folded) part.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();
  // A link to the address that is already shown changes nothing, and its part may have been closed since.
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("a[href^='#']")) setTimeout(reveal);
  });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("main details:not([open])")];
    for (const part of closed) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of closed) part.open = false;
    closed = [];
  });

  const nav = document.querySelector("nav");
  const links = new Map([...nav.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
  const shown = new Set();
  let current = null;
  function mark() {
    const section = [...document.querySelectorAll("main > section")].find((each) => shown.has(each));
    const link = section && links.get(section.id);
    if (!link || link === current) return;
    current?.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    current = link;
    const box = link.getBoundingClientRect();
    const room = nav.getBoundingClientRect();
    nav.scrollBy(box.left - room.left - (room.width - box.width) / 2, box.top - room.top - (room.height - box.height) / 2);
  }
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) shown[isIntersecting ? "add" : "delete"](target);
      mark();
    },
    { rootMargin: "-20% 0px -60% 0px" },
  );
  for (const section of document.querySelectorAll("main > section")) seen.observe(section);
})();
