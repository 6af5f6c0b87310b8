"""Filters that do what no filter should: whatever it is, it is their own failure, and mail goes by their policy."""

from __future__ import annotations

import math
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.verdict import Finding
from smtpgate.testing import Gateway, use
from tests.test_pipeline import NO_CHECK, OK, Kit, step


def exits(*args: Any) -> Any:
    """What a library does that was written for a command line."""
    raise SystemExit(1)


class RaiseTests(SynchronousTestCase):
    """More than Exception."""

    def test_an_exit_is_a_failure_of_its_filter(self) -> None:
        """At each stage; the session lives on."""
        for stage in ("mail", "rcpt", "data", "header", "body", "end"):
            gateway = Gateway(use(Kit().factory(**{stage: exits})))
            client = gateway.connect()
            self.assertEqual(step(client, stage), NO_CHECK["tempfail"], stage)
            self.assertEqual([(event.stage, event.kind) for event in gateway.failures], [(stage, "raised")])
            self.assertEqual(client.say("NOOP")[:3], "250")

    def test_an_exit_at_begin_and_at_the_end_too(self) -> None:
        """The objects are made and given up by the same rule."""
        gateway = Gateway(use(Kit().factory(begin=exits, mail=None)))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.mail(), NO_CHECK["tempfail"])
        gateway = Gateway(use(Kit().factory(closed=exits, mail=None)))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), OK)
        self.assertEqual([event.stage for event in gateway.failures], ["closed"])


class LateTests(SynchronousTestCase):
    """The time is judged by the clock, not by what the filter makes of it."""

    def late(self, method: Any) -> tuple[str, list[tuple[str, str]]]:
        """The reply once the budget of 2 s is over, and the failures."""
        gateway = Gateway(use(Kit().factory(mail=method)))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.mail(), "")
        gateway.advance(2.1)
        reply = client.read()
        gateway.close()
        return reply, [(event.stage, event.kind) for event in gateway.failures]

    def test_one_that_waits_on_when_cancelled(self) -> None:
        """The session does not hang with it."""

        async def stubborn(*args: Any) -> Any:
            while True:
                try:
                    await Deferred()
                except CancelledError:
                    continue

        self.assertEqual(self.late(stubborn), (NO_CHECK["tempfail"], [("mail", "timeout")]))

    def test_one_that_says_nothing_is_wrong_when_cancelled(self) -> None:
        """A check that was cut off has not passed."""

        async def shrugs(*args: Any) -> Any:
            try:
                await Deferred()
            except CancelledError:
                return None

        self.assertEqual(self.late(shrugs), (NO_CHECK["tempfail"], [("mail", "timeout")]))


class FindingTests(SynchronousTestCase):
    """A finding that is none cannot be made."""

    def test_values_of_the_wrong_kind(self) -> None:
        """Also those that would be written into a reply."""
        for wrong in (
            {"skips": "dnsbl"},
            {"public": None},
            {"detail": 5},
            {"score": "5"},
            {"score": math.nan},
            {"score": math.inf},
            {"code": "550"},
            {"enhanced": "5.7.1\r\n250 2.0.0 hi"},
            {"enhanced": "5.banana"},
        ):
            with self.assertRaises((TypeError, ValueError), msg=wrong):
                Finding("x", "reject", **wrong)  # type: ignore[arg-type]

    def test_lists_are_taken_as_sets(self) -> None:
        """Who writes skips=["x"] means it."""
        found = Finding("x", "accept", skips=["a", "b"], recipients=[1])  # type: ignore[arg-type]
        self.assertEqual((found.skips, found.recipients), (frozenset({"a", "b"}), frozenset({1})))

    def test_a_wrong_finding_is_the_filter_s_failure(self) -> None:
        """Not the session's."""
        gateway = Gateway(use(Kit().factory(mail=lambda *args: Finding("x", "accept", skips="y"))))  # type: ignore[arg-type]
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.mail(), NO_CHECK["tempfail"])

    def test_a_refusal_at_the_end_about_one_recipient_refuses_the_message(self) -> None:
        """There is one reply for all: what is wrong for one must not pass unseen."""
        found = Finding("bad", "reject", recipients=frozenset({0}))
        gateway = Gateway(use(Kit().factory(end=lambda: found)))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), "550 5.7.1 Refused by policy")


