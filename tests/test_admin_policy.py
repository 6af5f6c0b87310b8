"""Rules for their managers: which there are, and how often each was true."""

from __future__ import annotations

from smtpgate.config.model_policy import RULES
from smtpgate.control.policy import KEEP_S
from smtpgate.policy.event import TransactionEnded
from smtpgate.policy.verdict import Finding
from tests.admin_kit import CONFIG, ApiCase, Desk, make_session

RULES_TEXT = """
[[rules]]
name = "programs"
when = "attachments.exists(a, a.kind == 'executable')"
unless = "sender == 'ann@example.org'"
action = "reject"
owner = "security"
[[rules]]
name = "outside"
when = "direction == 'in'"
action = "tag"
subject_tag = "[EXTERNAL]"
mode = "shadow"
"""


class RulesTests(ApiCase):
    """GET /api/v1/rules."""

    def setUp(self) -> None:
        self.desk = Desk(CONFIG + RULES_TEXT)
        self.owner = self.desk.token("owner")
        self.control = self.desk.control

    def hear(self, *reasons: str, filter: str = RULES) -> None:
        """A message of which these rules were true."""
        facts = make_session(findings=tuple(Finding(reason, filter=filter) for reason in reasons))
        self.control.hear(TransactionEnded(facts.transactions[0]))

    def test_all_in_their_order(self) -> None:
        """As they are written, with the step at which each is judged; nothing was true yet."""
        one, other = self.get("/rules")["items"]
        self.assertEqual(
            (one["name"], one["step"], one["mode"], one["owner"]), ("programs", "end", "enforce", "security")
        )
        self.assertEqual(one["unless"], "sender == 'ann@example.org'")
        self.assertEqual(
            (other["name"], other["step"], other["mode"], other["action"]), ("outside", "mail", "shadow", "tag")
        )
        self.assertEqual([(view["hits"], view["last_hit"]) for view in (one, other)], [(0, None)] * 2)

    def test_what_was_true_is_counted(self) -> None:
        """Once a message, whatever else was found; over a reload too."""
        self.hear("outside", "outside", "programs")
        self.hear("outside")
        self.hear("outside", filter="loop")
        self.hear()
        hits = {view["name"]: view["hits"] for view in self.get("/rules")["items"]}
        self.assertEqual(hits, {"programs": 1, "outside": 2})
        self.assertIsNotNone(self.get("/rules")["items"][0]["last_hit"])


class KeptTests(ApiCase):
    """Counts over restarts."""

    def setUp(self) -> None:
        self.desk = Desk(CONFIG + RULES_TEXT)
        self.owner = self.desk.token("owner")
        self.policy = self.desk.control.policy
        self.wall = self.desk.control.engine.wall()

    def hear(self, reason: str) -> None:
        """A message of which this rule was true."""
        facts = make_session(findings=(Finding(reason, filter=RULES),))
        self.desk.control.hear(TransactionEnded(facts.transactions[0]))

    def test_they_are_written_once_and_taken_over(self) -> None:
        """And counted on; what did not change is not written."""
        self.hear("outside")
        self.hear("outside")
        rows = self.policy.changed(self.wall, 100)
        self.assertEqual(rows, [("outside", [2, self.wall], self.wall + KEEP_S)])
        self.assertEqual(self.policy.changed(self.wall + 60, 100), [])
        other = Desk(CONFIG + RULES_TEXT)
        other.control.policy.restore(rows, self.wall)
        facts = make_session(findings=(Finding("outside", filter=RULES),))
        other.control.hear(TransactionEnded(facts.transactions[0]))
        items = other.ask("GET", "/api/v1/rules", role="owner").json()["items"]
        self.assertEqual([one["hits"] for one in items], [0, 3])

    def test_a_rule_that_is_there_is_not_forgotten(self) -> None:
        """Though nothing is true of it for long; one that is gone is, and not before."""
        self.hear("outside")
        self.hear("gone")
        wall = self.wall
        self.assertEqual({row[0] for row in self.policy.changed(wall, 100)}, {"outside", "gone"})
        for day in range(1, 30):
            rows = self.policy.changed(wall + day * 86400.0 + day, 100)
            self.assertEqual([(name, value is None) for name, value, _ in rows], [("outside", False)])
        rows = self.policy.changed(wall + KEEP_S + 60, 100)
        self.assertEqual({name: value is None for name, value, _ in rows}, {"outside": False, "gone": True})
        self.assertEqual(self.policy.changed(wall + KEEP_S + 120, 100), [])

    def test_only_so_many_at_a_time(self) -> None:
        """The rest follows."""
        self.hear("outside")
        self.hear("programs")
        self.assertEqual([len(self.policy.changed(self.wall, 1)) for _ in range(3)], [1, 1, 0])

    def test_before_there_is_a_revision_nothing_is_said(self) -> None:
        """A gateway that cannot start keeps what it took over as it is."""
        self.hear("outside")
        self.desk.control.revision = None
        self.assertEqual(self.policy.changed(self.wall, 100), [])
