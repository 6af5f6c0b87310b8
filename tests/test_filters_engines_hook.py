"""Tests of smtpgate.filters.engines.hook: what it tells, how it signs, what it believes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from email import message_from_bytes
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.engines.hook import Answer, edits, factory, form, parse_answer, signature
from smtpgate.filters.engines.servers import BadAnswer
from smtpgate.interfaces import HTTPFailed
from smtpgate.net.http import Response
from smtpgate.testing import PLAIN, Gateway, complaints, use

URL = "http://192.0.2.31:8080/mail"
OK = "250 2.0.0 Ok"
FAILED = "451 4.3.0 A check could not be done; try again later"


def said(**more: Any) -> bytes:
    """An answer of a hook."""
    return json.dumps({"action": "continue"} | more).encode()


class AnswerTests(SynchronousTestCase):
    """`parse_answer`, `edits`, `signature`, `form`."""

    def test_what_a_hook_may_say(self) -> None:
        """As little as an action, as much as everything."""
        self.assertEqual(parse_answer(b'{"action": "continue"}').action, "continue")
        answer = parse_answer(
            said(
                action="reject",
                reason="no-pets",
                text="No pets",
                detail="a cat",
                score=3,
                edits=[
                    {"op": "add", "name": "X-A", "value": "1"},
                    {"op": "remove", "name": "Subject"},
                    {"op": "replace", "name": "To", "index": 1, "value": "x"},
                ],
            )
        )
        self.assertEqual((answer.score, answer.reason), (3.0, "no-pets"))
        made = edits(answer, "hook")
        self.assertEqual(made[0].raw, b"X-A: 1\r\n")  # type: ignore[union-attr]
        self.assertEqual((made[1].name, made[1].index), ("subject", 0))  # type: ignore[union-attr]
        self.assertEqual((made[2].index, made[2].raw), (1, b"To: x\r\n"))  # type: ignore[union-attr]

    def test_all_else_is_a_failure(self) -> None:
        """Other keys, other types, other words, one key twice, numbers that are none."""
        for octets in (
            b"",
            b"OK",
            b"{}",
            b"[]",
            b"null",
            b'"continue"',
            b"\xff",
            b"[" * 50_000,
            said(action="accept"),
            said(action="Reject"),
            said(action=None),
            said(extra=1),
            said(reason="A B"),
            said(reason=1),
            said(text="x" * 301),
            said(text=1),
            said(score="1"),
            said(score=True),
            said(score=1e9),
            said(score=1).replace(b"1}", b"NaN}"),
            said(score=1).replace(b"1}", b"1e999}"),
            said(edits={}),
            said(edits=[{"op": "burn"}]),
            said(edits=[{}]),
            said(edits=[{"op": "add", "name": "X"}]),
            said(edits=[{"op": "remove", "name": "X", "index": -1}]),
            said(edits=[{"op": "add", "name": "X", "value": "1"}] * 100),
            b'{"action": "reject", "action": "continue"}',
        ):
            self.assertRaises(BadAnswer, parse_answer, octets)
        for name, value in (("X Y", "1"), ("X", "1\r\nY: 2"), ("", "1"), ("X", "\0"), ("ü", "1")):
            answer = Answer.model_validate({"action": "note", "edits": [{"op": "add", "name": name, "value": value}]})
            self.assertRaises(BadAnswer, edits, answer, "hook")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=6,
        ),
        st.sampled_from(["action", "reason", "score", "edits"]),
    )
    def test_nothing_else_is_raised(self, value: Any, key: str) -> None:
        """Whatever stands where."""
        for tree in (value, {"action": "note", key: value}):
            try:
                parse_answer(json.dumps(tree).encode())
            except BadAnswer:
                continue

    def test_a_signature_can_be_checked(self) -> None:
        """By whoever has the secret."""
        parts = dict(part.split("=") for part in signature(b"secret" * 4, 1_700_000_000, b"{}").split(","))
        wanted = hmac.new(b"secret" * 4, b"1700000000.{}", hashlib.sha256).hexdigest()
        self.assertEqual(parts, {"t": "1700000000", "v1": wanted})

    def test_a_form_comes_apart_again(self) -> None:
        """As any program takes it apart, octet for octet."""
        content = b"From: a\r\n\r\n--smtpgate-\r\n\0\xff\r\n"
        kind, body = form(b'{"a": 1}', content, hashlib.sha256(content).hexdigest())
        event, second = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()  # type: ignore[misc]
        self.assertEqual(event.get_payload(), '{"a": 1}')  # type: ignore[union-attr]
        self.assertEqual(second.get_content_type(), "message/rfc822")  # type: ignore[union-attr]
        self.assertIn(
            b'name="content"; filename="content"\r\nContent-Type: message/rfc822\r\n\r\n' + content + b"\r\n--", body
        )


class FilterTests(SynchronousTestCase):
    """`hook` in the in-memory gateway."""

    def gateway(self, answer: Any, options: str = "", **more: Any) -> None:
        """A gateway with a hook; `answer`: octets, a status, a failure, or what makes one of the event."""
        self.gate = Gateway(use(factory, f'servers = "{URL}"\n{options}', **more))
        self.addCleanup(self.gate.close)
        self.events: list[dict[str, Any]] = []

        def asked(method: str, url: str, headers: Any, body: bytes) -> Deferred[Any]:
            if headers["Content-Type"] == "application/json":
                self.events.append(json.loads(body))
            said = answer(self.events[-1]) if callable(answer) else answer
            if isinstance(said, Exception):
                return fail(said)
            return succeed(Response(said, {}, b"no") if isinstance(said, int) else Response(200, {}, said))

        self.gate.http.answer = asked

    def send(self, content: str = PLAIN, **more: Any) -> str:
        """A message; the reply."""
        self.client = self.gate.connect("192.0.2.7")
        if not self.client.greeting.startswith("220"):
            return self.client.greeting
        self.client.helo("mail.example.org")
        return self.client.message(content, **more)

    def test_what_is_told_at_the_end(self) -> None:
        """Session, envelope, header fields; no content where that is not wanted."""
        self.gateway(said())
        self.assertEqual(self.send(recipients=["bob@example.net", "eve@example.net"]), OK)
        (event,) = self.events
        self.assertEqual((event["version"], event["stage"], event["id"]), (1, "end", self.client.transaction.id))
        self.assertEqual(event["session"]["client"], {"ip": "192.0.2.7", "port": 50000, "name": ""})
        self.assertEqual((event["session"]["helo"], event["session"]["tls"]), ("mail.example.org", None))
        self.assertEqual(
            event["envelope"], {"sender": "alice@example.org", "recipients": ["bob@example.net", "eve@example.net"]}
        )
        self.assertEqual(event["header"][0], ["From", "alice@example.org"])
        octets = PLAIN.replace("\n", "\r\n").encode()
        self.assertEqual((event["octets"], event["digest"]), (len(octets), hashlib.sha256(octets).hexdigest()))
        self.assertNotIn("content", event)
        self.assertEqual(int(event["time"]), 1767787200)

    def test_it_is_asked_when_the_operator_says_so(self) -> None:
        """At each stage, and at no other; a refusal is the reply there."""
        self.gateway(said(), 'stages = ["connect", "mail", "rcpt", "end"]')
        self.assertEqual(self.send(), OK)
        self.assertEqual([event["stage"] for event in self.events], ["connect", "mail", "rcpt", "end"])
        self.assertEqual(self.events[2]["envelope"]["recipient"], "bob@example.net")
        self.assertNotIn("envelope", self.events[0])
        for stage, reply in (
            ("connect", "554"),
            ("mail", "550 5.7.1 No"),
            ("rcpt", "550 5.7.1 No"),
            ("end", "550 5.7.1 No"),
        ):
            self.gateway(said(action="reject", text="No", reason="no"), f'stages = ["{stage}"]')
            self.assertTrue(self.send().startswith(reply), stage)
            self.assertEqual([event["stage"] for event in self.events], [stage])

    def test_a_recipient_is_refused_alone(self) -> None:
        """The message goes on to the other."""
        self.gateway(
            lambda event: said(action="reject" if "eve" in event["envelope"]["recipient"] else "continue"),
            'stages = ["rcpt"]',
        )
        self.assertEqual(self.send(recipients=["eve@example.net", "bob@example.net"]), OK)
        self.assertEqual(self.gate.backend.messages[0].recipients, ("bob@example.net",))

    def test_proposals(self) -> None:
        """Action, reason, text, detail, score."""
        for action in ("note", "tag", "quarantine", "defer", "reject"):
            self.gateway(said(action=action, reason="pets", text="No pets", detail="a cat", score=1.5))
            self.send()
            (found,) = self.client.findings
            self.assertEqual(
                (found.reason, found.action, found.public, found.detail, found.score),
                ("hook-pets", action, "No pets", "a cat", 1.5),
            )
        self.gateway(said(score=2.5))
        self.send()
        self.assertEqual([(one.reason, one.action, one.score) for one in self.client.findings], [("hook", "note", 2.5)])
        self.gateway(said())
        self.send()
        self.assertEqual(self.client.findings, [])

    def test_changes_are_made(self) -> None:
        """At the end; before that there is nothing to change."""
        change = [
            {"op": "add", "name": "X-Pets", "value": "none"},
            {"op": "replace", "name": "subject", "value": "cats"},
        ]
        self.gateway(said(edits=change))
        self.assertEqual(self.send(), OK)
        content = self.gate.backend.messages[0].content
        self.assertIn(b"X-Pets: none\r\n", content)
        self.assertIn(b"subject: cats\r\n", content)
        self.gateway(said(edits=change), 'stages = ["mail"]')
        self.assertEqual(self.send(), FAILED)

    def test_content(self) -> None:
        """In the JSON, in a form, in whichever is better; not where it is too large."""
        large = PLAIN + "0123456789\n" * 10_000
        for way, content, is_form in (
            ("base64", PLAIN, False),
            ("base64", large, False),
            ("form", PLAIN, True),
            ("auto", PLAIN, False),
            ("auto", large, True),
        ):
            self.gateway(said(), f'content = "{way}"')
            self.assertEqual(self.send(content), OK)
            octets = content.replace("\n", "\r\n").encode()
            ((_, _, headers, body),) = self.gate.http.requests
            self.assertEqual(headers["Content-Type"].startswith("multipart/form-data"), is_form)
            if is_form:
                self.assertIn(b"\r\n\r\n" + octets + b"\r\n--", body)  # type: ignore[arg-type]
            else:
                self.assertEqual(base64.b64decode(self.events[0]["content"]), octets)
        for policy, reply, asked in (
            ("ask", OK, 1),
            ("pass", OK, 0),
            ("reject", "552 5.3.4 The message is too large to be checked", 0),
        ):
            self.gateway(said(), f'content = "auto"\nmax_octets = "10 kB"\non_oversize = "{policy}"')
            self.assertEqual(self.send(large), reply)
            self.assertEqual(len(self.events), asked)
            if asked:
                self.assertNotIn("content", self.events[0])

    def test_requests_are_signed(self) -> None:
        """With the secret of a file that nobody else may read; it stands in no options that are shown."""
        secret = Path(os.getcwd(), self.mktemp())
        secret.touch(0o600)
        secret.write_text("0123456789abcdef0123\n")
        self.gateway(said(), f'secret_file = "{secret}"')
        self.send()
        ((_, _, headers, body),) = self.gate.http.requests
        assert body is not None
        self.assertEqual(headers["X-Smtpgate-Signature"], signature(b"0123456789abcdef0123", 1767787200, body))
        options = factory.options.model_validate({"servers": URL, "secret_file": str(secret)})  # type: ignore[union-attr]
        self.assertNotIn("0123456789abcdef", repr(options) + options.model_dump_json())
        secret.chmod(0o644)
        self.assertIn("can be read by others", complaints(factory, f'servers = "{URL}"\nsecret_file = "{secret}"')[0])
        secret.chmod(0o600)
        secret.write_text("short")
        self.assertIn("a secret of 5 octets", complaints(factory, f'servers = "{URL}"\nsecret_file = "{secret}"')[0])
        self.assertIn("cannot read", complaints(factory, f'servers = "{URL}"\nsecret_file = "none"')[0])

    def test_failures_follow_the_policy(self) -> None:
        """Unreachable, another status, another form; at each stage."""
        for stage in ("mail", "rcpt", "end"):
            for answer in (HTTPFailed("refused"), 500, 404, 204, b"", b"OK", said(action="allow"), said(extra=1)):
                self.gateway(answer, f'stages = ["{stage}"]')
                self.assertEqual(self.send(), FAILED)
        self.gateway(500, on_error="continue")
        self.assertEqual(self.send(), OK)
        self.gateway(500, on_error="reject")
        self.assertEqual(self.send()[:3], "550")

    def test_an_answer_serves_the_retry(self) -> None:
        """The same message in the same envelope; not what puts it off, and not before the end."""
        self.gateway(said(), 'stages = ["mail", "end"]')
        self.send()
        self.send()
        self.assertEqual([event["stage"] for event in self.events], ["mail", "end", "mail"])
        self.gateway(said(action="defer"))
        self.send()
        self.send()
        self.assertEqual(len(self.events), 2)

    def test_options(self) -> None:
        """Addresses, stages, ways."""
        good = f'servers = "{URL}"\n'
        self.assertEqual(complaints(factory, good + 'stages = ["rcpt"]\ncontent = "form"'), [])
        for bad in ("stages = []", 'stages = ["data"]', 'content = "raw"', 'on_oversize = "accept"', "secret = 1"):
            self.assertEqual(len(complaints(factory, good + bad)), 1, bad)
