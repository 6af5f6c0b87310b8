"""Golden sessions: what a script may say, what it complains of, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.plugins.builtin import access, limits
from smtpgate.policy.edits import AddField
from smtpgate.policy.verdict import Finding
from smtpgate.testing import scenery
from smtpgate.testing.rehearsal import rehearse
from smtpgate.testing.scenery import Found

GREETING = "S: 220 .*\nC: EHLO mail.example.org\nS: 250-.*\n"
ENVELOPE = GREETING + "C: MAIL FROM:<a@example.org>\nS: 250 .*\nC: RCPT TO:<b@example.net>\nS: 250 .*\n"
MESSAGE = ENVELOPE + "C: DATA\nS: 354 .*\nD:\nSubject: x\n\n..dots\n.\nS: 250 .*\n"
USE = '[[filters]]\nuse = "mine"\n'


class MineOptions(Options):
    """Which of the things that a filter can do."""

    do: str = "find"
    score: float = 0.0
    sizes: dict[str, list[int]] = {}


class Mine(Filter):
    """Does what its options say."""

    def __init__(self, options: MineOptions, services: Any) -> None:
        if options.do == "break":
            raise LookupError("no such list")
        self.options, self.services = options, services

    def transaction(self, transaction: Any) -> Any:
        """One object for all."""
        return Mail(self.options, self.services, transaction)


class Mail:
    """One transaction."""

    def __init__(self, options: MineOptions, services: Any, transaction: Any) -> None:
        self._options, self._services, self._transaction = options, services, transaction

    async def rcpt(self, recipient: Any) -> Any:
        """At each RCPT."""
        do, services = self._options.do, self._services
        if do == "find":
            return Finding("seen", score=self._options.score, detail=str(recipient.path))
        if do == "refuse":
            return Finding("seen", "reject", "Not here")
        if do == "wait":
            await self._pause(3600.0)
        if do == "raise":
            raise RuntimeError("something is missing")
        if do == "http":
            answer = await services.http.request("POST", "http://127.0.0.1:8080/ask", {}, b"b@example.net", 5.0, 1000)
            return Finding("asked", "reject", answer.body.decode()) if answer.status == 200 else None
        if do == "names":
            answer = await services.resolver.lookup("example.org", "TXT")
            return Finding("named", detail=f"{answer.status} {answer.records}")
        if do == "log":
            # Nobody hears of it.
            fail(ValueError("left alone"))
        return None

    def _pause(self, seconds: float) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._services.clock.callLater(seconds, waiting.callback, None)
        return waiting

    def header(self, section: Any) -> None:
        """At the header."""
        if self._options.do == "edit":
            long = b"X-Seen: yes,\r\n and more\r\n"
            self._services.edits(self._transaction).append(AddField(long, "mine"))

    async def end(self) -> Any:
        """At the end."""
        if self._options.do == "examine":
            await self._services.examine(self._transaction)
        return Finding("late", "tag") if self._options.do == "tag" else Finding("sum", score=self._options.score)


FACTORIES = {
    one.name: one
    for one in (
        Factory(
            "mine",
            MineOptions,
            frozenset({"rcpt", "header", "end"}),
            Mine,
            frozenset({"mx"}),
            budget_s=10.0,
            needs_content=True,
        ),
        access,
        limits,
    )
}


class ScriptCase(SynchronousTestCase):
    """Scripts are played in a folder of the test."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def play(self, head: str, steps: str, failed: dict[str, str] | None = None) -> list[str]:
        """What a script complains of, as "line: text"."""
        return self.file(f"{head}---\n{steps}", failed)

    def file(self, text: str, failed: dict[str, str] | None = None) -> list[str]:
        """The same for a whole text."""
        path = self.folder / "one.session"
        path.write_text(text, encoding="utf-8")
        complaints = rehearse(path, Found(FACTORIES, failed or {}))
        return [str(one).removeprefix(f"{self.folder}/") for one in complaints]

    def passes(self, head: str, steps: str) -> None:
        """A script that has nothing to complain of."""
        self.assertEqual(self.play(head, steps), [])


