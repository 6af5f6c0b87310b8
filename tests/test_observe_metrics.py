"""The numbers: zeros for what can be counted, and one for what was."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.observe.metrics import Metrics
from smtpgate.policy import event as told
from smtpgate.policy.verdict import Verdict
from tests.observe_kit import finding, session, transaction


class MetricsTests(SynchronousTestCase):
    """What a scrape shows."""

    def setUp(self) -> None:
        """A process that has one listener, one server and one filter."""
        self.metrics = Metrics("1.0")
        self.metrics.expect(
            {"mx": "mx"}, [("mail", "mail:25")], ["loop"], ["per-host"], [("a", "enforce"), ("new", "shadow")]
        )

    def scraped(self) -> dict[str, float]:
        """Each sample with its labels, and its value."""
        registry = CollectorRegistry()
        registry.register(self.metrics.collector)
        lines = generate_latest(registry).decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def of(self, name: str, **labels: str) -> list[float]:
        """The values of a metric that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return [
            value
            for sample, value in self.scraped().items()
            if sample.startswith(f"smtpgate_{name}") and all(one in sample for one in wanted)
        ]

    def test_what_can_be_counted_is_there_at_zero(self) -> None:
        """So that the first event of a kind is seen as an increase."""
        self.assertEqual(self.of("messages_total", listener="mx", verdict="accept"), [0.0])
        self.assertEqual(self.of("backend_transitions_total", server="mail:25"), [0.0, 0.0, 0.0])
        self.assertEqual(self.of("filter_runs_total", filter="loop"), [0.0] * 6)
        self.assertEqual(self.of("ratelimit_decisions_total", limit="per-host"), [0.0, 0.0, 0.0])

    def test_what_is_in_shadow_is_counted_apart(self) -> None:
        """As what it would have been."""
        made = transaction(session(), "delivered")
        made.findings, made.verdict = [finding("x", filter="loop", is_shadow=True)], Verdict(would="reject")
        self.metrics.hear(told.TransactionEnded(made))
        self.assertEqual(self.of("filter_runs_total", filter="loop", result="shadow"), [1.0])
        self.assertEqual(self.of("filter_runs_total", filter="loop", result="hit"), [0.0])
        self.assertEqual(self.of("shadow_verdicts_total", action="reject"), [1.0])

    def test_rules_are_counted_by_message(self) -> None:
        """Once, however many recipients one is true of; one that failed was not true."""
        made = transaction(session(), "refused")
        made.findings = [finding(name, filter="rules", is_shadow=shadow) for name, shadow in (
            ("a", False), ("a", False), ("b", True), ("filter-failed", False))]  # fmt: skip
        self.metrics.hear(told.TransactionEnded(made))
        self.assertEqual(self.of("rule_hits_total", rule="a", mode="live"), [1.0])
        self.assertEqual(self.of("rule_hits_total", rule="b", mode="shadow"), [1.0])
        self.assertEqual(len(self.of("rule_hits_total")), 3)
        self.assertEqual(self.of("rule_hits_total", rule="new", mode="shadow"), [0.0])

    def test_limits_are_counted_by_what_they_did(self) -> None:
        """Of messages and of connections; and not as filters."""
        made = transaction(session(), "deferred")
        made.findings = [
            finding("per-client", action="defer", filter="rate_limits"),
            finding("per-user", action="note", filter="rate_limits"),
            finding("tried-out", action="defer", filter="concurrency_limits", is_shadow=True),
        ]
        self.metrics.hear(told.TransactionEnded(made))
        refused = session()
        refused.findings = [finding("per-client", action="defer", filter="rate_limits")]
        self.metrics.hear(told.SessionEnded(refused))
        for limit, decision, count in (
            ("per-client", "refused", 2.0),
            ("per-user", "paced", 1.0),
            ("tried-out", "shadow", 1.0),
        ):
            self.assertEqual(self.of("ratelimit_decisions_total", limit=limit, decision=decision), [count])
        self.assertEqual(self.of("filter_runs_total", filter="rate_limits"), [])

    def test_a_message_is_counted_once(self) -> None:
        """With its verdict, and in no other."""
        self.metrics.hear(told.TransactionEnded(transaction(session(), "delivered")))
        self.assertEqual(self.of("messages_total", listener="mx", verdict="accept"), [1.0])
        self.assertEqual(sum(self.of("messages_total")), 1.0)
