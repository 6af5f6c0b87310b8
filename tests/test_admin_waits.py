"""Who waited for whom: usual times, gaps, patience, limits; and what was said."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import insight, transcript, waits
from smtpgate.admin.record import SessionRecord, of_facts
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.meter import LATENCY, Histogram
from smtpgate.policy.verdict import Finding
from tests.admin_kit import HOSTILE, ApiCase, make_session
from tests.test_admin_routes import Unwritten

ID = "01J9UK7Q0000000000000000AA"


def record(**more: Any) -> SessionRecord:
    """One message: MAIL at 25 ms, DATA at 70, its end at 180, the verdict at 185, the backend at 320."""
    return of_facts(make_session(ID, **more), 101.0)


class GapTests(SynchronousTestCase):
    """Between the steps of a session."""

    def test_who_waited(self) -> None:
        """Each gap lasts until the next step, and is of whoever had to do that."""
        found = waits.gaps(record())
        self.assertEqual([one.step.what for one in found][:4], ["EHLO", "TLS", "MAIL", "RCPT"])
        by_step = {one.step.what: (one.waits_for, round(one.took_ms)) for one in found}
        self.assertEqual(by_step["EHLO"], ("client", 19))
        self.assertEqual(by_step["RCPT"], ("backend", 5))
        # The answer to the message waited most for the backend.
        self.assertEqual(by_step["DATA"], ("backend", 251))
        self.assertEqual(found[-1].waits_for, "client")
        self.assertTrue(all(bool(one.words) is (one.took_ms >= 1) for one in found))

    def test_the_end(self) -> None:
        """Of a session that we ended, and of one that runs."""
        ours = record().model_copy(update={"closed_by": "server"})
        self.assertEqual(waits.gaps(ours)[-1].waits_for, "us")
        runs = record().model_copy(update={"is_live": True, "timeline": record().timeline[:1]})
        self.assertEqual(waits.gaps(runs)[-1].waits_for, "client")
        self.assertEqual(waits.gaps(record().model_copy(update={"timeline": ()})), [])


class PatienceTests(SynchronousTestCase):
    """Of a client that waits for the reply."""

    def test_part_and_line(self) -> None:
        """From the end of data; the line is in the picture only where the picture is so long."""
        made = record()
        found = waits.patience(made.messages[0], made)
        assert found is not None
        self.assertAlmostEqual(found.used, 0.141 / 600, 6)
        self.assertEqual((found.line, found.left_ms), (None, None))
        late = made.messages[0].model_copy(update={"ended_ms": 1_200_180.0})
        long = waits.patience(late, made)
        assert long is not None
        self.assertEqual((round(long.used, 3), long.line), (2.0, 500))
        self.assertIsNone(waits.patience(made.messages[0].model_copy(update={"end_ms": None}), made))

    def test_one_that_left(self) -> None:
        """While its message was at work, and not before or after."""
        facts = make_session(ID)
        facts.note(100.25, "client", "gone", "connection reset")
        made = of_facts(facts, 101.0)
        found = waits.patience(made.messages[0], made)
        assert found is not None
        self.assertAlmostEqual(found.left_ms or 0.0, 250.0, 3)
        facts = make_session(ID)
        facts.note(100.329, "client", "gone", "connection reset")
        made = of_facts(facts, 101.0)
        after = waits.patience(made.messages[0], made)
        assert after is not None
        self.assertIsNone(after.left_ms)


class BesideTests(SynchronousTestCase):
    """Usual times beside a message's own."""

    def test_places(self) -> None:
        """From the begin of each phase, within the picture; slower than 95 of 100 is slow."""
        made = record(findings=(Finding("dnsbl-listed", filter="dnsbl", seconds=0.004),))
        known = {("stage", "backend"): waits.Usual(10.0, 100.0), ("stage", "data"): waits.Usual(10.0, 9_000.0),
                 ("filter", "dnsbl"): waits.Usual(1.0, 5.0)}  # fmt: skip
        found = {one.phase.name: one for one in waits.beside(insight.phases(made.messages[0], made), known)}
        self.assertEqual((found["backend"].is_slow, found["content"].is_slow), (True, False))
        self.assertEqual(found["content"].most, 1000)
        room = made.messages[0].ended_ms - made.messages[0].begun_ms  # type: ignore[operator]
        self.assertEqual(found["backend"].half, round((185 + 10 - 25) / room * 1000))
        self.assertEqual((found["envelope"].usual, found["dnsbl"].is_slow), (None, False))
        self.assertEqual(waits.beside([], known), [])