class StepTests(ScriptCase):
    """What each mark does."""

    def test_a_message_and_what_the_backend_got(self) -> None:
        """Envelope, header and body; dots are as they were written."""
        lines = ["MAIL FROM:<a@example\\.org>", "RCPT TO:<b@example.net>", "Subject: x", "\\.\\.dots", "Received: .*"]
        self.passes("", MESSAGE + "B#: 1\n" + "".join(f"B: {line}\n" for line in lines) + "!B: Subject: y\nV: accept\n")

    def test_a_message_from_a_file(self) -> None:
        """Beside the script, however its lines end."""
        (self.folder / "one.eml").write_bytes(b"Subject: of a file\r\n\r\n.\r\n")
        self.passes("", ENVELOPE + "C: DATA\nS: 354 .*\nD: one.eml\nS: 250 .*\nB: Subject: of a file\nB: \\.\n")

    def test_a_field_that_a_filter_added(self) -> None:
        """Folded fields are one line."""
        self.passes(USE + 'options = { do = "edit" }\n', MESSAGE + "B: X-Seen: yes, and more\n")
        self.passes(USE + 'mode = "shadow"\noptions = { do = "edit" }\n', MESSAGE + "!B: X-Seen: .*\n")

    def test_findings(self) -> None:
        """By filter, reason, action and score; each serves one line."""
        steps = ENVELOPE + "F: mine seen note 2.5\n!F: mine unseen\n!F: *  late\n"
        self.passes(USE + "options = { score = 2.5 }\n", steps)
        self.passes(USE, ENVELOPE + "F: * *\nC: RCPT TO:<c@example.net>\nS: 250 .*\nF: mine seen note\n")
        self.passes(USE + 'mode = "shadow"\noptions = { do = "refuse" }\n', ENVELOPE + "F: mine seen reject shadow\n")
        self.assertEqual(
            self.play(USE, ENVELOPE + "F: mine seen\nF: mine seen\nF: mine seen note 1\nF: mine seen shadow\n!F: *\n"),
            [
                "one.session:12: expected the finding mine seen, came nothing",
                "one.session:13: expected the finding mine seen note 1, came nothing",
                "one.session:14: expected the finding mine seen shadow, came nothing",
                "one.session:15: expected no finding *, came mine seen note 0 (b@example.net)",
            ],
        )

    def test_verdicts(self) -> None:
        """Over the whole message, with what shadow would have made of it."""
        tag = USE + 'options = { do = "tag" }\n'
        self.passes(tag, MESSAGE + "V: tag\n")
        self.passes(tag + '[[filters]]\nuse = "mine"\nname = "more"\nmode = "shadow"\n', MESSAGE + "V: tag 0\n")
        self.passes(USE + 'mode = "shadow"\noptions = { do = "tag" }\n', MESSAGE + "V: accept 0 would tag\n")
        self.passes("", ENVELOPE + "V: none\n")
        self.assertEqual(
            self.play(tag, MESSAGE + "V: accept\nV: tag 5\nV: tag would reject\n"),
            [
                "one.session:20: expected the verdict accept, came tag 0",
                "one.session:21: expected the verdict tag 5, came tag 0",
                "one.session:22: expected the verdict tag would reject, came tag 0",
            ],
        )

    def test_the_sum_of_scores(self) -> None:
        """The thresholds of the script decide."""
        head = USE + "options = { score = 7.5 }\n[scores]\nreject = 6\n"
        steps = MESSAGE.replace("D:", "# Now.\nD:").replace(".\nS: 250", ".\nS: 550")
        self.passes(head, steps + "V: reject 7.5\nB#: 0\n")

    def test_time_passes(self) -> None:
        """A filter thinks, and runs out of time."""
        head = USE + 'on_error = "continue"\noptions = { do = "wait" }\n'
        steps = ENVELOPE.removesuffix("S: 250 .*\n")
        self.passes(head, steps + "S: <silent>\nW: 9.5s\nS: <silent>\nW: 1\nS: 250 .*\nE: mine rcpt timeout\n")
        self.passes(head, steps + "X: close\n!F: *\n")

    def test_what_a_filter_does_wrong_must_be_expected(self) -> None:
        """Also where mail goes on as if nothing had been."""
        head = USE + 'on_error = "continue"\noptions = { do = "raise" }\n'
        self.passes(head, ENVELOPE + "E: * rcpt raised\n")
        why = "mine rcpt raised (RuntimeError('something is missing'))"
        self.assertEqual(
            self.play(head, ENVELOPE + "E: mine end raised\nE: mine rcpt raised\nE: mine rcpt raised\n"),
            [
                f"one.session:13: expected the failure mine end raised, came {why}",
                "one.session:15: expected the failure mine rcpt raised, came nothing",
            ],
        )
        self.assertEqual(self.play(head, ENVELOPE), [f"one.session:12: a filter failed, and no E: expects it: {why}"])
        # It is told beside the reply that it has made other than it should be.
        said = self.play(USE + 'options = { do = "raise" }\n', ENVELOPE)
        self.assertIn(':11: expected the reply /250 .*/, came "451 4.3.0 ', said[0])
        self.assertEqual(said[1:], [f"one.session:11: a filter failed, and no E: expects it: {why}"])

    def test_a_logged_error_must_not_be(self) -> None:
        """A Deferred that failed and that nobody waits for."""
        (said,) = self.play(USE + 'options = { do = "log" }\n', ENVELOPE)
        self.assertRegex(said, r"one\.session:11: an error was logged: ValueError: left alone")
        self.flushLoggedErrors(ValueError)

    def test_several_clients(self) -> None:
        """Each with its address, its replies and its findings."""
        head = '[[filters]]\nuse = "access"\n[[filters.options.entries]]\naction = "reject"\nclients = ["192.0.2.9"]\n'
        steps = (
            "N: good\nS: 220 .*\nN: bad 192.0.2.9\nS: 554 5\\.7\\.1 .*\nF: access * reject\nC: QUIT\nS: 221 .*\n"
            "S: <closed>\nU: good\n!F: *\nC: QUIT\nS: 221 .*\nS: <closed>\n"
        )
        self.passes(head, steps)

    def test_octets_and_pipelining(self) -> None:
        """Octets go as they are; replies come in their order."""
        self.passes("", GREETING + "c: NOOP\\r\\nVR\nc: FY \\x78\\r\\n\nS: 250 .*\nS: 252 .*\nS: <silent>\n")
        steps = ENVELOPE + "C: DATA\nS: 354 .*\nc: Subject: \\xe4 \\\\\\t.\\r\\n\\r\\nhalf a mess\nX: close\nB#: 0\n"
        self.passes("", steps)

    def test_submission(self) -> None:
        """A login, and mail for the world."""
        steps = (
            GREETING
            + "L: alice\nC: MAIL FROM:<a@example.net>\nS: 250 .*\nC: RCPT TO:<x@elsewhere.example>\nS: 250 .*\n"
        )
        self.passes('role = "submission"\n', steps)
        (said,) = self.play("", GREETING + "L: alice\n")
        self.assertRegex(said, r"one\.session:5: the login was to succeed, came \"50")


