// Held mail of one's own, by one key each: in a row e, d, a and b do what its buttons do, z takes a deletion back. The
// first row has the focus when the page comes, so that what is gone through needs no pointer.
"use strict";
(() => {
  const isOff = () => { try { return localStorage.getItem("smtpgate-no-keys") === "yes"; } catch { return false; } };
  const isField = (target) => target instanceof Element && target.closest("input, select, textarea, [contenteditable]");
  const rows = () => [...document.querySelectorAll("#mine tbody tr")];
  let lead = 0;

  function focus(row) {
    row?.querySelector("button")?.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isField(event.target) || isOff() || document.querySelector("dialog[open]")) return;
    // The letter after g opens a page.
    if (event.key === "g") { lead = Date.now(); return; }
    if (Date.now() - lead < 1500) { lead = 0; return; }
    const all = rows(), row = document.activeElement?.closest?.("#mine tbody tr"), at = all.indexOf(row);
    const step = { j: 1, k: -1 }[event.key];
    const button = event.key === "z" ? document.querySelector('[data-key="z"]') : /^[edab]$/.test(event.key) ? row?.querySelector(`[data-key="${event.key}"]`) : null;
    if (!step && !button) return;
    event.preventDefault();
    event.stopPropagation();
    if (step) focus(all[Math.min(Math.max(at + step, 0), all.length - 1)]);
    else button.form.requestSubmit(button);
  }, true);

  if (!location.hash && !document.querySelector(".trouble")) focus(rows()[0]);
})();
