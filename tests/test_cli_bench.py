"""`smtpgate test-message` and `test-session` over the socket of an office with a bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtpgate.cli.bench import CODES
from smtpgate.filters.replay import Replay
from smtpgate.policy.transaction import OUTCOMES
from smtpgate.state.case_store import CaseStore
from tests.admin_kit import make_session
from tests.bench_kit import CONFIG, MAIL, RULE, BenchDesk, whole
from tests.test_admin_bench import TO
from tests.test_cases_bench import Tables
from tests.test_cli import Place, run


class CommandTests(TestCase):
    """A desk with a bench, whose clock goes by itself."""

    timeout = 120

    def setUp(self) -> None:
        self.place = Place(self)
        folder = self.place.folder
        self.text = whole(CONFIG, folder)
        self.desk = BenchDesk(self.text, folder)
        path = str(folder / "var" / "control.sock")
        port = reactor.listenUNIX(path, self.desk.office.site("local"))  # type: ignore[attr-defined]
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        ticks = LoopingCall(self.desk.clock.advance, 0.01)
        ticks.start(0.001)
        self.addCleanup(ticks.stop)
        self.mail = self.file("mail.eml", MAIL)
        self.to = ("--from", "ann@example.org", "--to", "bob@example.net")

    def file(self, name: str, text: str) -> Path:
        """A file."""
        path: Path = self.place.folder / name
        path.write_text(text)
        return path

    def run_it(self, *words: Any) -> Deferred[tuple[int, str, str]]:
        """Run it in a thread, for it waits for this one."""
        return deferToThread(run, *self.place.config, *map(str, words))

    async def test_a_message(self) -> None:
        """What would become of it, and exit code 0."""
        code, out, err = await self.run_it("test-message", self.mail, *self.to)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("at work, revision", out)
        self.assertIn("accepted; 250", out)

    async def test_a_draft(self) -> None:
        """Both, what differs, and the draft's exit code: behind the command --config is the one to try."""
        new = self.file("new.toml", self.text + RULE)
        for words in (("--config", new), ("--draft", new)):
            code, out, _ = await self.run_it("test-message", self.mail, *self.to, *words)
            self.assertEqual(code, 11)
            self.assertIn("550 5.7.1 No plans", out)
            self.assertIn("decided by", out)
        code, out, _ = await self.run_it("test-message", self.mail, *self.to, "--config", new, "--json")
        self.assertEqual(len(json.loads(out)["items"]), 2)
        code, _, err = await self.run_it(
            "test-message", self.mail, *self.to, "--draft", self.file("bad.toml", "hostnam = 1\n")
        )
        self.assertEqual((code, "hostnam" in err), (3, True))

    async def test_a_sample(self) -> None:
        """By its name; one that is none is refused."""
        code, out, _ = await self.run_it("test-message", "--sample", "spam", *self.to)
        self.assertEqual(code, 0, out)
        code, _, err = await self.run_it("test-message", "--sample", "nix", *self.to)
        self.assertEqual((code, "clean, spam, dlp" in err), (1, True))

    async def test_a_dialogue(self) -> None:
        """Line by line; one that came to no message has a code of its own."""
        script = self.file("a.smtp", "EHLO a.example\nMAIL FROM:<a@example.org>\nRCPT TO:<x@other.test>\nQUIT\n")
        code, out, _ = await self.run_it("test-session", script)
        self.assertIn("C: RCPT TO:<x@other.test>", out)
        self.assertIn("S: 550 5.7.1", out)
        self.assertEqual(code, 11)

    async def test_replay(self) -> None:
        """The matrix, what cannot be played, the messages; exit code 20 where some are decided otherwise."""
        self.desk.control.replays.make = Replay
        code, out, _ = await self.run_it("replay", "--last", "10")
        self.assertEqual((code, out), (0, "there is no history\n"))
        self.desk.history.keep(make_session(subject="secret plan"))
        new = self.file("new.toml", self.text + RULE + '[[filters]]\nuse = "links"\n')
        code, out, _ = await self.run_it("replay", "--config", new, "--list")
        self.assertEqual(code, 20)
        self.assertRegex(out, r"accept +reject +1")
        self.assertIn("filter links is new", out)
        self.assertIn("01J9UK7Q0000000000000000AA.1", out)

    async def test_cases(self) -> None:
        """Each with what it was and is; exit code 20 where one is otherwise."""
        self.desk.control.cases.store = CaseStore(Tables())
        code, out, _ = await self.run_it("test-cases")
        self.assertEqual((code, out), (0, "there are no cases\n"))
        body = {"name": "plan", "message": MAIL, "envelope": TO}
        answer = self.desk.post_json("/api/v1/test/cases", body, role="owner")
        self.assertEqual(answer.status, 201, answer.text)
        code, out, _ = await self.run_it("test-cases")
        self.assertEqual((code, "same" in out), (0, True))
        code, out, _ = await self.run_it("test-cases", "--config", self.file("new.toml", self.text + RULE))
        self.assertEqual(code, 20)
        self.assertRegex(out, r"otherwise +plan +delivered, accept +refused, reject, rules: plan")

    def test_each_outcome_has_its_code(self) -> None:
        """Those that a message may come to in a try."""
        self.assertEqual(set(OUTCOMES) - set(CODES), {"aborted", "unacked"})
