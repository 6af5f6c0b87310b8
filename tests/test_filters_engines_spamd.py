"""Tests of smtpgate.filters.engines.spamd: its wire, and the filter in the in-memory gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.engines.servers import BadAnswer, EngineFailed
from smtpgate.filters.engines.spamd import Head, factory, parse_head, parse_rules, parse_status
from smtpgate.testing import PLAIN, Gateway, complaints, use
from tests.engine_kit import Network, Peer

PLACE = "192.0.2.31:783"
OK = "250 2.0.0 Ok"


def answer(spam: str, rules: bytes = b"A_RULE,B_RULE", length: int | None = None) -> bytes:
    """What spamd says to SYMBOLS."""
    size = len(rules) if length is None else length
    return b"SPAMD/1.1 0 EX_OK\r\nContent-length: %d\r\nSpam: %s\r\n\r\n%s" % (size, spam.encode(), rules)


class Spamd(Peer):
    """A spamd that says what it was made with."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self.said = said
        self.head: dict[str, str] = {}
        self.message = b""

    def heard(self, octets: bytes) -> None:
        head, end, body = bytes(self.octets).partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode().split("\r\n")
        self.head = dict(line.split(": ", 1) for line in lines) | {"": first}
        if len(body) == int(self.head["Content-length"]):
            self.message = body
            self.say(self.said)
            self.hang_up()


class WireTests(SynchronousTestCase):
    """`parse_status`, `parse_head`, `parse_rules`."""

    def test_what_spamd_says(self) -> None:
        """Scores of either sign, both words for yes, fields in any order and case."""
        parse_status(b"SPAMD/1.1 0 EX_OK\r\n")
        for said, wanted in (
            (b"Content-length: 5\r\nSpam: True ; 10.5 / 5.0\r\n\r\n", Head(True, 10.5, 5.0, 5)),
            (b"Spam: False ; -1.2 / 5\r\ncontent-Length: 0\r\n\r\n", Head(False, -1.2, 5.0, 0)),
            (b"Spam: Yes ; 1000.0 / 5.0\r\nContent-length: 12\r\nX-Other: a\r\n\r\n", Head(True, 1000.0, 5.0, 12)),
        ):
            self.assertEqual(parse_head(said), wanted)
        self.assertEqual(parse_rules(b"GTUBE,NO_RELAYS\r\n"), ("GTUBE", "NO_RELAYS"))
        self.assertEqual(parse_rules(b""), ())

    def test_errors_are_failures(self) -> None:
        """spamd says why."""
        error = self.assertRaises(EngineFailed, parse_status, b"SPAMD/1.0 79 Timeout: (300 second timeout)\r\n")
        self.assertIn("79 Timeout", str(error))

    def test_all_else_is_a_bad_answer(self) -> None:
        """Nothing is guessed."""
        for line in (b"", b"\r\n", b"SPAMD/2.0 0 EX_OK", b"SPAMD/1.1 EX_OK", b"HTTP/1.1 200 OK", b"SPAMD/1.1 00 EX_OK",
                     b"220 mail.example.org ESMTP", b"SPAMD/1.1 0 \xff"):  # fmt: skip
            self.assertRaises(BadAnswer, parse_status, line)
        spam, length = b"Spam: True ; 1.0 / 5.0", b"Content-length: 5"
        for lines in (
            (spam,), (length,), (spam, length, length), (spam, spam, length), (spam, b"Content-length: -1"),
            (spam, b"Content-length: 9999999"), (spam, b"Content-length: 5x"), (spam, length, b"no field"),
            *((said, length) for said in (
                b"Spam: Maybe ; 1.0 / 5.0", b"Spam: True ; nan / 5.0", b"Spam: True ; 1e9 / 5.0", b"Spam: True ; 1.0",
                b"Spam: True ; 1.0 / 5.0 x", b"Spam: True; 1.0 / 5.0", b"Spam: True ; 99999 / 5.0", b"Spam:")),
        ):  # fmt: skip
            self.assertRaises(BadAnswer, parse_head, b"\r\n".join(lines) + b"\r\n\r\n")
        for rules in (b"A,,B", b",", b"A B", b"A\r\nB", b"\xff", b"A;B", b"A\0"):
            self.assertRaises(BadAnswer, parse_rules, rules)

    @given(st.binary(max_size=80))
    def test_nothing_else_is_raised(self, octets: bytes) -> None:
        """Whatever comes."""
        for parse in (parse_status, parse_head, parse_rules):
            try:
                parse(octets)  # type: ignore[operator]
            except EngineFailed:
                continue


