"""Tests of smtpgate.filters.loop: a message that passed too many hosts, or this one too often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.loop import LoopFilter, LoopOptions, factory
from smtpgate.message.header import HeaderSection
from smtpgate.testing import Gateway, complaints, use

NAME = "gate.example.com"
OTHER = b"Received: from a.example by b.example with ESMTP id 1; Wed, 7 Jan 2026 12:00:00 +0000\r\n"
OURS = (
    b"Received: from a.example\r\n\tby gate.example.com (smtpgate) with ESMTP id 1;\r\n\tWed, 7 Jan 2026 12:00:00\r\n"
)


def look(header: bytes, hops: int = 5, own: int = 2, name: str = NAME) -> str:
    """What is found in a header section: the detail; "" for nothing."""
    options = LoopOptions(received_hops=hops, own_hops=own, hostname=name)
    found = LoopFilter(options, None).header(HeaderSection(header + b"\r\n"))
    return found.detail if found is not None else ""


class LoopTests(SynchronousTestCase):
    """`LoopFilter`."""

    def test_at_the_limit_and_one_over(self) -> None:
        """The limit itself is taken, of all and of our own."""
        self.assertEqual(look(OTHER * 5), "")
        self.assertEqual(look(OTHER * 6), "6 Received lines")
        self.assertEqual(look(OURS * 2), "")
        self.assertEqual(look(OURS * 3), "3 Received lines of our own")
        self.assertEqual(look(OURS * 2 + OTHER * 3), "")

    def test_the_count_does_not_depend_on_where_they_stand(self) -> None:
        """Other fields may be between them, and the first may not be one."""
        mixed = b"Subject: x\r\n" + (OTHER + b"X-Hop: y\r\n") * 6
        self.assertEqual(look(mixed), "6 Received lines")

    def test_the_name_of_the_field_has_any_case(self) -> None:
        """As RFC 5322 has it."""
        self.assertEqual(look(OTHER.replace(b"Received", b"RECEIVED") * 6), "6 Received lines")

    def test_our_name_is_found_folded_and_in_any_case(self) -> None:
        """Behind `by`, at the end of the value, and before a comment or a semicolon."""
        for value in (
            b"from x by Gate.Example.COM",
            b"from x by\r\n gate.example.com",
            b"by gate.example.com; Wed",
            b"by gate.example.com(x)",
            b"from x\r\n\tby gate.example.com\twith ESMTP",
        ):
            self.assertEqual(look(b"Received: " + value + b"\r\n" + OURS * 2), "3 Received lines of our own", value)

    def test_names_that_look_like_ours_are_not(self) -> None:
        """Neither longer nor shorter ones, and not what stands behind `from`."""
        for value in (
            b"by gate.example.com.evil.org",
            b"by xgate.example.com",
            b"by gateXexample.com",
            b"from gate.example.com by b.example",
            b"standby gate.example.comx",
        ):
            self.assertEqual(look(b"Received: " + value + b"\r\n" + OURS * 2), "", value)

    def test_text_that_looks_like_a_field_is_none(self) -> None:
        """In the middle of a line, in a folded line, and under another name."""
        for line in (
            b"Subject: Received: x\r\n",
            b"X: y\r\n Received: x\r\n",
            b"X-Received: x\r\n",
            b"Received-SPF: x\r\n",
        ):
            self.assertEqual(look(line * 20), "", line)

    def test_without_a_name_only_all_are_counted(self) -> None:
        """No name is not every name."""
        self.assertEqual(look(OURS * 5, name=""), "")
        self.assertEqual(look(b"Received: by  ; x\r\n" * 5, name=""), "")

    def test_a_header_section_without_end_or_content(self) -> None:
        """Nothing to count is no loop."""
        for octets in (b"", b"\r\n", b"Received:", b"\xff\xfe"):
            options = LoopOptions(received_hops=1, own_hops=1, hostname=NAME)
            self.assertIsNone(LoopFilter(options, None).header(HeaderSection(octets)))

    @given(st.lists(st.sampled_from([OTHER, OURS, b"Subject: x\r\n", b"X: y\r\n\tReceived: z\r\n"]), max_size=12))
    def test_counts_are_right(self, fields: list[bytes]) -> None:
        """Whatever the order."""
        hops, own = fields.count(OTHER) + fields.count(OURS), fields.count(OURS)
        found = look(b"".join(fields))
        self.assertEqual(bool(found), hops > 5 or own > 2)


class ReplyTests(SynchronousTestCase):
    """In a gateway."""

    def test_a_loop_is_refused_for_good(self) -> None:
        """554 5.4.6, and nothing is left at the backend."""
        gateway = Gateway(use(factory, f'received_hops = 5\nhostname = "{NAME}"'))
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.message(OTHER * 5 + b"\r\nx\r\n"), "250 2.0.0 Ok")
        self.assertEqual(client.message(OTHER * 6 + b"\r\nx\r\n"), "554 5.4.6 Routing loop: too many Received lines")
        self.assertEqual(len(gateway.backend.messages), 1)

    def test_a_message_of_our_own_comes_round(self) -> None:
        """What we write is what we recognise: a message that goes in circles ends after `own_hops` rounds."""
        gateway = Gateway(use(factory, f'own_hops = 3\nhostname = "{NAME}"'))
        client = gateway.connect()
        client.helo()
        content: bytes = b"Subject: round\r\n\r\nx\r\n"
        rounds = 0
        while client.message(content).startswith("250"):
            content = gateway.backend.messages[-1].content
            rounds += 1
        self.assertEqual(rounds, 4)

    def test_received_lines_in_the_body_are_text(self) -> None:
        """A bounce quotes them."""
        client = Gateway(use(factory, "received_hops = 1")).connect()
        client.helo()
        self.assertEqual(client.message(b"Subject: x\r\n\r\n" + OTHER * 20), "250 2.0.0 Ok")

    def test_mistakes_are_said_at_load(self) -> None:
        """A limit of nothing would take no mail at all."""
        self.assertEqual(complaints(factory, "received_hops = 0"), ["received_hops: 0 is too small"])
        self.assertEqual(complaints(factory, 'own_hops = "3"'), ['own_hops: "3" is not a whole number'])
