"""What a scrape of a real gateway shows after real mail, and what no scrape may show."""

from __future__ import annotations

import urllib.request

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.trial.unittest import SynchronousTestCase

from smtpgate import __version__
from smtpgate.observe import catalogue
from smtpgate.observe.metrics import Metrics
from smtpgate.policy import event as told
from smtpgate.policy.meter import Meter
from tests.observe_kit import finding, session, transaction
from tests.real_kit import RealCase, free_port, until
from tests.script_kit import Client
from tests.test_metrics_table import LATER
from tests.test_real_process import ADMIN, BODY, config

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read_text(text)
        for sample in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float:
    """The sum over those of ours that have these labels."""
    wanted = set(labels.items())
    return sum(value for (one, has), value in found.items() if one == f"smtpgate_{name}" and wanted <= set(has))


class ScrapeTests(RealCase):
    """A gateway as it is started."""

    def test_one_message_and_one_refusal(self) -> None:
        """They are seen wherever they are counted; the gauges of all rooms are there."""
        (backend,) = self.fast_servers(self.background(), 1, 0)
        port = free_port()
        more = '[[filters]]\nuse = "helo"\n' + ADMIN.format(port=port)
        gateway = self.gateway(config(backend.port, more=more))
        with Client(gateway.port()) as client:
            client.hello()
            self.assertTrue(client.message(BODY).startswith(b"250 "))
            self.assertTrue(client.say(b"MAIL FROM:<a@example.org>").startswith(b"250 "))
            self.assertTrue(client.say(b"RCPT TO:<b@elsewhere.example>").startswith(b"550 "))

        def scrape(accept: str = "text/plain") -> str:
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return str(answer.read().decode())

        until(lambda: of(samples(scrape()), "sessions_closed_total", listener="front") == 1, "the session is counted")
        found = samples(scrape())
        server = f"127.0.0.1:{backend.port}"
        for name, labels, value in (
            ("messages_total", {"listener": "front", "direction": "in", "verdict": "accept"}, 1),
            ("messages_total", {}, 2),
            ("recipients_total", {"result": "delivered"}, 1),
            ("commands_total", {"verb": "MAIL"}, 2),
            ("replies_total", {"code": "354"}, 1),
            ("replies_total", {"code": "550"}, 1),
            ("rejections_total", {"stage": "rcpt", "class": "5xx"}, 1),
            ("filter_runs_total", {"filter": "helo", "result": "error"}, 0),
            ("filter_up", {"filter": "helo"}, 1),
            ("plugin_info", {"plugin": "helo", "version": __version__}, 1),
            ("plugin_disabled", {"plugin": "helo"}, 0),
            ("tls_handshake_seconds_count", {"side": "client"}, 0),
            ("cache_requests_total", {"cache": "filters"}, 0),
            ("store_queue_depth", {}, 0),
            ("backend_replies_total", {"pool": "mail", "server": server, "class": "2xx"}, 1),
            ("backend_up", {"server": server}, 1),
            ("backend_state", {"server": server, "state": "up"}, 1),
            ("backend_state", {"server": server}, 1),
            ("sessions_active", {"listener": "front"}, 0),
            ("encryption_total", {"method": "tls", "result": "none"}, 1),
            ("stage_duration_seconds_count", {"stage": "backend"}, 1),
            ("draining", {}, 0),
            ("log_dropped_total", {}, 0),
            ("admin_sessions_active", {}, 0),
            ("http_requests_total", {"group": "metrics", "class": "5xx"}, 0),
        ):
            self.assertEqual(of(found, name, **labels), value, (name, labels))
        self.assertGreater(of(found, "http_requests_total", group="metrics", **{"class": "2xx"}), 0)
        for name in ("build_info", "config_revision_info", "sessions_limit", "backend_weight", "backend_slots",
                     "store_bytes", "quarantine_limit_bytes", "store_write_seconds_count"):  # fmt: skip
            self.assertGreater(of(found, name), 0, name)
        pools = {dict(labels)["pool"] for name, labels in found if name == "smtpgate_threadpool_active"}
        self.assertEqual(pools, {"reactor", "database", "database reader"})
        # A counter is named without its end in the text of its family.
        shown_names = {name.removeprefix("smtpgate_").removesuffix(end) for name, _ in found for end in ("", "_count")}
        later = {name for names in LATER.values() for name in names}
        self.assertEqual(set(catalogue.METRICS) - shown_names - later, set())
        text = scrape("application/openmetrics-text; version=1.0.0")
        shown = [sample.exemplar for family in read_openmetrics(text) for sample in family.samples if sample.exemplar]
        sessions = {row["session_id"] for row in gateway.events("session.done")}
        self.assertTrue(shown)
        self.assertLessEqual({example.labels["session_id"] for example in shown}, sessions)


