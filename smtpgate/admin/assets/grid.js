// The grid of live sessions: rows as the event stream tells of them. What is here and what the server wrote look the same
// (live.html). Everything of strangers becomes text, never markup.
"use strict";
(() => {
  const table = document.getElementById("grid"), gate = window.smtpgate;
  if (!table || !gate) return;
  const LETTERS = { running: "…", pass: "P", note: "N", accept: "A", tag: "T", discard: "X", redirect: "V", quarantine: "Q", defer: "D", error: "E", reject: "R" };
  const OUTCOMES = { delivered: ["good", "✓ accepted"], refused: ["bad", "✗ refused"], aborted: ["neutral", "○ given up"], discarded: ["neutral", "○ discarded"], redirected: ["neutral", "○ redirected"] };
  const AGAIN_MS = 10000, MARKS = 3;
  const body = table.tBodies[0], by = (id) => document.getElementById(id);
  const filter = by("grid-filter").value, most = Number(by("grid-rows").value);
  const pause = by("pause"), held = by("held");
  const rows = new Map();
  let marks = [], columns = [...table.querySelectorAll("th[data-filter]")].map((one) => one.dataset.filter);
  let isPaused = false, missed = 0, wasLost = false, isAsking = false;

  function make(name, words, more) { return Object.assign(document.createElement(name), words === undefined ? {} : { textContent: words }, more); }
  function put(name, ...inside) {
    const cell = make("td");
    cell.dataset.name = name;
    cell.append(...inside);
    return cell;
  }
  const foreign = (words) => make("bdi", words);
  const small = (...inside) => { const one = make("small"); one.append(...inside); return one; };
  function span(seconds) {
    if (seconds < 1) return `${Math.max(0, seconds * 1000).toFixed(0)} ms`;
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    const parts = [[Math.floor(seconds / 86400), "d"], [Math.floor(seconds / 3600) % 24, "h"], [Math.floor(seconds / 60) % 60, "min"], [Math.floor(seconds) % 60, "s"]];
    const first = parts.findIndex(([count]) => count);
    return parts.slice(first, first + 2).filter(([count]) => count).map(([count, unit]) => `${count} ${unit}`).join(" ");
  }
  const age = (one) => span(one.row.age_s + (one.row.is_live ? (performance.now() - one.at) / 1000 : 0));

  function cell(name, said) {
    const box = put(name);
    box.className = "cell";
    if (!said) return box;
    const [word, worst, , ms, isShadow] = said;
    box.classList.add(worst);
    if (isShadow) box.classList.add("shadow");
    const words = small(worst === "pass" ? make("span", "pass", { className: "unseen" }) : worst);
    words.append(`${word === worst ? "" : `, then ${word}`}${isShadow ? " in shadow" : ""}${ms ? ` ${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms` : ""}`);
    box.append(make("b", LETTERS[worst] || "?"), " ", words);
    return box;
  }
  function build(one) {
    const { row } = one, line = make("tr", undefined, { className: row.is_live ? "" : "over" });
    line.dataset.id = row.id;
    if (table.dataset.acts) {
      const choice = make("input", undefined, { type: "checkbox", name: `id-${row.id}`, value: "yes" });
      choice.setAttribute("form", "act");
      choice.setAttribute("aria-label", `Choose the session of ${row.client_ip}`);
      line.append(put("Choose", choice));
    }
    one.age = table.dataset.opens ? make("a", age(one), { href: gate.place(`sessions/${encodeURIComponent(row.id)}`) }) : make("span", age(one));
    line.append(put("Age", one.age));
    const client = put("Client", foreign(row.client_ip));
    client.className = "foreign";
    if (row.helo) client.append(" ", small(foreign(row.helo)));
    if (row.user) client.append(" ", small("as ", foreign(row.user)));
    client.append(" ", small(row.listener + (row.tls ? `, ${row.tls}` : "")));
    const way = put("From, to", row.sender ? foreign(row.sender) : "–");
    way.className = "foreign";
    if (row.sender) way.append(" ", small(`to ${row.recipients}`));
    const stage = put("Stage", row.is_live ? row.stage : "ended");
    if (!row.is_live) stage.append(" ", small(row.closed_by));
    if (row.outcome) {
      const [tone, words] = OUTCOMES[row.outcome] || ["wait", `… ${row.outcome}`];
      stage.append(" ", make("span", words, { className: `mark ${tone}` }));
      if (row.code) stage.append(" ", small(String(row.code)));
    }
    line.append(client, way, stage, put("Server", row.server || "–"), ...columns.map((name) => cell(name, row.cells[name])));
    return line;
  }

  // A filter that no column has: a plugin that came with a reload, or what a backend's finding is called.
  function widen(row) {
    const fresh = Object.keys(row.cells).filter((name) => !columns.includes(name));
    if (!fresh.length) return;
    const [groups, names] = table.tHead.rows;
    let other = groups.querySelector("[data-stage=other]");
    if (!other) {
      other = make("th", "other", { scope: "colgroup", colSpan: 0 });
      other.dataset.stage = "other";
      other.colSpan = fresh.length;
      groups.append(other);
    } else other.colSpan += fresh.length;
    for (const name of fresh) {
      const head = make("th", name, { scope: "col" });
      head.dataset.filter = name;
      names.append(head);
    }
    columns = [...columns, ...fresh];
    for (const one of rows.values()) draw(one);
  }
  function draw(one) {
    const line = build(one), before = one.line;
    if (before) {
      const was = before.querySelector("input[type=checkbox]"), choice = line.querySelector("input[type=checkbox]");
      const focused = before.contains(document.activeElement) ? [...before.querySelectorAll("a, input")].indexOf(document.activeElement) : -1;
      if (was?.checked) choice.checked = true;
      if (before.isConnected) before.replaceWith(line);
      if (focused >= 0) line.querySelectorAll("a, input")[focused]?.focus({ preventScroll: true });
    }
    one.line = line;
  }
  // The newest first; more than are wanted fall off below, but never a chosen one.
  function order() {
    const sorted = [...rows.values()].sort((a, b) => (a.row.started < b.row.started ? 1 : a.row.started > b.row.started ? -1 : a.row.id < b.row.id ? 1 : -1));
    for (const one of sorted.slice(most)) if (!one.line.querySelector("input:checked")) { one.line.remove(); rows.delete(one.row.id); }
    const lines = sorted.filter((one) => rows.has(one.row.id)).map((one) => [one.row.started, one.line]);
    const all = [...lines, ...marks].sort((a, b) => (a[0] < b[0] ? 1 : a[0] > b[0] ? -1 : 0)).map(([, line]) => line);
    all.forEach((line, place) => { if (body.children[place] !== line) body.insertBefore(line, body.children[place] || null); });
    while (body.children.length > all.length) body.lastChild.remove();
    by("grid-empty").hidden = rows.size > 0;
    by("grid-wide").hidden = !rows.size && !marks.length;
  }
  function take(row) {
    widen(row);
    const one = rows.get(row.id) || {};
    Object.assign(one, { row, at: performance.now() });
    rows.set(row.id, one);
    draw(one);
  }
  function sampled(oneIn, rate) {
    by("grid-one-in").textContent = oneIn;
    by("grid-rate").textContent = rate;
    by("grid-sampled").hidden = oneIn === 1;
  }
  function gap(words) {
    const line = make("tr", undefined, { className: "gap" }), box = make("td", words, { colSpan: 99 });
    line.append(box);
    marks = [[new Date().toISOString(), line], ...marks].slice(0, MARKS);
  }

  // All of it anew: at first, after a gap, and now and then, since numbers and sessions that nobody tells of go on too.
  async function read() {
    if (isPaused || document.hidden || isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch(`${table.dataset.series}?${new URLSearchParams({ rows: most, filter })}`, { headers: { Accept: "application/json" } });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(`${answer.status}`);
      const grid = await answer.json();
      if (isPaused) return;
      const known = new Set(grid.items.map((row) => row.id));
      for (const [id, one] of rows) if (!known.has(id) && !one.line.querySelector("input:checked")) { one.line.remove(); rows.delete(id); }
      grid.items.forEach(take);
      by("grid-total").textContent = grid.total;
      by("grid-limit").textContent = grid.limit;
      sampled(grid.one_in, grid.rate);
      order();
      gate.answered();
    } catch { gate.missed(); } finally { isAsking = false; }
  }

  let soon = 0;
  const arrange = () => { soon = 0; order(); };
  gate.follow(["session"], filter, ({ name, data }) => {
    if (name === "#lost") { wasLost = true; gate.missed(); return; }
    if (name === "#open") { gate.answered(); if (wasLost) { wasLost = false; read(); } return; }
    gate.answered();
    if (name === "gap" || name === "dropped") {
      gap(name === "gap" ? "The line was broken: what happened before this is not told" : `${data.count} events are left out here: this page was too slow`);
      read();
    } else if (name === "sampled") sampled(data.one_in, data.rate);
    else if (isPaused) { missed += 1; held.textContent = `${missed} changes wait`; }
    else {
      take(data);
      if (!soon) soon = requestAnimationFrame(arrange);
    }
  });

  function toggle() {
    isPaused = !isPaused;
    missed = 0;
    held.textContent = isPaused ? "Nothing moves until you go on" : "";
    pause.setAttribute("aria-pressed", String(isPaused));
    if (!isPaused) read();
  }
  pause.hidden = false;
  pause.addEventListener("click", toggle);
  document.addEventListener("pause", toggle);
  by("grid-rows").addEventListener("change", (event) => event.target.form.requestSubmit());
  table.addEventListener("change", () => {
    const some = [...table.querySelectorAll("input:checked")].map((box) => rows.get(box.name.slice(3))).filter(Boolean);
    if (some.length === 1) by("chosen").replaceChildren("With the session of ", foreign(some[0].row.client_ip), ":");
    else by("chosen").replaceChildren(`With ${some.length || "the"} chosen sessions:`);
  });
  document.addEventListener("visibilitychange", read);
  setInterval(read, AGAIN_MS);
  setInterval(() => { if (!isPaused && !document.hidden) for (const one of rows.values()) if (one.row.is_live) one.age.textContent = age(one); }, 1000);
  read();
})();
