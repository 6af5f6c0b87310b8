"""smtpgate.smtp.server: order of replies, states, and nothing but violations for every input and split."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.smtp import status
from smtpgate.smtp.capability import Capabilities
from smtpgate.smtp.command import Command
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply
from smtpgate.smtp.server import (
    MAIL,
    NEED_DATA,
    PAUSED,
    RCPT,
    READY,
    START,
    TABLE,
    AuthLine,
    EndOfData,
    ServerConnection,
    Violation,
    WireRules,
)

OFFER = Capabilities(
    {"CHUNKING": "", "STARTTLS": "", "8BITMIME": "", "AUTH": "PLAIN", "SIZE": "1000", "SMTPUTF8": "", "DSN": ""}
)


def serve(parts: list[bytes], refuse: bytes = b"bad") -> tuple[list[Any], bytes]:
    """A server that takes all but recipients with `refuse` in them: events and output for a segmentation."""
    wire = ServerConnection(WireRules())
    seen: list[Any] = []
    out = b""
    command: Any = None
    for part in parts:
        wire.receive(part)
        while True:
            event = wire.next_event()
            if event is NEED_DATA:
                break
            assert event is not PAUSED, "everything was answered"
            if isinstance(event, Violation):
                seen.append(("violation", event.verb, event.suggested.code))
                wire.reply(event, event.suggested)
                if event.is_fatal:
                    return seen, out + wire.take_output()
            elif isinstance(event, Chunk):
                if seen and seen[-1][0] == "content":
                    seen[-1] = ("content", seen[-1][1] + event.content)
                else:
                    seen.append(("content", event.content))
            elif isinstance(event, EndOfData):
                seen.append(("end", event.is_last))
                wire.reply(event, status.ACCEPTED)
            elif isinstance(event, AuthLine):
                seen.append(("auth line",))
                wire.reply(command, status.AUTH_OK)
            elif isinstance(event, Command):
                seen.append((event.verb, str(event.path), event.params))
                command = event
                if event.verb == "EHLO":
                    wire.offer(OFFER)
                    wire.reply(event, Reply(250, "", ("gate.example.com",)))
                elif event.verb == "HELO":
                    wire.offer(None)
                    wire.reply(event, Reply(250, "", ("gate.example.com",)))
                elif event.verb == "DATA":
                    wire.reply(event, status.START_DATA)
                elif event.verb == "AUTH" and not event.argument:
                    wire.reply(event, Reply(334, "", ("",)))
                elif event.verb == "AUTH":
                    wire.reply(event, status.AUTH_OK)
                elif event.verb == "STARTTLS":
                    wire.reply(event, status.START_TLS)
                    wire.tls_started()
                elif event.verb == "RCPT" and refuse in str(event.path).encode():
                    wire.reply(event, status.RELAY_DENIED)
                elif event.verb != "BDAT":
                    wire.reply(event, status.NOOP_OK)
        out += wire.take_output()
    return seen, out


SESSION = (
    b"EHLO c.example\r\nAUTH PLAIN\r\nAGEAYg==\r\nMAIL FROM:<a@example.org> SIZE=10\r\nRCPT TO:<bad@example.net>\r\n"
    b"RCPT TO:<b@example.net>\r\nDATA\r\n..hi\r\nQUIT\r\n.\r\nMAIL FROM:<>\r\nBDAT 6\r\n"
    b"NOOP\r\nRCPT TO:<b@example.net>\r\n"
    b"BDAT 8\r\n\r\n.\r\nabcBDAT 0 LAST\r\nFOO\r\n\r\nRSET\r\nNOOP x\r\n"
    b"BDAT 3 LAST\r\nxyzVRFY b\r\nEHLO a\rb\r\nQUIT\r\nNOOP\r\n"
)


class SplitTests(SynchronousTestCase):
    """The same for every segmentation."""

    def test_every_split_of_a_session(self) -> None:
        """One octet at a time, and two segments at each octet (P-055, P-133)."""
        whole = serve([SESSION])
        self.assertEqual(whole[1].count(b"\r\n"), 21)
        self.assertEqual(serve([bytes([octet]) for octet in SESSION]), whole)
        for cut in range(len(SESSION)):
            self.assertEqual(serve([SESSION[:cut], SESSION[cut:]]), whole, cut)

    def test_long_lines_at_every_split(self) -> None:
        """One reply to an overlong line, and its tail is never a command (P-028)."""
        for length in (2046, 2047, 3000, 70_000):
            stream = b"X" * length + b"\r\nNOOP\r\n"
            whole = serve([stream])
            self.assertEqual([code for code in whole[1].split() if code in (b"500", b"250")], [b"500", b"250"], length)
            for cut in (1, 510, 511, 512, 513, 2045, 2046, 2047, 2048, length - 1, length, length + 1, length + 2):
                if cut < len(stream):
                    self.assertEqual(serve([stream[:cut], stream[cut:]])[1], whole[1], (length, cut))

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"EHLO c\r\n",
                    b"HELO c\r\n",
                    b"MAIL FROM:<a@example.org>\r\n",
                    b"RCPT TO:<b@example.net>\r\n",
                    b"RCPT TO:<bad@example.net>\r\n",
                    b"DATA\r\n",
                    b"x\r\n.\r\n",
                    b".\r\n",
                    b"BDAT 4\r\n",
                    b"BDAT 2 LAST\r\n",
                    b"abcd",
                    b"RSET\r\n",
                    b"AUTH PLAIN\r\n",
                    b"*\r\n",
                    b"NOOP\n",
                    b"\r",
                    b"\0",
                    b"STARTTLS\r\n",
                    b"QUIT\r\n",
                    b"\r\n",
                    b"VRFY \xc3\xa9\r\n",
                    b"MAIL FROM:<\xc3\xa9@example.org> SMTPUTF8\r\n",
                    b"BDAT x\r\n",
                ]
            ),
            max_size=14,
        ),
        st.data(),
    )
    @settings(max_examples=300, deadline=None)
    def test_any_dialogue_any_split(self, pieces: list[bytes], data: st.DataObject) -> None:
        """Random dialogues: equal for every split (but for STARTTLS, where what follows at once is the fault)."""
        if b"STARTTLS\r\n" in pieces:
            pieces = pieces[: pieces.index(b"STARTTLS\r\n")]
        stream = b"".join(pieces)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        self.assertEqual(serve(parts), serve([stream]))

    @given(st.binary(max_size=600))
    @settings(max_examples=300, deadline=None)
    def test_no_input_raises(self, octets: bytes) -> None:
        """Random octets give commands, content and violations, and every line one reply at most."""
        serve([b"EHLO c\r\n", octets])


class OrderTests(SynchronousTestCase):
    """Replies leave only from the head of the queue."""

    def test_recipients_answered_in_reverse(self) -> None:
        """Three open RCPT answered last to first come out first to last, and DATA waits (P-054)."""
        wire = ServerConnection(WireRules())
        wire.receive(b"EHLO c\r\n")
        hello = wire.next_event()
        wire.offer(OFFER)
        wire.reply(hello, status.NOOP_OK)
        wire.receive(
            b"MAIL FROM:<a@example.org>\r\nRCPT TO:<1@example.net>\r\nRCPT TO:<2@example.net>\r\n"
            b"RCPT TO:<3@example.net>\r\nDATA\r\n"
        )
        mail = wire.next_event()
        self.assertIs(wire.next_event(), PAUSED)
        wire.reply(mail, status.SENDER_OK)
        wire.take_output()
        group = [wire.next_event() for _ in range(3)]
        self.assertIs(wire.next_event(), PAUSED)
        wire.reply(group[2], Reply(250, "2.1.5", ("three",)))
        wire.reply(group[1], Reply(550, "5.1.1", ("two",)))
        self.assertEqual(wire.take_output(), b"")
        wire.reply(group[0], Reply(250, "2.1.5", ("one",)))
        self.assertEqual(wire.take_output(), b"250 2.1.5 one\r\n550 5.1.1 two\r\n250 2.1.5 three\r\n")
        data = wire.next_event()
        assert isinstance(data, Command)
        self.assertEqual(data.verb, "DATA")

    def test_nothing_is_read_behind_the_dot_before_the_verdict(self) -> None:
        """The next transaction waits for the reply to this one (P-060)."""
        wire = ServerConnection(WireRules())
        wire.receive(b"EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<1@example.net>\r\nDATA\r\n")
        for _ in range(4):
            event = wire.next_event()
            wire.offer(OFFER)
            wire.reply(event, status.START_DATA if event.verb == "DATA" else status.NOOP_OK)
        wire.receive(b"x\r\n.\r\nMAIL FROM:<b@example.org>\r\n")
        self.assertIsInstance(wire.next_event(), Chunk)
        end = wire.next_event()
        self.assertIsInstance(end, EndOfData)
        self.assertIs(wire.next_event(), PAUSED)
        wire.reply(end, status.ACCEPTED)
        self.assertEqual(wire.next_event().verb, "MAIL")

    def test_lmtp_end_takes_a_reply_for_each_recipient(self) -> None:
        """One reply for each accepted RCPT, repeats included (P-273)."""
        wire = ServerConnection(WireRules(is_lmtp=True))
        wire.receive(
            b"LHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<1@example.net>\r\nRCPT TO:<1@example.net>\r\nDATA\r\n"
        )
        for _ in range(5):
            event = wire.next_event()
            wire.offer(OFFER)
            wire.reply(event, status.START_DATA if event.verb == "DATA" else status.NOOP_OK)
        wire.take_output()
        wire.receive(b".\r\n")
        end = wire.next_event()
        wire.reply(end, status.ACCEPTED)
        self.assertEqual(wire.take_output(), b"")
        wire.reply(end, status.BACKEND_LOST)
        self.assertEqual(wire.take_output()[:3], b"250")


class DiscardTests(SynchronousTestCase):
    """A line that is too long."""

    def test_its_rest_is_no_command(self) -> None:
        """Also where a piece of it begins like one."""
        for rest in (b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<b@example.net>\r\n", b"DATA\r\n"):
            wire = ServerConnection(WireRules())
            for line in (b"EHLO c\r\n", b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<b@example.net>\r\n"):
                if rest[:4] == b"MAIL" and line[:4] != b"EHLO":
                    continue
                wire.receive(line)
                command = wire.next_event()
                assert isinstance(command, Command)
                wire.reply(command, Reply(250, "2.0.0", ("ok",)))
            wire.receive(b"NOOP " + b"x" * 3000)
            self.assertIs(wire.next_event(), NEED_DATA)
            wire.receive(rest)
            event = wire.next_event()
            assert isinstance(event, Violation)
            self.assertEqual(event.reason, "line too long")
            self.assertIs(wire.next_event(), PAUSED)


class TableTests(SynchronousTestCase):
    """The state table."""

    LINES = {
        "EHLO": b"EHLO c\r\n",
        "HELO": b"HELO c\r\n",
        "MAIL": b"MAIL FROM:<a@example.org>\r\n",
        "RCPT": b"RCPT TO:<b@example.net>\r\n",
        "DATA": b"DATA\r\n",
        "RSET": b"RSET\r\n",
        "NOOP": b"NOOP\r\n",
        "VRFY": b"VRFY b\r\n",
        "HELP": b"HELP\r\n",
        "QUIT": b"QUIT\r\n",
        "STARTTLS": b"STARTTLS\r\n",
        "AUTH": b"AUTH PLAIN AGEAYg==\r\n",
        "XCLIENT": b"XCLIENT NAME=x\r\n",
        "XFORWARD": b"XFORWARD NAME=x\r\n",
    }
    WAY = {
        START: b"",
        READY: b"EHLO c\r\n",
        MAIL: b"EHLO c\r\nMAIL FROM:<a@example.org>\r\n",
        RCPT: b"EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n",
    }

    def test_all_pairs(self) -> None:
        """A verb that the table lists for a state is an event, any other one refusal, and the session goes on."""
        for state, way in self.WAY.items():
            for verb, line in self.LINES.items():
                seen, out = serve([way, line])
                if (state, verb) in TABLE:
                    self.assertEqual(seen[-1][0], verb, (state, verb))
                else:
                    self.assertEqual(seen[-1][0], "violation", (state, verb))
                    self.assertIn(seen[-1][2], (503, 554), (state, verb))
                self.assertEqual(out.count(b"\r\n"), way.count(b"\r\n") + 1)
