"""docs/metrics.md, made from the catalogue: `python -m smtpgate.observe.reference`."""

from __future__ import annotations

import sys

from smtpgate.observe import catalogue
from smtpgate.observe.catalogue import METRICS
from smtpgate.observe.exposition import PREFIX
from smtpgate.observe.recorder import KEPT
from smtpgate.policy.meter import LATENCY

_HEAD = """# Metrics

`/metrics` answers in the text format 0.0.4, and in OpenMetrics 1.0 where the scraper asks for it; then the histogram of
message durations has exemplars with a `session_id`, which opens the page of that session. From loopback and on
`admin.health_listen` it needs no login; elsewhere a token with the permission `metrics:read`.

    scrape_configs:
      - job_name: smtpgate
        static_configs: [{targets: ["127.0.0.1:8080"]}]

Label values are names of the configuration and words of closed lists: never an address, a domain, a user, an id or
a text of a stranger. A label has at most %(names)d different names and a reason is one of %(reasons)d; what comes after
them is counted as `other`, and so is a server that the DNS names. What a configuration can count is there at zero from
the start. Beside these there are the standard `process_*`.

Rules with alerts lie in [etc/prometheus/alerts.yml](../etc/prometheus/alerts.yml), with a page for each in
[runbooks](runbooks/README.md); dashboards for Grafana in `etc/grafana`. Without any of that the page Statistics shows
the metrics marked with a dot, by the minute for 48 hours and by the hour for 400 days.

| bounds of | |
|---|---|
| times, seconds | %(latency)s |
| sizes, octets | %(size)s |
| scores | %(score)s |

| verdict | means |
|---|---|
| accept | the backend took it |
| tag | the same, marked as suspicious |
| redirect | sent elsewhere by a rule |
| quarantine | held here |
| discard | held here for a short time, and nobody is told |
| defer | the client was told to come back |
| reject | the client was told no |
| abort | the client gave up before the end of its data |
| error | the backend's answer to the end of data was lost |

"""


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.12g}" for value in values)


def document() -> str:
    """The page."""
    out = [
        _HEAD
        % {
            "names": catalogue.NAMES,
            "reasons": catalogue.REASONS,
            "latency": _listed(LATENCY),
            "size": _listed(catalogue.SIZE),
            "score": _listed(catalogue.SCORE),
        },
        "| metric | kind | labels | meaning |\n|---|---|---|---|\n",
    ]
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        dot = " •" if metric.name in KEPT else ""
        out.append(f"| `{PREFIX}{metric.name}`{dot} | {metric.kind} | {labels} | {metric.about} |\n")
    return "".join(out)


if __name__ == "__main__":
    sys.stdout.write(document())
