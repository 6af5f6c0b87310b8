"""Sessions that somebody attends to: slowed down, or written down as far as commands and replies go."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control import SYSTEM
from smtpgate.control.attend import KEEP_S, KEPT, LINES, SESSIONS, TRACES
from smtpgate.control.views import Invalid, Refused, Unknown
from smtpgate.proxy.inmemory import Front
from smtpgate.smtp.capability import Capabilities
from smtpgate.smtp.command import PathRules, parse_command
from smtpgate.smtp.heard import HeardConnection, words
from smtpgate.smtp.reply import Reply
from smtpgate.smtp.server import ServerConnection, WireRules
from smtpgate.testing.client import Client as Spoken
from tests.admin_kit import ApiCase, make_control, make_session
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import Backend, Client
from tests.test_admin_reach import LimitedCase

SECRET = base64.b64encode(b"\0ann\0correct horse")


def connect(control: Any, clock: Clock, peer: str = "192.0.2.7") -> Spoken:
    """A client, greeted."""
    front = Front(control.current().doors["mx"].rules, (peer, 50000))
    client = Spoken(lambda: clock.advance(0), front, control.reception.begin("mx", front))
    clock.advance(8)
    client.greeting = client.read()
    return client


class HeardTests(SynchronousTestCase):
    """`smtp.heard`: a wire that is listened to does what one does that is not."""

    def test_it_goes_on_where_the_other_stood(self) -> None:
        """In the middle of a line and of a queue; and says the same octets."""
        heard: list[tuple[str, str, bool]] = []
        plain = ServerConnection(WireRules())
        plain.greet(b"220 gate\r\n")
        plain.offer(Capabilities())
        plain.receive(b"EHLO a\r\nNO")
        event: Any = plain.next_event()
        wire = HeardConnection.over(plain, lambda *line: heard.append(line))
        wire.reply(event, Reply(250, "", ("gate",)))
        wire.receive(b"OP\r\nAUTH PLAIN " + SECRET + b"\r\n")
        wire.reply(wire.next_event(), Reply(250, "2.0.0", ("Ok",)))  # type: ignore[arg-type]
        wire.reply(wire.next_event(), Reply(334, "", ("VXNlcg==",)))  # type: ignore[arg-type]
        wire.receive(SECRET + b"\r\n")
        wire.next_event()
        self.assertEqual(wire.take_output(), b"220 gate\r\n250 gate\r\n250 2.0.0 Ok\r\n334 VXNlcg==\r\n")
        self.assertEqual(
            heard,
            [
                ("gateway", "250 gate", False),
                ("client", "NOOP", False),
                ("gateway", "250 2.0.0 Ok", False),
                ("client", "AUTH PLAIN [hidden]", True),
                ("gateway", "334 [hidden]", True),
                ("client", "[hidden]", True),
            ],
        )

    def test_words(self) -> None:
        """Each command as it was understood; whoever logged in elsewhere is not named."""
        for line, said in (
            (b"EHLO client.example", "EHLO client.example"),
            (b"mail from:<ann@example.org> SIZE=5 BODY=8BITMIME", "MAIL FROM:<ann@example.org> SIZE=5 BODY=8BITMIME"),
            (b"MAIL FROM:<>", "MAIL FROM:<>"),
            (b"RCPT TO:<bob@example.net>", "RCPT TO:<bob@example.net>"),
            (b"BDAT 7 LAST", "BDAT 7 LAST"),
            (b"XCLIENT ADDR=192.0.2.9 LOGIN=ann", "XCLIENT ADDR=192.0.2.9 LOGIN=[hidden]"),
            (b"QUIT", "QUIT"),
        ):
            self.assertEqual(words(parse_command(line, PathRules()))[0], said)  # type: ignore[arg-type]


class TraceTests(SynchronousTestCase):
    """Through `Control`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.control = make_control(self.clock)
        self.attend = self.control.attend

    def test_what_an_address_says(self) -> None:
        """From sessions that begin while it is traced, and of no other address."""
        before = connect(self.control, self.clock)
        self.attend.begin("::ffff:192.0.2.7", 15, "odd", SYSTEM)
        traced, other = connect(self.control, self.clock), connect(self.control, self.clock, "192.0.2.8")
        for client in (before, traced, other):
            client.say("NOOP")
        (trace,) = self.attend.traces()
        self.assertEqual((trace.address, len(trace.sessions)), ("192.0.2.7", 1))
        dialogue = self.attend.dialogue(trace.sessions[0])
        assert dialogue is not None
        said = [(line.who, line.text) for line in dialogue.lines]
        self.assertEqual(said[0], ("gateway", "220 gate.example.com ESMTP"))
        self.assertEqual(said[1], ("client", "NOOP"))
        self.assertTrue(said[2][1].startswith("250"))

    def test_it_has_an_end(self) -> None:
        """Of time, which is told and after which nobody is heard; and its dialogues are forgotten an hour later."""
        self.attend.begin("192.0.2.7", 15, "", SYSTEM)
        stays = connect(self.control, self.clock)
        (trace,) = self.attend.traces()
        # An octet now and then, or its session would be over.
        for _ in range(9):
            self.clock.advance(100)
            stays.say("NOOP")
        self.assertIsNone(self.control.reception.heed)
        dialogue = self.attend.dialogue(trace.sessions[0])
        assert dialogue is not None
        heard = len(dialogue.lines)
        self.assertEqual(stays.say("NOOP")[:3], "250")
        self.assertEqual(len(dialogue.lines), heard)
        connect(self.control, self.clock)
        self.assertEqual((len(trace.sessions), self.attend.is_on(trace)), (1, False))
        self.assertIsNotNone(self.attend.dialogue(trace.sessions[0]))
        names = [getattr(event, "name", "") for event in self.control.events]  # type: ignore[attr-defined]
        self.assertEqual(names.count("trace.over"), 1)
        self.clock.advance(KEEP_S)
        # Nobody has looked, and it is forgotten all the same.
        self.assertEqual((self.attend._dialogues, self.attend._calls), ({}, {}))
        self.assertEqual((self.attend.traces(), self.attend.dialogue(trace.sessions[0])), ([], None))

    def test_it_is_bounded(self) -> None:
        """In lines, sessions and traces."""
        self.attend.begin("192.0.2.7", 15, "", SYSTEM)
        client = connect(self.control, self.clock)
        client.say("NOOP")
        (session,) = self.control.reception.sessions.values()
        for _ in range(LINES):
            session.front.wire.told(b"250 ok\r\n")
        for _ in range(SESSIONS):
            connect(self.control, self.clock)
        (trace,) = self.attend.traces()
        dialogue = self.attend.dialogue(trace.sessions[0])
        assert dialogue is not None
        self.assertEqual((len(dialogue.lines), dialogue.left_out > 0), (LINES, True))
        self.assertEqual((len(trace.sessions), trace.missed), (SESSIONS, 1))
        for number in range(TRACES - 1):
            self.attend.begin(f"2001:db8::{number + 1}", 1, "", SYSTEM)
        self.assertRaises(Refused, self.attend.begin, "2001:db8::ff", 1, "", SYSTEM)
        self.assertRaises(Refused, self.attend.begin, "192.0.2.7", 1, "", SYSTEM)
        for wrong in ("", "192.0.2.0/24", "gate.example.com", "192.0.2.7;"):
            self.assertRaises(Invalid, self.attend.check, wrong, 1)
        self.assertRaises(Invalid, self.attend.check, "192.0.2.9", 16)
        self.attend.end("192.0.2.7", SYSTEM)
        self.assertIsNone(self.attend.dialogue(trace.sessions[0]))
        self.assertRaises(Unknown, self.attend.end, "192.0.2.7", SYSTEM)

    def test_a_clock_that_is_set_back(self) -> None:
        """It ends when its time has run out all the same, and listens to nobody when the clock is set back later."""
        wall = [self.control.engine.wall()]
        self.control.engine.wall = lambda: wall[0]
        self.attend.begin("192.0.2.7", 15, "", SYSTEM)
        (trace,) = self.attend.traces()
        for back in (7200.0, 7200.0):
            wall[0] -= back
            self.clock.advance(900)
            self.assertIsNone(self.control.reception.heed)
            self.assertFalse(self.attend.is_on(trace))
            connect(self.control, self.clock)
        self.attend.begin("192.0.2.8", 15, "", SYSTEM)
        connect(self.control, self.clock)
        self.assertEqual(trace.sessions, [])

    def test_those_that_are_over_are_bounded_too(self) -> None:
        """The oldest goes, with its dialogues, and none that listens."""
        self.attend.begin("192.0.2.7", 15, "", SYSTEM)
        first = connect(self.control, self.clock)
        first.say("NOOP")
        (session,) = self.attend.traces()[0].sessions
        # Another one goes on all the time.
        self.clock.advance(840)
        self.attend.begin("192.0.2.8", 15, "", SYSTEM)
        self.clock.advance(60)
        for number in range(KEPT * 2):
            self.assertEqual(self.attend.dialogue(session) is None, number > KEPT - 2)
            if number % 4 == 0:
                self.clock.advance(61)
            self.attend.begin(f"2001:db8::{number + 1:x}", 1, "", SYSTEM)
        kept = [one.address for one in self.attend.traces()]
        self.assertEqual((len(kept), "192.0.2.8" in kept, "192.0.2.7" in kept), (KEPT, True, False))

    def test_a_tarpit(self) -> None:
        """Each reply waits; when its time is over none does any more."""
        client = connect(self.control, self.clock)
        (id,) = self.control.reception.sessions
        client.say("NOOP")
        self.attend.slow(id, 10, 1, SYSTEM)
        for _ in range(3):
            # The answer to what it said before comes at once, and the next waits.
            client.say("NOOP")
            self.clock.advance(9)
            first = client.say("NOOP")
            self.clock.advance(2)
            self.assertEqual((first[:3], client.read()[:3]), ("", "250"))
            self.clock.advance(10)
            client.read()
        self.clock.advance(60)
        client.say("NOOP")
        self.clock.advance(10)
        client.read()
        self.assertEqual([client.say("NOOP")[:3] for _ in range(3)], ["250"] * 3)
        self.assertRaises(Unknown, self.attend.slow, "none", 10, 1, SYSTEM)

    def test_a_tarpit_is_not_ended_by_errors_nor_holds_a_farewell(self) -> None:
        """What a client does wrong makes it no faster; who leaves is gone."""
        client = connect(self.control, self.clock)
        (id,) = self.control.reception.sessions
        self.attend.slow(id, 10, 60, SYSTEM)
        for number in range(9):
            client.say("NONSENSE")
            self.clock.advance(9.5)
            early = client.say("NOOP")
            self.assertEqual(early[:3], "", number)
            for _ in range(3):
                self.clock.advance(10)
                client.read()
        self.assertEqual(client.say("QUIT")[:3], "221")
        self.clock.advance(0)
        self.assertEqual(self.control.reception.sessions, {})

    def test_a_tarpit_has_bounds(self) -> None:
        """Of both of its times."""
        connect(self.control, self.clock)
        (id,) = self.control.reception.sessions
        for seconds, minutes in ((0, 1), (31, 1), (1, 0), (1, 61)):
            self.assertRaises(Invalid, self.attend.slow, id, seconds, minutes, SYSTEM)


