// Keys: Ctrl+K or Cmd+K for the palette, / for the search, g and a letter for a page, j and k for rows, x to choose and
// Shift+x to choose up to there, b to block, ? for the list of them all. Single letters never fire in fields, and can be switched off (WCAG 2.1.4).
"use strict";
(() => {
  const OFF = "smtpgate-no-keys";
  const palette = document.getElementById("palette");
  const places = [...document.querySelectorAll(".rooms a")];
  if (!palette || !palette.showModal) return;
  const make = (name, words, more) => Object.assign(document.createElement(name), { textContent: words || "" }, more);
  const isOff = () => { try { return localStorage.getItem(OFF) === "yes"; } catch { return false; } };
  const isField = (target) => target instanceof Element && target.closest("input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]");

  function search() {
    // Who has held mail of their own and nothing else has nothing to search.
    const field = document.getElementById("q");
    if (!field) return;
    field.focus();
    field.select();
  }

  // A reference id: a session, or one message of it.
  const ID = /^[0-9A-HJKMNP-TV-Z]{26}(\.\d{1,6})?$/;
  const root = document.documentElement.dataset.base;
  // What can be done on this page, and everywhere. What changes something is only brought under the finger: Enter does it.
  function actions() {
    const named = (button) => (button.getAttribute("aria-label") || button.textContent).trim().replace(/\s+/g, " ");
    const seen = [...document.querySelectorAll("main button, main summary, main a.button")].filter((one) => one.checkVisibility() && !one.disabled && named(one));
    const here = seen.slice(0, 60).map((one) => ({ words: named(one), go: () => { palette.close(); one.scrollIntoView({ block: "center" }); one.focus(); } }));
    const menu = [...document.querySelectorAll(".who button")].map((one) => ({ words: `${one.closest("fieldset") ? "Colours: " : ""}${named(one)}`, go: () => one.click() }));
    return [...here, ...menu, { words: "Keys", key: "?", go: () => { palette.close(); help(); } }];
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
    const acts = actions();
    let rows = [], at = 0;

    function show() {
      const words = field.value.trim().toLowerCase();
      rows = places.filter((place) => place.textContent.toLowerCase().includes(words)).map((place) => ({ words: place.textContent, key: place.dataset.key && `g ${place.dataset.key}`, go: () => location.assign(place.href) }));
      rows.push(...acts.filter((act) => act.words.toLowerCase().includes(words)));
      const id = field.value.trim().toUpperCase();
      if (ID.test(id) && document.querySelector(".search")) rows.unshift({ words: `Open ${id}`, go: () => location.assign(`${root}sessions/${id}`) });
      if (words && document.querySelector(".search")) rows.push({ words: `Find “${field.value.trim()}”`, go: find });
      at = 0;
      list.replaceChildren(...rows.map((row, number) => {
        const item = make("li", row.words, { id: `palette-${number}` });
        item.setAttribute("role", "option");
        if (row.key) item.append(" ", make("kbd", row.key));
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

  const HELP = [["Ctrl K", "go to a page, or find"], ["/", "search"], ["j, k", "next and previous row"], ["Enter", "open the row"], ["x", "choose the row"], ["Shift x", "choose all rows from the last chosen to this one"], ["e", "release"], ["d", "delete"], ["b", "block the sender"], ["p", "pause what is live"], ["?", "this list"]];
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

  const rows = () => [...document.querySelectorAll("main tbody tr")].filter((row) => row.checkVisibility() && row.querySelector("a[href]"));
  function step(by) {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[Math.max(0, Math.min(all.length - 1, now < 0 ? 0 : now + by))];
    next.querySelector("a[href]").focus();
  }

  let last = null;
  function choose(isRange) {
    const row = document.activeElement?.closest?.("main tbody tr"), box = row?.querySelector("input[type=checkbox], input[type=radio]");
    if (!box) return;
    const all = [...row.parentElement.children], from = last?.isConnected ? all.indexOf(last) : -1, to = all.indexOf(row);
    if (isRange && from >= 0) {
      for (const one of all.slice(Math.min(from, to), Math.max(from, to) + 1)) { const each = one.querySelector("input[type=checkbox]"); if (each && !each.checked) each.click(); }
    } else box.click();
    last = row;
  }
  // The page of lists asks, with its form filled.
  function block() {
    const sender = (document.activeElement?.closest?.("[data-sender]") || document.querySelector("main section[data-sender]"))?.dataset.sender;
    const lists = places.find((place) => place.dataset.key === "p" && place.pathname.endsWith("/lists"));
    if (sender && lists) location.assign(`${lists.href}?${new URLSearchParams({ kind: "block-sender", entry: sender })}`);
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
    const verbs = {
      "/": search, "?": help, g: () => { lead = Date.now(); }, j: () => step(1), k: () => step(-1),
      x: () => choose(false), X: () => choose(true), b: block, p: () => document.dispatchEvent(new Event("pause")),
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
