// A stretch of time is drawn over the bars of the list of messages: it becomes part of what is looked for.
"use strict";
(() => {
  const picture = document.querySelector(".plot.hits");
  if (!picture) return;
  const number = (name) => Number(picture.dataset[name]);
  let from = null, span = null;

  // A place in the picture's own units.
  const at = (event) => {
    const box = picture.getBoundingClientRect();
    return (event.clientX - box.left) * picture.viewBox.baseVal.width / box.width;
  };
  const time = (x) => {
    const steps = Math.max(0, (x - number("left")) / number("stepX"));
    return number("first") + steps * number("step");
  };
  const written = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19) + "Z";

  picture.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    from = at(event);
  });
  addEventListener("pointermove", (event) => {
    if (from === null) return;
    const x = at(event);
    if (!span && Math.abs(x - from) < 4) return;
    if (!span) {
      span = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      span.setAttribute("class", "span");
      span.setAttribute("y", "0");
      span.setAttribute("height", String(picture.viewBox.baseVal.height));
      picture.append(span);
    }
    span.setAttribute("x", String(Math.min(from, x)));
    span.setAttribute("width", String(Math.abs(x - from)));
  });
  addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [low, high] = [from, at(event)].sort((one, other) => one - other);
    from = null;
    if (!span) return;
    span.remove();
    span = null;
    // The bar below is not what was meant.
    addEventListener("click", (click) => click.preventDefault(), { capture: true, once: true });
    setTimeout(() => dispatchEvent(new Event("click")), 0);
    const words = `${picture.dataset.query} after:${written(time(low))} before:${written(Math.max(time(high), time(low) + 1))}`;
    location.assign(`/messages?${new URLSearchParams({ q: words.trim() })}`);
  });
  addEventListener("pointercancel", () => { from = null; span?.remove(); span = null; });
  picture.addEventListener("dragstart", (event) => event.preventDefault());
})();
