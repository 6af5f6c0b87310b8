"""Alert rules, runbooks and dashboards: what they name exists, and each alert fires when it should and not before.

The rules are played by promtool (Debian package prometheus); without it that part is skipped, unless
SMTPGATE_REQUIRE_REAL=1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from smtpgate.observe import reference
from smtpgate.observe.catalogue import METRICS
from smtpgate.policy.meter import LATENCY

ROOT = Path(__file__).resolve().parent.parent
ALERTS = ROOT / "etc" / "prometheus" / "alerts.yml"
DASHBOARDS = sorted((ROOT / "etc" / "grafana").glob("*.json"))
#: Of prometheus_client's process collector, and what Prometheus adds itself.
STANDARD = {"process_open_fds", "process_max_fds", "process_resident_memory_bytes", "process_cpu_seconds_total",
            "process_start_time_seconds", "up"}  # fmt: skip

WHO = 'job="smtpgate",instance="gate:8080"'
#: Minutes of one sample each: nothing for a day, then what happens.
DAY = 1440


def slow(name: str, seconds: float, labels: str = "") -> dict[str, str]:
    """A histogram whose values all take so long, one a minute."""
    out = {}
    for bound in (*map(repr, LATENCY), "+Inf"):
        up = 1 if bound == "+Inf" or float(bound) >= seconds else 0
        out[f'{name}_bucket{{{WHO},le="{bound}"{labels}}}'] = f"0+{up}x120"
    return out


def rates(name: str, **labels: tuple[str, int]) -> dict[str, str]:
    """A counter by one label: so many a minute."""
    return {f'{name}{{{WHO},{label}="{value}"}}': f"0+{rate}x120" for label, (value, rate) in labels.items()}


def messages(verdict: str, part: int) -> dict[str, str]:
    """A thousand messages a minute, so many of them with this verdict."""
    name = "smtpgate_messages_total"
    return {
        f'{name}{{{WHO},verdict="accept"}}': f"0+{1000 - part}x120",
        f'{name}{{{WHO},verdict="{verdict}"}}': f"0+{part}x120",
    }


def gauge(name: str, value: float, labels: str = "") -> dict[str, str]:
    """A number that stays."""
    return {f"{name}{{{WHO}{labels}}}": f"{value}x120"}


def counter(name: str, rate: float, labels: str = "") -> dict[str, str]:
    """So many a minute."""
    return {f"{name}{{{WHO}{labels}}}": f"0+{rate}x120"}


def days(*values: int) -> dict[str, str]:
    """Connections of two days, so many a minute on each."""
    first, second = values
    total = first * DAY
    return {f"smtpgate_connections_total{{{WHO}}}": f"0+{first}x{DAY} {total}+{second}x120",
            f"smtpgate_draining{{{WHO}}}": f"0x{DAY + 120}"}  # fmt: skip


ONE_DOWN = gauge("smtpgate_backend_up", 0, ',pool="mail",server="a"')
#: By alert: what makes it fire, what does not, and after how many minutes it is looked at.
CASES: dict[str, tuple[dict[str, str], dict[str, str], int]] = {
    "SmtpgateDown": (gauge("up", 0), gauge("up", 1), 5),
    "SmtpgateNoTraffic": (days(5, 0), days(5, 1), DAY + 60),
    "SmtpgateInternalErrorRate": (messages("error", 20), messages("error", 5), 60),
    "SmtpgateDeferRate": (messages("defer", 300), messages("defer", 150), 60),
    "SmtpgateLatencyP95": (
        slow("smtpgate_message_duration_seconds", 45, ',verdict="accept"'),
        slow("smtpgate_message_duration_seconds", 4, ',verdict="accept"'),
        60,
    ),
    "SmtpgatePoolDown": (
        {**ONE_DOWN, **gauge("smtpgate_backend_up", 0, ',pool="mail",server="b"')},
        {**ONE_DOWN, **gauge("smtpgate_backend_up", 1, ',pool="mail",server="b"')},
        10,
    ),
    "SmtpgateBackendFlapping": (
        counter("smtpgate_backend_transitions_total", 1, ',pool="mail",server="a",to="up"'),
        counter("smtpgate_backend_transitions_total", 0.1, ',pool="mail",server="a",to="up"'),
        60,
    ),
    "SmtpgateBackendQueue": (
        slow("smtpgate_backend_queue_seconds", 9, ',pool="mail"'),
        slow("smtpgate_backend_queue_seconds", 0.02, ',pool="mail"'),
        60,
    ),
    "SmtpgateScannerFailingOpen": (
        counter("smtpgate_filter_fail_open_total", 1, ',filter="spf"'),
        counter("smtpgate_filter_fail_open_total", 0, ',filter="spf"'),
        60,
    ),
    "SmtpgateSignaturesOld": (
        gauge("smtpgate_filter_signature_timestamp_seconds", -4 * 86400, ',filter="clamd"'),
        gauge("smtpgate_filter_signature_timestamp_seconds", -2 * 86400, ',filter="clamd"'),
        90,
    ),
    "SmtpgateCertExpiry14d": (
        gauge("smtpgate_tls_certificate_not_after_timestamp_seconds", 10 * 86400, ',side="client",name="mx"'),
        gauge("smtpgate_tls_certificate_not_after_timestamp_seconds", 20 * 86400, ',side="client",name="mx"'),
        90,
    ),
    "SmtpgateCertExpiry3d": (
        gauge("smtpgate_tls_certificate_not_after_timestamp_seconds", 2 * 86400, ',side="client",name="mx"'),
        gauge("smtpgate_tls_certificate_not_after_timestamp_seconds", 10 * 86400, ',side="client",name="mx"'),
        90,
    ),
    "SmtpgateConfigReloadFailed": (
        gauge("smtpgate_config_last_reload_success", 0),
        gauge("smtpgate_config_last_reload_success", 1),
        10,
    ),
    "SmtpgateReactorLag": (
        slow("smtpgate_reactor_lag_seconds", 0.4),
        slow("smtpgate_reactor_lag_seconds", 0.01),
        60,
    ),
    "SmtpgateFdsNearLimit": (
        gauge("process_open_fds", 900) | gauge("process_max_fds", 1024),
        gauge("process_open_fds", 90) | gauge("process_max_fds", 1024),
        10,
    ),
    "SmtpgateSessionsNearLimit": (
        gauge("smtpgate_sessions_active", 500, ',listener="a"')
        | gauge("smtpgate_sessions_active", 400, ',listener="b"')
        | gauge("smtpgate_sessions_limit", 1000),
        gauge("smtpgate_sessions_active", 500, ',listener="a"') | gauge("smtpgate_sessions_limit", 1000),
        10,
    ),
    "SmtpgateStoreDropping": (
        counter("smtpgate_store_dropped_total", 1, ',table="sessions"'),
        counter("smtpgate_store_dropped_total", 0, ',table="sessions"'),
        30,
    ),
    "SmtpgateLogDropping": (
        counter("smtpgate_log_dropped_total", 1, ',sink="log"'),
        counter("smtpgate_log_dropped_total", 0, ',sink="log"'),
        30,
    ),
    "SmtpgateQuarantineNearQuota": (
        gauge("smtpgate_quarantine_bytes", 50, ',class="spam"') | gauge("smtpgate_quarantine_bytes", 45, ',class="dlp"')
        | gauge("smtpgate_quarantine_limit_bytes", 100),
        gauge("smtpgate_quarantine_bytes", 50, ',class="spam"') | gauge("smtpgate_quarantine_limit_bytes", 100),
        30,
    ),
    "SmtpgateAuditWriteFailing": (
        counter("smtpgate_audit_write_failures_total", 1),
        counter("smtpgate_audit_write_failures_total", 0),
        30,
    ),
    "SmtpgateLoginAttack": (
        counter("smtpgate_auth_attempts_total", 120, ',result="failed"'),
        counter("smtpgate_auth_attempts_total", 120, ',result="ok"'),
        60,
    ),
    "SmtpgateRateLimitStorm": (
        counter("smtpgate_ratelimit_decisions_total", 700, ',decision="refused"') | messages("defer", 700),
        counter("smtpgate_ratelimit_decisions_total", 100, ',decision="refused"') | messages("defer", 100),
        60,
    ),
}  # fmt: skip


def named(text: str) -> set[str]:
    """Metrics that a text names, without what histograms and recordings add."""
    found = set(re.findall(r"\b(smtpgate_[a-z_0-9]+|process_[a-z_]+)\b", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) if _is_histogram(name) else name for name in found}


def _is_histogram(name: str) -> bool:
    base = re.sub(r"_(bucket|sum|count)$", "", name).removeprefix("smtpgate_")
    return base in METRICS and METRICS[base].kind == "histogram"


class NameTests(SynchronousTestCase):
    """What is shipped beside the gateway fits it."""

    def test_every_metric_exists(self) -> None:
        """In rules, runbooks and dashboards; and every label that they ask for is one of that metric."""
        pages = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
        self.assertGreaterEqual(len(DASHBOARDS), 4)
        for path in (ALERTS, *DASHBOARDS, *pages):
            text = path.read_text(encoding="utf-8")
            for name in named(text):
                known = name in STANDARD or name.removeprefix("smtpgate_") in METRICS
                self.assertTrue(known, f"{path.name}: {name}")
            for name, labels in re.findall(r"(smtpgate_[a-z_0-9]+)\{([^}]*)\}", text.replace('\\"', '"')):
                base = re.sub(r"_(bucket|sum|count)$", "", name) if _is_histogram(name) else name
                for label in re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)", labels):
                    allowed = (*METRICS[base.removeprefix("smtpgate_")].labels, "job", "instance", "le")
                    self.assertIn(label, allowed, f"{path.name}: {name}")

    def test_every_alert_has_a_runbook_and_a_case(self) -> None:
        """A page that says what it means, what to look at and what to do."""
        text = ALERTS.read_text()
        alerts = re.findall(r"- alert: (\w+)", text)
        books = re.findall(r"runbook_url: (\S+)", text)
        self.assertEqual((sorted(alerts), len(books)), (sorted(CASES), len(alerts)))
        for book in set(books):
            page = (ROOT / book).read_text()
            for title in ("## What it means", "## What to look at", "## What to do"):
                self.assertIn(title, page, book)
        listed = (ROOT / "docs" / "runbooks" / "README.md").read_text()
        self.assertEqual([book for book in set(books) if Path(book).name not in listed], [])

    def test_the_page_of_metrics(self) -> None:
        """docs/metrics.md is what `python -m smtpgate.observe.reference` prints."""
        self.assertEqual((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), reference.document())

    def test_dashboards(self) -> None:
        """Each is one that Grafana can import: panels with questions, all of a chosen source, no two of one id."""
        for path in DASHBOARDS:
            board = json.loads(path.read_text())
            self.assertTrue(board["title"] and board["uid"] and board["panels"], path.name)
            ids = [panel["id"] for panel in board["panels"]]
            self.assertEqual(len(ids), len(set(ids)), path.name)
            for panel in board["panels"]:
                for target in panel.get("targets", ()):
                    self.assertTrue(target["expr"], (path.name, panel["title"]))
                    self.assertEqual(target["datasource"]["uid"], "${source}", (path.name, panel["title"]))


class RuleTests(SynchronousTestCase):
    """The rules, played by promtool."""

    def promtool(self) -> str:
        """The program; skips where it is missing, or fails where the real things are required."""
        found = shutil.which("promtool")
        if found is None:
            if os.environ.get("SMTPGATE_REQUIRE_REAL") == "1":
                raise AssertionError("missing: Debian package prometheus")
            raise SkipTest("missing: Debian package prometheus")
        return found

    def test_dashboards_ask_what_can_be_asked(self) -> None:
        """Every question is PromQL."""
        promtool = self.promtool()
        rules = []
        for path in DASHBOARDS:
            for panel in json.loads(path.read_text())["panels"]:
                for target in panel["targets"]:
                    expression = target["expr"].replace("$__rate_interval", "5m")
                    rules.append({"record": f"asked:{len(rules)}", "expr": expression})
        file = Path(self.mktemp())
        file.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
        made = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)

    def test_each_fires_and_rests(self) -> None:
        """On its own case, and not on one that is near it."""
        promtool = self.promtool()
        tests: list[dict[str, Any]] = []
        for alert, (bad, good, minutes) in CASES.items():
            for series, fires in ((bad, True), (good, False)):
                question = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
                tests.append(
                    {
                        "name": f"{alert} {'fires' if fires else 'rests'}",
                        "interval": "1m",
                        "input_series": [{"series": name, "values": values} for name, values in series.items()],
                        "promql_expr_test": [
                            {
                                "expr": question,
                                "eval_time": f"{minutes}m",
                                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                            }
                        ],
                    }
                )
        folder = Path(self.mktemp())
        folder.mkdir()
        file = folder / "alerts_test.yml"
        file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "5m", "tests": tests}))
        for words in (["check", "rules", str(ALERTS)], ["test", "rules", str(file)]):
            made = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=100)
            self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
