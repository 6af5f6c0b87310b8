// The editor of the configuration: numbers for lines that are added, marks for those with faults, a way to each of
// them, and a word before what was not kept is left. The page does all of its work without it.
"use strict";
(() => {
  const area = document.getElementById("text");
  const numbers = area && area.parentElement.querySelector("pre");
  if (!numbers) return;
  let kept = area.value, isSent = false;

  function count() {
    const wanted = Math.max(area.value.split("\n").length + 2, 24);
    for (let number = numbers.children.length + 1; number <= wanted; number += 1) {
      const line = document.createElement("span");
      line.id = `L${number}`;
      line.textContent = number;
      numbers.append(line, "\n");
    }
    area.rows = Math.max(wanted, numbers.children.length);
  }

  function mark() {
    for (const line of numbers.querySelectorAll(".wrong")) line.classList.remove("wrong");
    for (const link of document.querySelectorAll("#checked [data-line]")) {
      const line = document.getElementById(`L${link.dataset.line}`);
      if (line) line.classList.add("wrong");
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#L"]');
    if (!link) return;
    const lines = area.value.split("\n"), number = Number(link.hash.slice(2));
    const start = lines.slice(0, number - 1).join("\n").length + (number > 1 ? 1 : 0);
    area.focus({ preventScroll: true });
    area.setSelectionRange(start, start + (lines[number - 1] || "").length);
  });
  area.addEventListener("input", count);
  document.addEventListener("htmx:after:swap", () => { kept = area.value; mark(); });
  area.form.addEventListener("submit", () => { isSent = true; });
  addEventListener("beforeunload", (event) => { if (!isSent && area.value !== kept) event.preventDefault(); });
  addEventListener("pageshow", () => { isSent = false; });
  count();
  mark();
})();
