// One line to the event stream for all pages of a browser. This file is a shared worker, and where a browser has none
// each page loads it for itself. Whoever follows says where from, which topics and which filter; those with the same
// filter share a line. A line goes on where it was (last_event_id), comes back by itself, later each time, and
// is given up while nobody looks.
"use strict";
(() => {
  const FIRST_MS = 3000, MOST_MS = 60000;
  // Three beats of the server: a line that is silent for so long is dead.
  const SILENCE_MS = 45000;
  const ABOUT = { session: "session", sampled: "session", message: "message", backend: "backend", alert: "alert", task: "task", metric: "metric", config: "config" };
  const topicOf = (name) => (name.startsWith("admin.config") ? "config" : ABOUT[name.split(".")[0]] || "log");
  const lines = new Map();

  class Line {
    constructor(url, filter) {
      Object.assign(this, { url, filter, readers: new Set(), topics: [], last: "", wait: FIRST_MS, retry: FIRST_MS, stop: null, timer: 0, watch: 0 });
    }
    tell(name, data) {
      const topic = topicOf(name), isForAll = name[0] === "#" || name === "gap" || name === "dropped";
      for (const reader of this.readers) if (reader.isAwake && (isForAll || reader.topics.includes(topic))) reader.hear({ name, data });
    }
    look() {
      const wanted = [...new Set([...this.readers].filter((one) => one.isAwake).flatMap((one) => one.topics))].sort();
      if (!wanted.length) this.close();
      else if (wanted.some((topic) => !this.topics.includes(topic)) || (!this.stop && !this.timer)) { this.topics = wanted; this.close(); this.open(); }
    }
    close() {
      clearTimeout(this.timer);
      clearTimeout(this.watch);
      this.stop?.abort();
      this.stop = null;
      this.timer = 0;
    }
    lost() {
      this.close();
      this.tell("#lost", {});
      this.timer = setTimeout(() => { this.timer = 0; this.open(); }, this.wait + Math.random() * FIRST_MS / 2);
      this.wait = Math.min(this.wait * 2, MOST_MS);
    }
    alive(stop) {
      clearTimeout(this.watch);
      this.watch = setTimeout(() => { if (this.stop === stop) this.lost(); }, SILENCE_MS);
    }
    async open() {
      const stop = this.stop = new AbortController();
      const query = new URLSearchParams({ topics: this.topics.join(",") });
      if (this.filter) query.set("filter", this.filter);
      if (this.last) query.set("last_event_id", this.last);
      this.alive(stop);
      try {
        const answer = await fetch(`${this.url}?${query}`, { signal: stop.signal, cache: "no-store" });
        if (!answer.ok || answer.redirected) throw new Error(`${answer.status}`);
        this.tell("#open", {});
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          this.wait = this.retry;
          this.alive(stop);
          const pieces = (rest + value).split("\n\n");
          rest = pieces.pop();
          for (const piece of pieces) this.take(piece);
        }
      } catch { /* told below: whatever the reason, it is tried again */ }
      if (this.stop === stop) this.lost();
    }
    // One event as the server writes it: a name, a number and one line of JSON (HTML standard, 9.2.6).
    take(piece) {
      let name = "", data = "";
      for (const line of piece.split("\n")) {
        const [field, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)];
        if (field === "id") this.last = value;
        else if (field === "event") name = value;
        else if (field === "data") data = value;
        else if (field === "retry") this.retry = this.wait = Number(value) || FIRST_MS;
      }
      if (name) this.tell(name, data ? JSON.parse(data) : {});
    }
  }

  function follow(url, filter, topics, hear) {
    const key = `${url} ${filter}`;
    if (!lines.has(key)) lines.set(key, new Line(url, filter));
    const line = lines.get(key), reader = { topics, hear, isAwake: true };
    line.readers.add(reader);
    line.look();
    return {
      wake(isAwake) { reader.isAwake = isAwake; line.look(); },
      end() {
        line.readers.delete(reader);
        line.look();
        if (!line.readers.size) lines.delete(key);
      },
    };
  }

  if (typeof SharedWorkerGlobalScope !== "undefined" && self instanceof SharedWorkerGlobalScope) {
    self.onconnect = ({ ports: [port] }) => {
      const own = [];
      port.onmessage = ({ data }) => {
        if (data.follow) {
          const number = own.length;
          own.push(follow(data.follow.url, data.follow.filter, data.follow.topics, (event) => port.postMessage({ number, event })));
        } else if (data.end) own.forEach((one) => one.end());
        else own.forEach((one) => one.wake(data.isAwake));
      };
    };
  } else self.smtpgateFollow = follow;
})();
