// The tail of the log: what came since the newest line, every second while somebody looks. Rows look as the server's.
"use strict";
(() => {
  const table = document.getElementById("log"), gate = window.smtpgate;
  if (!table || !gate) return;
  const EVERY_MS = 1000, MOST = 300, SLOWEST_MS = 30000;
  const TONES = { error: ["bad", "✗"], warning: ["wait", "…"] };
  const by = (id) => document.getElementById(id), body = table.tBodies[0];
  const facts = table.dataset.facts.split(" ");
  const filter = by("log-filter").value, level = by("log-level").value, pause = by("pause"), held = by("held");
  let last = Number(table.dataset.last), isPaused = false, isAsking = false, wait = EVERY_MS;

  const make = (name, words, more) => Object.assign(document.createElement(name), words === undefined ? {} : { textContent: words }, more);
  function put(name, ...inside) {
    const cell = make("td");
    cell.dataset.name = name;
    cell.append(...inside);
    return cell;
  }
  function row(line) {
    const made = make("tr"), [tone, sign] = TONES[line.level] || ["neutral", "○"];
    const time = put("Time", line.time.slice(0, 23).replace("T", " "));
    time.className = "time";
    const opens = line.reference && table.dataset.opens;
    const what = put("What", make("bdi", line.message));
    what.className = "foreign";
    const field = (name) => { const made = make("small", `${name}=`); made.append(make("bdi", line.fields[name])); return made; };
    const names = Object.keys(line.fields), rest = names.filter((name) => !facts.includes(name));
    for (const name of facts) if (names.includes(name)) what.append(" ", field(name));
    if (rest.length) {
      const more = make("details"), words = make("summary");
      words.append(make("small", `${rest.length} more`));
      more.append(words, ...rest.flatMap((name) => [" ", field(name)]));
      what.append(more);
    }
    made.append(time, put("Level", make("span", `${sign} ${line.level}`, { className: `mark ${tone}` })),
      put("Event", opens ? make("a", line.event || "line", { href: gate.place(`sessions/${encodeURIComponent(line.reference)}`) }) : line.event), what);
    return made;
  }
  async function read() {
    if (isPaused || document.hidden || isAsking) return;
    isAsking = true;
    try {
      const query = new URLSearchParams({ after: last, limit: 200 });
      if (level) query.set("level", level);
      if (filter) query.set("filter", filter);
      const answer = await fetch(`${table.dataset.series}?${query}`, { headers: { Accept: "application/json" } });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(`${answer.status}`);
      const found = await answer.json();
      if (isPaused) return;
      last = found.last;
      if (found.left_out) {
        const gap = make("tr", undefined, { className: "gap" });
        gap.append(make("td", `${found.left_out} lines are left out here`, { colSpan: 4 }));
        body.prepend(gap);
      }
      for (const line of found.items) body.prepend(row(line));
      while (body.children.length > MOST) body.lastChild.remove();
      by("log-empty").hidden = body.children.length > 0;
      wait = EVERY_MS;
      gate.answered();
    } catch {
      wait = Math.min(wait * 2, SLOWEST_MS);
      gate.missed();
    } finally { isAsking = false; }
  }
  function toggle() {
    isPaused = !isPaused;
    held.textContent = isPaused ? "Nothing moves until you go on" : "";
    pause.setAttribute("aria-pressed", String(isPaused));
    read();
  }
  pause.hidden = false;
  pause.addEventListener("click", toggle);
  document.addEventListener("pause", toggle);
  by("log-level").addEventListener("change", (event) => event.target.form.requestSubmit());
  document.addEventListener("visibilitychange", read);
  (function beat() { setTimeout(() => read().then(beat), wait); })();
})();
