"""Rules for their managers: which there are, and how often each was true."""

from __future__ import annotations

from smtpgate.config.model_policy import RULES
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
