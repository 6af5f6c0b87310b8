// Drag over a picture of time: the page of that time. Without it, the buttons and the address do the same.
"use strict";
(() => {
  const svgns = "http://www.w3.org/2000/svg";
  const base = document.documentElement.dataset.base || "/";
  for (const plot of document.querySelectorAll("svg[data-zoom]")) {
    const { begin, end, left, right } = plot.dataset;
    const box = plot.viewBox.baseVal;
    let from = null, mark = null;
    const at = (event) => {
      const place = plot.getBoundingClientRect();
      const x = (event.clientX - place.left) * box.width / place.width;
      return Math.min(Math.max(x, +left), box.width - right);
    };
    const time = (x) => new Date((+begin + (x - left) / (box.width - left - right) * (end - begin)) * 1000).toISOString();
    const over = () => { if (mark) mark.remove(); mark = null; from = null; };
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      from = at(event);
    });
    plot.addEventListener("dragstart", (event) => event.preventDefault());
    plot.addEventListener("pointermove", (event) => {
      if (from === null) return;
      if (!mark) {
        mark = document.createElementNS(svgns, "rect");
        mark.setAttribute("class", "zoom");
        mark.setAttribute("y", 0);
        mark.setAttribute("height", box.height);
        plot.append(mark);
        plot.setPointerCapture(event.pointerId);
      }
      mark.setAttribute("x", Math.min(from, at(event)));
      mark.setAttribute("width", Math.abs(at(event) - from));
    });
    plot.addEventListener("pointerup", (event) => {
      const to = from === null ? null : at(event), first = from;
      const wide = to !== null && Math.abs(to - first) > 6;
      over();
      if (!wide) return;
      const asked = new URLSearchParams({ time_from: time(Math.min(first, to)), time_to: time(Math.max(first, to)) });
      for (const name of ["scale", "compare"]) {
        const value = new URLSearchParams(location.search).get(name);
        if (value) asked.set(name, value);
      }
      location.assign(`${base.replace(/\/$/, "")}/stats?${asked}`);
    });
    plot.addEventListener("pointercancel", over);
  }
})();
