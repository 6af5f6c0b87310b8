"""Tests of smtpgate.filters.engines.clamd: its wire, and the filter in the in-memory gateway."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.engines.clamd import (
    HELD_OCTETS,
    STALL_S,
    UPLOAD_FROM_OCTETS,
    VERSION_S,
    Answer,
    factory,
    parse_answer,
    parse_version,
)
from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.testing import PLAIN, Gateway, complaints, use
from tests.engine_kit import Network, Peer

PLACE = "192.0.2.31:3310"
OK = "250 2.0.0 Ok"
MALWARE = "550 5.7.1 The message holds malware"
FAILED = "451 4.3.0 A check could not be done; try again later"
LARGE = "From: a@example.org\n\n" + "0123456789abcdef\n" * 20_000


class Clamd(Peer):
    """A clamd that answers at the end of the message, or breaks some rule of its protocol.

    :ivar content: what it was given
    """

    def __init__(self, answer: bytes = b"stream: OK\0") -> None:
        super().__init__()
        self.answer = answer
        self.content = b""
        self.is_complete = False

    def heard(self, octets: bytes) -> None:
        held = bytes(self.octets)
        if not held.startswith(b"zINSTREAM\0") and b"zINSTREAM\0".startswith(held):
            return
        assert held.startswith(b"zINSTREAM\0"), held[:20]
        at, pieces = 10, []
        while len(held) >= at + 4:
            (length,) = struct.unpack_from("!I", held, at)
            if not length:
                assert len(held) == at + 4
                self.content, self.is_complete = b"".join(pieces), True
                self.end()
                return
            if len(held) < at + 4 + length:
                return
            pieces.append(held[at + 4 : at + 4 + length])
            at += 4 + length
        self.content = b"".join(pieces)
        self.partly()

    def partly(self) -> None:
        """Not all of it has come."""

    def end(self) -> None:
        """All of it has come."""
        self.say(self.answer)
        self.hang_up()


class AnswerTests(SynchronousTestCase):
    """`parse_answer`."""

    def test_what_clamd_says(self) -> None:
        """Clean, a signature as any database may name it, and the limit."""
        self.assertEqual(parse_answer(b"stream: OK"), Answer())
        for name in ("Eicar-Test-Signature", "Win.Test.EICAR_HDB-1(44d88612fea8a8f36de82e1278abb02f:68)", "A b"):
            self.assertEqual(parse_answer(f"stream: {name} FOUND".encode()), Answer(name))
        self.assertEqual(parse_answer(b"stream: OK FOUND"), Answer("OK"))
        self.assertTrue(parse_answer(b"INSTREAM size limit exceeded. ERROR").is_too_large)

    def test_how_old_signatures_are(self) -> None:
        """As clamd writes it, with a day of one or two figures; without signatures there is no time."""
        for line, moment in (
            (b"ClamAV 1.4.3/27821/Sat Nov 15 09:49:36 2025", 1763200176.0),
            (b"ClamAV 0.103.12/26912/Wed May  3 07:22:54 2023", 1683098574.0),
            (b"ClamAV 1.0.9+dfsg-1~deb12u1/27800/Sun Feb 29 00:00:00 2032", 1961625600.0),
            (b"ClamAV 1.4.3", None),
        ):
            self.assertEqual(parse_version(line), moment, line)
        for wrong in (
            b"", b"ClamAV", b"ClamAV ", b"UNKNOWN COMMAND", b"ClamAV 1.4.3/27821",
            b"ClamAV 1.4.3/x/Sat Nov 15 09:49:36 2025",
            b"ClamAV 1.4.3/1/Sat Nob 15 09:49:36 2025", b"ClamAV 1.4.3/1/Sun Feb 30 09:49:36 2025",
            b"ClamAV 1.4.3/1/Sat Nov 15 24:49:36 2025", b"ClamAV 1.4.3/1/Sat Nov 15 09:49:36 0000",
            b"ClamAV 1.4.3/1/Sat Nov 15 09:49:36 2025\n",
        ):  # fmt: skip
            self.assertRaises(BadAnswer, parse_version, wrong)

    def test_all_else_is_a_failure(self) -> None:
        """Whatever is near to a clean answer, too."""
        for line in (
            b"", b"OK", b"stream: ok", b"stream: OK ", b" stream: OK", b"stream: OK\n", b"stream: OK\0stream: OK",
            b"stream:  FOUND", b"stream: FOUND", b"stream: a\nb FOUND", b"stream: \xff FOUND", b"UNKNOWN COMMAND",
            b"stream: OK ERROR", b"stream: Can't open file ERROR", b"220 mail.example.org ESMTP", b"PONG",
        ):  # fmt: skip
            self.assertRaises(EngineFailed, parse_answer, line)

    @given(st.binary(max_size=60) | st.text(alphabet="stream: OKFUND\n.", max_size=30).map(str.encode))
    def test_only_one_answer_is_clean(self, line: bytes) -> None:
        """Nothing else passes for clean, and nothing but the one kind of error comes out."""
        try:
            answer = parse_answer(line)
        except EngineFailed:
            return
        self.assertTrue(answer.signature or answer.is_too_large or line == b"stream: OK")


class FilterTests(SynchronousTestCase):
    """`clamd` in the in-memory gateway."""

    def gateway(
        self, options: str = "", peers: dict[str, Callable[[], Peer] | None] | None = None, **more: Any
    ) -> None:
        """A gateway with clamd behind it."""
        self.gate = Gateway(use(factory, f'servers = ["{PLACE}"]\n{options}', **more))
        self.addCleanup(self.gate.close)
        self.network = Network(self.gate)
        self.network.places = {PLACE: Clamd} if peers is None else peers

    def send(self, content: str = PLAIN, wait: float = 0.0) -> str:
        """A message; the reply."""
        self.client = self.gate.connect()
        self.client.helo()
        reply = self.client.message(content)
        if wait:
            self.gate.advance(wait)
            reply = reply or self.client.read()
        return reply

    def test_it_is_asked_for_its_signatures(self) -> None:
        """Each server; the oldest counts, silence and strange words are its failure, and nothing stays open."""
        other = "192.0.2.32:3310"

        class Told(Peer):
            def __init__(self, line: bytes) -> None:
                super().__init__()
                self.line = line

            def heard(self, octets: bytes) -> None:
                if bytes(self.octets) == b"zVERSION\0":
                    self.say(self.line)

        new = b"ClamAV 1.4.3/27821/Sat Nov 15 09:49:36 2025\0"
        old = b"ClamAV 1.4.3/27820/Fri Nov 14 09:49:36 2025\0"
        self.gate = Gateway(use(factory, f'servers = ["{PLACE}", "{other}"]'))
        self.addCleanup(self.gate.close)
        network = Network(self.gate)
        made = self.gate._uses[0].filter._filter

        def ask(line: bytes, wait: float = 0.0) -> Deferred[Any]:
            network.places = {PLACE: lambda: Told(new), other: lambda: Told(line)}
            asking = ensureDeferred(made.signatures())
            self.gate.advance(wait)
            return asking

        self.assertEqual(self.successResultOf(ask(old)), 1763200176.0 - 86400)
        self.assertEqual(self.successResultOf(ask(b"ClamAV 1.4.3\0")), 1763200176.0)
        self.assertIn("not a version", str(self.failureResultOf(ask(b"no\0"), EngineFailed).value))
        self.assertIn(f"{other}: no answer", str(self.failureResultOf(ask(b"", VERSION_S + 1), EngineFailed).value))
        self.gate.advance(0)
        self.assertEqual([peer.wire.is_open for peer in network.met], [False] * 8)

    def test_how_its_servers_stand(self) -> None:
        """Left alone after some failures in a row, then to be tried again, then up."""
        self.gateway("failures = 2", peers={})
        made = self.gate._uses[0].filter._filter
        for _ in range(2):
            self.send()
        (down,) = made.standing()
        self.assertEqual((down.endpoint, down.state, down.failures), (PLACE, "down", 2))
        self.gate.advance(down.retry_s)
        self.assertEqual(made.standing()[0].state, "due")
        self.network.places = {PLACE: Clamd}
        self.send()
        self.assertEqual((made.standing()[0].state, made.standing()[0].failures), ("up", 0))

    def test_a_clean_message_passes(self) -> None:
        """It was shown to clamd octet for octet, and no connection is left open."""
        self.gateway()
        self.assertEqual(self.send(PLAIN + ".dot\n"), OK)
        (peer,) = self.network.met
        assert isinstance(peer, Clamd)
        self.assertEqual(peer.content, (PLAIN + ".dot\n").replace("\n", "\r\n").encode())
        self.assertEqual(self.client.findings, [])
        self.assertFalse(peer.wire.is_open)

    def test_malware_is_refused(self) -> None:
        """The sender does not hear the name of the signature; the administrator does."""
        self.gateway(peers={PLACE: lambda: Clamd(b"stream: Win.Test.EICAR_HDB-1 FOUND\0")})
        self.assertEqual(self.send(), MALWARE)
        (found,) = self.client.findings
        self.assertEqual((found.reason, found.detail, found.category), ("malware", "Win.Test.EICAR_HDB-1", "malware"))
        self.assertEqual(self.gate.backend.messages, [])

    def test_signatures_have_actions_by_pattern(self) -> None:
        """The first that fits counts; what fits none is refused."""
        options = 'actions = { "PUA.Win.*" = "quarantine", "PUA.*" = "tag", "Heur*" = "note", "X" = "defer" }'
        for signature, action in (("PUA.Win.A", "quarantine"), ("pua.Doc.B", "tag"), ("Heuristics.C", "note"),
                                  ("X", "defer"), ("Win.PUA.D", "reject"), ("Y", "reject")):  # fmt: skip
            self.gateway(options, {PLACE: lambda: Clamd(f"stream: {signature} FOUND\0".encode())})
            self.send()
            self.assertEqual([one.action for one in self.client.findings], [action], signature)

    def test_whatever_is_no_answer_is_a_failure(self) -> None:
        """Refused, silent, closed, reset, cut off, garbage, too long: never an acceptance."""

        class Closed(Clamd):
            def end(self) -> None:
                self.hang_up()

        class Reset(Clamd):
            def partly(self) -> None:
                self.hang_up(is_reset=True)

        class Cut(Clamd):
            def end(self) -> None:
                self.say(b"stream: O")
                self.hang_up()

        class Mute(Clamd):
            def end(self) -> None:
                pass

        for make in (Closed, Reset, Cut, Mute, lambda: Clamd(b"x" * 5000), lambda: Clamd(b"PONG\0"), None):
            self.gateway(peers={PLACE: make})
            self.assertEqual(self.send(wait=45), FAILED, make)
            self.assertEqual([one.kind for one in self.gate.failures], ["unavailable"])
            self.assertEqual(self.gate.backend.messages, [])
        self.gateway(peers={})
        self.assertEqual(self.send(), FAILED)

    def test_an_answer_before_the_end_is_none(self) -> None:
        """Nobody knows what is in a message that it has not seen; not while it comes, and not at its end."""

        class Hasty(Clamd):
            def met(self) -> None:
                self.say(b"stream: OK\0")
                self.hang_up()

        class Early(Clamd):
            def partly(self) -> None:
                if not self.is_complete:
                    self.is_complete = True
                    self.say(b"stream: OK\0")

        for make in (Hasty, Early):
            self.gateway(peers={PLACE: make})
            client = self.gate.connect()
            client.helo()
            client.mail()
            client.rcpt()
            client.data()
            client.content(b"From: a@example.org\r\n\r\n")
            for _ in range(20):
                client.content(b"0123456789abcdef\r\n" * 1000)
            self.assertEqual(client.end(), FAILED)
            self.assertGreater(len(self.network.met), 1)

    def test_the_failure_policy_acts(self) -> None:
        """Where the operator lets mail pass unscanned, it passes with a word about it."""
        self.gateway(peers={}, on_error="continue")
        self.assertEqual(self.send(), OK)
        self.assertEqual([one.reason for one in self.client.findings], ["filter-failed"])

    def test_the_next_server_is_asked(self) -> None:
        """One that is away, then one that answers nothing in its time."""
        second = "192.0.2.32:3310"
        self.gate = Gateway(use(factory, f'servers = ["{PLACE}", "{second}"]\ntimeout = "5s"'))
        self.network = Network(self.gate)
        self.network.places = {second: Clamd}
        self.assertEqual(self.send(), OK)
        self.network.places = {PLACE: None, second: Clamd}
        self.assertEqual(self.send(PLAIN + "other\n", wait=6), OK)
        self.assertEqual(self.network.asked, [PLACE, second] * 2)

    def test_too_large_for_us(self) -> None:
        """clamd is not asked, and the stated policy acts."""
        for policy, reply in (
            ("pass", OK),
            ("tag", OK),
            ("defer", "451 4.7.1 The message is too large to be checked"),
            ("reject", "552 5.3.4 The message is too large to be checked"),
        ):
            self.gateway(f'max_octets = "100 kB"\non_oversize = "{policy}"')
            self.assertEqual(self.send(LARGE), reply)
            self.assertEqual([one.reason for one in self.client.findings], ["clamd-too-large"])

    def test_too_large_for_clamd(self) -> None:
        """B-186: it says so half-way and hangs up; that is no failure of the scanner."""

        class Limited(Clamd):
            def partly(self) -> None:
                if len(self.content) > 10_000 and not self.is_complete:
                    self.is_complete = True
                    self.say(b"INSTREAM size limit exceeded. ERROR\0")
                    self.hang_up(is_reset=True)

        self.gateway('on_oversize = "reject"', {PLACE: Limited})
        self.assertEqual(self.send(LARGE), "552 5.3.4 The message is too large to be checked")
        self.assertEqual(self.gate.failures, [])

    def test_a_large_message_is_uploaded_while_it_comes(self) -> None:
        """At the end clamd has nearly all of it; it is scanned once."""
        self.gateway()
        client = self.gate.connect()
        client.helo()
        client.mail()
        client.rcpt()
        client.data()
        content = LARGE.replace("\n", "\r\n").encode()
        for start in range(0, len(content), 10_000):
            client.content(content[start : start + 10_000])
        (peer,) = self.network.met
        assert isinstance(peer, Clamd)
        self.assertGreater(len(peer.content), len(content) - 10_000)
        self.assertEqual(client.end(), OK)
        self.assertEqual(len(self.network.met), 1)
        self.assertEqual(peer.content, content)

    def test_an_upload_that_fails_is_no_failure(self) -> None:
        """The message is sent again from its content."""

        class Broken(Clamd):
            def partly(self) -> None:
                self.hang_up(is_reset=True)

        made: list[Peer] = []

        def make() -> Peer:
            made.append(Clamd() if made else Broken())
            return made[-1]

        self.gateway(peers={PLACE: make})
        self.assertEqual(self.send(LARGE), OK)
        last = made[-1]
        assert isinstance(last, Clamd)
        self.assertEqual(last.content, LARGE.replace("\n", "\r\n").encode())

    def test_an_upload_is_given_up_where_clamd_is_slow(self) -> None:
        """Little is held, and the message is scanned at its end."""

        class Slow(Clamd):
            def met(self) -> None:
                self.stall()

        made: list[Peer] = []

        def make() -> Peer:
            made.append(Clamd() if made else Slow())
            return made[-1]

        self.gateway('max_octets = "50 MiB"', {PLACE: make})
        content = "From: a@example.org\n\n" + "0123456789abcdef\n" * (3 * HELD_OCTETS // 17)
        self.assertEqual(self.send(content), OK)
        self.assertEqual([type(one) for one in made], [Slow, Clamd])
        self.assertTrue(made[0].is_lost)

    def test_an_upload_is_given_up_where_the_client_stalls(self) -> None:
        """It keeps no thread of clamd; the rest comes later, and all of it is scanned."""
        self.gateway()
        client = self.gate.connect()
        client.helo()
        client.mail()
        client.rcpt()
        client.data()
        client.content(b"From: a@example.org\r\n\r\n" + b"0123456789abcdef\r\n" * (2 * UPLOAD_FROM_OCTETS // 18))
        self.assertEqual(len(self.network.met), 1)
        self.gate.advance(STALL_S + 1)
        self.assertTrue(self.network.met[0].is_lost)
        client.content(b"more\r\n")
        self.assertEqual(client.end(), OK)
        last = self.network.met[-1]
        assert isinstance(last, Clamd)
        self.assertTrue(last.content.endswith(b"cdef\r\nmore\r\n"))

    def test_a_client_that_leaves_leaves_nothing_behind(self) -> None:
        """Its upload ends, and its place is free."""
        self.gateway("connections = 1")
        client = self.gate.connect()
        client.helo()
        client.mail()
        client.rcpt()
        client.data()
        client.content(b"From: a@example.org\r\n\r\n" + b"0123456789abcdef\r\n" * 10_000)
        self.assertEqual(len(self.network.met), 1)
        client.hang_up()
        self.assertTrue(self.network.met[0].is_lost)
        self.assertEqual(self.send(), OK)

    def test_the_same_message_is_scanned_once(self) -> None:
        """A retry is answered from memory, for a while; another message is not."""
        self.gateway('keep = "10m"', {PLACE: lambda: Clamd(b"stream: A FOUND\0")})
        self.assertEqual(self.send(), MALWARE)
        self.assertEqual(self.send(), MALWARE)
        self.assertEqual(len(self.network.met), 1)
        self.send(PLAIN + "more\n")
        self.assertEqual(len(self.network.met), 2)
        self.gate.advance(601)
        self.send()
        self.assertEqual(len(self.network.met), 3)

    def test_an_answer_that_comes_too_late_serves_the_retry(self) -> None:
        """The first try is put off when its time is over; the scan goes on, and the next is told at once."""

        class Late(Clamd):
            def end(self) -> None:
                self.gate.clock.callLater(60, Clamd.end, self)

        Late.gate = None  # type: ignore[attr-defined]
        for content in (PLAIN, LARGE):
            self.gateway('timeout = "2m"', {PLACE: lambda: Late(b"stream: A FOUND\0")})
            Late.gate = self.gate  # type: ignore[attr-defined]
            self.assertEqual(self.send(content, wait=50), FAILED)
            self.assertEqual([one.kind for one in self.gate.failures], ["timeout"])
            self.gate.advance(20)
            self.assertEqual(self.send(content), MALWARE)
            self.assertEqual([one.is_complete for one in self.network.met if isinstance(one, Late)][:1], [True])
            self.assertEqual(sum(one.is_complete for one in self.network.met if isinstance(one, Late)), 1)

    def test_content_that_has_gone_is_not_taken_for_clean(self) -> None:
        """A client leaves while its message waits for its turn; whoever sends the same hears what is in it."""
        waiting: list[Clamd] = []

        class Slow(Clamd):
            def end(self) -> None:
                waiting.append(self)

        for has_joined in (False, True):
            self.gateway("connections = 1\ntimeout = 300", {PLACE: lambda: Slow(b"stream: A FOUND\0")})
            clients = [self.gate.connect(f"192.0.2.{number}") for number in range(3)]
            for client in clients:
                client.helo()
            self.assertEqual(clients[0].message(PLAIN + "first\n"), "")
            self.assertEqual(clients[1].message(PLAIN), "")
            if has_joined:
                self.assertEqual(clients[2].message(PLAIN), "")
            clients[1].hang_up()
            Clamd.end(waiting.pop())
            self.gate.advance(0)
            self.assertEqual(clients[0].read(), MALWARE)
            reply = clients[2].read() if has_joined else clients[2].message(PLAIN)
            while waiting:
                Clamd.end(waiting.pop())
                self.gate.advance(0)
                reply = reply or clients[2].read()
            self.assertEqual(reply, MALWARE)
            last = self.network.met[-1]
            assert isinstance(last, Clamd)
            self.assertEqual(last.content, PLAIN.replace("\n", "\r\n").encode())

    def test_options(self) -> None:
        """Servers are needed; patterns, sizes and times are judged."""
        good = f'servers = "{PLACE}"\n'
        self.assertEqual(complaints(factory, good), [])
        self.assertEqual(complaints(factory, 'servers = ["unix:/run/clamav/clamd.ctl"]\nmax_octets = "10 MiB"'), [])
        for bad in ("", "servers = []", 'servers = "clamd"', good + 'timeout = "0s"', good + 'actions = {"*" = "drop"}',
                    good + 'actions = {"" = "tag"}', good + "connections = 0", good + "port = 3310"):  # fmt: skip
            self.assertEqual(len(complaints(factory, bad)), 1, bad)

    def test_bad_answers_have_one_name(self) -> None:
        """A bad answer is a failure of the engine."""
        self.assertTrue(issubclass(BadAnswer, EngineFailed))
