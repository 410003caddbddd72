// The contents and the folded parts of the page. Browsers open a folded part for a link or a search; where one does not,
// this script does, and it opens everything for print. It also marks the entry of the contents that is being read.
(() => {
  // Open the folded parts around the element that the address names, and scroll to it.
  function reveal() {
    let target = null;
    try {
      target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    } catch {
      return; // The address is not validly encoded, so it names nothing on the page.
    }
    let part = target?.closest("details");
    if (!part) return;
    for (; part; part = part.parentElement.closest("details")) part.open = true;
    target.scrollIntoView({ behavior: "instant" });
  }
  addEventListener("hashchange", reveal);
  addEventListener("load", reveal); // The scripts have changed the height of the page since the browser scrolled.
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

  // The section that is being read is the last one that begins in the upper part of the window, or at the end of the
  // page the last one.
  const UPPER = 0.4;
  const nav = document.querySelector("nav");
  const links = [...nav.querySelectorAll("a")];
  const sections = links.map((link) => document.getElementById(link.hash.slice(1)));
  // Scroll the contents alone, so that one of its links is in the middle.
  function center(link) {
    const [box, room] = [link.getBoundingClientRect(), nav.getBoundingClientRect()];
    nav.scrollBy(box.left - room.left - (room.width - box.width) / 2, box.top - room.top - (room.height - box.height) / 2);
  }
  nav.addEventListener("focusin", (event) => center(event.target));

  let current = null;
  let waiting = false;
  function mark() {
    waiting = false;
    const begun = sections.filter((section) => section.getBoundingClientRect().top < UPPER * innerHeight).length;
    const atEnd = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    const link = links[atEnd && scrollY ? links.length - 1 : Math.max(0, begun - 1)];
    if (link === current) return;
    current?.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    current = link;
    center(link);
  }
  function markSoon() {
    if (!waiting) requestAnimationFrame(mark);
    waiting = true;
  }
  addEventListener("scroll", markSoon, { passive: true });
  addEventListener("resize", markSoon);
  mark();
})();
