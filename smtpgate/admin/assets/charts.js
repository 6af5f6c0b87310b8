// Draws the traffic plot over the picture that the server drew.
"use strict";
(() => {
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
      // When a configuration was put to work: a line across, as in the server's picture.
      const times = (place.dataset.marks || "").split(" ").filter(Boolean).map(Number);
      const lines = (u) => {
        u.ctx.strokeStyle = color("--ink");
        for (const time of times) {
          const x = Math.round(u.valToPos(time, "x", true));
          if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
          u.ctx.beginPath();
          u.ctx.moveTo(x, u.bbox.top);
          u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
          u.ctx.stroke();
        }
      };
      plot = new uPlot({
        hooks: { draw: [lines] },
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
