// Keeps what is marked with data-live fresh. Pages read well and do their forms without it.
// Each such part says to htmx what it is fetched from (templates.py, `live`); here it is only said when: at its
// pace, at once when the event stream tells of something it waits for, and not while nobody looks or somebody is
// in the middle of typing, choosing or marking text in it.
"use strict";
(() => {
  const MISSES = 3;
  const stale = document.getElementById("stale");
  const parts = () => [...document.querySelectorAll("[data-live]")];
  let misses = 0, last = Date.now(), gap = "";
  const clock = (at) => new Date(at).toISOString().slice(0, 19).replace("T", " ");

  function isTouched(part) {
    const active = document.activeElement;
    const chosen = document.getSelection();
    return (part.contains(active) && active.matches("input, select, button, textarea, summary")) ||
      (chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode)) ||
      [...part.querySelectorAll("input:not([type=hidden])")].some((field) =>
        field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
  }

  // The answer to a form stands at the form's address: what is fetched again, and marked, is the page itself.
  const home = parts().map((part) => part.dataset.from).find(Boolean);
  if (home && location.pathname !== home) history.replaceState(null, "", home);

  function refresh() {
    if (document.hidden) return;
    for (const part of parts()) {
      if (!part.classList.contains("htmx-request") && !isTouched(part)) part.dispatchEvent(new Event("refresh"));
    }
  }

  function answered() {
    const now = Date.now();
    // What was not heard stays said, until the page is loaded anew.
    if (misses >= MISSES) gap = `; nothing was heard from ${clock(last)} for ${Math.round((now - last) / 1000)} s`;
    misses = 0;
    last = now;
    if (!stale) return;
    document.body.classList.remove("is-stale");
    stale.textContent = `as of ${clock(now)} UTC${gap}`;
  }

  function missed() {
    misses += 1;
    if (misses < MISSES || !stale) return;
    document.body.classList.add("is-stale");
    stale.textContent = `last update ${Math.round((Date.now() - last) / 1000)} s ago: what you see is old`;
  }

  document.addEventListener("htmx:before:response", (event) => {
    const answer = event.detail.ctx.response;
    // Logged out meanwhile: the login page is no part of this one.
    if (answer.raw.redirected && new URL(answer.raw.url).pathname !== location.pathname) {
      event.preventDefault();
      location.reload();
    }
  });
  document.addEventListener("htmx:after:swap", answered);
  document.addEventListener("htmx:error", missed);
  document.addEventListener("htmx:response:error", missed);

  let timer = 0;
  function beat() {
    clearTimeout(timer);
    const live = parts();
    if (!live.length) return;
    const pace = Math.min(...live.map((part) => Number(part.dataset.live))) * 1000;
    timer = setTimeout(() => { refresh(); beat(); }, Math.min(pace * 2 ** Math.max(0, misses - MISSES + 1), 60000));
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { refresh(); beat(); } });

  // The event stream: one line for all pages, in a shared worker where the browser has one (stream.js).
  const root = document.documentElement;
  const place = (path) => new URL(`${root.dataset.base}${path}`, location.href).href;
  const followed = [];
  let port = null;
  function worker() {
    if (port || !window.SharedWorker) return port;
    // Nothing but this one file can become a worker here.
    const ours = window.trustedTypes?.createPolicy("smtpgate", { createScriptURL: () => root.dataset.stream });
    port = new SharedWorker(ours ? ours.createScriptURL("") : root.dataset.stream, { name: "smtpgate" }).port;
    port.onmessage = ({ data }) => followed[data.number]?.hear(data.event);
    return port;
  }
  // hear({name, data}) for each event; "#open" and "#lost" tell how the line is.
  function follow(topics, filter, hear) {
    const url = place("api/v1/events");
    const one = { hear };
    followed.push(one);
    if (worker()) port.postMessage({ follow: { url, filter, topics } });
    else one.line = window.smtpgateFollow(url, filter, topics, hear);
  }
  function wake(isAwake) {
    port?.postMessage({ isAwake });
    for (const one of followed) one.line?.wake(isAwake);
  }
  document.addEventListener("visibilitychange", () => wake(!document.hidden));
  addEventListener("pagehide", ({ persisted }) => {
    if (persisted) { wake(false); return; }
    port?.postMessage({ end: true });
    for (const one of followed) one.line?.end();
  });
  addEventListener("pageshow", ({ persisted }) => { if (persisted) { wake(true); refresh(); } });

  const topics = [...new Set(parts().flatMap((part) => (part.dataset.events || "").split(" ")).filter(Boolean))];
  if (topics.length) {
    let soon = 0;
    follow(topics, "", ({ name }) => {
      if (name[0] !== "#" && !soon) soon = setTimeout(() => { soon = 0; refresh(); }, 1000);
    });
  }
  window.smtpgate = { follow, place, answered, missed };
  beat();
})();
