// Keys: Ctrl+K or Cmd+K for the palette, / for the search, g and a letter for a page, j and k for rows, ? for the list
// of them all. Single letters never fire in fields, and can be switched off (WCAG 2.1.4).
"use strict";
(() => {
  const OFF = "smtpgate-no-keys";
  const palette = document.getElementById("palette");
  const places = [...document.querySelectorAll(".rooms a")];
  if (!palette || !palette.showModal) return;
  const make = (name, words, more) => Object.assign(document.createElement(name), { textContent: words || "" }, more);
  const isOff = () => { try { return localStorage.getItem(OFF) === "yes"; } catch { return false; } };
  const isField = (target) => target instanceof Element && target.closest("input, select, textarea, [contenteditable]");

  function search() {
    // Who has held mail of their own and nothing else has nothing to search.
    const field = document.getElementById("q");
    if (!field) return;
    field.focus();
    field.select();
  }

  function open() {
    const field = make("input", "", { type: "text", placeholder: "Page, id, address…", autocomplete: "off" });
    field.setAttribute("role", "combobox");
    field.setAttribute("aria-expanded", "true");
    field.setAttribute("aria-controls", "palette-list");
    field.setAttribute("aria-label", "Page, reference id or address");
    const list = make("ul", "", { id: "palette-list" });
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Pages");
    let rows = [], at = 0;

    function show() {
      const words = field.value.trim().toLowerCase();
      rows = places.filter((place) => place.textContent.toLowerCase().includes(words)).map((place) => ({ words: place.textContent, key: place.dataset.key, go: () => location.assign(place.href) }));
      if (words && document.querySelector(".search")) rows.push({ words: `Find “${field.value.trim()}”`, go: find });
      at = 0;
      list.replaceChildren(...rows.map((row, number) => {
        const item = make("li", row.words, { id: `palette-${number}` });
        item.setAttribute("role", "option");
        if (row.key) item.append(" ", make("kbd", `g ${row.key}`));
        item.addEventListener("click", row.go);
        return item;
      }));
      mark();
    }
    function mark() {
      [...list.children].forEach((item, number) => item.setAttribute("aria-selected", String(number === at)));
      list.children[at]?.scrollIntoView({ block: "nearest" });
      field.setAttribute("aria-activedescendant", list.children.length ? `palette-${at}` : "");
    }
    function find() {
      document.getElementById("q").value = field.value;
      document.querySelector(".search").submit();
    }
    field.addEventListener("input", show);
    field.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && rows.length) { at = (at + step + rows.length) % rows.length; mark(); event.preventDefault(); }
      if (event.key === "Enter" && rows[at]) { event.preventDefault(); rows[at].go(); }
    });
    palette.replaceChildren(make("article"));
    palette.firstChild.append(field, list);
    show();
    palette.showModal();
    field.focus();
  }

  const HELP = [["Ctrl K", "go to a page, or find"], ["/", "search"], ["j, k", "next and previous row"], ["Enter", "open the row"], ["x", "choose the row"], ["p", "pause what is live"], ["?", "this list"]];
  function help() {
    const rows = [...HELP, ...places.filter((place) => place.dataset.key).map((place) => [`g ${place.dataset.key}`, place.textContent])];
    const table = make("dl", "", { className: "facts keys" });
    for (const [key, words] of rows) {
      const name = make("dt");
      name.append(make("kbd", key));
      table.append(name, make("dd", words));
    }
    const off = make("input", "", { type: "checkbox", checked: isOff() });
    off.addEventListener("change", () => { try { localStorage.setItem(OFF, off.checked ? "yes" : "no"); } catch { /* kept for this page */ } });
    const label = make("label");
    label.append(off, " Single letters do nothing");
    const close = make("button", "Close", { type: "button", className: "quiet" });
    close.addEventListener("click", () => palette.close());
    const card = make("article");
    card.append(make("h2", "Keys"), table, label, close);
    palette.replaceChildren(card);
    palette.showModal();
    close.focus();
  }
  palette.addEventListener("click", (event) => { if (event.target === palette) palette.close(); });

  const rows = () => [...document.querySelectorAll("main tbody tr")].filter((row) => row.querySelector("a[href]"));
  function step(by) {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[Math.max(0, Math.min(all.length - 1, now < 0 ? 0 : now + by))];
    next.querySelector("a[href]").focus();
  }

  let lead = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") { event.preventDefault(); palette.open ? palette.close() : open(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || palette.open || isField(event.target) || isOff()) return;
    if (Date.now() - lead < 1500) {
      lead = 0;
      const place = places.find((one) => one.dataset.key === event.key);
      if (place) { event.preventDefault(); location.assign(place.href); }
      return;
    }
    const row = document.activeElement?.closest?.("main tbody tr");
    const verbs = {
      "/": search, "?": help, g: () => { lead = Date.now(); }, j: () => step(1), k: () => step(-1),
      x: () => row?.querySelector("input[type=checkbox], input[type=radio]")?.click(), p: () => document.dispatchEvent(new Event("pause")),
    };
    const verb = verbs[event.key];
    if (verb) { event.preventDefault(); verb(); }
  });

  // What is made to be copied has a button for it; without scripts, and without a clipboard, there is none.
  for (const button of document.querySelectorAll("button[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", () => navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent).then(() => { button.textContent = "Copied"; }));
  }

  // A whole row opens what its first link opens; what is in it for itself stays so, and text can be marked.
  document.addEventListener("click", (event) => {
    const row = event.target.closest?.("main tbody tr");
    if (!row || event.target.closest("a, button, input, select, label, summary, form") || String(document.getSelection())) return;
    const link = row.querySelector("td:first-child a[href], th a[href], td:nth-child(2) a[href]");
    if (link) event.ctrlKey || event.metaKey ? window.open(link.href, "_blank", "noopener") : location.assign(link.href);
  });
})();
