// What all pages do for those who use them: what scrolls is reached by keys, and a picture with
// many links is one stop of the Tab key, and arrows go from link to link.
"use strict";
(() => {
  // A part that scrolls and has nothing in it that takes the focus takes it itself.
  function reach() {
    for (const part of document.querySelectorAll("main .wide, main pre")) {
      const isWide = part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1;
      if (isWide && !part.hasAttribute("tabindex")) { part.tabIndex = 0; part.dataset.reached = ""; }
      else if (!isWide && "reached" in part.dataset) { part.removeAttribute("tabindex"); delete part.dataset.reached; }
    }
  }
  const MANY = 8;
  const links = (picture) => [...picture.querySelectorAll("a[href]")];
  function rove() {
    for (const picture of document.querySelectorAll("main svg.plot")) {
      const all = links(picture), now = all.find((link) => link.getAttribute("tabindex") === "0") || all[0];
      if (all.length > MANY) for (const link of all) link.setAttribute("tabindex", link === now ? "0" : "-1");
    }
  }
  document.addEventListener("keydown", (event) => {
    const link = event.target.closest?.("svg.plot a[tabindex]");
    if (!link || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = links(link.closest("svg")), at = all.indexOf(link);
    const next = all[{ ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key]];
    if (!next) return;
    event.preventDefault();
    link.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });

  function look() { reach(); rove(); }
  document.addEventListener("htmx:after:swap", look);
  document.addEventListener("toggle", reach, true);
  addEventListener("resize", reach);
  look();
})();