class HeadTests(ScriptCase):
    """The world around the filters."""

    def test_names(self) -> None:
        """Zones in the head, or in files beside the script."""
        steps = ENVELOPE + "F: mine named\n"
        head = USE + 'options = { do = "names" }\n'
        for zones in ('[zones."example.org"]\nTXT = "v=spf1 -all"\n', ""):
            (said,) = self.play(head + zones, steps + "F: mine other\n")[:1] or [""]
            self.assertIn("expected the finding mine other, came nothing", said)
        (self.folder / "zones.toml").write_text('[a]\nA = "192.0.2.1"\n')
        (self.folder / "zones.db").write_text('example.org. 60 IN TXT "hello"\n')
        found = self.play('zones = ["zones.toml", "zones.db"]\n' + head, ENVELOPE + "F: mine none\n")
        self.assertIn("ok (b'hello',)", found[0])

    def test_http(self) -> None:
        """What is asked, and what is answered: by address, with a delay, or not at all."""
        head = USE + 'on_error = "continue"\noptions = { do = "http" }\n'
        http = '[[http]]\nurl = "http://127.0.0.1:8080/ask"\n'
        asked = "H: POST http://127\\.0\\.0\\.1:8080/ask b@example\\.net\n"
        steps = ENVELOPE.removesuffix("S: 250 .*\n")
        self.passes(head + http + 'body = "No"\nmethod = "POST"\n', steps + "S: 550 5\\.7\\.1 No\n" + asked)
        self.passes(head + http + "status = 204\n", ENVELOPE + asked)
        self.passes(head + http + 'body = "No"\ndelay = 2.0\n', steps + "S: <silent>\nW: 2\nS: 550 .*\n" + asked)
        for more in ('fails = "refused"\n', 'delay = 1.0\nfails = "refused"\n', 'method = "GET"\n'):
            self.passes(head + http + more, steps + "W: 2\nS: 250 .*\nE: mine rcpt unavailable\n")
        self.passes(head + http + "delay = 60.0\n", steps + "W: 11\nS: 250 .*\nE: mine rcpt timeout\n")
        (said,) = self.play(head + http + "status = 204\n", ENVELOPE + asked + asked)
        self.assertRegex(said, r":17: expected the request /POST .*/, came nothing")

    def test_the_backend_answers_as_it_is_told(self) -> None:
        """A refusal, and silence."""
        steps = ENVELOPE.removesuffix("S: 250 .*\n")
        self.passes('[backend]\nRCPT = "550 5.1.1 No such user"\n', steps + "S: 550 5\\.1\\.1 No such user\n")
        self.passes('[backend]\nRCPT = ""\n', steps + "S: <silent>\n")

    def test_child_processes_that_fail(self) -> None:
        """Every job fails in the way that the script says."""
        head = 'children = "died"\n' + USE + 'options = { do = "examine" }\n'
        refused = MESSAGE.removesuffix("S: 250 .*\n") + "S: 451 4\\.3\\.0 .*\n"
        self.passes(head, refused + "E: mine end unavailable\nF: mine filter-failed defer\nB#: 0\n")

    def test_time_and_domains(self) -> None:
        """The time of day, and whom mail is taken for."""
        self.passes('now = "2026-01-07 03:00"\n', MESSAGE + "B: Received: .*, 07 Jan 2026 03:00:00 .*\n")
        steps = ENVELOPE.replace("example.net>\nS: 250", "example.net>\nS: 550")
        self.passes('domains = ["example.com"]\n', steps)

    def test_filters_of_a_configuration(self) -> None:
        """With the tables that decide; the script's own stand in place of them; those for another role are left out."""
        (self.folder / "gate.toml").write_text(
            'hostname = "x"\nlocal_domains = "example.com"\n[limits]\nmessage_size = 100\n[scores]\ntag = 2\n'
            '[[filters]]\nuse = "mine"\nroles = ["mx"]\n[filters.options]\nscore = 2.0\nsizes = { "a b" = [1, 2] }\n'
        )
        steps = MESSAGE.replace("example.net", "example.com")
        self.passes('filters = "gate.toml"\n', steps + "V: tag 2\n")
        self.passes('filters = "gate.toml"\n[scores]\ntag = 3\n', steps + "V: accept 2\n")
        steps = ENVELOPE.replace("<a@example.org>", "<a@example.org> SIZE=200").replace("S: 250 .*", "S: 5.*")
        self.passes('filters = "gate.toml"\n', steps)
        self.passes('filters = "gate.toml"\nrole = "submission"\n', GREETING + "L: alice\n!F: *\n")

    def test_the_set_of_filters_of_a_configuration(self) -> None:
        """Its filters run too, those of the file in the places of theirs."""
        self.patch(scenery, "DEFAULT_SET", (("limits", "enforce"), ("mine", "shadow")))
        text = 'filter_set = "default"\n'
        (self.folder / "gate.toml").write_text(text)
        self.passes('filters = "gate.toml"\n', ENVELOPE + "F: mine seen note 0 shadow\n")
        (self.folder / "gate.toml").write_text(text + "[[filters]]\nuse = 'mine'\noptions = { score = 2.0 }\n")
        self.passes('filters = "gate.toml"\n', ENVELOPE + "F: mine seen note 2\n")
        (self.folder / "gate.toml").write_text(text + "[[filters]]\nuse = 'mine'\noptions = { score = 'x' }\n")
        (said,) = self.play('filters = "gate.toml"\n', ENVELOPE)
        self.assertTrue(said.startswith("gate.toml:4: filters[0].options.score: "), said)