class WireTests(GatewayCase):
    """Over sockets."""

    def test_a_whole_message(self) -> Deferred[Any]:
        """Is taken as ever; its content and the login are not in what was heard."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            gateway.in_reactor(gateway.control.attend.begin, "127.0.0.1", 15, "", SYSTEM)
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"AUTH PLAIN " + SECRET)
                self.assertEqual(client.message(b"Subject: covered\r\n\r\n..dot\r\n")[:3], b"250")
                client.say(b"QUIT")
            self.assertTrue(gateway.idle())
            (trace,) = gateway.control.attend.traces()
            dialogue = gateway.control.attend.dialogue(trace.sessions[0])
            assert dialogue is not None
            text = "\n".join(line.text for line in dialogue.lines)
            self.assertEqual(len(backend.messages), 1)
            for hidden in ("covered", SECRET.decode(), "dot"):
                self.assertNotIn(hidden, text)
            verbs = [line.text.split()[0] for line in dialogue.lines if line.who == "client"]
            self.assertEqual(verbs, ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "[content:", "QUIT"])
            self.assertIn("354", [line.text[:3] for line in dialogue.lines])

        return self.drive(script)


class AttendApiTests(ApiCase):
    """Over HTTP."""

    def test_trace_and_transcript(self) -> None:
        """A transcript of a session that was heard has every line; whoever sees some mail only gets none of it."""
        self.post("/traces", {"address": "192.0.2.7", "reason": "odd"}, 201)
        client = connect(self.desk.control, self.desk.clock)
        client.say("NOOP")
        (found,) = self.get("/traces")["items"]
        self.assertEqual((found["address"], found["is_on"], len(found["sessions"])), ("192.0.2.7", True, 1))
        said = self.get(f"/sessions/{found['sessions'][0]}/transcript")
        self.assertEqual((said["is_whole"], said["items"][1]["text"]), (True, "NOOP"))
        row = next(one for one in self.desk.users.rows if one["action"] == "trace.begin")
        self.assertIn("no content", row["detail"])
        self.assertEqual(self.desk.post_json("/api/v1/traces", {"address": "x y"}, token=self.owner).status, 422)
        self.assertEqual(self.remove("/traces/192.0.2.7"), 200)
        self.assertEqual(self.get("/traces")["items"], [])

    def test_tarpit(self) -> None:
        """Of a live session; a dry run does nothing."""
        connect(self.desk.control, self.desk.clock)
        (id,) = self.desk.control.reception.sessions
        session = self.desk.control.reception.sessions[id]
        self.post(f"/sessions/{id}/tarpit?dry_run=1", {"seconds": 5.0})
        self.assertEqual(session._slow_s, 0.0)
        self.post(f"/sessions/{id}/tarpit", {"seconds": 5.0, "minutes": 2})
        self.assertEqual(session._slow_s, 5.0)
        self.post(f"/sessions/{id}/tarpit", {"seconds": 31.0}, 422)
        self.post("/sessions/none/tarpit", {}, 404)

    def test_pages(self) -> None:
        """The form on the page of live sessions, and that of a session."""
        page = self.desk.ask("GET", "/live", token=self.owner).text
        self.assertIn("What an address says", page)
        connect(self.desk.control, self.desk.clock)
        (id,) = self.desk.control.reception.sessions
        self.assertIn("Slow it down", self.desk.ask("GET", f"/sessions/{id}", token=self.owner).text)


class LimitedLiveTests(LimitedCase):
    """Live sessions for those who are limited to domains."""

    def begin(self, *recipients: str, sender: str = "ann@example.org") -> str:
        """A session that has a message on its way; its id."""
        control = self.desk.control
        known = set(control.reception.sessions)
        connect(control, self.desk.clock)
        (id,) = set(control.reception.sessions) - known
        facts = control.reception.sessions[id].facts
        made = make_session(id, sender=sender, recipients=recipients).transactions[0]
        made.session, made.outcome = facts, ""
        facts.transaction = made
        return id

    def test_mail_of_others_is_not_there(self) -> None:
        """Not a row, not in the number; of a message for both only the recipients that are theirs."""
        control = self.desk.control
        ours = self.begin("bob@example.net", "eve@example.com")
        theirs = self.begin("eve@example.com", sender="x@example.net")
        connect(control, self.desk.clock)
        for watched in (False, True):
            if watched:
                control.live.begin()
                self.addCleanup(control.live.end)
            found = self.desk.ask("GET", "/api/v1/live", token=self.limited).json()
            self.assertEqual([one["id"] for one in found["items"]], [ours])
            self.assertEqual((found["items"][0]["recipients"], found["total"], found["limit"]), (1, 1, 0))
            self.assertEqual(found["listeners"], [])
        page = self.desk.ask("GET", "/live", token=self.limited)
        self.assertEqual((page.status, ours in page.text, theirs in page.text), (200, True, False))
        for hidden in ("grid.js", "/live/kill", "What an address says"):
            self.assertNotIn(hidden, page.text)
        # The next message of that session is for others: nothing of it is theirs to see.
        facts = control.reception.sessions[ours].facts
        facts.transactions.append(facts.transaction)
        facts.transaction = control.reception.sessions[theirs].facts.transaction
        found = self.desk.ask("GET", "/api/v1/live", token=self.limited).json()
        self.assertEqual(found["items"], [])
        everything = self.desk.ask("GET", "/api/v1/live", token=self.owner).json()
        self.assertEqual((everything["total"], len(everything["items"])), (3, 3))

    def test_traces_are_not_theirs(self) -> None:
        """Neither list nor lines."""
        self.desk.control.attend.begin("192.0.2.7", 15, "", SYSTEM)
        ours = self.begin("bob@example.net")
        self.assertEqual(self.desk.ask("GET", "/api/v1/traces", token=self.limited).status, 403)
        said = self.desk.ask("GET", f"/api/v1/sessions/{ours}/transcript", token=self.limited).json()
        self.assertFalse(said["is_whole"])
