"""Rules about what texts hold: searched once in a child, judged, told masked; what cannot be searched is not passed."""

from __future__ import annotations

import base64
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.config.model import Settings
from smtpgate.config.packs import PACKS
from smtpgate.filters.search import parse
from smtpgate.interfaces import ChildFailed
from smtpgate.rules.searching import CATALOGUE, DICTIONARIES
from smtpgate.testing import Client, Gateway
from smtpgate.wiring import rules_of
from tests.limits_kit import FILE

HEAD = b"From: a@example.org\r\nTo: b@example.net\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
CARD = "4111 1111 1111 1111"


def rule(name: str, when: str, action: str = "reject", more: str = "") -> str:
    """One rule."""
    return f'[[rules]]\nname = "{name}"\nwhen = """{when}"""\naction = "{action}"\n{more}\n'


def settings(text: str) -> Settings:
    """A configuration with these rules."""
    return loads(FILE + text, "/nowhere/gate.toml")


class SearchCase(SynchronousTestCase):
    """A gateway in memory, whose children run their jobs at once."""

    def sent(self, text: str, content: bytes, fails: str = "") -> tuple[str, Client]:
        """The reply to a message under some rules."""
        uses = rules_of(settings(text), None, None)  # type: ignore[arg-type]
        self.gateway = Gateway(*uses)
        for use in uses:
            use.filter.services = self.gateway.services
        self.gateway.children.fails = fails
        client = self.gateway.connect()
        client.helo()
        return client.message(HEAD + content), client


class SearchTests(SearchCase):
    """Rules."""

    def test_a_rule_about_what_is_found(self) -> None:
        """It is refused, and the finding tells what, masked, and where."""
        text = rule(
            "cards", "matches.exists(m, m.detector == 'card' && m.confidence == 'high')", more='reply = "No cards"'
        )
        reply, client = self.sent(text, f"\r\ncredit card {CARD}\r\n".encode())
        self.assertEqual(reply, "550 5.7.1 No cards")
        (finding,) = client.findings
        self.assertEqual(finding.detail, "rule cards; 1 card (high): visa 4111 **** **** 1111 in part-1")
        self.assertEqual(self.gateway.children.asked, ["search"])
        self.assertEqual(self.sent(text, f"\r\norder {CARD}\r\n".encode())[0], "250 2.0.0 Ok")

    def test_one_search_for_all_rules(self) -> None:
        """Of both modes; none where no rule speaks of it."""
        text = rule("a", "matches.exists(m, m.detector == 'iban')") + rule(
            "b", "matches.exists(m, m.group == 'secret')"
        )
        text += rule("c", "matches.exists(m, m.detector == 'card')", more='mode = "shadow"')
        reply, client = self.sent(text, f"\r\ncard {CARD}\r\n".encode())
        self.assertEqual((reply, [one.reason for one in client.findings]), ("250 2.0.0 Ok", ["c"]))
        self.assertEqual(self.gateway.children.asked, ["search"])
        self.sent(rule("a", "size > 10 || attachments.size() > 3", "note"), b"\r\nx\r\n")
        self.assertEqual(self.gateway.children.asked, ["examine"])

    def test_only_what_is_asked_for_runs(self) -> None:
        """By name, by group; all where it cannot be told; nothing for rules that are off."""
        for when, names in (
            ("matches.exists(m, m.detector in ['card', 'iban'])", {"card", "iban"}),
            ("matches.exists(m, m.group == 'payment')", {"card"}),
            ("matches.exists(m, m.detector == 'health')", {"health"}),
            ("matches.exists(m, m.count > 5)", {*CATALOGUE, *DICTIONARIES}),
            ("unread.size() > 0", set()),
        ):
            self.assertEqual(set(settings(rule("a", when)).search.names), names, when)
        off = rule("a", "matches.exists(m, m.detector == 'card')", more='mode = "off"')
        self.assertEqual(settings(off).search.names, ())

    def test_own_detectors_and_dictionaries(self) -> None:
        """A child is told of them once, and again where it has forgotten."""
        text = """
[[detectors]]
name = "staff-number"
patterns = '\\bEMP-[0-9]{6}\\b'
confidence = "none"
evidence = "staff"
[[dictionaries]]
name = "projects"
terms = { "project falcon" = 3, "kestrel*" = 1 }
threshold = 4
"""
        text += rule("staff", "matches.exists(m, m.detector == 'staff-number' && m.confidence == 'high')")
        text += rule("project", "matches.exists(m, m.detector == 'projects' && m.score >= 5.0)", "defer")
        reply, client = self.sent(text, b"\r\nstaff EMP-123456\r\n")
        self.assertEqual(reply[:9], "550 5.7.1")
        self.assertEqual(client.findings[0].detail, "rule staff; 1 staff-number (high): ****456 in part-1")
        self.assertEqual(self.gateway.children.asked, ["search", "search"])
        reply, client = self.sent(text, b"\r\nProject\r\n Falcon meets kestrels and a kestrel. EMP-123456\r\n")
        self.assertEqual(reply[:9], "450 4.7.1" if reply.startswith("450") else "451 4.7.1")
        self.assertIn("score 5 projects (high): project falcon, kestrel* in part-1", client.findings[0].detail)
        self.assertEqual(self.gateway.children.asked, ["search"])

    def test_what_cannot_be_read_is_a_fact(self) -> None:
        """With its reason; a rule may refuse it."""
        text = rule("unread", "!is_read && unread.exists(u, u.why == 'unsupported' && u.path == 'a.bin')")
        content = b'Content-Type: application/x-thing; name="a.bin"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        reply, _ = self.sent(text, content + base64.encodebytes(b"\x7f\x00\x81\xfe" * 60).replace(b"\n", b"\r\n"))
        self.assertEqual(reply[:9], "550 5.7.1")
        self.assertEqual(self.sent(text, b"\r\nx\r\n")[0], "250 2.0.0 Ok")

    def test_a_search_that_fails(self) -> None:
        """Fails those rules that need it and no others, each by its own policy; it is never taken for nothing found."""
        cards = "matches.exists(m, m.detector == 'card')"
        for on_error, code in (("tempfail", "451"), ("reject", "550"), ("continue", "250")):
            text = rule("cards", cards, more=f'on_error = "{on_error}"') + rule("other", "size > 100000000")
            reply, client = self.sent(text, b"\r\nx\r\n", fails="died")
            self.assertEqual((reply[:3], len(client.findings)), (code, 1), on_error)
            self.assertIn("rule cards could not be judged", client.findings[0].detail)

    def test_answers_that_are_none(self) -> None:
        """A child that lies has failed."""
        good: dict[str, Any] = {
            "detector": "card", "group": "payment", "country": "", "confidence": "low", "count": 1, "distinct": 1,
            "score": 0.0, "paths": ["1"], "samples": ["x"],
        }  # fmt: skip
        self.assertEqual(
            parse({"status": "done", "matches": [good], "unread": [["a", "broken"]], "subject": ""}).unread[0][0], "a"
        )
        for answer in (
            {}, {"status": "unknown"}, {"status": "done", "matches": [good]}, {"status": "done", "matches": 3,
            "unread": []},
            {"status": "done", "matches": [good | {"count": "1"}], "unread": [], "subject": ""},
            {"status": "done", "matches": [good | {"paths": [1]}], "unread": [], "subject": ""},
            {"status": "done", "matches": [{}], "unread": [], "subject": ""},
            {"status": "done", "matches": [], "unread": [["a"]], "subject": ""},
            {"status": "done", "matches": [good], "unread": []},
        ):  # fmt: skip
            self.assertRaises(ChildFailed, parse, answer)


