"""Tests of smtpgate.filters.engines.milter and its parts: the protocol, the edits, and the filter in memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kilter.protocol.buffer import SimpleBuffer
from kilter.protocol.messages import (
    Accept,
    ActionFlags,
    AddHeader,
    AddRecipient,
    AddRecipientPar,
    Body,
    ChangeHeader,
    ChangeSender,
    Connect,
    Continue,
    Discard,
    EnvelopeRecipient,
    Header,
    Helo,
    InsertHeader,
    Message,
    Negotiate,
    Progress,
    ProtocolFlags,
    Quarantine,
    Reject,
    RemoveRecipient,
    ReplaceBody,
    ReplyCode,
    Skip,
    Stage,
    TemporaryFailure,
)
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.engines import milter_wire as wire
from smtpgate.filters.engines.milter import factory
from smtpgate.filters.engines.milter_body import HELD_OCTETS
from smtpgate.filters.engines.milter_edits import plan
from smtpgate.filters.engines.milter_link import EDITS
from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.message.header import HeaderSection
from smtpgate.policy.edits import EditList
from smtpgate.testing import PLAIN, Gateway, complaints, use
from tests.engine_kit import Network, Peer
from tests.milter_kit import Milter, MilterPeer, packed

PLACE = "192.0.2.31:8891"
OK = "250 2.0.0 Ok"
FAILED = "451 4.3.0 A check could not be done; try again later"
LARGE = "From: a@example.org\n\n" + "0123456789abcdef\n" * 20_000


def unpacked(octets: bytes) -> Message:
    """One message out of a frame, as a milter reads it."""
    buffer = SimpleBuffer(len(octets))
    buffer[:] = octets
    message, size = Message.unpack(buffer)
    assert size == len(octets)
    message.freeze()
    return message


class WireTests(SynchronousTestCase):
    """`milter_wire`."""

    def test_what_we_say_is_what_the_library_reads(self) -> None:
        """Each message that the gateway packs itself."""
        terms = wire.Terms(6, 0, 0)
        for octets, message in (
            (wire.negotiate(), Negotiate(6, wire.OFFERED_ACTIONS, wire.OFFERED_FLAGS)),
            (wire.frame(Helo, wire.strings("mail.example.org")), Helo("mail.example.org")),
            (wire.header(b"Subject:  two\r\n\tlines\r\n", terms), Header("Subject", b" two\n\tlines")),
            (wire.header(b"X:\r\n", terms), Header("X", b"")),
            (wire.header(b"X : a\r\n", wire.Terms(6, 0, ProtocolFlags.HDR_LEADSPC)), Header("X", b" a")),
            (
                wire.envelope(EnvelopeRecipient, b"b@example.net", {"NOTIFY": b"NEVER", "X": None}),
                EnvelopeRecipient(b"<b@example.net>", [b"NOTIFY=NEVER", b"X"]),
            ),
            (wire.frame(Body, b"hello\r\n"), Body(b"hello\r\n")),
        ):
            self.assertEqual(unpacked(octets), message)
        for address, family in (("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::7"), ("", None)):
            said = unpacked(wire.connect("mail.example.org", address, 50000))
            assert isinstance(said, Connect)
            self.assertEqual(str(said.address), str(family))
        macros = unpacked(wire.macros("rcpt", {"i": "1", "{rcpt_addr}": "b@example.net"}))
        self.assertEqual((macros.stage, macros.macros), (ord("R"), {"i": "1", "{rcpt_addr}": "b@example.net"}))  # type: ignore[attr-defined]
        self.assertEqual(wire.macros("rcpt", {}), b"")

    def test_strangers_words_break_no_frame(self) -> None:
        """NUL, what is no name, what is no UTF-8, what is longer than a milter takes."""
        terms = wire.Terms(6, 0, 0)
        for octets in (
            wire.frame(Helo, wire.strings("a\0b..c" + "x" * 300 + "\udcff")),
            wire.connect("a\0b", "192.0.2.7", 1),
            wire.header(b"X: a\0b\xff" + b"c" * 100_000 + b"\r\n", terms),
            wire.envelope(EnvelopeRecipient, b'"a b"@\xc3\xbc', {"X": b"\0"}),
            wire.macros("mail", {"{mail_addr}": "ü\0@example.org"}),
        ):
            size, _ = struct.unpack_from("!LB", octets)
            self.assertEqual(size, len(octets) - 4)
            self.assertLessEqual(size, wire.CHUNK_OCTETS)
            self.assertEqual(
                octets[5:].count(b"\0"),
                # The port of the client has one too.
                {"H": 1, "C": 3, "L": 2, "R": 2, "D": 2}[chr(octets[4])],
            )

    def test_terms(self) -> None:
        """What a milter declines, does not answer, and wants of macros."""
        flags = ProtocolFlags.NO_HELO | ProtocolFlags.NR_HDR | 0x30000000
        terms = wire.agree(Negotiate(6, ActionFlags.ADD_HEADERS, flags, {Stage.CONNECT: ["j", "{daemon_name}"]}))
        self.assertEqual((terms.wants("helo"), terms.wants("header"), terms.answers("header")), (False, True, False))
        self.assertEqual((terms.answers("end"), terms.wants("end"), terms.has_leading_space), (True, True, False))
        there = {"j": "gate", "v": "x", "{daemon_name}": "front", "i": ""}
        self.assertEqual(terms.chosen("connect", there), {"j": "gate", "{daemon_name}": "front"})
        self.assertEqual(terms.chosen("helo", there), {"j": "gate", "v": "x", "{daemon_name}": "front"})
        self.assertFalse(wire.agree(Negotiate(2, ActionFlags.NONE, ProtocolFlags.NONE)).wants("data"))

    def test_terms_that_were_not_offered(self) -> None:
        """Other versions, flags of nobody, another message."""
        for message in (
            Negotiate(7, ActionFlags.NONE, ProtocolFlags.NONE),
            Negotiate(1, ActionFlags.NONE, ProtocolFlags.NONE),
            Negotiate(6, ActionFlags(0x800), ProtocolFlags.NONE),
            Negotiate(6, ActionFlags.NONE, ProtocolFlags.REJECTED_RECIPIENT),
            Continue(),
        ):
            self.assertRaises(BadAnswer, wire.agree, message)

    def test_answers(self) -> None:
        """Each to the events to which it may come."""
        terms = wire.Terms(6, ActionFlags.ADD_HEADERS, ProtocolFlags.SKIP)
        for message, kind in (
            (Continue(), "continue"),
            (Accept(), "accept"),
            (Reject(), "reject"),
            (Discard(), "discard"),
            (TemporaryFailure(), "tempfail"),
            (wire.Shutdown(), "tempfail"),
            (wire.ConnectionFailed(), "tempfail"),
        ):
            self.assertEqual(wire.verdict(message, "mail", terms), wire.Verdict(kind))
        self.assertEqual(wire.verdict(Skip(), "body", terms), wire.Verdict("skip"))
        self.assertIsNone(wire.verdict(Progress(), "mail", terms))
        self.assertIsNone(wire.verdict(AddHeader("X", b"1"), "end", terms))
        for message, event in (
            (Skip(), "end"),
            (AddHeader("X", b"1"), "body"),
            (ChangeHeader(1, "X", b"1"), "end"),
            (ReplaceBody(b""), "end"),
            (Helo("x"), "helo"),
            (Negotiate(6, ActionFlags.NONE, ProtocolFlags.NONE), "mail"),
        ):
            self.assertRaises(BadAnswer, wire.verdict, message, event, terms)
        self.assertRaises(BadAnswer, wire.verdict, Skip(), "body", wire.Terms(6, 0, 0))

    def test_replies(self) -> None:
        """Code, enhanced code and text, in one line or several; nothing else."""
        for content, wanted in (
            (b"550 5.7.1 No\0", ("reject", 550, "5.7.1", "No")),
            (b"451 later\0", ("tempfail", 451, "", "later")),
            (b"554-5.7.1 One\r\n554 5.7.1 two 100%%", ("reject", 554, "5.7.1", "One two 100%")),
            (b"421 4.3.2 \0", ("tempfail", 421, "4.3.2", "")),
        ):
            found = wire.parse_reply(content)
            self.assertEqual((found.kind, found.code, found.enhanced, found.text), wanted)
        for content in (
            b"",
            b"250 Ok\0",
            b"550",
            b"5500 no",
            b"550 4.7.1 no",
            b"550 no\n",
            b"550 no\r\n451 no",
            b"550-no",
            b"550 a\r\n550 b",
            b"abc no",
            b"550 a\0b\0",
        ):
            self.assertRaises(BadAnswer, wire.parse_reply, content)

    @given(st.integers(0, 255), st.binary(max_size=60), st.sampled_from(list(wire.EVENTS)))
    def test_nothing_else_is_raised(self, kind: int, payload: bytes, event: str) -> None:
        """Whatever a milter sends: it is an answer, an edit, or bad."""
        terms = wire.Terms(6, 0x1FF, 0x1FFFFF)
        section = HeaderSection(b"A: 1\r\n\r\n")
        try:
            message = wire.unpack(kind, payload)
            verdict = wire.verdict(message, event, terms)
            if verdict is None and wire.is_edit(message):
                plan([message], section, "milter", True)
        except BadAnswer:
            return
        self.assertTrue(
            verdict is None or verdict.kind in ("continue", "accept", "reject", "tempfail", "discard", "skip")
        )


class EditTests(SynchronousTestCase):
    """`milter_edits.plan`."""

    section = HeaderSection(b"A: 1\r\nB: b\r\na: 2\r\nA: 3\r\n\r\n")

    def applied(self, *wanted: Message, lead: bool = False) -> bytes:
        """The header section with all changes."""
        edits = EditList()
        for edit in plan(wanted, self.section, "milter", lead).edits:
            edits.append(edit)
        octets, missed = edits.apply(self.section)
        self.assertEqual(missed, ())
        return octets.removesuffix(b"\r\n")

    def test_fields_are_added_above(self) -> None:
        """Inserted ones above added ones, the last inserted on top."""
        made = self.applied(
            AddHeader("X", b"1"), InsertHeader(0, "Y", b"2"), AddHeader("X", b"3"), InsertHeader(5, "Z", b"4")
        )
        self.assertEqual(made, b"Z: 4\r\nY: 2\r\nX: 1\r\nX: 3\r\n" + self.section.octets.removesuffix(b"\r\n"))

    def test_fields_are_changed_and_removed(self) -> None:
        """Counted as they are now: of three, removing the second twice leaves the first."""
        self.assertEqual(self.applied(ChangeHeader(2, "A", b"x")), b"A: 1\r\nB: b\r\nA: x\r\nA: 3\r\n")
        self.assertEqual(self.applied(ChangeHeader(0, "B", b"x")), b"A: 1\r\nB: x\r\na: 2\r\nA: 3\r\n")
        self.assertEqual(self.applied(ChangeHeader(2, "A", b""), ChangeHeader(2, "a", b"")), b"A: 1\r\nB: b\r\n")
        self.assertEqual(self.applied(ChangeHeader(3, "A", b""), ChangeHeader(1, "A", b"")), b"B: b\r\na: 2\r\n")

    def test_one_that_is_not_there_is_added(self) -> None:
        """As Sendmail and Postfix do; its removal is nothing."""
        self.assertEqual(
            self.applied(ChangeHeader(4, "A", b"x")), b"A: x\r\n" + self.section.octets.removesuffix(b"\r\n")
        )
        self.assertEqual(self.applied(ChangeHeader(1, "C", b"")), self.section.octets.removesuffix(b"\r\n"))

    def test_added_ones_can_be_changed(self) -> None:
        """They count among the others."""
        made = self.applied(InsertHeader(0, "A", b"0"), ChangeHeader(1, "A", b"x"), ChangeHeader(2, "A", b""))
        self.assertEqual(made, b"A: x\r\nB: b\r\na: 2\r\nA: 3\r\n")

    def test_values_are_written_octet_for_octet(self) -> None:
        """A signature may be in them: folded, with the blank or without."""
        self.assertTrue(self.applied(AddHeader("X", b" a\n\tb"), lead=True).startswith(b"X: a\r\n\tb\r\n"))
        self.assertTrue(self.applied(AddHeader("X", b"a"), lead=True).startswith(b"X: a\r\n"))
        self.assertTrue(self.applied(AddHeader("X", b"a\r\n b\n")).startswith(b"X: a\r\n b\r\n"))

    def test_what_is_no_field_is_a_bad_answer(self) -> None:
        """No header is written by a line end in a value."""
        for name, value in (
            ("X Y", b"1"),
            ("X:", b"1"),
            ("", b"1"),
            ("X", b"1\nY: 2"),
            ("X", b"a\n\nb"),
            ("X", b"\1"),
            ("X", b"\xff"),
        ):
            self.assertRaises(BadAnswer, plan, [AddHeader(name, value)], self.section, "milter", False)

    def test_what_cannot_be_done_is_told(self) -> None:
        """Once each."""
        made = plan(
            [
                ReplaceBody(b"a"),
                ReplaceBody(b"b"),
                ChangeSender("c@example.org"),
                AddRecipient("d@example.org"),
                AddRecipientPar("e@example.org", "NOTIFY=NEVER"),
                RemoveRecipient("f\x1b@example.org"),
                Quarantine("odd"),
            ],
            self.section,
            "milter",
            False,
        )
        self.assertEqual(made.edits, ())
        self.assertEqual(
            made.undone,
            (
                "replace the body",
                "change the sender to c@example.org",
                "add the recipient d@example.org",
                "add the recipient e@example.org",
                "remove the recipient f @example.org",
            ),
        )
        self.assertEqual(made.quarantine, "odd")


class FilterCase(SynchronousTestCase):
    """A gateway in memory with a milter behind it."""

    def gateway(
        self,
        answers: dict[str, Any] | None = None,
        options: str = "",
        make: Callable[[], Milter] | None = None,
        **more: Any,
    ) -> None:
        """Both."""
        zones = more.pop("zones", None)
        role = more.pop("role", "mx")
        self.gate = Gateway(use(factory, f'servers = "{PLACE}"\n{options}', **more), zones=zones, role=role)
        self.addCleanup(self.gate.close)
        self.network = Network(self.gate)
        self.network.places = {PLACE: lambda: MilterPeer(make() if make else Milter(answers))}

    @property
    def milter(self) -> Milter:
        """The one that was met last."""
        peer = self.network.met[-1]
        assert isinstance(peer, MilterPeer)
        return peer.milter

    def send(self, content: str = PLAIN, wait: float = 0.0, **more: Any) -> str:
        """A session with one message; the reply."""
        self.client = self.gate.connect("192.0.2.7")
        if not self.client.greeting.startswith("220"):
            return self.client.greeting
        reply = self.client.helo("mail.example.org")
        if reply.startswith("250"):
            reply = self.client.message(content, **more)
        if wait:
            self.gate.advance(wait)
            reply = reply or self.client.read()
        return reply


class FilterTests(FilterCase):
    """`milter`."""

    def test_a_session_as_a_milter_hears_it(self) -> None:
        """Every event in its order, the body octet for octet, ABORT between messages only where one was not ended."""
        self.gateway()
        self.assertEqual(self.send(), OK)
        self.client.mail("carol@example.org", "SIZE=100")
        self.client.say("RSET")
        self.client.say("QUIT")
        events = [one for number, one in enumerate(self.milter.events) if one != self.milter.events[number - 1]]
        self.assertEqual(
            events[1:],
            [
                ("connect", "[192.0.2.7] 192.0.2.7 50000"),
                ("helo", "mail.example.org"),
                ("mail", "<alice@example.org>"),
                ("rcpt", "<bob@example.net>"),
                ("data", ""),
                ("header", "From:alice@example.org"),
                ("header", "To:bob@example.net"),
                ("header", "Message-ID:<1@example.org>"),
                ("header", "Subject:hello"),
                ("eoh", ""),
                ("body", ""),
                ("end", ""),
                ("mail", "<carol@example.org> SIZE=100"),
                ("abort", ""),
                ("close", ""),
            ],
        )
        self.assertEqual(self.milter.body, b"Hello.\r\n")
        self.assertEqual(len(self.network.met), 1)
        self.assertTrue(self.network.met[0].is_lost)

    def test_macros(self) -> None:
        """Those of Postfix at each stage; further ones of the operator; only those that the milter asked for."""
        self.gateway(options='macros = { "{daemon_name}" = "MTA" }')
        self.send()
        macros = self.milter.macros
        self.assertEqual(macros["C"]["{daemon_name}"], "MTA")
        self.assertEqual((macros["C"]["j"], macros["C"]["_"]), ("gate.example.com", "unknown [192.0.2.7]"))
        self.assertEqual(macros["M"]["{mail_addr}"], "alice@example.org")
        self.assertEqual(macros["M"]["i"], self.client.transaction.id)
        self.assertEqual((macros["R"]["{rcpt_addr}"], macros["R"]["{rcpt_host}"]), ("bob@example.net", "example.net"))
        self.assertEqual(macros["E"]["i"], self.client.transaction.id)

        class Choosy(Milter):
            symbols = {Stage.CONNECT: ["{client_addr}"], Stage.ENVELOPE_FROM: []}

        self.gateway(make=Choosy)
        self.send()
        self.assertEqual(self.milter.macros["C"], {"{client_addr}": "192.0.2.7"})
        self.assertNotIn("M", self.milter.macros)

    def test_who_has_logged_in(self) -> None:
        """As a signing milter wants to know it."""
        self.gateway(role="submission")
        client = self.gate.connect()
        client.helo()
        client.login("carol")
        self.assertEqual(client.message(recipients=["bob@example.com"]), OK)
        self.assertEqual(self.milter.macros["M"]["{auth_authen}"], "carol")
        self.assertEqual(self.milter.macros["M"]["{auth_type}"], "PLAIN")

    def test_the_clients_name(self) -> None:
        """From the DNS where it leads back; not asked where that is switched off."""
        zones = {"7.2.0.192.in-addr.arpa": {"PTR": "mx.example.org"}, "mx.example.org": {"A": "192.0.2.7"}}
        self.gateway(zones=zones)
        self.send()
        self.assertEqual(self.milter.events[1][1], "mx.example.org 192.0.2.7 50000")
        self.assertEqual(self.milter.macros["C"]["{client_name}"], "mx.example.org")
        self.gateway(options="resolve = false", zones=zones)
        self.send()
        self.assertEqual(self.milter.events[1][1], "[192.0.2.7] 192.0.2.7 50000")

    def test_what_a_milter_does_not_want_is_not_told(self) -> None:
        """Skipped events, and events without an answer."""

        class Quiet(Milter):
            flags = (
                ProtocolFlags.NO_HELO
                | ProtocolFlags.NO_HDRS
                | ProtocolFlags.NO_BODY
                | ProtocolFlags.NR_RCPT
                | ProtocolFlags.NR_CONN
            )

        self.gateway(make=Quiet)
        self.assertEqual(self.send(), OK)
        self.assertEqual(self.milter.names(), ["connect", "mail", "rcpt", "data", "eoh", "end"])

        class Old(Milter):
            version = 2

        self.gateway(make=Old)
        self.assertEqual(self.send(), OK)
        self.assertNotIn("data", self.milter.names())

    def test_refusals_at_each_stage(self) -> None:
        """Each is the reply to what it is about."""
        for event, message, reply in (
            ("connect", TemporaryFailure(), "421"),
            ("connect", Reject(), "554"),
            ("helo", Reject(), "550"),
            ("mail", Reject(), "550 5.7.1 Refused by a filter"),
            ("rcpt", TemporaryFailure(), "451 4.7.1 A filter asks"),
            ("data", Reject(), "550 5.7.1"),
            ("header", Reject(), "550 5.7.1"),
            ("eoh", TemporaryFailure(), "451 4.7.1"),
            ("body", Reject(), "550 5.7.1"),
            ("end", ReplyCode(b"554 5.7.9 Go away\0"), "554 5.7.9 Go away"),
            ("end", ReplyCode(b"452 4.2.2 Full\0"), "452 4.2.2 Full"),
        ):
            self.gateway({event: [message]})
            self.assertTrue(self.send().startswith(reply), (event, message, reply))
            self.assertEqual(self.gate.backend.messages, [])
            self.assertEqual(self.gate.failures, [])

    def test_a_recipient_is_refused_alone(self) -> None:
        """The message goes on to the other."""
        self.gateway({"rcpt": lambda said: [Reject()] if b"eve@" in bytes(said.recipient) else [Continue()]})
        self.assertEqual(self.send(recipients=("eve@example.net", "bob@example.net")), OK)
        self.assertEqual(self.gate.backend.messages[0].recipients, ("bob@example.net",))
        self.assertIn("end", self.milter.names())

    def test_accepting_ends_the_conversation(self) -> None:
        """Of a session, of a message; the next message is told again."""
        self.gateway({"connect": [Accept()]})
        self.assertEqual(self.send(), OK)
        self.assertEqual(self.milter.names(), ["connect"])
        for event in ("mail", "rcpt", "data", "header", "eoh", "body"):
            self.gateway({event: [Accept()]})
            self.assertEqual(self.send(), OK)
            self.assertEqual(self.client.message(), OK)
            self.assertEqual(self.milter.names().count("mail"), 2)
            self.assertEqual(self.milter.names().count("abort"), 2)
            self.assertNotIn("end", self.milter.names())

    def test_discarding_proposes_the_quarantine(self) -> None:
        """Nothing is thrown away unseen."""
        for event in ("mail", "rcpt", "body", "end"):
            self.gateway({event: [Discard()]})
            self.assertEqual(self.send(), OK)
            self.assertEqual(
                [(one.reason, one.action) for one in self.client.findings], [("milter-discard", "quarantine")]
            )

    def test_changes_of_the_header(self) -> None:
        """They are in what the backend gets."""
        self.gateway(
            {
                "end": [
                    InsertHeader(0, "X-One", b"1"),
                    ChangeHeader(1, "Subject", b"changed"),
                    ChangeHeader(1, "To", b""),
                    Continue(),
                ]
            }
        )
        self.assertEqual(self.send(), OK)
        content = self.gate.backend.messages[0].content
        self.assertIn(b"X-One: 1\r\n", content)
        self.assertIn(b"Subject: changed\r\n", content)
        self.assertNotIn(b"To: bob", content)

    def test_changes_that_cannot_be_made(self) -> None:
        """The message waits, as shipped, or what the operator says; all of them are named."""
        wanted = [ReplaceBody(b"x" * 60_000), ReplaceBody(b"y"), RemoveRecipient("bob@example.net"), Accept()]
        for options, reply in (
            ("", "451 4.7.1 A filter wants a change that cannot be made"),
            ('on_undone = "note"', OK),
        ):
            self.gateway({"end": wanted}, options)
            self.assertEqual(self.send(), reply)
            detail = "replace the body; remove the recipient bob@example.net"
            self.assertEqual([(one.reason, one.detail) for one in self.client.findings], [("milter-undone", detail)])

    def test_quarantine(self) -> None:
        """With its reason."""
        self.gateway({"end": [Quarantine("looks odd"), Continue()]})
        self.assertEqual(self.send(), OK)
        (found,) = self.client.findings
        self.assertEqual((found.reason, found.action, found.detail), ("milter-quarantine", "quarantine", "looks odd"))

    def test_a_large_body_goes_in_pieces(self) -> None:
        """None is larger than libmilter takes; all of it arrives once, in its order."""
        self.gateway()
        self.assertEqual(self.send(LARGE), OK)
        self.assertLessEqual(max(self.milter.sizes), wire.CHUNK_OCTETS)
        self.assertEqual(self.milter.body, LARGE.partition("\n\n")[2].replace("\n", "\r\n").encode())

    def test_skip_spares_the_rest_of_the_body(self) -> None:
        """The end comes all the same."""

        class Skipping(Milter):
            flags = ProtocolFlags.SKIP

        self.gateway(make=lambda: Skipping({"body": [Skip()]}))
        self.assertEqual(self.send(LARGE), OK)
        self.assertEqual((len(self.milter.sizes), self.milter.names()[-1]), (1, "end"))

    def test_a_slow_milter_holds_up_nobody_but_its_message(self) -> None:
        """What came too fast for it is read again; it gets all octets once."""
        waiting: list[MilterPeer] = []

        class Slow(MilterPeer):
            def say(self, octets: bytes) -> None:
                if octets == packed(Continue()) and self.milter.events[-1][0] == "body":
                    waiting.append(self)
                else:
                    super().say(octets)

        self.gateway()
        self.network.places = {PLACE: lambda: Slow(Milter())}
        client = self.gate.connect()
        client.helo()
        client.mail()
        client.rcpt()
        client.data()
        body = b"0123456789abcdef\r\n" * (2 * HELD_OCTETS // 18)
        client.content(b"From: a@example.org\r\n\r\n")
        for start in range(0, len(body), 50_000):
            client.content(body[start : start + 50_000])
        self.assertEqual(len(self.milter.sizes), 1)
        self.assertEqual(client.end(), "")
        while waiting:
            Peer.say(waiting.pop(), packed(Continue()))
            self.gate.advance(0)
        self.assertEqual(client.read(), OK)
        self.assertEqual(self.milter.body, body)

    def test_signs_of_life_begin_the_time_anew(self) -> None:
        """A milter that works for long says so; one that is silent has failed."""
        self.gateway({"end": lambda said: b""}, 'timeout = "10s"')
        self.client = self.gate.connect()
        self.client.helo()
        self.assertEqual(self.client.message(), "")
        for _ in range(3):
            self.gate.advance(8)
            self.network.met[0].say(packed(Progress()))
            self.gate.advance(0)
        self.network.met[0].say(packed(Continue()))
        self.assertEqual(self.client.read(), OK)
        self.gateway({"end": lambda said: b""}, 'timeout = "10s"')
        self.assertEqual(self.send(wait=11), FAILED)

    def test_whatever_is_no_answer_is_a_failure(self) -> None:
        """At each stage: garbage, another message, silence, an end; never an acceptance."""
        for event in ("negotiate", "connect", "helo", "mail", "rcpt", "data", "header", "eoh", "body", "end"):
            for said in (
                b"220 mail.example.org ESMTP\r\n",
                b"\0\0\0\1Z",
                b"\0\0\0\0",
                b"\xff\xff\xff\xffc",
                b"\0\0\0\2cx",
                packed(AddHeader("X", b"1")) if event != "end" else packed(Skip()),
                packed(ReplyCode(b"250 Ok\0")),
                b"",
            ):
                self.gateway({event: said}, 'timeout = "10s"')
                reply = self.send()
                for _ in range(5):
                    self.gate.advance(11)
                    reply = reply or self.client.read() or self.client.greeting
                self.assertIn(reply[:3], ("421", "451"), (event, said))
                self.assertEqual(self.gate.backend.messages, [], (event, said))
                self.assertTrue(self.gate.failures)

    def test_once_failed_the_message_has_failed(self) -> None:
        """A milter that broke off at the first recipient has not seen the second; where failures let pass, all do."""
        self.gateway({"rcpt": lambda said: b"garbage"})
        client = self.gate.connect()
        client.helo()
        client.mail()
        self.assertEqual(client.rcpt("a@example.net"), FAILED)
        self.assertEqual(client.rcpt("b@example.net"), FAILED)
        self.assertEqual(client.say("RSET"), OK)
        self.gateway({"rcpt": lambda said: b"garbage"}, on_error="continue")
        self.assertEqual(self.send(), OK)
        self.assertEqual({one.reason for one in self.client.findings}, {"filter-failed"})

    def test_the_next_message_has_a_new_connection(self) -> None:
        """It is told of the session from the start."""
        answers: dict[str, Any] = {"end": b"garbage"}
        self.gateway(answers)
        self.assertEqual(self.send(), FAILED)
        answers.clear()
        self.assertEqual(self.client.message(), OK)
        self.assertEqual(len(self.network.met), 2)
        self.assertEqual(self.milter.names()[:3], ["connect", "helo", "mail"])

    def test_one_that_is_away(self) -> None:
        """Refused, or silent at the connection; a second server is asked."""
        self.gateway()
        self.network.places = {}
        self.assertEqual(self.send()[:3], "421")
        self.gateway(on_error="continue")
        self.network.places = {}
        self.assertEqual(self.send(), OK)
        second = "192.0.2.32:8891"
        self.gate = Gateway(use(factory, f'servers = ["{PLACE}", "{second}"]'))
        self.network = Network(self.gate)
        self.network.places = {second: lambda: MilterPeer(Milter())}
        self.assertEqual(self.send(), OK)
        self.assertEqual(self.network.asked, [PLACE, second])

    def test_places_are_given_back(self) -> None:
        """With each session, however it ended."""
        self.gateway(options="connections = 1")
        for _ in range(3):
            self.assertEqual(self.send(), OK)
            self.client.say("QUIT")
        client = self.gate.connect()
        client.helo()
        client.mail()
        other = self.gate.connect("192.0.2.8")
        self.assertEqual(other.greeting[:3], "421")
        client.hang_up()
        self.assertTrue(self.network.met[-1].is_lost)
        self.assertEqual(self.send(), OK)

    def test_a_client_that_leaves_in_the_middle_of_an_answer(self) -> None:
        """The connection ends: the next answer could not be told from the one that is due."""
        self.gateway({"mail": lambda said: b""})
        client = self.gate.connect()
        client.helo()
        self.assertEqual(client.mail(), "")
        client.hang_up()
        self.assertTrue(self.network.met[0].is_lost)
        self.assertEqual(self.gate.services and len(self.milter.names()), 3)

    def test_changes_have_a_limit(self) -> None:
        """A milter that asks for thousands has failed."""
        self.gateway({"end": [*(AddHeader("X", b"1") for _ in range(EDITS + 1)), Continue()]})
        self.assertEqual(self.send(), FAILED)

    def test_a_field_that_is_none_is_a_failure(self) -> None:
        """And nothing of the changes is made."""
        self.gateway({"end": [AddHeader("X", b"1"), AddHeader("X", b"1\nY: 2"), Continue()]}, on_error="continue")
        self.assertEqual(self.send(), OK)
        self.assertNotIn(b"X: 1", self.gate.backend.messages[0].content)

    def test_in_shadow_nothing_is_changed(self) -> None:
        """It is asked all the same."""
        self.gateway({"end": [AddHeader("X", b"1"), Reject()]}, mode="shadow")
        self.assertEqual(self.send(), OK)
        self.assertNotIn(b"X: 1", self.gate.backend.messages[0].content)
        self.assertEqual([one.is_shadow for one in self.client.findings], [True])

    def test_a_message_without_a_header_or_a_body(self) -> None:
        """Whatever a client sends."""
        self.gateway()
        for content in ("", "\n", "\nbody\n", "A: 1\n", "A: 1\n\n"):
            self.assertEqual(self.send(content), OK, content)
            self.assertEqual(self.milter.names()[-1], "end")

    def test_errors_have_one_name(self) -> None:
        """A bad answer is a failure of the engine."""
        self.assertTrue(issubclass(BadAnswer, EngineFailed))

    def test_options(self) -> None:
        """Macros have names."""
        good = f'servers = "{PLACE}"\n'
        self.assertEqual(complaints(factory, good + 'macros = { "j" = "a", "{x}" = "b" }\non_undone = "note"'), [])
        for bad in (
            'macros = { "xy" = "a" }',
            'macros = { "{}" = "a" }',
            'macros = { "j" = "a\\u0000" }',
            "timeout = 0",
        ):
            self.assertEqual(len(complaints(factory, good + bad)), 1, bad)