class TranscriptTests(SynchronousTestCase):
    """What was said."""

    def test_lines(self) -> None:
        """In order, with the replies that are kept, and neither content nor logins."""
        facts = make_session(ID)
        facts.note(100.022, "client", "AUTH", "PLAIN")
        found = transcript.of_record(of_facts(facts, 101.0))
        self.assertEqual([line.at_ms for line in found], sorted(line.at_ms for line in found))
        self.assertEqual(
            [(line.who, line.text) for line in found],
            [
                ("client", "EHLO mail.example.org"),
                ("note", "TLS from here on: TLSv1.3 TLS_AES_256_GCM_SHA384"),
                ("client", "AUTH PLAIN [hidden]"),
                ("client", "MAIL FROM:<ann@example.org>"),
                ("client", "RCPT TO:<bob@example.net>"),
                ("gateway", "250 Ok"),
                ("backend", "link 127.0.0.1:2600"),
                ("client", "DATA"),
                ("client", "[content: 4.2 KiB, hidden]"),
                ("gateway", f"250 2.0.0 Ok {ID}.1"),
            ],
        )


class WaitsApiTests(ApiCase):
    """Over HTTP."""

    def setUp(self) -> None:
        super().setUp()
        findings = (
            Finding("per-host", "note", filter="rate_limits", detail="10 of 10 messages a minute"),
            Finding("dnsbl-listed", filter="dnsbl", seconds=0.004),
        )
        facts = make_session(ID, findings=findings, helo=HOSTILE[0])
        facts.note(100.322, "client", "gone", HOSTILE[1])
        self.desk.history.keep(facts)

    def test_waits_and_transcript(self) -> None:
        """By the id of the session or of a message; the limits that were met."""
        found = self.get(f"/sessions/{ID}.1/waits")
        self.assertEqual((found["id"], found["items"][0]["waits_for"]), (ID, "client"))
        self.assertEqual([(one["limit"], one["message"]) for one in found["limits"]], [("per-host", f"{ID}.1")])
        said = self.get(f"/sessions/{ID}/transcript")
        self.assertFalse(said["is_whole"])
        self.assertIn(f"EHLO {HOSTILE[0]}", [one["text"] for one in said["items"]])
        for path in ("waits", "transcript"):
            self.assertEqual(self.desk.ask("GET", f"/api/v1/sessions/none/{path}", token=self.owner).status, 404)

    def test_usual_times(self) -> None:
        """Of the last day, looked up once in a while; a store that fails is no reason to show nothing."""
        quick = Histogram(LATENCY)
        for _ in range(20):
            quick.add(0.02)
        minute = int(self.desk.control.engine.wall()) // 60 * 60 - 60
        times = {("backend",): [*quick.counts, quick.total]}
        self.desk.control.statistics.recorder = Unwritten([(minute, {"stage_duration_seconds": times})])
        phases = {one["name"]: one for one in self.get(f"/messages/{ID}.1/explain")["phases"]}
        self.assertEqual(phases["checks"]["most_ms"], None)
        self.assertLessEqual(phases["backend"]["usual_ms"], 25)
        page = self.desk.ask("GET", f"/sessions/{ID}.1", token=self.owner).text
        self.assertIn("slow", page)
        self.assertIn("10 of 10 messages a minute", page)

        class Broken:
            def load(self, *_: Any) -> Any:
                return fail(StoreFailed("disk full"))

            oldest = load

        self.desk.control.statistics.store = Broken()
        self.desk.clock.advance(waits.KEPT_S + 1)
        self.assertEqual(self.desk.ask("GET", f"/sessions/{ID}.1", token=self.owner).status, 200)
        self.assertEqual(self.get(f"/messages/{ID}.1/explain")["phases"][0]["usual_ms"], None)

    def test_whoever_sees_some_mail_only(self) -> None:
        """Sees no step of a session that had mail of others."""
        self.desk.users.add_token("eve", "helpdesk", 0.0, (), ("other.example",))
        token = next(text for text, one in self.desk.users.keys.items() if one.name == "eve")
        for path in ("waits", "transcript"):
            self.assertEqual(self.desk.ask("GET", f"/api/v1/sessions/{ID}/{path}", token=token).status, 404)
        facts = make_session("01J9UK7Q0000000000000000BB", recipients=("bob@example.net", "eve@other.example"))
        self.desk.history.keep(facts)
        found = self.desk.ask("GET", f"/api/v1/sessions/{facts.id}/transcript", token=token).json()
        self.assertNotIn("bob", str(found))
        timeline = self.desk.ask("GET", f"/api/v1/sessions/{facts.id}/waits", token=token).json()
        self.assertEqual(timeline["items"], [])
