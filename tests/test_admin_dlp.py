"""Data loss prevention at a glance: rules, detectors and what is registered, and no value of any."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import maybeDeferred

from smtpgate.config.model_policy import RULES
from smtpgate.policy.event import TransactionEnded
from smtpgate.policy.verdict import Finding
from tests.admin_kit import CONFIG, HOSTILE, ApiCase, Desk, make_session

TEXT = """
[[dictionaries]]
name = "plans"
terms = { zebrafalcon = 5, heron = 1 }
[[detectors]]
name = "staff"
patterns = ['QZ-[0-9]{8}']
[[rules]]
name = "cards"
when = "matches.exists(m, m.detector == 'card' || m.detector == 'plans')"
action = "quarantine"
held_as = "dlp"
[[rules]]
name = "large"
when = "size > 1000"
action = "note"
"""


class _Register:
    """What is registered."""

    def __init__(self, name: str) -> None:
        self.name = name

    def listed(self) -> list[dict[str, Any]]:
        return [
            {"kind": "table", "name": self.name, "octets": 4096, "changed": 1_790_000_000.0, "files": None,
             "hashes": None, "rows": 12, "columns": ["iban", "born"], "least": 2, "window": 200},
        ]  # fmt: skip


class DLPTests(ApiCase):
    """/api/v1/dlp/policies and /dlp."""

    def setUp(self) -> None:
        self.desk = Desk(CONFIG + TEXT)
        self.owner = self.desk.token("owner")
        policy = self.desk.control.policy
        policy.register, policy.in_thread = _Register("customers"), maybeDeferred

    def page(self) -> str:
        answer = self.desk.ask("GET", "/dlp", token=self.owner)
        self.assertEqual(answer.status, 200, answer.text[:1000])
        return answer.text

    def test_what_is_looked_for(self) -> None:
        """Rules about texts, with their hits; what they ask for comes first."""
        facts = make_session(findings=(Finding("cards", filter=RULES),))
        self.desk.control.hear(TransactionEnded(facts.transactions[0]))
        found = self.get("/dlp/policies")
        self.assertEqual([(one["name"], one["hits"]) for one in found["policies"]], [("cards", 1)])
        asked = {one["name"]: one for one in found["searchers"] if one["is_asked"]}
        self.assertEqual(set(asked), {"card", "plans"})
        self.assertEqual((asked["plans"]["terms"], asked["plans"]["is_own"]), (2, True))
        self.assertIn("staff", [one["name"] for one in found["searchers"] if not one["is_asked"]])
        self.assertEqual([one["is_asked"] for one in found["searchers"][:3]], [True, True, False])

    def test_no_value_is_shown(self) -> None:
        """Neither a term, nor a pattern, nor anything of a table but the names of its columns."""
        for text in (self.page(), str(self.get("/dlp/policies"))):
            self.assertNotIn("zebrafalcon", text)
            self.assertNotIn("QZ-", text)
            self.assertIn("customers", text)
            self.assertIn("iban", text)

    def test_without_any(self) -> None:
        """It says how to begin; where the register cannot be read it says so, and shows the rest."""
        self.desk = Desk()
        self.owner = self.desk.token("owner")
        page = self.page()
        self.assertIn("/rules/edit/cards-out", page)
        self.assertIn("nothing can be registered here", page)

    def test_strangers_texts_do_nothing(self) -> None:
        """Names may be anything."""
        for text in (one for one in HOSTILE if "<" in one):
            self.desk.control.policy.register = _Register(text)
            self.assertNotIn(text, self.page())
