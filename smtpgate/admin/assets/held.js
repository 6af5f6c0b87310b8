// Held mail by keys, and a sign that more has come. On the list e and d take what is chosen, or the row that has the
// focus, and a page asks once more; on one message e, d, j and k do what their buttons do. What changes mail wants Enter
// after the letter: it gives the focus to the button that does it, or leads to the page that asks.
"use strict";
(() => {
  const isOff = () => { try { return localStorage.getItem("smtpgate-no-keys") === "yes"; } catch { return false; } };
  const isField = (target) => target instanceof Element && target.closest("input:not([type=checkbox]), select, textarea, [contenteditable]");
  const list = document.getElementById("held");
  let lead = 0;

  function decide(button) {
    const row = document.activeElement?.closest?.("#held tbody tr");
    if (!list.querySelector("input[name^='id-']:checked, input[name=all]:checked")) {
      const box = row?.querySelector("input[name^='id-']");
      if (!box) return;
      box.checked = true;
    }
    const ask = Object.assign(document.createElement("input"), { type: "hidden", name: "ask", value: "yes" });
    list.append(ask);
    list.requestSubmit(button);
    ask.remove();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isField(event.target) || isOff() || document.querySelector("dialog[open]")) return;
    // The letter after g opens a page.
    if (event.key === "g") { lead = Date.now(); return; }
    if (Date.now() - lead < 1500) { lead = 0; return; }
    if (!/^[a-z]$/.test(event.key)) return;
    const target = document.querySelector(`main [data-key="${event.key}"]`);
    const row = list && event.key === "b" && document.activeElement?.closest?.("#held tbody tr")?.querySelector("a[href]");
    // Blocking is done on the page of the message, where it is said whom.
    if (row) { event.preventDefault(); event.stopPropagation(); location.assign(`${row.href}#block`); return; }
    if (!target) return;
    // Before the keys of all pages, for which j and k are rows.
    event.preventDefault();
    event.stopPropagation();
    if (list) decide(target);
    else if (target.matches("a")) location.assign(target.href);
    else if (target.matches("summary")) { target.parentElement.open = true; target.parentElement.querySelector("button").focus(); }
    else target.focus();
  }, true);

  if (location.hash === "#block") document.getElementById("block")?.focus();

  // How many came since the list was made. Rows never move by themselves.
  const pill = document.getElementById("fresh");
  async function look() {
    if (document.hidden) return;
    const base = document.documentElement.dataset.base || "/";
    const query = [pill.dataset.context, `after=${encodeURIComponent(pill.dataset.after)}`, "limit=1"].filter(Boolean).join("&");
    try {
      const answer = await fetch(`${base}api/v1/quarantine?${query}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const { total } = await answer.json();
      pill.hidden = !total;
      pill.textContent = total ? `${total} new` : "";
    } catch { /* The next look may do; the page says by itself how old it is. */ }
  }
  if (pill) setInterval(look, 10000);
})();
