"""The event stream: what readers get, what they lose, and what it costs."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from smtpgate.admin.events import PIECE, STREAMS_PER_PRINCIPAL
from smtpgate.admin.hub import GATHER_S, GATHERED, LINGER_S, RING, SLICE
from smtpgate.policy import event as told
from smtpgate.policy.verdict import Finding
from tests.admin_kit import ApiCase, make_session


class EventStream(ApiCase):
    """A way to ask for a stream."""

    def setUp(self) -> None:
        super().setUp()
        self.calls = self.desk.clock.getDelayedCalls()

    def stream(self, topics: str = "", token: str = "", headers: str = "") -> Any:
        channel, transport = self.desk.open()
        head = f"GET /api/v1/events{topics} HTTP/1.1\r\nHost: localhost\r\n{headers}"
        channel.dataReceived(f"{head}Authorization: Bearer {token or self.owner}\r\n\r\n".encode())
        return channel, transport

    def tell(self, count: int = 1, reason: str = "gone\nid: 7") -> None:
        for number in range(count):
            after = "down" if number % 2 == 0 else "up"
            self.desk.control.hear(told.ServerChanged("mail", "127.0.0.1:2600", "", after, reason))


class EventTests(EventStream):
    """The stream."""

    def test_events_come(self) -> None:
        """Gathered, in one write, with a beat in between; foreign text cannot make events of its own."""
        channel, transport = self.stream()
        self.assertIn(b"text/event-stream", transport.value())
        self.tell(3)
        self.desk.clock.advance(0.3)
        text = transport.value().decode()
        self.assertEqual(text.count("event: backend.changed"), 3)
        self.assertNotIn("\nid: 7", text)
        ids = [int(id) for id in re.findall(r"^id: (\d+)$", text, re.MULTILINE)]
        self.assertEqual(ids, list(range(ids[0], ids[0] + 4)))
        self.desk.clock.advance(15)
        self.assertIn(b": beat", transport.value())
        channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.desk.office.streams.count, 0)
        self.desk.clock.advance(LINGER_S + 1)
        self.assertEqual((self.desk.control._watches, self.desk.control.live.is_watched), ([], False))
        self.assertEqual(self.desk.clock.getDelayedCalls(), self.calls)

    def test_topics(self) -> None:
        """Only what was asked for; nonsense is refused."""
        channel, transport = self.stream("?topics=config")
        self.tell()
        self.desk.clock.advance(0.3)
        self.assertNotIn(b"backend.changed", transport.value())
        channel.connectionLost(Failure(ConnectionLost()))
        for wrong in ("topics=x", "topics=config,x", "topics=", "filter=listner:mx", "filter=ip:", "last_event_id=x"):
            answer = self.desk.ask("GET", f"/api/v1/events?{wrong}", token=self.owner)
            self.assertEqual(answer.status, 400, wrong)

    def test_a_slow_reader_loses_the_oldest(self) -> None:
        """The ring is bounded, it is told what it missed, and gets the rest in pieces."""
        _, transport = self.stream()
        transport.producer.pauseProducing()
        for _ in range(RING // 400 + 1):
            self.tell(400)
            self.desk.clock.advance(0.2)
        self.assertNotIn(b"backend.changed", transport.value())
        transport.producer.resumeProducing()
        self.assertEqual(transport.value().count(b"event: backend.changed"), PIECE)
        self.desk.clock.pump([0.0] * 20)
        text = transport.value().decode()
        self.assertIn('event: dropped\ndata: {"count":200}', text)
        self.assertEqual(text.count("event: backend.changed"), RING)
        self.desk.office.close()

    def test_more_than_can_be_gathered(self) -> None:
        """What comes in one moment is bounded too, and all hear that something is missing."""
        _, transport = self.stream()
        self.tell(GATHERED + 7)
        self.desk.clock.pump([0.2, 0.0, 0.0])
        text = transport.value().decode()
        self.assertEqual(text.count("event: backend.changed"), GATHERED)
        self.assertIn('event: dropped\ndata: {"count":7}', text)
        self.desk.office.close()

    def test_a_reader_that_comes_back(self) -> None:
        """It goes on behind the last event that it had; where that is not known any more, it hears of the gap."""
        channel, transport = self.stream()
        self.tell(1, "first")
        self.desk.clock.advance(0.3)
        last = re.findall(rb"id: (\d+)", transport.value())[-1].decode()
        channel.connectionLost(Failure(ConnectionLost()))
        self.tell(1, "second")
        self.desk.clock.advance(3)
        for how in (f"?last_event_id={last}", ""):
            channel, transport = self.stream(how, headers="" if how else f"Last-Event-ID: {last}\r\n")
            text = transport.value().decode()
            self.assertIn("second", text)
            self.assertNotIn("first", text)
            self.assertNotIn("event: gap", text)
            channel.connectionLost(Failure(ConnectionLost()))
        self.desk.clock.advance(LINGER_S + 1)
        for id in (last, "7", str(int(last) + 10**6)):
            channel, transport = self.stream(f"?last_event_id={id}")
            self.assertIn(b"event: gap", transport.value())
            self.assertNotIn(b"second", transport.value())
            channel.connectionLost(Failure(ConnectionLost()))
        self.desk.office.close()

    def test_a_filter(self) -> None:
        """Messages of others are held back; what is about the gateway itself comes to all."""
        good, bad = (
            make_session(sender="ann@example.org"),
            make_session("01J9UK7Q0000000000000000AB", sender="x@evil.example"),
        )
        _, transport = self.stream("?filter=evil%20listener:mx")
        for facts in (good, bad):
            self.desk.control.hear(told.TransactionEnded(facts.transactions[0]))
        self.tell()
        self.desk.clock.advance(0.3)
        text = transport.value().decode()
        self.assertEqual(text.count("event: message.done"), 1)
        self.assertIn("x@evil.example", text)
        self.assertIn("event: backend.changed", text)
        self.desk.office.close()

    def test_one_session_with_much_to_tell(self) -> None:
        """Its messages are told five times a second at most, with how many were left out."""
        facts = make_session()
        _, transport = self.stream("?topics=message")
        for _ in range(10):
            for _ in range(20):
                self.desk.control.hear(told.TransactionEnded(facts.transactions[0]))
            self.desk.clock.advance(0.1)
        found = re.findall(r'"left_out":(\d+)', transport.value().decode())
        self.assertLessEqual(len(found), 5)
        self.desk.clock.advance(0.2)
        found = re.findall(r'"left_out":(\d+)', transport.value().decode())
        self.assertEqual(sum(map(int, found)) + len(found), 200)
        self.desk.office.close()

    def test_a_session_while_it_runs(self) -> None:
        """Its row is told as it changes, with what filters said, and once more when it is over."""
        facts = make_session(findings=(Finding("odd", "tag", filter="names"),))
        facts.ended, begun = 0.0, facts.begun
        facts.begun = self.desk.clock.seconds()
        _, transport = self.stream("?topics=session")
        self.desk.control.hear(told.SessionOpened(facts))
        self.desk.clock.advance(0.3)
        self.desk.control.live._ran(facts.id, "names", "end", "reject", 0.0123, False)
        self.desk.control.live._ran(facts.id, "names", "end", "pass", 0.001, False)
        self.desk.clock.advance(0.3)
        facts.ended, facts.begun = 100.3, begun
        self.desk.control.hear(told.SessionEnded(facts))
        self.desk.clock.advance(0.3)
        self.desk.clock.advance(0.3)
        rows = [json.loads(line[6:]) for line in transport.value().decode().splitlines() if line.startswith("data: ")]
        self.assertEqual([row["is_live"] for row in rows], [True, True, False])
        self.assertEqual(rows[0]["cells"], {})
        self.assertEqual(rows[1]["cells"], {"names": ["pass", "reject", "end", 1.0, False]})
        self.assertEqual(rows[2]["worst"], "reject")
        self.desk.office.close()

    def test_many_readers_cost_one_encoding(self) -> None:
        """All that read the same get the same octets: an event is written down once."""
        streams = [self.stream(token=self.reader(number))[1] for number in range(8)]
        for transport in streams:
            transport.clear()
        self.tell(5)
        self.desk.clock.advance(0.3)
        self.assertEqual(len({transport.value() for transport in streams}), 1)
        self.assertEqual(len(self.desk.office.streams.hub._made), 1)
        self.desk.office.close()

    def reader(self, number: int) -> str:
        found: list[str] = []
        self.desk.users.add_token(f"r{number}", "auditor", 0.0).addCallback(found.append)
        return found[0]

    def test_much_at_once_is_written_in_slices(self) -> None:
        """Between two of them the reactor has others served; nothing is lost, and the order is kept."""
        _, transport = self.stream("?topics=backend")
        clock, hub = self.desk.clock, self.desk.office.streams.hub
        first, seen = hub.last, []

        def look() -> None:
            if hub.last < first + 3 * SLICE:
                seen.append(hub.last - first)
                clock.callLater(0, look)

        self.tell(3 * SLICE)
        clock.callLater(GATHER_S, look)
        clock.advance(GATHER_S)
        self.assertEqual([seen.count(count) > 0 for count in (SLICE, 2 * SLICE)], [True, True])
        ids = [int(id) for id in re.findall(rb"^id: (\d+)$", transport.value(), re.MULTILINE)][1:]
        self.assertEqual(ids, list(range(ids[0], ids[0] + 3 * SLICE)))

    def test_what_cannot_be_written_ends_no_stream(self) -> None:
        """It is in the log, and readers hear of what comes next."""
        _, transport = self.stream()
        hub = self.desk.office.streams.hub
        alerts = self.desk.control.alerts

        def broken() -> Any:
            raise RuntimeError("no alerts")

        self.patch(alerts, "now", broken)
        self.patch(hub, "_until_alerts", 0)
        self.desk.clock.advance(GATHER_S)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.tell()
        for _ in range(3):
            self.desk.clock.advance(GATHER_S)
        self.assertIn(b"backend.changed", transport.value())

    def test_S_08_a_revoked_principal_is_cut_off(self) -> None:
        """At once by our own hand, within seconds otherwise."""
        token = self.desk.token("auditor")
        _, transport = self.stream(token=token)
        self.assertEqual(self.desk.office.streams.count, 1)
        self.desk.users.keys = {text: one for text, one in self.desk.users.keys.items() if text != token}
        self.desk.clock.advance(4.1)
        self.assertEqual(self.desk.office.streams.count, 0)
        self.assertIn(b'event: end\ndata: {"reason":"revoked"}', transport.value())
        self.desk.office.close()

    def test_how_many(self) -> None:
        """A principal has so many streams at once."""
        for _ in range(STREAMS_PER_PRINCIPAL):
            self.stream()
        self.assertEqual(self.desk.ask("GET", "/api/v1/events", token=self.owner).status, 429)
        self.desk.office.close()
        self.assertEqual(self.desk.office.streams.count, 0)
