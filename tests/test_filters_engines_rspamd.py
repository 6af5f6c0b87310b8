"""Tests of smtpgate.filters.engines.rspamd: its answers, and the filter in the in-memory gateway."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.engines.rspamd import Answer, Symbol, edits, factory, parse_answer
from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.interfaces import HTTPFailed
from smtpgate.message.header import HeaderSection
from smtpgate.net.http import Response
from smtpgate.testing import PLAIN, Gateway, complaints, use

OK = "250 2.0.0 Ok"
PLACE = "http://192.0.2.31:11333"


def said(**more: Any) -> bytes:
    """An answer of rspamd."""
    return json.dumps({"is_skipped": False, "score": 1.5, "required_score": 15.0, "action": "no action",
                       "symbols": {}, "messages": {}} | more).encode()  # fmt: skip


#: As shipped.
WEIGHT = 0.4


class AnswerTests(SynchronousTestCase):
    """`parse_answer` and `edits`."""

    def test_what_rspamd_says(self) -> None:
        """Symbols by their weight, texts, header fields in each of their forms."""
        answer = parse_answer(
            said(
                action="add header",
                symbols={"A": {"name": "A", "score": 0.5, "metric_score": 0.5}, "B": {"score": -3, "options": ["x"]}},
                messages={"smtp_message": "No"},
                milter={
                    "add_headers": {"X-A": {"value": "1", "order": 0}, "X-B": [{"value": "2"}, "3"], "X-C": "4"},
                    "remove_headers": {"X-D": 0, "X-E": -1},
                },
            )
        )
        self.assertEqual((answer.action, answer.score, answer.required, answer.text), ("add header", 1.5, 15.0, "No"))
        self.assertEqual(answer.symbols, (Symbol("B", -3.0, ("x",)), Symbol("A", 0.5)))
        self.assertEqual(answer.adds, (("X-A", "1"), ("X-B", "2"), ("X-B", "3"), ("X-C", "4")))
        self.assertEqual(answer.removes, (("X-D", 0), ("X-E", -1)))

    def test_all_else_is_a_failure(self) -> None:
        """Another form, numbers that are none, things that are missing."""
        for octets in (
            b"", b"{}", b"[]", b"null", b"{", b"\xff", b"OK", b"[" * 100_000, said()[:-1], said(action=None),
            said(action=1), said(score="1"), said(score=True), said(score=1e300), said(required_score=None),
            said().replace(b"1.5", b"NaN"), said().replace(b"1.5", b"Infinity"), said(symbols=[]),
            said(symbols={"A": 1}), said(symbols={"A": {}}), said(symbols={"A": {"score": None}}),
            said(symbols={"A": {"score": 1, "options": [1]}}), said(messages=[]), said(messages={"smtp_message": 1}),
            said(milter=1), said(milter={"add_headers": []}), said(milter={"add_headers": {"X": {}}}),
            said(milter={"add_headers": {"X": [1]}}), said(milter={"remove_headers": {"X": "1"}}),
            said(milter={"remove_headers": {"X": True}}), said(milter={"add_headers": {"X": ["1"] * 200}}),
            said(subject=1),
        ):  # fmt: skip
            self.assertRaises(BadAnswer, parse_answer, octets)
        error = self.assertRaises(EngineFailed, parse_answer, b'{"error": "invalid command"}')
        self.assertEqual(str(error), "rspamd says invalid command")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
        st.sampled_from(["action", "score", "required_score", "symbols", "messages", "milter", "subject"]),
    )
    def test_nothing_else_is_raised(self, value: Any, key: str) -> None:
        """Whatever stands where."""
        for tree in (value, {"action": "reject", "score": 1, "required_score": 2, key: value}):
            try:
                parse_answer(json.dumps(tree).encode())
            except EngineFailed:
                continue

    def test_fields_are_changed(self) -> None:
        """All of a name, the first, the last; what is not there is passed over; the subject in its place."""
        section = HeaderSection(b"X-A: 1\r\nSubject: hello\r\nx-a: 2\r\nX-A: 3\r\n\r\n")
        answer = Answer("rewrite subject", 9.0, 15.0, subject="[spam] über", adds=(("X-B", "a\n\tb"),),
                        removes=(("X-A", -1), ("x-a", 1), ("X-Z", 0), ("X-A", 9)))  # fmt: skip
        made = edits(answer, section, "rspamd")
        self.assertEqual([(one.name, one.index) for one in made[:2]], [("x-a", 2), ("x-a", 0)])  # type: ignore[union-attr]
        self.assertEqual(made[2].raw, b"X-B: a\r\n\tb\r\n")  # type: ignore[union-attr]
        self.assertEqual(made[3].raw, b"Subject: =?utf-8?b?W3NwYW1dIMO8YmVy?=\r\n")  # type: ignore[union-attr]
        self.assertEqual(len(edits(Answer("reject", 1, 1, removes=(("X-A", 0),)), section, "rspamd")), 3)

    def test_what_is_no_field_is_a_failure(self) -> None:
        """Nobody else's header is written by a line end in a value."""
        for name, value in (
            ("X A", "1"),
            ("", "1"),
            ("X:", "1"),
            ("X", "1\nY: 2"),
            ("X", "1\r\n\r\nbody"),
            ("X", "\0"),
        ):
            answer = Answer("reject", 1.0, 1.0, adds=((name, value),))
            self.assertRaises(BadAnswer, edits, answer, HeaderSection(b""), "rspamd")


