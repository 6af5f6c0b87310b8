"""smtpgate.observe.journal: one line for each event, in closed words, whatever a peer sends and whatever fails."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from pydantic_core import from_json
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.observe import journal as module
from smtpgate.observe import names
from smtpgate.observe.journal import LEVELS, REFUSALS_PER_S, Journal
from smtpgate.policy import event as told
from smtpgate.policy.event import Happened
from smtpgate.policy.transaction import TLSFacts
from smtpgate.policy.verdict import Verdict
from smtpgate.smtp.reply import Reply
from tests.gateway_kit import GatewayCase, TestGateway
from tests.observe_kit import HOSTILE, REFUSED, WALL, finding, path, session, transaction, verdict
from tests.script_kit import Backend, Client

ROOT = Path(__file__).resolve().parent.parent
PRINTABLE = re.compile(rb"(?:[\x20-\x7e]*\n)*")


class Wall:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = WALL

    def __call__(self) -> float:
        return self.now


class JournalCase(SynchronousTestCase):
    """A journal that writes to a file of its own."""

    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.wall = Wall()

    def journal(self, level: str = "debug", format: str = "json", **given: Any) -> Journal:
        """A journal at that level."""
        given.setdefault("file", str(self.file))
        call_soon = given.pop("call_soon", None)
        journal = Journal(format, level, wall=self.wall, **given)
        if call_soon is not None:
            journal.gather(call_soon)
        return journal

    def octets(self) -> bytes:
        """All that was written."""
        return self.file.read_bytes()

    def lines(self) -> list[dict[str, Any]]:
        """All that was written, parsed."""
        return [json.loads(line) for line in self.octets().splitlines()]

    def heard(self, *events: Any, level: str = "debug", format: str = "json") -> list[dict[str, Any]]:
        """What a fresh journal writes of some events."""
        self.file.unlink(missing_ok=True)
        journal = self.journal(level, format)
        for event in events:
            journal.hear(event)
        journal.close()
        return self.lines() if format == "json" else []


def every_event(text: str = "x", said: str | None = None) -> Iterator[Any]:
    """Each kind of event in each shape that has fields of its own; `text` stands where peers write.

    :param said: what stands in replies in its place
    """
    reply = Reply(550, "5.7.1", (text if said is None else said,))
    short = text[:250]
    facts = session(helo=text, user=text, client_name=text, peer_ip="198.51.100.9")
    facts.tls = TLSFacts(text, text, 256)
    found = finding(public=text, detail=text, score=2.5)
    many = tuple(f"b{number}@example.net" for number in range(25))
    plain = transaction(
        facts, recipients=(*many[:19], f"{short}@example.net", *many[19:]), sender=f"{short}@example.org"
    )
    plain.notes = [text, "bare_newline"]
    refused = transaction(facts, "refused", reply=reply)
    refused.findings, refused.verdict = [found, finding(is_shadow=True)], verdict(found)
    unknown = transaction(facts, "unknown", reply=REFUSED)
    yield told.SessionOpened(facts)
    for one in (
        plain,
        refused,
        unknown,
        transaction(facts, "aborted", (), "", None, header=None, server="", end_at=0.0),
    ):
        yield told.TransactionEnded(one)
    yield told.ConnectionRefused("mx", "192.0.2.7", "refused_capacity", text)
    yield told.CommandRefused(facts, text, 501, text)
    yield told.FilterFailed(text, "mail", "raised", text, "tempfail", facts.id)
    yield told.ServerChanged("mail", "192.0.2.10:25", "up", "down", text)
    yield told.LinkFailed("mail", "192.0.2.10:25", "greeting", text, facts.id)
    yield told.DeliveryUnknown(unknown, "192.0.2.10:25", text)
    yield told.DuplicatePossible(plain, f"{facts.id}.1")
    yield told.Happened("ledger.failed", "error", text, ())
    yield told.Happened("session.crashed", "error", text, (("session_id", text), ("error", ValueError(text))))
    yield told.Happened("config.reload_failed", "error", text, (("problems", [text, text]),))
    yield told.SessionEnded(facts)


def told_in_the_code() -> list[tuple[str, str, list[str] | None, str]]:
    """Every `Happened(...)` written in the gateway: name ("*" for what is put in), level, fields, place."""
    out = []
    for source in sorted((ROOT / "smtpgate").rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("Happened"):
                continue
            name, level = node.args[0], node.args[1]
            text = "".join(
                part.value if isinstance(part, ast.Constant) else "*"
                for part in (name.values if isinstance(name, ast.JoinedStr) else [name])
            )
            fields: list[str] | None = []
            if len(node.args) > 3:
                listed = node.args[3]
                if isinstance(listed, ast.Tuple):
                    fields = [ast.literal_eval(pair.elts[0]) for pair in listed.elts if isinstance(pair, ast.Tuple)]
                else:
                    fields = None
            out.append((text, ast.literal_eval(level), fields, f"{source.name}:{node.lineno}"))
    return out


class ClosedListTests(JournalCase):
    """Names of events and fields are those of `names`, and no others."""

    def test_each_event_is_one_line_with_the_fields_of_the_list(self) -> None:
        """Every kind of event, alone, makes one line whose names are all listed."""
        for event in every_event():
            lines = self.heard(event)
            self.assertEqual(len(lines), 1, event)
            [line] = lines
            row = names.EVENTS[line["event"]]
            self.assertEqual(set(line) - set(names.COMMON) - set(row.fields), set(), line["event"])
            self.assertEqual([name for name in line if name in names.COMMON], ["ts", "level", "event", "msg", "pid"])
            self.assertIn(line["level"], LEVELS)

    def test_no_field_is_there_twice(self) -> None:
        """A reader that takes the first of two fields and one that takes the last see the same."""
        twice = Happened("gateway.state", "info", "x", (("state", "up"), ("state", "down"), ("pid", 1), ("pid_", 2)))
        for event in (*every_event(), twice):
            self.heard(event)
            for line in self.octets().splitlines():
                pairs = json.loads(line, object_pairs_hook=list)
                found = [name for name, _ in pairs]
                self.assertEqual(len(found), len(set(found)), found)

    def test_every_listed_field_has_a_meaning_and_is_used(self) -> None:
        """The list of fields is neither too short nor too long."""
        used = {name for row in names.EVENTS.values() for name in row.fields}
        self.assertEqual(used - set(names.FIELDS), set())
        self.assertEqual(set(names.FIELDS) - used, set())

    def test_what_the_gateway_tells_is_listed(self) -> None:
        """Each `Happened` in the code has a listed name, and fields that belong to it."""
        found = told_in_the_code()
        self.assertGreater(len(found), 10)
        literal = {name for name, *_ in found}
        for name, level, fields, place in found:
            pattern = re.escape(name).replace(r"\*", ".+")
            rows = [row for listed, row in names.EVENTS.items() if re.fullmatch(pattern, listed)]
            rows = [row for row in rows if row.name == name or row.name not in literal]
            self.assertTrue(rows, f"{place}: {name} is not in names.EVENTS")
            self.assertIn(level, LEVELS, place)
            for row in rows:
                if fields is not None and not row.is_open:
                    self.assertEqual(set(fields) - set(row.fields), set(), f"{place}: {name}")

    def test_every_action_of_control_is_listed(self) -> None:
        """`admin.*` names are put together at run time; each action that is written down has a row."""
        source = (ROOT / "smtpgate" / "control" / "__init__.py").read_text(encoding="utf-8")
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        given = [node.args[1] for node in calls if ast.unparse(node.func) == "self._did"]
        actions = {one.value for one in given if isinstance(one, ast.Constant)}
        self.assertGreater(len(actions), 3)
        self.assertEqual({f"admin.{action}" for action in actions} - set(names.EVENTS), set())

    def test_the_page_is_up_to_date(self) -> None:
        """docs/operation-events.md is what `python -m smtpgate.observe.names` prints."""
        page = (ROOT / "docs" / "operation-events.md").read_text(encoding="utf-8")
        printed = subprocess.run(
            [sys.executable, "-m", "smtpgate.observe.names"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        self.assertEqual(page, names.document())
        self.assertEqual(printed, names.document())

    def test_an_unknown_event_makes_no_line(self) -> None:
        """What is no event of the core is not guessed at."""
        self.assertEqual(self.heard(object(), None), [])


class HostileTests(JournalCase):
    """What comes from a peer neither begins a line nor reaches a terminal."""

    def assert_clean(self, count: int, note: object) -> None:
        """So many lines of printable ASCII, each of which a strict reader takes."""
        octets = self.octets()
        self.assertIsNotNone(PRINTABLE.fullmatch(octets), note)
        self.assertEqual(octets.count(b"\n"), count, note)

    def test_json_is_printable_whatever_a_peer_says(self) -> None:
        """HELO, addresses, replies, user and details, full of controls, surrogates and 8-bit text."""
        for text in HOSTILE:
            for event in every_event(text):
                lines = self.heard(event)
                self.assert_clean(1, (text, event))
                self.assertIn(lines[0]["event"], names.EVENTS)
                self.assertNotEqual(lines[0]["event"], "journal.failed", lines)

    def test_a_strict_reader_takes_each_line(self) -> None:
        """Half a surrogate pair is valid for Python alone; no line holds one."""
        for event in every_event("\ud800 lone", "x"):
            self.heard(event)
            for line in self.octets().splitlines():
                from_json(line)

    def test_S_19_text_is_printable_whatever_a_peer_says(self) -> None:
        """The same for the format that people read."""
        for text in HOSTILE:
            for event in every_event(text):
                self.heard(event, format="text")
                self.assert_clean(1, (text, event))

    def test_octets_that_are_no_text(self) -> None:
        """Addresses and Message-IDs of octets that are no UTF-8."""
        facts = session()
        made = transaction(facts)
        made.sender = path(b"\xff\x00\r\n@example.org")
        made.recipients[0].path = path(b"\x80\x1b[2J@example.net")
        made.header = HeaderSection(b"From: a\r\nMessage-ID: <\xff\x1b\x00\xe2\x80\xa8@x>\r\n\r\n")
        [line] = self.heard(told.TransactionEnded(made))
        self.assert_clean(1, line)
        self.assertEqual(line["mail_from"], "\\xff\x00\r\n@example.org")
        self.assertEqual(line["rcpt_to"], ["\\x80\x1b[2J@example.net"])
        self.assertIn("\\xff", line["header_message_id"])

    def test_long_texts_are_cut(self) -> None:
        """One line stays within some kilobytes, however much a peer writes."""
        for event in every_event("x" * 100_000):
            self.heard(event)
            self.assertLess(len(self.octets()), 30_000, event)

    def test_a_value_that_cannot_be_shown(self) -> None:
        """A field of our own making whose text cannot be had costs that field, not the line."""

        class Bad:
            def __repr__(self) -> str:
                raise ValueError("no")

        [line] = self.heard(Happened("gateway.state", "info", "x", (("state", Bad()), ("sessions", 3))))
        self.assertEqual((line["state"], line["sessions"]), ("<Bad>", 3))

    def test_an_event_that_cannot_be_written_is_told(self) -> None:
        """A fault of the journal is one line of its own, and never raises into the core."""
        made = transaction(session())
        made.recipients = None  # type: ignore[assignment]
        [line] = self.heard(told.TransactionEnded(made))
        self.assertEqual((line["event"], line["kind"]), ("journal.failed", "TransactionEnded"))


class SecretTests(JournalCase):
    """The subject, content and secrets are in no line, at no level."""

    def test_the_subject_never_appears(self) -> None:
        """Wherever it stands, and whatever stands for the Message-ID above it."""
        for octets in (
            b"Subject: SECRET\r\nMessage-ID: <1@x>\r\n\r\n",
            b"Message-ID:\r\nSubject: SECRET\r\n\r\n",
            b"Message-ID: \r\nSubject: SECRET\r\n\r\n",
            b"From: a\r\nMessage-ID:\r\nSubject: SECRET\r\n\r\n",
            b"From: a\r\nMessage-ID:  \r\nSubject: SECRET\r\n\r\n",
            b"From: a\r\nMessage-Id:\r\nSubject: SECRET\r\n\r\n",
            b"From: a\r\nmessage-id:\r\nSubject: SECRET\r\n\r\n",
            b"From: a\r\nMessage-ID:",
            b"Message-ID:\r\n\r\n",
            b"SECRET\r\nMessage-ID:\r\n\r\nSECRET\r\n",
        ):
            for outcome in ("delivered", "refused", "unknown", "aborted"):
                made = transaction(session(), outcome, header=HeaderSection(octets))
                for format in ("json", "text"):
                    self.heard(
                        told.TransactionEnded(made),
                        told.DeliveryUnknown(made, "s", "lost"),
                        told.DuplicatePossible(made, "1"),
                        told.SessionEnded(made.session),
                        format=format,
                    )
                    self.assertNotIn(b"SECRET", self.octets(), (octets, outcome))

    def test_the_message_id_is_found(self) -> None:
        """In each spelling, folded, and where it is the last of a section without an end."""
        for octets in (
            b"From: a\r\nMessage-ID: <1@x>\r\n\r\n",
            b"From: a\r\nMessage-Id:<1@x> \r\n\r\n",
            b"Message-ID: <1@x>\r\n\r\n",
            b"From: a\r\nMESSAGE-ID: <1@x>\r\nX: y\r\n\r\n",
            b"From: a\r\nMessage-ID:\r\n <1@x>\r\nX: y\r\n\r\n",
            b"From: a\r\nMessage-ID: <1@x>",
        ):
            [line] = self.heard(told.TransactionEnded(transaction(session(), header=HeaderSection(octets))))
            self.assertEqual(line.get("header_message_id"), "<1@x>", octets)

    def test_failures_show_no_values(self) -> None:
        """A stack names lines of ours, not what was in the variables."""

        def fail(password: str) -> None:
            raise ValueError("cannot")

        try:
            fail("hunter2-secret")
        except ValueError as error:
            caught = error
        [line] = self.heard(Happened("session.crashed", "error", "x", (("session_id", "1"), ("error", caught))))
        self.assertEqual(line["error"]["type"], "ValueError")
        self.assertIn("cannot", line["error"]["stack"])
        self.assertNotIn("hunter2-secret", json.dumps(line).replace('fail(\\"hunter2-secret\\")', ""))


class RunningTests(GatewayCase):
    """What a whole session leaves in the log at its most talkative."""

    def test_S_29_no_password_no_subject_no_content(self) -> Deferred[Any]:
        """A login and a message through the running gateway, all events heard at level debug."""
        file = Path(self.mktemp())

        def run(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                for attempt in (b"AUTH PLAIN AGFsaWNlAFNFQ1JFVC1wYXNzd29yZA==", b"AUTH PLAIN !!SECRET-broken"):
                    client.say(attempt)
                client.message(b"Subject: SECRET-subject\r\nX: SECRET-field\r\n\r\nSECRET-content\r\n")
                client.say(b"QUIT")
            self.assertTrue(gateway.idle())
            journal = Journal("json", "debug", str(file))
            for event in gateway.events:
                journal.hear(event)
            journal.close()
            octets = file.read_bytes()
            self.assertIn(b'"event":"message.done"', octets)
            for secret in (b"SECRET", b"U0VDUkVU", b"AGFsaWNl"):
                self.assertNotIn(secret, octets)

        behind = Backend(ehlo=["AUTH PLAIN LOGIN", "8BITMIME", "SIZE 1000000"])
        return self.drive(run, behind, role="submission", listener='auth = "relay"\nauth_requires_tls = false')


class LevelTests(JournalCase):
    """What is written at which level."""

    def test_a_level_holds_all_above_it(self) -> None:
        """No line below the level, and all at or above it."""
        events = list(every_event())
        everything = self.heard(*events)
        for level, least in LEVELS.items():
            wanted = [line["event"] for line in everything if LEVELS[line["level"]] >= least]
            self.assertEqual([line["event"] for line in self.heard(*events, level=level)], wanted, level)

    def test_the_level_changes_while_it_runs(self) -> None:
        """A reload can make the log talk, and stop talking."""
        journal = self.journal("error")
        for level in ("error", "debug", "error"):
            journal.set_level(level)
            journal.hear(Happened("gateway.stopped", "info", level))
        journal.close()
        self.assertEqual([line["msg"] for line in self.lines()], ["debug"])

    def test_a_session_that_did_nothing_is_debug(self) -> None:
        """Health checks do not fill the log; whoever does something, or is thrown out, is in it."""
        for closed_by in ("quit", "client", ""):
            event = told.SessionEnded(session(closed_by=closed_by))
            self.assertEqual([line["level"] for line in self.heard(event)], ["debug"])
            self.assertEqual(self.heard(event, level="info"), [])
        busy = session()
        transaction(busy)
        for facts in (busy, session(errors=1), session(user="a"), session(closed_by="timeout")):
            self.assertEqual([line["level"] for line in self.heard(told.SessionEnded(facts), level="info")], ["info"])

    def test_a_message_of_unknown_fate_is_a_warning(self) -> None:
        """It is there even where only warnings are written."""
        for outcome in ("delivered", "unknown"):
            made = transaction(session(), outcome)
            lines = self.heard(told.TransactionEnded(made), level="warning")
            self.assertEqual([line["level"] for line in lines], ["warning"] if outcome == "unknown" else [])

    def test_lines_are_counted_by_level(self) -> None:
        """The counts are those of what was written."""
        journal = self.journal("info")
        for event in every_event():
            journal.hear(event)
        journal.close()
        counts = dict.fromkeys(LEVELS, 0)
        for line in self.lines():
            counts[line["level"]] += 1
        self.assertEqual(journal.lines_by_level, counts)

    def test_nothing_is_kept_of_sessions_that_are_over(self) -> None:
        """Neither at a level that writes them nor at one that does not."""
        for level in LEVELS:
            journal = self.journal(level)
            for number in range(50):
                facts = session(number)
                journal.hear(told.SessionOpened(facts))
                journal.hear(told.CommandRefused(facts, "MAIL", 503, "out of order"))
                journal.hear(told.TransactionEnded(transaction(facts, "unknown")))
                journal.hear(told.SessionEnded(facts))
            self.assertEqual((len(journal._clients), len(journal._commands)), (0, 0), level)
            journal.close()


class RepeatTests(JournalCase):
    """What repeats is counted, not written."""

    def test_a_failing_filter_is_named_once_a_minute(self) -> None:
        """The next line says how many were left out; another filter has a count of its own."""
        journal = self.journal()
        failed = told.FilterFailed("spf", "mail", "timeout", "after 5 s", "tempfail", "1")
        for _ in range(5):
            journal.hear(failed)
        journal.hear(told.FilterFailed("spf", "rcpt", "timeout", "after 5 s", "tempfail", "1"))
        self.wall.now += 61
        journal.hear(failed)
        journal.close()
        self.assertEqual(
            [(line["stage"], line.get("repeated")) for line in self.lines()],
            [("mail", None), ("rcpt", None), ("mail", 4)],
        )

    def test_a_dead_server_is_named_once_until_its_state_changes(self) -> None:
        """The change of state says how many failures there were, and the next failure is told at once."""
        journal = self.journal()
        failed = told.LinkFailed("mail", "192.0.2.10:25", "connect", "refused", "1")
        for _ in range(4):
            journal.hear(failed)
        journal.hear(told.ServerChanged("mail", "192.0.2.10:25", "down", "up", ""))
        journal.hear(failed)
        journal.close()
        self.assertEqual(
            [(line["event"], line.get("repeated"), line["level"]) for line in self.lines()],
            [("link.failed", None, "warning"), ("backend.changed", 3, "info"), ("link.failed", None, "warning")],
        )

    def test_a_flood_of_connections_is_counted(self) -> None:
        """Five a second are named, the rest is told as a number once the second is over."""
        later: list[Callable[[], None]] = []
        journal = self.journal(call_later=lambda seconds, call: later.append(call))
        for number in range(1000):
            journal.hear(told.ConnectionRefused("mx", f"192.0.2.{number % 250}", "refused_limit"))
        self.assertEqual(len(self.lines()), REFUSALS_PER_S)
        self.assertEqual(len(later), 1)
        self.wall.now += 1
        later.pop()()
        last = self.lines()[-1]
        self.assertEqual(
            (last["event"], last["repeated"], len(self.lines())),
            ("connection.refused", 1000 - REFUSALS_PER_S, REFUSALS_PER_S + 1),
        )
        journal.close()

    def test_what_was_counted_is_told_at_the_end(self) -> None:
        """A journal that closes owes nothing."""
        lines = self.heard(*[told.ConnectionRefused("mx", "192.0.2.1", "refused_limit")] * 9)
        self.assertEqual([line.get("repeated") for line in lines], [None] * 5 + [4])

    def test_one_command_again_and_again(self) -> None:
        """A client that repeats itself makes two lines: the first, and how often."""
        facts = session(errors=3)
        again = told.CommandRefused(facts, "MAIL", 503, "out of order")
        lines = self.heard(
            *[again] * 30, told.CommandRefused(facts, "DATA", 503, "out of order"), told.SessionEnded(facts)
        )
        self.assertEqual(
            [(line.get("verb"), line.get("repeated")) for line in lines],
            [("MAIL", None), ("MAIL", 29), ("DATA", None), (None, None)],
        )


class TroubleTests(JournalCase):
    """Nothing that happens to the log reaches the mail."""

    def test_a_full_disk_drops_and_counts(self) -> None:
        """Lines are held up to a limit, then counted; nothing raises, and memory stays bounded."""
        journal = self.journal(file="/dev/full")
        text = "x" * 1900
        for _ in range(1500):
            journal.hear(Happened("gateway.first_try", "info", text))
        self.assertGreater(journal.dropped, 800)
        held = journal.lines_by_level["info"] - journal.dropped
        self.assertLess(held * 1900, 2**20)
        journal.close()
        self.assertGreaterEqual(journal.dropped, 1500)

    def test_a_closed_pipe_drops_and_counts(self) -> None:
        """A reader that has gone costs lines; each of them is counted, and the journal comes to rest."""
        for gathers in (False, True):
            reader, writer = os.pipe()
            calls: list[Callable[[], None]] = []
            journal = self.journal(file=f"/dev/fd/{writer}", call_soon=calls.append if gathers else None)
            os.close(reader)
            os.close(writer)
            for number in range(10):
                journal.hear(Happened("gateway.stopped", "info", str(number)))
                for call in calls[:10]:
                    call()
                    calls.remove(call)
            self.assertGreaterEqual(journal.dropped, 10)
            self.assertLess(journal.dropped, 30)
            self.assertEqual(calls, [])
            journal.close()

    def test_a_reader_that_comes_back_is_told_what_it_missed(self) -> None:
        """A pipe that was full: what did not fit is counted, and said once there is room."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        later: list[Callable[[], None]] = []
        journal = self.journal(file=f"/dev/fd/{writer}", call_later=lambda seconds, call: later.append(call))
        journal._outlet._now = lambda: self.wall.now
        for number in range(1500):
            journal.hear(Happened("gateway.first_try", "info", f"{number} " + "x" * 1900))
        self.assertGreater(journal.dropped, 0)
        octets = b""
        for _ in range(100):
            try:
                octets += os.read(reader, 2**20)
            except BlockingIOError:
                pass
            self.wall.now += 1
            for call in [later.pop()] if later else []:
                call()
        lines = [json.loads(line) for line in octets.splitlines()]
        lost = [line for line in lines if line["event"] == "log.dropped"]
        self.assertEqual(sum(line["count"] for line in lost), journal.dropped)
        self.assertEqual(len(lines) - len(lost), 1500 - journal.dropped)
        journal.close()

    def test_a_file_that_was_rotated_is_opened_anew(self) -> None:
        """After a rename the new file gets the lines, and the old one keeps its own."""
        journal = self.journal()
        journal.hear(Happened("gateway.stopped", "info", "before"))
        old = self.file.with_suffix(".1")
        self.file.rename(old)
        journal.hear(Happened("gateway.stopped", "info", "between"))
        journal.reopen()
        journal.hear(Happened("gateway.stopped", "info", "after"))
        journal.close()
        self.assertEqual([json.loads(line)["msg"] for line in old.read_bytes().splitlines()], ["before", "between"])
        self.assertEqual([line["event"] for line in self.lines()], ["log.reopened", "gateway.stopped"])

    def test_a_file_that_cannot_be_opened_anew_keeps_the_old(self) -> None:
        """The folder is gone: a warning goes to the file that is still open."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.file = folder / "log"
        journal = self.journal()
        kept = folder.with_suffix(".kept")
        folder.rename(kept)
        journal.reopen()
        journal.hear(Happened("gateway.stopped", "info", "after"))
        journal.close()
        lines = [json.loads(line) for line in (kept / "log").read_bytes().splitlines()]
        self.assertEqual(
            [(line["event"], line["level"]) for line in lines],
            [("log.reopened", "warning"), ("gateway.stopped", "info")],
        )
        self.assertIn("No such file", lines[0]["reason"])

    def test_a_file_that_cannot_be_opened_at_all(self) -> None:
        """The start fails; a gateway without its log is not started in silence."""
        self.assertRaises(OSError, Journal, "json", "info", "/nonexistent/folder/log")

    def test_a_fork_has_its_own_process_id(self) -> None:
        """twistd goes into the background after the journal was made."""
        journal = self.journal()
        journal.hear(Happened("gateway.stopped", "info", "parent"))
        child = os.fork()
        if not child:
            journal.hear(Happened("gateway.stopped", "info", "child"))
            os._exit(0)
        os.waitpid(child, 0)
        self.assertEqual(
            [(line["msg"], line["pid"]) for line in self.lines()], [("parent", os.getpid()), ("child", child)]
        )
        journal.close()


class TwistedLogTests(JournalCase):
    """The journal is the process's observer too."""

    def test_a_failure_is_one_line_with_a_stack(self) -> None:
        """What Twisted catches is found by its type, and by the line of ours where it arose."""
        journal = self.journal("info")
        log = Logger("smtpgate.test", observer=journal)
        try:
            raise KeyError("gone\n")
        except KeyError:
            log.failure("it broke\nbadly")
        journal.close()
        [line] = self.lines()
        self.assertEqual((line["event"], line["level"], line["namespace"]), ("log", "error", "smtpgate.test"))
        self.assertEqual((line["msg"], line["error"]["type"]), ("it broke\nbadly", "KeyError"))
        self.assertIn("test_observe_journal.py", line["error"]["stack"])
        self.assertEqual(set(line) - set(names.COMMON) - set(names.EVENTS["log"].fields), set())

    def test_a_long_stack_keeps_its_end(self) -> None:
        """The end of a stack says more than its start."""

        def deep(left: int) -> None:
            if left:
                deep(left - 1)
            raise ValueError("the bottom")

        journal = self.journal()
        try:
            deep(400)
        except ValueError:
            Logger("x", observer=journal).failure("")
        journal.close()
        [line] = self.lines()
        self.assertIn("the bottom", line["error"]["stack"])
        self.assertLess(len(self.octets()), 30_000)

    def test_levels_and_chatter(self) -> None:
        """Twisted's levels are ours; what it tells of factories is debug."""
        for namespace, level, wanted in (
            ("smtpgate", LogLevel.info, "info"),
            ("smtpgate", LogLevel.warn, "warning"),
            ("smtpgate", LogLevel.critical, "error"),
            ("twisted.web.server.Site", LogLevel.info, "debug"),
            ("twisted.web.server.Site", LogLevel.error, "error"),
        ):
            self.file.unlink(missing_ok=True)
            journal = self.journal()
            Logger(namespace, observer=journal).emit(level, "text {x}", x="value")
            journal.close()
            [line] = self.lines()
            self.assertEqual((line["level"], line["msg"]), (wanted, "text value"))

    def test_an_event_that_cannot_be_formatted(self) -> None:
        """A wrong format is a line all the same."""
        journal = self.journal()
        Logger("x", observer=journal).error("text {missing.attribute[0]}")
        journal({})
        journal.close()
        self.assertEqual(self.octets().count(b"\n"), 2)

    def test_another_thread_writes_whole_lines(self) -> None:
        """Lines of worker threads stand between those of the reactor, never in them."""
        calls: list[Callable[[], None]] = []
        journal = self.journal(call_soon=calls.append)
        journal.hear(Happened("gateway.stopped", "info", "gathered"))
        other = threading.Thread(target=Logger("x", observer=journal).info, args=("from a thread",))
        other.start()
        other.join(10)
        self.assertEqual([line["msg"] for line in self.lines()], ["from a thread"])
        calls.pop()()
        self.assertEqual([line["msg"] for line in self.lines()], ["from a thread", "gathered"])
        journal.close()