class WrongTests(ScriptCase):
    """Every kind of mistake has its line, and words that help."""

    def test_steps(self) -> None:
        """All are told at once, before anything is played."""
        rows = (
            ("NOOP", '"NOOP" is no step; write a mark, a colon and a blank, as in "C: NOOP"'),
            ("C:NOOP", '"C:NOOP" is no step; write a mark'),
            ("Q: x", "Q: is none of the marks C, c, D, L, W, N, U, X, S, F, !F, V, E, B, !B, B#, H"),
            ("c: \\q", "\\q is none of the escapes \\r \\n \\t \\0 \\\\ \\xHH"),
            ("c: \\", "\\ is none of the escapes"),
            ("D: nowhere.eml", "No such file"),
            ("L: ", "what is missing: the user who logs in"),
            ("W: soon", '"soon" is not a length of time; write it with a unit'),
            ("N: ", 'N: wants a name that no connection has yet, came ""'),
            ("N: a 192.0.2", '"192.0.2" is no IP address'),
            ("U: b", 'no connection "b" was opened above with N:'),
            ("X: now", 'X: wants the word close, came "now"'),
            ("S: (", '"(" is no pattern: missing ), unterminated subpattern'),
            ("S:", "what is missing: a pattern"),
            ("F: mine", 'F: wants FILTER REASON [ACTION [SCORE]] [shadow], came "mine"'),
            (
                "F: mine seen drop",
                '"drop" is none of the actions note, accept, tag, discard, redirect, quarantine, defer, reject',
            ),
            ("F: mine seen tag much", '"much" is no score; write a number'),
            ("!F: ", '!F: wants FILTER [REASON], "*" for any, came ""'),
            (
                "V: pass",
                '"pass" is none of the verdicts none, accept, tag, discard, redirect, quarantine, defer, reject',
            ),
            ("V: tag 1 would drop", '"drop" is none of the verdicts'),
            ("V: tag 1 2", 'V: wants ACTION [SCORE] [would ACTION], came "tag 1 2"'),
            ("E: mine timeout", 'E: wants FILTER STAGE KIND, as in "my-filter rcpt timeout", came "mine timeout"'),
            ("B#: some", 'B#: wants the number of messages, came "some"'),
            ("D:", "the message that begins here has no end; a line with nothing but a dot ends it"),
        )
        found = self.play("", "".join(f"{line}\n" for line, _ in rows))
        self.assertEqual(len(found), len(rows), found)
        for number, (said, (line, words)) in enumerate(zip(found, rows), 2):
            self.assertTrue(said.startswith(f"one.session:{number}: "), said)
            self.assertIn(words, said, line)

    def test_heads(self) -> None:
        """In the words of check-config, at the line of the key."""
        rows = (
            ("now = 3", 1, "now: 3 is not text"),
            ('now = "noon"', 1, '"noon" is no time; write it as "2026-01-07 03:00"'),
            ("\nrole = 'relay'", 2, 'role: unknown value "relay"; use one of mx, submission'),
            ("clint = '192.0.2.1'", 1, 'clint: unknown key; did you mean "client"?'),
            ("client = 'here'", 1, '"here" is no IP address'),
            ("filters = 3", 1, "filters: write [[filters]] and the keys of each below it, or the path"),
            ("filters = 'no.toml'", 1, "no.toml cannot be read"),
            ("zones = 3", 1, "zones: write [zones.NAME]"),
            ("zones = 'no.db'", 1, "zones: [Errno 2] No such file"),
            ("[zones.x]\nA = '1'", 2, "zones: '1' is no A record"),
            ("[[http]]\nstatus = 200", 1, "http.0.url: missing key"),
            ("[backend]\nRSET = ''", 2, "RSET"),
            ("[backend]\nRCPT = 'no'", 1, '"no" is no reply; write it as "550 5.1.1 No such user"'),
            ("children = 'ill'", 1, 'children: unknown value "ill"'),
            ("now = ", 1, "TOML"),
            ("domains = ['a b']", 1, "local_domains"),
            ("[limits]\nrecipients = 'many'", 2, "limits.recipients: "),
            ("[limits]\nrecipient = 3", 2, 'limits.recipient: unknown key; did you mean "recipients"?'),
            ("[[filters]]\nmode = 'shadow'", 1, "missing key use"),
            ("[[filters]]\nuse = 'none'", 2, 'no filter "none"; known: access, limits, mine; could not be imported: '),
            ("[[filters]]\nuse = 'mine'\noptions = 3", 3, "options: write [filters.options] and its keys"),
            ("[[filters]]\nuse = 'mine'\nmood = 'x'", 3, "filters[0].mood: unknown key"),
            ("[[filters]]\nuse = 'mine'\n[filters.options]\nscore = 'x'", 4, "filters[0].options.score: "),
            (
                "[[filters]]\nuse = 'mine'\n[filters.options]\ndo = 'break'",
                1,
                "LookupError: no such list (test_testing",
            ),
            ("role = 'submission'\n[[filters]]\nuse = 'mine'", 2, "mine is not made for listeners of role submission"),
        )
        for head, line, words in rows:
            said = self.play(head + "\n", GREETING, {"other": "NameError: x"})
            self.assertEqual(len(said), 1, f"{head}: {said}")
            self.assertTrue(said[0].startswith(f"one.session:{line}: "), f"{head}: {said}")
            self.assertIn(words, said[0], head)

    def test_the_file_that_filters_are_taken_from(self) -> None:
        """A mistake in it is told at its own line."""
        rows = (
            ("x = ", 1, "TOML"),
            ("filters = 3", 1, "filters: write [[filters]]"),
            ("limits = 3", 1, "limits: write [limits]"),
            (
                'hostname = "x"\n[[filters]]\nuse = "mine"\n[filters.options]\nscore = "x"',
                5,
                "filters[0].options.score: ",
            ),
        )
        for text, line, words in rows:
            (self.folder / "gate.toml").write_text(text + "\n")
            (said,) = self.play('filters = "gate.toml"\n', GREETING)
            self.assertTrue(said.startswith(f"gate.toml:{line}: "), said)
            self.assertIn(words, said)

    def test_whole_files(self) -> None:
        """Without the line between head and steps, without steps, and without text."""
        self.assertRegex(self.file("C: NOOP\n")[0], r":1: no line --- between the head, in TOML, and the steps")
        self.assertRegex(self.file("---\n# Nothing.\n")[0], r":2: there are no steps below the line ---")
        (self.folder / "other.session").write_bytes(b"\xff")
        for name in ("other.session", "none.session"):
            (said,) = rehearse(self.folder / name, Found({}, {}))
            self.assertIn("cannot be read", said.text)

    def test_what_came_and_what_was_expected(self) -> None:
        """The play stops at a reply; what the backend got, and what is left over, is told too."""
        self.assertEqual(
            self.play("", GREETING + "C: NOOP\nS: 500 .*\nS: never\n"),
            ['one.session:6: expected the reply /500 .*/, came "250 2.0.0 Ok"'],
        )
        self.assertEqual(
            self.play("", "C: NOOP\n"),
            ['one.session:2: at the end a reply is left over: "220 gate.example.com ESMTP"',
             'one.session:2: at the end a reply is left over: "250 2.0.0 Ok"'],
        )  # fmt: skip
        self.assertEqual(
            self.play("", "N: x\nW: 0\n"),
            ['one.session:3: at the end a reply is left over on connection "x": "220 gate.example.com ESMTP"'],
        )
        (said,) = self.play("", GREETING + "D:\nx\n.\n")
        self.assertIn(':5: a message follows the reply 354, which S: must have taken; the last was "250-', said)
        self.assertEqual(self.play("", GREETING + "X: close\nC: NOOP\n"), ["one.session:6: the connection is over"])
        self.assertEqual(
            self.play("", GREETING + "B#: 1\nB: Subject: x\n"),
            ["one.session:5: expected that the backend has got so many messages: 1; it has got 0",
             "one.session:6: expected that the backend got a line /Subject: x/; it has got no message"],
        )  # fmt: skip
        found = self.play("", MESSAGE + "B: Subject: y\n!B: Subject: .*\n")
        self.assertRegex(
            found[0], r":17: expected .* a line /Subject: y/; its header is MAIL FROM:<a@example\.org> \| "
        )
        self.assertEqual(
            found[1], 'one.session:18: expected that the backend got no line /Subject: .*/, came "Subject: x"'
        )

    def test_a_filter_that_breaks_the_contract(self) -> None:
        """A method that would never be called."""
        narrow = Factory("narrow", MineOptions, frozenset({"rcpt"}), Mine)
        path = self.folder / "one.session"
        path.write_text('[[filters]]\nuse = "narrow"\n---\n' + ENVELOPE)
        (said,) = rehearse(path, Found({"narrow": narrow}, {}))
        self.assertRegex(str(said), r":7: narrow: Mail has end, header, which the stages of its factory do not name")
