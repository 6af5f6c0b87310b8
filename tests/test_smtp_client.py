"""smtpgate.smtp.client: replies in step with commands, or the connection is given up."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.smtp.client import ClientConnection, Desync
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply


def greeted() -> ClientConnection:
    wire = ClientConnection()
    wire.receive(b"220 mail.example.net ESMTP\r\n")
    return wire


class StepTests(SynchronousTestCase):
    """One reply for each command."""

    def test_grouped_commands_get_their_replies_in_order(self) -> None:
        """Three commands, three replies, in one segment or octet by octet (P-069)."""
        for parts in ([b"250 a\r\n550 b\r\n450 c\r\n"], [bytes([o]) for o in b"250 a\r\n550 b\r\n450 c\r\n"]):
            wire = greeted()
            wire.send("MAIL", b"")
            wire.send("RCPT", b"")
            wire.send("RCPT", b"")
            out = [reply for part in parts for reply in wire.receive(part)]
            self.assertEqual([reply.code for reply in out if isinstance(reply, Reply)], [250, 550, 450])
            self.assertTrue(wire.is_idle)

    def test_one_reply_for_each_recipient(self) -> None:
        """353 brings one a recipient and one for the message (draft-hall-prdr-00); without it one is for all."""
        for octets, count in ((b"353 go\r\n250 a\r\n550 b\r\n250 all\r\n", 4), (b"250 all\r\n", 1)):
            for parts in ([octets], [bytes([o]) for o in octets]):
                wire = greeted()
                wire.send_last(b"BDAT 0 LAST\r\n", 2)
                out = [reply for part in parts for reply in wire.receive(part)]
                self.assertEqual(len(out), count)
                self.assertTrue(wire.is_idle)
                self.assertIsInstance(wire.receive(b"250 more\r\n")[-1], Desync)

    def test_353_is_for_who_asked(self) -> None:
        """To any other command, and among the replies to recipients, it is out of step."""
        wire = greeted()
        wire.send_last(b"BDAT 0 LAST\r\n", 0)
        self.assertIsInstance(wire.receive(b"353 go\r\n")[-1], Desync)
        wire = greeted()
        wire.send_last(b"BDAT 0 LAST\r\n", 2)
        self.assertIsInstance(wire.receive(b"353 go\r\n353 go\r\n")[-1], Desync)

    def test_a_surplus_reply_is_out_of_step(self) -> None:
        """Two finals for one command, whole or half (P-070)."""
        for surplus in (b"250 more\r\n", b"250-x", b"2"):
            wire = greeted()
            wire.send("RCPT", b"")
            out = wire.receive(b"250 ok\r\n" + surplus)
            self.assertIsInstance(out[-1], Desync, surplus)
            self.assertEqual(wire.receive(b"250 later\r\n"), [])

    def test_wrong_kinds_are_out_of_step(self) -> None:
        """A positive reply that its command cannot have (P-211)."""
        for kind, reply in (
            ("MAIL", b"354 go\r\n"),
            ("RCPT", b"354 go\r\n"),
            ("RSET", b"354 go\r\n"),
            ("DATA", b"250 ok\r\n"),
            ("MAIL", b"334 x\r\n"),
            ("STARTTLS", b"250 ok\r\n"),
            ("AUTH", b"250 ok\r\n"),
            ("XCLIENT", b"250 ok\r\n"),
            ("EHLO", b"354 x\r\n"),
        ):
            wire = greeted()
            wire.send(kind, b"")
            self.assertIsInstance(wire.receive(reply)[-1], Desync, (kind, reply))

    def test_replies_in_advance_are_out_of_step(self) -> None:
        """A whole session of replies before its commands (P-214)."""
        wire = ClientConnection()
        out = wire.receive(b"220 hi\r\n250 EHLO\r\n250 MAIL\r\n250 RCPT\r\n354 go\r\n250 sent\r\n")
        self.assertIsInstance(out[-1], Desync)

    def test_goodbye_unasked(self) -> None:
        """421 between commands ends the connection, and is told apart from a broken one (P-212)."""
        wire = greeted()
        (out,) = wire.receive(b"421 4.3.2 shutting down\r\n")
        assert isinstance(out, Desync)
        assert out.reply is not None
        self.assertEqual(out.reply.code, 421)
        self.assertTrue(wire.is_closing)

    def test_challenges_of_auth(self) -> None:
        """334 is an answer inside AUTH only, 235 ends it."""
        wire = greeted()
        wire.send("AUTH", b"")
        self.assertEqual([r.code for r in wire.receive(b"334 eHg=\r\n") if isinstance(r, Reply)], [334])
        wire.send("AUTH", b"")
        self.assertEqual([r.code for r in wire.receive(b"235 ok\r\n") if isinstance(r, Reply)], [235])


class ContentTests(SynchronousTestCase):
    """The DATA phase."""

    def test_refusal_before_the_end(self) -> None:
        """A 552 while content is on its way is kept for the end of data (P-102)."""
        wire = greeted()
        wire.send("DATA", b"")
        wire.receive(b"354 go\r\n")
        wire.start_data()
        wire.content(Chunk(b"a\r\n", None))
        self.assertEqual(wire.receive(b"552 5.3.4 too big\r\n"), [])
        assert wire.early is not None
        self.assertEqual(wire.early.code, 552)

    def test_success_before_the_end_is_out_of_step(self) -> None:
        """A 250 before the dot is no delivery (P-214)."""
        wire = greeted()
        wire.send("DATA", b"")
        wire.receive(b"354 go\r\n")
        wire.start_data()
        self.assertIsInstance(wire.receive(b"250 sent\r\n")[-1], Desync)

    def test_terminator(self) -> None:
        """One CRLF.CRLF, with a CRLF of its own where content lacks it (P-118)."""
        for content, expected in ((b"a\r\n", b"a\r\n.\r\n"), (b"a", b"a\r\n.\r\n"), (b"", b".\r\n")):
            wire = greeted()
            wire.start_data()
            octets = wire.content(Chunk(content, None)) + wire.end_data()
            self.assertEqual(octets, expected)