class SeriesTests(SynchronousTestCase):
    """How many series there may be, and what they may name."""

    def text(self, metrics: Metrics) -> str:
        """What a scrape shows."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(metrics.snapshot())
        return str(generate_latest(registry).decode())

    def test_the_largest_house(self) -> None:
        """Ten servers, fifteen filters, three listeners, each with all that can happen: fewer than 5,000 series."""
        listeners = {"mx": "mx", "mx6": "mx", "sub": "submission"}
        servers = [("mail" if number < 5 else "exchange", f"192.0.2.{number}:25") for number in range(10)]
        filters = [f"filter{number}" for number in range(15)]
        meter = Meter()
        metrics = Metrics("1.0", meter=meter)
        metrics.expect(listeners, servers, filters, ["per-host", "per-user"], [(f"r{n}", "enforce") for n in range(20)])
        for listener, role in listeners.items():
            verbs, codes = meter.talk(listener)
            verbs.update(dict.fromkeys((*catalogue.VERBS, "BAD"), 1))
            codes.update(dict.fromkeys((220, 221, 235, 250, 334, 354, 421, 450, 451, 452, 454, 500, 501, 502, 503, 504,
                                        530, 535, 550, 552, 553, 554, 555), 1))  # fmt: skip
            for number, (pool, server) in enumerate(servers):
                for outcome in ("delivered", "refused", "deferred", "aborted", "held", "discarded", "redirected"):
                    made = transaction(session(listener=listener, role=role), outcome, backend=pool, server=server)
                    made.findings = [finding(f"reason{number}", filter=name) for name in filters]
                    metrics.hear(told.TransactionEnded(made))
                    metrics.hear(told.SessionEnded(made.session))
            for stage in catalogue.LINK_STAGES:
                for pool, server in servers:
                    metrics.hear(told.LinkFailed(pool, server, stage, "x", "id"))
            for hook in ("connect", "mail", "rcpt", "end"):
                for name in filters:
                    metrics.hear(told.FilterFailed(name, hook, "timeout", "x", "continue", "id"))
        for _ in range(200):
            metrics.hear(told.CommandRefused(session(), "MAIL", 500, f"reason {_}"))
        count = len(samples(self.text(metrics)))
        self.assertLess(count, 5000)
        self.assertGreater(count, 1500, "the house is not the largest")

    def test_a_label_has_so_many_values(self) -> None:
        """What comes after is `other`; nothing that was counted is lost."""
        metrics = Metrics("1.0")
        for number in range(500):
            metrics.hear(told.CommandRefused(session(), "MAIL", 550, f"kind {number}"))
        found = {dict(labels)["reason"]: value for (name, labels), value in samples(self.text(metrics)).items()
                 if name == "smtpgate_rejections_total"}  # fmt: skip
        self.assertEqual(len(found), catalogue.REASONS + 1)
        self.assertEqual(found["other"], 500 - catalogue.REASONS)

    def test_a_stranger_names_nothing(self) -> None:
        """Servers that the DNS names, texts, addresses and users are in no label."""
        metrics = Metrics("1.0")
        metrics.expect({"sub": "submission"}, [("mail", "192.0.2.1:25")])
        facts = session(
            listener="sub", role="submission", user="hidden-user", mechanism="PLAIN", helo="hidden-helo.example"
        )
        made = transaction(
            facts, "refused", ("u@hidden-domain.example",), "u@hidden-sender.example", backend="world",
            server="mx1.hidden-server.example",
        )  # fmt: skip
        metrics.hear(told.TransactionEnded(made))
        metrics.hear(told.SessionEnded(facts))
        metrics.hear(told.LinkFailed("world", "mx2.hidden-server.example", "starttls", "hidden-text", facts.id))
        metrics.hear(told.ServerChanged("world", "mx3.hidden-server.example", "up", "down", "hidden-text"))
        metrics.hear(told.CommandRefused(facts, "EHLO", 501, "bad name: hidden-text"))
        text = self.text(metrics)
        self.assertNotIn("hidden", text)
        self.assertIn('backend_failures_total{pool="world",server="other",stage="starttls"} 1.0', text)
        self.assertNotIn(facts.id, text)

    def test_what_comes_later_is_not_in_it(self) -> None:
        """Numbers of one moment are written out in a thread while mail goes on."""
        metrics = Metrics("1.0")
        metrics.expect({"mx": "mx"})
        metrics.hear(told.TransactionEnded(transaction(session(), "delivered")))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(metrics.snapshot())
        metrics.hear(told.TransactionEnded(transaction(session(), "delivered")))
        found = samples(generate_latest(registry).decode())
        self.assertEqual(of(found, "messages_total", verdict="accept"), 1)
        self.assertEqual(of(found, "message_duration_seconds_count", verdict="accept"), 1)

    def test_both_forms_are_read(self) -> None:
        """By the parsers of Prometheus' own library; each name begins with ours, or is a standard one."""
        metrics = Metrics("1.0")
        metrics.expect({"mx": "mx"}, [("mail", "192.0.2.1:25")], ["loop"])
        metrics.hear(told.TransactionEnded(transaction(session(), "delivered")))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(metrics.snapshot())
        names = [family.name for family in read_openmetrics(openmetrics(registry).decode())]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual([name for name in names if not name.startswith(("smtpgate_", "process_"))], [])
        found = samples(generate_latest(registry).decode())
        self.assertEqual(of(found, "message_duration_seconds_bucket", verdict="accept", le="+Inf"), 1)
