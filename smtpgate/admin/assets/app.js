// Keeps what is marked with data-live fresh, and draws the traffic plot. All pages work without it.
// Fresh pages are parsed by the browser's own XMLHttpRequest into a document in which no script runs; no text is
// ever made into HTML here.
"use strict";
(() => {
  const live = () => [...document.querySelectorAll("[data-live]")];
  const stale = document.getElementById("stale");
  let misses = 0, timer = 0, busy = false, last = Date.now();

  const period = () => Math.min(...live().map((part) => Number(part.dataset.live))) * 1000;

  function isTouched(part) {
    const active = document.activeElement;
    const chosen = document.getSelection();
    return (part.contains(active) && active.matches("input, select, button, textarea, summary")) ||
      (chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode)) ||
      [...part.querySelectorAll("input:not([type=hidden])")].some((field) => field.value !== field.defaultValue);
  }

  function missed() {
    misses += 1;
    if (misses >= 3 && stale) {
      document.body.classList.add("is-stale");
      stale.textContent = `no answer for ${Math.round((Date.now() - last) / 1000)} s: what you see is old`;
    }
  }

  function refresh() {
    if (busy || document.hidden || !live().length) return;
    busy = true;
    const ask = new XMLHttpRequest();
    ask.open("GET", location.href);
    ask.responseType = "document";
    ask.timeout = 8000;
    ask.onload = () => {
      busy = false;
      if (ask.status === 404) return;
      if (ask.status !== 200 || !ask.response) return missed();
      if (new URL(ask.responseURL).pathname !== location.pathname) { location.reload(); return; }
      misses = 0;
      last = Date.now();
      document.body.classList.remove("is-stale");
      const fresh = ask.response;
      for (const part of live()) {
        const next = fresh.getElementById(part.id);
        if (next && !isTouched(part) && next.outerHTML !== part.outerHTML) part.replaceWith(document.importNode(next, true));
      }
      const said = fresh.getElementById("stale");
      if (said && stale) stale.textContent = said.textContent;
    };
    ask.onerror = ask.ontimeout = () => { busy = false; missed(); };
    ask.send();
  }

  function beat() {
    clearTimeout(timer);
    if (!live().length) return;
    timer = setTimeout(() => { refresh(); beat(); }, Math.min(period() * 2 ** Math.max(0, misses - 2), 60000));
  }

  // The answer to a form stands at the form's address: what is fetched again, and marked, is the page itself.
  const home = live().map((part) => part.dataset.from).find(Boolean);
  if (home && location.pathname !== home) history.replaceState(null, "", home);

  const topics = live().map((part) => part.dataset.events).filter(Boolean);
  if (topics.length && window.EventSource) {
    let soon = 0;
    const source = new EventSource(`/api/v1/events?topics=${topics.join(",")}`);
    const wake = () => { if (!soon) soon = setTimeout(() => { soon = 0; refresh(); }, 300); };
    for (const name of ["session.opened", "session.ended", "backend.changed", "dropped", "gap"]) source.addEventListener(name, wake);
    addEventListener("pagehide", () => source.close());
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { refresh(); beat(); } });
  beat();

  const place = document.getElementById("traffic");
  if (place && window.uPlot) {
    const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const kinds = [["refused", "--bad"], ["deferred", "--filter"], ["accepted", "--backend"]];
    let plot = null;
    // Stacked from the ground up: the outermost band is drawn first.
    const table = (points) => [
      points.map((point) => Date.parse(point.time) / 1000),
      points.map((point) => point.accepted + point.deferred + point.refused),
      points.map((point) => point.accepted + point.deferred),
      points.map((point) => point.accepted),
    ];
    const draw = (points) => {
      if (!points.length) return;
      const raw = points;
      if (plot) plot.destroy();
      const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
      const bars = uPlot.paths.bars({ size: [0.85, 40] });
      place.replaceChildren();
      plot = new uPlot({
        width: place.clientWidth, height: 200, tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC"),
        scales: { y: { range: (u, low, high) => [0, Math.max(high, 4)] } },
        axes: [{ ...axis, values: (u, times) => times.map((time) => new Date(time * 1000).toISOString().slice(11, 16)) }, { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000] }],
        cursor: { y: false },
        series: [{ label: "minute", value: "{HH}:{mm}" }, ...kinds.map(([name, tone]) => ({
          label: name, stroke: color(tone), fill: color(tone), width: 0, paths: bars, points: { show: false },
          value: (u, value, series, index) => (index === null || !raw[index] ? "–" : raw[index][name]),
        }))],
      }, table(points), place);
    };
    const load = () => fetch(place.dataset.series).then((answer) => answer.json()).then((series) => draw(series.points)).catch(() => {});
    load();
    setInterval(() => { if (!document.hidden) load(); }, 5000);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", load);
    addEventListener("resize", () => { if (plot) plot.setSize({ width: place.clientWidth, height: 200 }); });
  }
})();
