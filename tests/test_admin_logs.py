"""The log's newest lines and the levels of its parts: the ring, the API, the page, and the command that follows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.control.logs import MOST_MINUTES, read
from smtpgate.observe.journal import Journal
from smtpgate.observe.ring import CHARACTERS, LINES, Ring
from smtpgate.policy import event as told
from tests.admin_kit import HOSTILE, ApiCase, make_session
from tests.test_admin_pages import Reader


class LogCase(ApiCase):
    """A desk with a log."""

    format = "json"

    def setUp(self) -> None:
        super().setUp()
        self.file = Path(self.mktemp())
        self.journal = Journal(self.format, "info", str(self.file), wall=self.desk.office.wall)
        self.addCleanup(self.journal.close)
        self.desk.control.logs.journal = self.journal

    def tell(self, name: str, level: str = "info", message: str = "", **fields: Any) -> None:
        self.journal.hear(told.Happened(name, level, message or f"{name} happened", tuple(fields.items())))

    def events(self, query: str = "") -> list[str]:
        return [line["event"] for line in self.get(f"/logs{query}")["items"]]

    def put(self, part: str, level: str, minutes: int, status: int = 200, tag: str = "") -> Any:
        path = f"/api/v1/log-levels/{part}"
        tag = tag or self.desk.ask("GET", path, token=self.owner).header("etag")
        headers = {"Content-Type": "application/json", "If-Match": tag}
        body = json.dumps({"level": level, "minutes": minutes}).encode()
        answer = self.desk.ask("PUT", path, token=self.owner, body=body, headers=headers)
        self.assertEqual(answer.status, status, answer.text)
        return answer


class TailTests(LogCase):
    """Lines as they were written."""

    def test_what_was_written_is_what_is_shown(self) -> None:
        """All fields, the id of what it is about; and nothing that was not written."""
        facts = make_session(subject=HOSTILE[0], helo=HOSTILE[8])
        self.journal.hear(told.TransactionEnded(facts.transactions[0]))
        self.tell("history.failed", "error", "x\nlevel=fine", count=3)
        self.tell("engine.up", "debug")
        message, failed = self.get("/logs")["items"]
        self.assertEqual((message["event"], message["reference"]), ("message.done", f"{facts.id}.1"))
        self.assertEqual(message["text"], self.file.read_text("ascii").splitlines()[0])
        self.assertEqual((failed["level"], failed["fields"]), ("error", {"count": "3"}))
        self.assertNotIn("\n", failed["message"])
        self.assertNotIn("\x1b", json.dumps(message, ensure_ascii=False))

    def test_behind_a_number(self) -> None:
        """Only what is new; what is too much, or gone, is counted; a number of an earlier gateway is none."""
        for number in range(10):
            self.tell("engine.up", message=f"line {number}")
        found = self.get("/logs?limit=3")
        self.assertEqual([line["message"] for line in found["items"]], ["line 7", "line 8", "line 9"])
        self.assertEqual((found["last"], found["left_out"]), (10, 0))
        self.assertEqual(self.get("/logs?after=10"), {"items": [], "last": 10, "left_out": 0})
        found = self.get("/logs?after=4&limit=2")
        self.assertEqual(([line["number"] for line in found["items"]], found["left_out"]), ([9, 10], 4))
        self.assertEqual(len(self.get("/logs?after=9000")["items"]), 10)
        for number in range(LINES):
            self.tell("engine.up", message=f"more {number}")
        found = self.get("/logs?after=5&limit=500")
        self.assertEqual((len(found["items"]), found["left_out"]), (500, LINES + 10 - 5 - 500))

    def test_filters(self) -> None:
        """By level, by words, by what the line says of the client."""
        self.tell("engine.up", message="Alpha")
        self.tell("engine.down", "error", "beta", filter="clamav")
        self.journal.hear(told.ConnectionRefused("mx", "192.0.2.9", "refused_limit", ""))
        self.assertEqual(self.events("?level=error"), ["engine.down"])
        self.assertEqual(self.events("?filter=alpha"), ["engine.up"])
        self.assertEqual(self.events("?filter=ip:192.0.2.9"), ["connection.refused"])
        self.assertEqual(self.desk.ask("GET", "/api/v1/logs?filter=colour:red", token=self.owner).status, 400)

    def test_no_log(self) -> None:
        """Where this gateway has none, both say so."""
        self.desk.control.logs.journal = None
        self.assertEqual(self.desk.ask("GET", "/api/v1/logs", token=self.owner).status, 503)
        self.assertIn("no log of its own", self.desk.ask("GET", "/logs", token=self.owner).text)

    def test_the_page(self) -> None:
        """Hostile words stay words, ids lead to sessions, and the download is what was written."""
        for text in HOSTILE:
            self.tell("engine.down", "error", text, reason=text)
        self.journal.hear(told.TransactionEnded(make_session().transactions[0]))
        page = self.desk.ask("GET", "/logs", token=self.owner).text
        reader = Reader()
        reader.feed(page)
        self.assertEqual(reader.wrong, [])
        self.assertIn('href="/sessions/01J9UK7Q0000000000000000AA.1"', page)
        self.assertIn("No line matches", self.desk.ask("GET", "/logs?filter=zzzz", token=self.owner).text)
        answer = self.desk.ask("GET", "/logs/download?level=error", token=self.owner)
        self.assertIn("attachment", answer.header("content-disposition"))
        self.assertEqual(answer.text.splitlines(), self.file.read_text("ascii").splitlines()[: len(HOSTILE)])


class TextTailTests(LogCase):
    """The same where the log is text."""

    format = "text"

    def test_lines(self) -> None:
        """Level, event and id are read off the line."""
        self.journal.hear(told.TransactionEnded(make_session().transactions[0]))
        self.tell("engine.down", "error", "it fails", filter="clamav")
        message, failed = self.get("/logs")["items"]
        self.assertEqual((message["event"], message["reference"]), ("message.done", "01J9UK7Q0000000000000000AA.1"))
        self.assertEqual((failed["level"], failed["event"]), ("error", "engine.down"))
        self.assertIn("it fails", failed["message"])


class LevelTests(LogCase):
    """Levels of their own."""

    def test_for_a_while(self) -> None:
        """One part says more, and the others as before; then it is as it was. It is in the audit."""
        self.put("session", "debug", 15)
        facts = make_session()
        self.journal.hear(told.SessionOpened(facts))
        self.journal.hear(told.CommandRefused(facts, "RCPT", 550, "no"))
        self.tell("engine.up", "debug")
        self.assertEqual(self.events(), ["session.opened"])
        level = self.get("/log-levels/session")
        self.assertEqual((level["level"], level["by"].startswith("token")), ("debug", True))
        self.assertIn(("log.level", "session", "debug for 15 minutes"), [
            (row["action"], row["target"], row["detail"]) for row in self.desk.users.rows
        ])  # fmt: skip
        self.desk.clock.advance(15 * 60)
        self.journal.hear(told.SessionOpened(facts))
        self.assertEqual((self.events(), self.get("/log-levels/session")["until"]), (["session.opened"], None))

    def test_less_too(self) -> None:
        """A part can be made silent, up to errors."""
        self.put("message", "error", 5)
        self.journal.hear(told.TransactionEnded(make_session().transactions[0]))
        self.assertEqual(self.events(), [])

    def test_who_logs_by_twisted(self) -> None:
        """The nearest part counts."""
        self.put("smtpgate.admin", "debug", 5)
        for namespace in ("smtpgate.admin.wire", "smtpgate.adminx", "smtpgate.net"):
            self.journal({"log_level": LogLevel.debug, "log_namespace": namespace, "log_format": "x"})
        self.assertEqual([line["fields"]["namespace"] for line in self.get("/logs")["items"]], ["smtpgate.admin.wire"])

    def test_versions(self) -> None:
        """Somebody else's change meanwhile is seen."""
        tag = self.desk.ask("GET", "/api/v1/log-levels/session", token=self.owner).header("etag")
        self.put("session", "debug", 15, tag=tag)
        self.put("session", "error", 15, 412, tag=tag)
        self.assertEqual(self.get("/log-levels/session")["level"], "debug")

    def test_mistakes(self) -> None:
        """What is no part, no level, too long."""
        for part, level, minutes, status in (
            ("session", "loud", 5, 422),
            ("session", "debug", 0, 422),
            ("session", "debug", MOST_MINUTES + 1, 422),
        ):
            self.put(part, level, minutes, status)
        for part in ("nothing", "os.path", "smtpgate..x", "smtpgate.%3Cb%3E"):
            self.assertGreaterEqual(self.desk.ask("GET", f"/api/v1/log-levels/{part}", token=self.owner).status, 400)
        self.assertEqual(self.desk.users.rows, [])

    def test_by_the_page(self) -> None:
        """Set, shown, and taken back; a mistake is said."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}

        def form(**fields: str) -> Any:
            body = urlencode(fields).encode()
            return self.desk.ask("POST", "/logs/level", token=self.owner, body=body, headers=headers)

        self.assertEqual(form(part="session", level="debug", minutes="15").status, 303)
        self.assertIn("As configured", self.desk.ask("GET", "/logs", token=self.owner).text)
        self.assertEqual(form(part="nothing", level="debug", minutes="15").status, 409)
        self.assertEqual(form(part="session", level="debug", minutes="7").status, 400)
        self.assertEqual(form(part="session", minutes="0").status, 303)
        self.assertEqual(self.get("/log-levels/session")["until"], None)


class RingTests(SynchronousTestCase):
    """The ring by itself."""

    def test_bounded(self) -> None:
        """In lines and in characters; numbers go on."""
        ring = Ring(3)
        for number in range(5):
            ring.add("info", f"{number}" * 2 * CHARACTERS)
        self.assertEqual(
            [(number, len(text)) for number, _, text in ring.lines()],
            [(3, CHARACTERS), (4, CHARACTERS), (5, CHARACTERS)],
        )

    def test_a_line_that_was_cut(self) -> None:
        """It is shown as it is."""
        line = read(1, "info", '{"ts":"2026-01-01T00:00:00.000Z","msg":"' + "x" * 50)
        self.assertEqual((line.event, line.message[:6]), ("", '{"ts":'))
