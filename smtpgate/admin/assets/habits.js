// What all pages do for those who use them: what scrolls is reached by keys, a picture with many links is one stop of
// the Tab key where arrows go from link to link, ids are copied by a button, and what was typed is not lost by leaving.
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

  // What is marked for it has a button beside it; without a clipboard there is none.
  const told = Object.assign(document.createElement("span"), { className: "unseen" });
  told.setAttribute("role", "status");
  function copies() {
    if (!navigator.clipboard) return;
    for (const one of document.querySelectorAll("main [data-copies]:not(:has(+ .copy))")) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "copy" });
      button.setAttribute("aria-label", `Copy ${one.dataset.copies}`);
      button.title = `Copy ${one.dataset.copies}`;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(one.textContent.trim());
        button.textContent = "✓ copied";
        told.textContent = `${one.dataset.copies} is copied`;
        setTimeout(() => { button.textContent = "copy"; told.textContent = ""; }, 2000);
      });
      one.after(button);
    }
  }
  document.body.append(told);

  // Forms that change something ask before what was written into them is left. The editor of the configuration keeps
  // drafts, and asks for itself; a password is no loss.
  const WRITTEN = "textarea, input:is(:not([type]), [type=text], [type=number], [type=email], [type=url])";
  const sent = new WeakSet();
  const isChanged = (form) => !sent.has(form) && !form.querySelector(".editor") &&
    [...form.elements].some((field) => field.matches(WRITTEN) && field.checkVisibility() && field.value !== field.defaultValue);
  document.addEventListener("submit", (event) => { sent.add(event.target); });
  addEventListener("pageshow", () => { for (const form of document.forms) sent.delete(form); });
  addEventListener("beforeunload", (event) => {
    const forms = [...document.querySelectorAll("main form[method=post]")];
    // Whoever sends one form leaves the others knowingly.
    if (!forms.some((form) => sent.has(form)) && forms.some(isChanged)) event.preventDefault();
  });

  function look() { reach(); rove(); copies(); }
  document.addEventListener("htmx:after:swap", look);
  document.addEventListener("toggle", reach, true);
  addEventListener("resize", reach);
  look();
})();