class PackTests(SearchCase):
    """Rules that come along."""

    def pack(self, use: str, more: str = "") -> str:
        """One of them, at work on mail that comes in."""
        return f'[[packs]]\nuse = "{use}"\nmode = "enforce"\ndirection = "both"\n{more}\n'

    def test_each_finds_what_it_is_for(self) -> None:
        """From its own threshold on, with its own words."""
        ids = "SSN 536-90-4399, social security 536-90-4398, SSN 536-90-4397"
        people = "PESEL 44051401359, PESEL 02070803628, PESEL 92032100157"
        report = "The patient was diagnosed with hepatitis C, chemotherapy, biopsy"
        key = "-----BEGIN RSA PRIVATE KEY-----\r\n" + "Zm9vYmFyYmF6cXV4MTIz" * 6
        for use, text, less in (
            ("payment-data", f"card {CARD}", "card 4111"),
            ("us-personal-data", ids, ids[:30]),
            ("eu-personal-data", people, people[:20]),
            ("health-terms", report, "The patient"),
            ("secrets", key, "-----BEGIN RSA PRIVATE KEY-----"),
        ):
            reply, client = self.sent(self.pack(use), f"\r\n{text}\r\n".encode())
            self.assertEqual(reply, f"550 5.7.1 {PACKS[use].text}", text)
            self.assertEqual([one.reason for one in client.findings], [use])
            self.assertEqual(self.sent(self.pack(use), f"\r\n{less}\r\n".encode())[0], "250 2.0.0 Ok", less)

    def test_their_keys(self) -> None:
        """Thresholds, exceptions; by default in shadow, on mail that goes out."""
        content = f"\r\ncard {CARD}\r\n".encode()
        self.assertEqual(self.sent(self.pack("payment-data", "least = 2"), content)[0], "250 2.0.0 Ok")
        reply, _ = self.sent(self.pack("payment-data", "unless = \"sender_domain.contains('.')\""), content)
        self.assertEqual(reply, "250 2.0.0 Ok")
        reply, _ = self.sent(self.pack("payment-data", 'confidence = "low"'), f"\r\norder {CARD}\r\n".encode())
        self.assertEqual(reply[:3], "550")
        (made,) = settings('[[packs]]\nuse = "secrets"').rules
        self.assertEqual((made.mode, made.direction, made.action, made.name), ("shadow", "out", "reject", "secrets"))
        self.assertEqual(self.sent('[[packs]]\nuse = "payment-data"', content)[0], "250 2.0.0 Ok")