class BodyTests(SynchronousTestCase):
    """Content comes in many pieces."""

    def test_one_answer_is_enough(self) -> None:
        """A finding for each piece would grow without bound."""
        for answer in (Finding("seen", "note"), "wrong"):
            kit = Kit()
            gateway = Gateway(use(kit.factory(body=lambda chunk, a=answer: a, on_error="continue")))
            client = gateway.connect()
            client.helo()
            client.mail(), client.rcpt(), client.data()
            for _ in range(20):
                client.content(b"Subject: x\r\n\r\nmore\r\n")
            self.assertEqual(client.end(), OK)
            self.assertEqual(len(client.findings), 1)

    def test_an_asynchronous_body_method_is_a_lie(self) -> None:
        """Content does not wait."""

        async def body(chunk: bytes) -> None:
            return None

        gateway = Gateway(use(Kit().factory(body=body)))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(), NO_CHECK["tempfail"])
        self.assertEqual([(event.stage, event.kind) for event in gateway.failures], [("body", "wrong type")])


class WholeTransactionTests(SynchronousTestCase):
    """What is wrong with a transaction is wrong for each of its recipients."""

    def test_a_filter_that_cannot_begin_refuses_every_recipient(self) -> None:
        """None hears 250 and is refused after the message."""
        gateway = Gateway(use(Kit().factory(begin=exits, end=None)))
        client = gateway.connect()
        client.helo()
        client.mail()
        for number in range(3):
            self.assertEqual(client.rcpt(f"r{number}@example.net"), NO_CHECK["tempfail"])


class AuthTests(SynchronousTestCase):
    """A filter that refuses a login."""

    def test_the_client_hears_it_in_place_of_the_235(self) -> None:
        """For good and for now; the session has no name after it."""
        for action, wanted in (("reject", "535 5.7.1"), ("defer", "454 4.7.1")):
            found = Finding("no", action, public="Not from there")
            gateway = Gateway(use(Kit().factory(auth=lambda user, f=found: f)), role="submission")
            client = gateway.connect()
            client.helo()
            self.assertEqual(client.login("anna"), f"{wanted} Not from there")
            self.assertEqual(client.session.user, "")
            self.assertEqual(client.mail()[:3], "530")


class EditTests(SynchronousTestCase):
    """What filters see is the message, not what becomes of it."""

    def test_body_filters_see_the_header_as_it_came(self) -> None:
        """Also where an earlier filter takes a field out."""
        from smtpgate.policy.edits import RemoveField

        seen: list[bytes] = []
        kit = Kit()
        gateway = Gateway(use(kit.factory("look", body=lambda chunk: seen.append(chunk))))
        client = gateway.connect()
        client.helo()
        client.mail(), client.rcpt(), client.data()
        client.transaction.edits.append(RemoveField("subject", 0, "test"))
        client.content(b"Subject: x\r\n\r\nhello\r\n")
        self.assertEqual(client.end(), OK)
        self.assertEqual(b"".join(seen), b"Subject: x\r\n\r\nhello\r\n")

    def test_an_edit_that_finds_nothing_is_noted(self) -> None:
        """Who asked for it is named."""
        from smtpgate.policy.edits import RemoveField

        gateway = Gateway(use(Kit().factory(end=None)))
        client = gateway.connect()
        client.helo()
        client.mail(), client.rcpt(), client.data()
        transaction = client.transaction
        transaction.edits.append(RemoveField("x-none", 0, "test"))
        client.content(b"Subject: x\r\n\r\nhello\r\n")
        self.assertEqual(client.end(), OK)
        self.assertIn("edit_missed:test", transaction.notes)