class FilterTests(SynchronousTestCase):
    """`spamd` in the in-memory gateway."""

    def gateway(self, said: bytes | Callable[[], Peer], options: str = "", **more: Any) -> None:
        """A gateway with spamd behind it."""
        self.gate = Gateway(use(factory, f'servers = "{PLACE}"\n{options}', **more))
        self.addCleanup(self.gate.close)
        self.network = Network(self.gate)
        self.network.places = {PLACE: said if callable(said) else lambda: Spamd(said)}

    def send(self, content: str = PLAIN, **more: Any) -> str:
        """A message; the reply."""
        self.client = self.gate.connect("192.0.2.7")
        self.client.helo("mail.example.org")
        return self.client.message(content, **more)

    def found(self) -> list[tuple[str, str, float, str]]:
        """What was found."""
        return [(one.reason, one.action, one.score, one.detail) for one in self.client.findings]

    def test_the_question(self) -> None:
        """Length and user; the message with the sender and a trace field above it, else octet for octet."""
        self.gateway(answer("False ; 1.0 / 5.0"), 'user = "mail"')
        self.assertEqual(self.send(), OK)
        (peer,) = self.network.met
        assert isinstance(peer, Spamd)
        self.assertEqual((peer.head[""], peer.head["User"]), ("SYMBOLS SPAMC/1.5", "mail"))
        head = (
            b"Return-Path: <alice@example.org>\r\nReceived: from mail.example.org (unknown [192.0.2.7])\r\n\tby gate."
        )
        self.assertTrue(peer.message.startswith(head), peer.message)
        self.assertTrue(peer.message.endswith(b"\r\n" + PLAIN.replace("\n", "\r\n").encode()), peer.message)

    def test_the_client_has_its_confirmed_name(self) -> None:
        """From the DNS, where it leads back."""
        zones = {"7.2.0.192.in-addr.arpa": {"PTR": "mx.example.org"}, "mx.example.org": {"A": "192.0.2.7"}}
        self.gate = Gateway(use(factory, f'servers = "{PLACE}"'), zones=zones)
        self.network = Network(self.gate)
        self.network.places = {PLACE: lambda: Spamd(answer("False ; 1.0 / 5.0"))}
        self.send()
        self.assertIn(b"(mx.example.org [192.0.2.7])", bytes(self.network.met[0].octets))

    def test_the_user_of_one_recipient(self) -> None:
        """Their own preferences; of several, the ones of all."""
        for recipients, user in ((("bob@example.net",), "bob@example.net"), (("a@example.net", "b@example.net"), None)):
            self.gateway(answer("False ; 1.0 / 5.0"), "user_is_recipient = true")
            self.send(recipients=recipients)
            peer = self.network.met[0]
            assert isinstance(peer, Spamd)
            self.assertEqual(peer.head.get("User"), user)

    def test_a_score_is_weighed(self) -> None:
        """Into the sum; what spamd itself calls spam is marked."""
        self.gateway(answer("False ; 4.2 / 5.0"), "weight = 0.5")
        self.assertEqual(self.send(), OK)
        self.assertEqual(self.found(), [("spamd-score", "note", 2.1, "4.2 of 5: A_RULE, B_RULE")])
        self.gateway(answer("True ; 6.0 / 5.0", b""), "weight = 1.0")
        self.assertEqual(self.send(), OK)
        self.assertEqual(self.found(), [("spamd-spam", "tag", 6.0, "6 of 5: no rule")])

    def test_thresholds_of_ours(self) -> None:
        """Whatever spamd's own is."""
        options = "tag = 3.0\nreject = 9\nweight = 0"
        for score, action, reply in (
            (2.9, "note", OK),
            (3.0, "tag", OK),
            (9.0, "reject", "550 5.7.1 The message looks like spam"),
        ):
            self.gateway(answer(f"False ; {score} / 20.0"), options)
            self.assertEqual(self.send(), reply)
            self.assertEqual([one[1] for one in self.found()], [action])

    def test_failures_let_pass_and_are_told(self) -> None:
        """As shipped; where the operator says so, the message waits. Never is it taken for scored."""

        class Silent(Spamd):
            def say(self, octets: bytes) -> None:
                pass

        class Dead(Peer):
            def met(self) -> None:
                self.hang_up(is_reset=True)

        said: list[bytes | Callable[[], Peer]] = [
            b"SPAMD/1.0 79 Timeout: (300 second timeout while trying to SYMBOLS)\r\n",
            answer("False ; 1.0 / 5.0", length=500),
            answer("False ; 1.0 / 5.0", b"A B"),
            answer("Maybe ; 1.0 / 5.0"),
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"SPAMD/1.1 0 EX_OK\r\n",
            b"",
            b"x" * 100_000,
            lambda: Silent(b""),
            Dead,
        ]
        for one in said:
            self.gateway(one)
            self.assertEqual(self.send(), OK)
            self.assertEqual([found[:2] for found in self.found()], [("filter-failed", "note")], one)
        self.gateway(b"", on_error="tempfail")
        self.assertEqual(self.send(), "451 4.3.0 A check could not be done; try again later")

    def test_a_large_message_passes_with_a_note(self) -> None:
        """spamd is not asked."""
        self.gateway(answer("True ; 9.0 / 5.0"), 'max_octets = "10 kB"')
        self.assertEqual(self.send(PLAIN + "x" * 70 + "\n" + "line\n" * 3000), OK)
        self.assertEqual([one[0] for one in self.found()], ["spamd-too-large"])
        self.assertEqual(self.network.met, [])

    def test_what_an_answer_depends_on(self) -> None:
        """The same octets of the same client are scored once; of another sender, anew."""
        self.gateway(answer("False ; 1.0 / 5.0"))
        self.send()
        self.send()
        self.assertEqual(len(self.network.met), 1)
        self.send(sender="carol@example.org")
        self.assertEqual(len(self.network.met), 2)

    def test_options(self) -> None:
        """Users without blanks, thresholds as elsewhere."""
        good = f'servers = ["{PLACE}"]\n'
        self.assertEqual(complaints(factory, good + 'tag = "off"\nreject = 15\non_spam = "quarantine"'), [])
        for bad in ('user = "a b"', 'user = "a\\r\\nb"', 'tag = "high"', "weight = -1", 'on_spam = "accept"'):
            self.assertEqual(len(complaints(factory, good + bad)), 1, bad)