class FormTests(JournalCase):
    """How lines look, and when they leave."""

    def test_a_message_line(self) -> None:
        """All that an operator asks about a message is in one line."""
        [line] = self.heard(told.TransactionEnded(transaction(session())))
        self.assertEqual(line["ts"], "2026-11-25T05:37:01.250Z")
        wanted = {
            "level": "info", "event": "message.done", "client_ip": "192.0.2.7", "helo": "client.example.com",
            "mail_from": "a@example.org", "rcpt_to": ["b@example.net"], "rcpt_count": 1, "rcpt_accepted": 1,
            "size": 2048, "stage": "final", "verdict": "accept", "outcome": "delivered", "code": 250,
            "enhanced": "2.0.0", "reply": "Ok: queued as 4bX1", "pool": "mail", "server": "192.0.2.10:25",
            "backend_tls": "TLSv1.3", "tls_version": "TLSv1.3", "header_message_id": "<1@example.org>",
            "config_rev": "0123456789ab", "pid": os.getpid(),
        }  # fmt: skip
        self.assertEqual({name: line.get(name) for name in wanted}, wanted)
        self.assertEqual(line["wait_ms"], 100)
        self.assertAlmostEqual(line["dur_ms"], 170, delta=1)

    def test_the_text_format_is_for_people(self) -> None:
        """One line with its time, level and what matters; no JSON."""
        self.heard(
            told.TransactionEnded(transaction(session())),
            told.SessionEnded(session(errors=1)),
            told.LinkFailed("mail", "192.0.2.10:25", "connect", "refused", ""),
            format="text",
        )
        message, ended, failed = self.octets().decode().splitlines()
        self.assertRegex(
            message,
            r"\A2026-11-25T05:37:01\.250Z INFO +01JEXAMPLE\d+\.1 192\.0\.2\.7 <a@example\.org> -> "
            r"<b@example\.net> 2048 octets delivered by 192\.0\.2\.10:25 in 1\d\d ms: 250 2\.0\.0 Ok",
        )
        self.assertRegex(ended, r"INFO .* 0 messages 1 errors, closed by client")
        self.assertRegex(failed, r"WARNING link\.failed: mail: 192\.0\.2\.10:25 at connect: refused")

    def test_a_mark_is_told_with_its_points(self) -> None:
        """Delivered is not all that happened to it."""
        marked = transaction(session())
        marked.verdict = verdict(finding("scores", "tag", "scores", score=6.5))
        self.heard(told.TransactionEnded(marked), format="text")
        self.assertIn(" delivered by 192.0.2.10:25, marked tag (scores, 6.5 points) in ", self.octets().decode())

    def test_what_is_in_shadow_is_seen(self) -> None:
        """What it would have been, in both formats; the points of each finding."""
        shadow = transaction(session())
        shadow.verdict = Verdict(would="reject")
        shadow.findings = [finding("spf-fail", is_shadow=True, score=1.5)]
        self.heard(told.TransactionEnded(shadow))
        (line,) = self.lines()
        self.assertEqual(
            (line["would"], line["filters"][0]["shadow"], line["filters"][0]["score"]), ("reject", True, 1.5)
        )
        self.heard(told.TransactionEnded(shadow), format="text")
        self.assertIn(" delivered by 192.0.2.10:25, reject by what is in shadow", self.octets().decode())

    def test_the_node_is_named(self) -> None:
        """Several gateways may log to one place."""
        journal = self.journal(node='n"1\n')
        for event in every_event():
            journal.hear(event)
        journal.close()
        self.assertEqual({line["node"] for line in self.lines()}, {'n"1\n'})

    def test_lines_of_one_turn_are_written_together(self) -> None:
        """One write for all that one reactor turn told."""
        calls: list[Callable[[], None]] = []
        journal = self.journal(call_soon=calls.append)
        for event in every_event():
            journal.hear(event)
        self.assertEqual((len(calls), self.octets()), (1, b""))
        with mock.patch("os.write", wraps=os.write) as write:
            calls.pop()()
        self.assertEqual(write.call_count, 1)
        self.assertGreater(len(self.lines()), 10)
        journal.hear(Happened("gateway.stopped", "info", "x"))
        self.assertEqual(len(calls), 1)
        journal.close()

    def test_a_long_turn_does_not_gather_without_end(self) -> None:
        """A turn that tells much writes in between."""
        calls: list[Callable[[], None]] = []
        journal = self.journal(call_soon=calls.append)
        for _ in range(100):
            journal.hear(Happened("gateway.first_try", "info", "x" * 1900))
        self.assertGreater(len(self.octets()), module.GATHERED_OCTETS)
        self.assertLess(sum(map(len, journal._lines)), module.GATHERED_OCTETS)
        calls.pop(0)()
        self.assertEqual(len(self.lines()), 100)
        journal.close()

    def test_standard_output_is_the_descriptor_itself(self) -> None:
        """twistd leads sys.stdout back into the log; the journal writes to descriptor 1."""
        script = (
            "import sys, io; from smtpgate.observe.journal import Journal; from smtpgate.policy.event import Happened\n"
            "sys.stdout = io.StringIO(); journal = Journal()\n"
            "journal.hear(Happened('gateway.stopped', 'info', 'x')); journal.reopen(); journal.close()\n"
        )
        out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True).stdout
        self.assertEqual([json.loads(line)["event"] for line in io.BytesIO(out)], ["gateway.stopped", "log.reopened"])