class FilterTests(SynchronousTestCase):
    """`rspamd` in the in-memory gateway."""

    def gateway(self, answer: Any, options: str = "", **more: Any) -> None:
        """A gateway with rspamd behind it; `answer`: octets, a status, or a failure."""
        places = more.pop("places", f'"{PLACE}"')
        self.gate = Gateway(use(factory, f"servers = {places}\n{options}", **more))
        self.addCleanup(self.gate.close)

        def asked(method: str, url: str, headers: Any, body: Any) -> Deferred[Any]:
            said = answer(url) if callable(answer) else answer
            if isinstance(said, Exception):
                return fail(said)
            if isinstance(said, int):
                return succeed(Response(said, {}, b"no"))
            return succeed(Response(200, {}, said))

        self.gate.http.answer = asked

    def send(self, content: str = PLAIN, ip: str = "192.0.2.7", **more: Any) -> str:
        """A message; the reply."""
        self.client = self.gate.connect(ip)
        self.client.helo("mail.example.org")
        return self.client.message(content, **more)

    def test_the_question(self) -> None:
        """All that the session knows, each recipient; no value with a line end."""
        self.gateway(said(), 'settings_id = "outbound"')
        recipients = ("bob@example.net", "carol@example.net")
        self.assertEqual(self.send(recipients=recipients), OK)
        ((method, url, headers, body),) = self.gate.http.requests
        self.assertEqual((method, url), ("POST", f"{PLACE}/checkv2"))
        self.assertEqual(body, PLAIN.replace("\n", "\r\n").encode())
        told = [(name, value) for name, value in headers if name not in ("Queue-Id", "MTA-Name")]
        self.assertEqual(told, [
            ("IP", "192.0.2.7"), ("Helo", "mail.example.org"), ("Hostname", "unknown"), ("From", "alice@example.org"),
            ("Settings-ID", "outbound"), ("Rcpt", recipients[0]), ("Rcpt", recipients[1]),
        ])  # fmt: skip
        self.assertEqual(dict(headers)["Queue-Id"], self.client.transaction.id)

    def test_actions_are_mapped(self) -> None:
        """As shipped: refused, put off, marked, noted."""
        for action, wanted, reply in (
            ("no action", "note", OK),
            ("greylist", "note", OK),
            ("add header", "tag", OK),
            ("rewrite subject", "tag", OK),
            ("soft reject", "defer", "451 4.7.1 Try again later"),
            ("reject", "reject", "550 5.7.1 The message looks like spam"),
            ("discard", "quarantine", OK),
        ):
            self.gateway(said(action=action, symbols={"A_RULE": {"score": 1.5, "options": ["x"]}}))
            self.assertEqual(self.send(), reply, action)
            (found,) = self.client.findings
            self.assertEqual((found.action, found.score), (wanted, 1.5 * WEIGHT))
            self.assertEqual(found.reason, f"rspamd-{action.replace(' ', '-')}")
            self.assertEqual(found.detail, f"{action}, 1.5 of 15: A_RULE 1.5 [x]")

    def test_its_text_is_the_reply(self) -> None:
        """One line of printable ASCII."""
        self.gateway(said(action="reject", messages={"smtp_message": "Gtube\r\n250 pattern ü"}))
        self.assertEqual(self.send(), "550 5.7.1 Gtube??250 pattern ?")

    def test_own_actions_must_be_mapped(self) -> None:
        """An action that nobody has mapped is a failure."""
        self.gateway(said(action="burn"), on_error="tempfail")
        self.assertEqual(self.send(), "451 4.3.0 A check could not be done; try again later")
        self.gateway(said(action="Burn it"), 'actions = { "Burn it" = "reject" }')
        self.assertTrue(self.send().startswith("550 5.7.1 "))
        self.assertEqual(self.client.findings[0].reason, "rspamd-burn-it")

    def test_failures_follow_the_policy(self) -> None:
        """Unreachable, another status, not JSON, another form."""
        for answer in (HTTPFailed("refused"), 500, 404, 302, b"<html>", b"{}", said(score=None)):
            self.gateway(answer, on_error="tempfail")
            self.assertEqual(self.send(), "451 4.3.0 A check could not be done; try again later")
            self.gateway(answer)
            self.assertEqual(self.send(), OK)
            self.assertEqual([one.reason for one in self.client.findings], ["filter-failed"])

    def test_the_next_server_is_asked(self) -> None:
        """Where the first fails."""
        self.gateway(lambda url: 500 if "31" in url else said(), places=f'["{PLACE}", "http://192.0.2.32:11333/"]')
        self.assertEqual(self.send(), OK)
        self.assertEqual(len(self.client.findings), 1)
        self.assertEqual(self.gate.http.requests[1][1], "http://192.0.2.32:11333/checkv2")

    def test_what_puts_off_is_not_remembered(self) -> None:
        """rspamd greylists: the second try is a new question, what lasts is not."""
        answers = [said(action="soft reject"), said(action="no action")]
        self.gateway(lambda url: answers.pop(0))
        self.assertEqual(self.send(), "451 4.7.1 Try again later")
        self.assertEqual(self.send(), OK)
        self.assertEqual(self.send(), OK)
        self.assertEqual(len(self.gate.http.requests), 2)
        self.gateway(said())
        self.send()
        self.send(ip="192.0.2.8")
        self.assertEqual(len(self.gate.http.requests), 2)

    def test_header_fields_as_it_asks(self) -> None:
        """Only where the operator wants it."""
        asked = said(action="rewrite subject", subject="[spam] hello", milter={"add_headers": {"X-Spam": "Yes"},
                     "remove_headers": {"Message-ID": 1}})  # fmt: skip
        for options, is_changed in (("", False), ("headers = true", True)):
            self.gateway(asked, options)
            self.assertEqual(self.send(), OK)
            head = self.gate.backend.messages[0].content
            self.assertEqual(b"X-Spam: Yes\r\n" in head, is_changed)
            self.assertEqual(b"Subject: [spam] hello\r\n" in head, is_changed)
            self.assertEqual(b"Message-ID:" in head, not is_changed)

    def test_a_field_that_is_none_is_a_failure_each_time(self) -> None:
        """It is not remembered as an answer either."""
        self.gateway(said(milter={"add_headers": {"X": "1\nY: 2"}}), "headers = true", on_error="tempfail")
        for _ in range(2):
            self.assertEqual(self.send()[:3], "451")
        self.assertEqual(len(self.gate.http.requests), 2)

    def test_options(self) -> None:
        """Addresses of servers, names of settings."""
        for good in (f'servers = "{PLACE}"', 'servers = ["https://[2001:db8::1]:11333/x"]\nheaders = true'):
            self.assertEqual(complaints(factory, good), [])
        for bad in ("", 'servers = "192.0.2.1:11333"', 'servers = "http://"', 'servers = "http://a b/"',
                    'servers = "http://u:p@host/"', f'servers = "{PLACE}"\nsettings_id = "a b"'):  # fmt: skip
            self.assertEqual(len(complaints(factory, bad)), 1, bad)
