// Which columns of a list are shown, and in which order: kept in the browser for each user. Without scripts all are.
"use strict";
(() => {
  const table = () => document.querySelector("table[data-columns]");
  if (!table()) return;
  const key = `smtpgate-columns-${table().dataset.columns}-${document.querySelector(".who summary bdi")?.textContent ?? ""}`;
  const named = (cells) => [...cells].map((cell) => cell.dataset.name);
  const all = named(table().tHead.rows[0].cells);
  let chosen = { order: all, hidden: [] };
  try {
    const kept = JSON.parse(localStorage.getItem(key) || "{}");
    const known = (list) => (Array.isArray(list) ? list.filter((name, at) => all.includes(name) && list.indexOf(name) === at) : []);
    const order = known(kept.order);
    chosen = { order: [...order, ...all.filter((name) => !order.includes(name))], hidden: known(kept.hidden).filter((name) => name !== all[0]) };
  } catch { /* What cannot be read is as if nothing had been chosen. */ }
  const keep = () => { try { localStorage.setItem(key, JSON.stringify(chosen)); } catch { /* kept for this page */ } };

  function arrange() {
    if (!table()) return;
    for (const row of table().rows) {
      const cells = new Map([...row.cells].map((cell) => [cell.dataset.name, cell]));
      if (!chosen.order.every((name) => cells.has(name))) continue;
      if (named(row.cells).join() !== chosen.order.join()) row.append(...chosen.order.map((name) => cells.get(name)));
      for (const [name, cell] of cells) cell.hidden = chosen.hidden.includes(name);
    }
  }

  const box = document.createElement("details"), list = document.createElement("ul");
  box.className = "columns";
  box.append(Object.assign(document.createElement("summary"), { textContent: "Columns" }), list);
  // The first one leads to the message: it stays, and stays the first.
  function draw(focus = "") {
    list.replaceChildren(...chosen.order.slice(1).map((name, at) => {
      const item = document.createElement("li"), label = document.createElement("label");
      const field = Object.assign(document.createElement("input"), { type: "checkbox", checked: !chosen.hidden.includes(name) });
      field.addEventListener("change", () => {
        chosen.hidden = field.checked ? chosen.hidden.filter((one) => one !== name) : [...chosen.hidden, name];
        keep();
        arrange();
      });
      label.append(field, ` ${name}`);
      item.append(label);
      for (const [sign, words, to] of [["↑", "earlier", at], ["↓", "later", at + 2]]) {
        const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: sign, disabled: to < 1 || to >= chosen.order.length });
        button.setAttribute("aria-label", `${name} ${words}`);
        button.addEventListener("click", () => {
          const order = chosen.order.filter((one) => one !== name);
          order.splice(to, 0, name);
          chosen.order = order;
          keep();
          arrange();
          draw(`${name} ${words}`);
        });
        item.append(button);
      }
      return item;
    }));
    const again = focus && list.querySelector(`[aria-label="${CSS.escape(focus)}"]`);
    if (again) (again.disabled ? again.parentElement.querySelector("button:not(:disabled)") : again)?.focus();
  }
  draw();
  table().closest(".wide").before(box);
  document.addEventListener("htmx:after:swap", arrange);
  arrange();
})();
