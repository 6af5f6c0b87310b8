"""Tests of smtpgate.observe.records."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.observe import records
from smtpgate.observe.names import COMMON, EVENTS
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.smtp.reply import Reply
from tests.observe_kit import ACCEPTED, HOSTILE, REFUSED, finding, path, session, transaction, verdict

AT = '{"ts":"2026-11-25T05:37:01.250'
WHO = ',"pid":42'


def message(made: Transaction) -> dict[str, Any]:
    """The line of a transaction, read back."""
    line = records.message(AT, "info", WHO, records.client_part(made.session), made)
    assert line.endswith("}\n") and line.count("\n") == 1 and line.isascii()
    record: dict[str, Any] = json.loads(line, object_pairs_hook=_once)
    return record


def done(facts: Session) -> dict[str, Any]:
    """The line of a session, read back."""
    record: dict[str, Any] = json.loads(
        records.session(AT, "info", WHO, records.client_part(facts), facts), object_pairs_hook=_once
    )
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different."""
    record = dict(pairs)
    assert len(record) == len(pairs), pairs
    return record


class MessageTests(SynchronousTestCase):
    """`message`."""

    def test_usual_message_has_all_facts(self) -> None:
        """The whole line, field by field."""
        self.assertEqual(
            message(transaction(session())),
            {
                "ts": "2026-11-25T05:37:01.250Z",
                "level": "info",
                "event": "message.done",
                "msg": "delivered",
                "pid": 42,
                "session_id": "01JEXAMPLE0000000000000001",
                "msg_id": "01JEXAMPLE0000000000000001.1",
                "config_rev": "0123456789ab",
                "listener": "mx",
                "role": "mx",
                "client_ip": "192.0.2.7",
                "client_port": 40001,
                "helo": "client.example.com",
                "tls_version": "TLSv1.3",
                "tls_cipher": "TLS_AES_256_GCM_SHA384",
                "mail_from": "a@example.org",
                "rcpt_to": ["b@example.net"],
                "rcpt_count": 1,
                "rcpt_accepted": 1,
                "size": 2048,
                "stage": "final",
                "outcome": "delivered",
                "verdict": "accept",
                "header_message_id": "<1@example.org>",
                "pool": "mail",
                "server": "192.0.2.10:25",
                "backend_tls": "TLSv1.3",
                "wait_ms": 100,
                "code": 250,
                "enhanced": "2.0.0",
                "reply": "Ok: queued as 4bX1",
                "dur_ms": 170,
            },
        )

    def test_fields_are_those_of_the_list(self) -> None:
        """Whatever a message went through, no field is new."""
        facts = session(client_name="c.example", peer_ip="198.51.100.9", user="alice")
        found = finding("spf-fail", score=2.5, seconds=0.012)
        made = transaction(
            facts, "refused", tuple(f"r{n}@example.net" for n in range(30)), reply=found.reply(),
            findings=[found], verdict=verdict(found), notes=["bare_newline"],
        )  # fmt: skip
        record = message(made)
        known = {*COMMON, *EVENTS["message.done"].fields}
        self.assertEqual(set(record) - known, set())
        self.assertEqual(known - set(record) - {"node"}, set())

    def test_refusal_says_why(self) -> None:
        """Verdict, reason, filter, score, and what the filters found."""
        found = finding("spf-fail", score=2.5, seconds=0.012)
        shadow = finding("bulk", "tag", "list", is_shadow=True)
        made = transaction(session(), "refused", reply=found.reply(), findings=[found, shadow], verdict=verdict(found))
        record = message(made)
        self.assertEqual(
            [record[name] for name in ("verdict", "reason", "filter", "score")], ["reject", "spf-fail", "spf", 2.5]
        )
        self.assertEqual(
            record["filters"],
            [
                {"name": "spf", "result": "reject", "reason": "spf-fail", "ms": 12, "score": 2.5},
                {"name": "list", "result": "tag", "reason": "bulk", "ms": 0, "shadow": True},
            ],
        )

    def test_recipients_are_listed_up_to_a_number(self) -> None:
        """The rest is counted."""
        record = message(transaction(session(), recipients=tuple(f"r{n}@example.net" for n in range(23))))
        self.assertEqual(record["rcpt_to"], [f"r{n}@example.net" for n in range(20)])
        self.assertEqual((record["rcpt_count"], record["rcpt_more"]), (23, 3))

    def test_null_sender_and_nobody(self) -> None:
        """An empty sender is a value; a list may be empty."""
        record = message(transaction(session(), "aborted", recipients=(), sender="", reply=None, header=None))
        self.assertEqual((record["mail_from"], record["rcpt_to"]), ("", []))
        self.assertNotIn("code", record)
        self.assertNotIn("header_message_id", record)

    def test_message_without_a_backend_has_no_server(self) -> None:
        """Nor a time that it took."""
        record = message(transaction(session(), "refused", reply=REFUSED, server="", backend=""))
        self.assertEqual({"pool", "server", "backend_tls", "wait_ms"} & set(record), set())

    def test_message_refused_before_the_verdict_has_no_time_of_the_backend(self) -> None:
        """The backend was not asked for anything."""
        record = message(transaction(session(), "refused", reply=REFUSED, verdict_at=0.0))
        self.assertNotIn("wait_ms", record)

    def test_message_id_is_found_however_it_is_spelled(self) -> None:
        """Also on the line after its name, as the first field, and not within another field."""
        for header, wanted in (
            (b"From: a\r\nMessage-ID: <1@a>\r\nTo: b\r\n\r\n", "<1@a>"),
            (b"From: a\r\nMessage-Id: <2@a>\r\n\r\n", "<2@a>"),
            (b"From: a\r\nMESSAGE-ID:<3@a>\r\n\r\n", "<3@a>"),
            (b"From: a\r\nMessage-ID:\r\n <4@a.example>\r\nTo: b\r\n\r\n", "<4@a.example>"),
            (b"Message-ID: <5@a>\r\nFrom: a\r\n\r\n", "<5@a>"),
            (b"From: a\r\nX-Message-ID: <6@a>\r\n\r\n", ""),
            (b"From: a\r\nMessage-ID: <\xff@a>\r\n\r\n", "<\\xff@a>"),
            (b"From: a\r\nMessage-ID:\r\nSubject: not this\r\n\r\n", ""),
            (b"From: a\r\nMessage-ID: <7@a>", "<7@a>"),
        ):
            made = transaction(session(), header=HeaderSection(header))
            self.assertEqual(message(made)["header_message_id"], wanted, header)

    def test_reply_of_several_lines_is_one_text(self) -> None:
        """And no longer than a field may be."""
        reply = Reply(550, "5.7.1", ("No", "", "really " * 200))
        record = message(transaction(session(), "refused", reply=reply))
        self.assertTrue(record["reply"].startswith("No really really"))
        self.assertEqual(len(record["reply"]), records.TEXT)

    def test_subject_is_not_there(self) -> None:
        """Neither the field nor its text."""
        made = transaction(session())
        for line in (
            records.message(AT, "info", WHO, records.client_part(made.session), made),
            records.message_text("t", "info", made),
        ):
            self.assertNotIn("Hello there", line)


class HostileTests(SynchronousTestCase):
    """What peers send never makes a second line or a control character."""

    def check(self, line: str) -> None:
        """One line of printable ASCII, of a bounded length."""
        self.assertTrue(line.endswith("\n"))
        self.assertTrue(line[:-1].isascii() and line[:-1].isprintable(), line[:300])
        self.assertLess(len(line), 200_000)

    def test_every_text_of_a_peer_is_escaped(self) -> None:
        """In each field that holds one, for machines and for people."""
        for text in HOSTILE:
            octets = text.encode("utf-8", "surrogatepass")
            facts = session(
                helo=text, client_name=text, user=text, client_ip=text[:300], peer_ip=text[:300], stage=text
            )
            found = finding("x", "reject", text, public=text, detail=text)
            made = transaction(
                facts, "refused", (text,) * 3, sender=text, reply=Reply(550, "5.0.0", (text,)), notes=[text],
                header=HeaderSection(b"Subject: " + octets + b"\r\nMessage-ID: " + octets + b"\r\n\r\n"),
                findings=[found], verdict=verdict(found), server=text[:300], backend=text[:300],
            )  # fmt: skip
            client = records.client_part(facts)
            for line in (
                records.message(AT, "info", WHO, client, made),
                records.session(AT, "info", WHO, client, facts),
                records.plain(AT, "info", WHO, text, text, [(text, text), ("a", [text]), ("b", {text: octets})]),
            ):
                self.check(line)
                json.loads(line)
            for line in (
                records.message_text("t", "info", made),
                records.session_text("t", "info", facts),
                records.plain_text("t", "info", text, text, [(text, text)]),
            ):
                self.check(line)

    def test_text_comes_back_as_it_was(self) -> None:
        """Escaping loses nothing that a strict reader can hold."""
        for text in ("a\r\nb", "\x1b[2J", 'quote" back\\slash', "ä€😀"):
            facts = session(user=text)
            self.assertEqual(done(facts)["auth_user"], text)

    def test_address_in_no_encoding_is_shown_by_its_octets(self) -> None:
        """It is neither lost nor guessed at."""
        made = transaction(session())
        made.sender = path(b"\xff\xfe@example.org")
        made.recipients[0].path = path(b"\xc3@example.net")
        record = message(made)
        self.assertEqual((record["mail_from"], record["rcpt_to"]), ("\\xff\\xfe@example.org", ["\\xc3@example.net"]))


class TextTests(SynchronousTestCase):
    """Lines for people: readable as they stand, and never to be taken for something else."""

    #: A word: bare, or in quotes as in JSON.
    WORD = r'([^\s"\\<>(),]+|"(?:[^"\\]|\\.)*")'
    MESSAGE = re.compile(
        rf"t INFO    (\S+) {WORD} <{WORD}?> -> (nobody|<{WORD}?>(?:, <{WORD}?>)*(?: and \d+ more)?) "
        rf"(\d+) octets (\w+)(?: by {WORD})?(?: \({WORD}\))? in (\d+) ms: (\d+) (\S+) (.*)\n"
    )
    SESSION = re.compile(
        rf"t INFO    (\S+) {WORD} \({WORD}?\) TLSv1.3(?: user {WORD})? (\d+) messages (\d+) errors, "
        rf"closed by {WORD} at {WORD} after (\d+) ms\n"
    )
    FIELD = re.compile(r" (?P<key>[^\s\"\\<>(),=]+|\"(?:[^\"\\]|\\.)*\")=(?P<value>\"(?:[^\"\\]|\\.)*\"|[^\s\"]+)")

    #: What would speak for the gateway if it could.
    FORGED = (
        "x> -> <y@example.net> 1 octets delivered in 1 ms: 250 2.0.0 Ok",
        "x) TLSv1.3 user root 1 messages 0 errors, closed by client at idle after 1 ms",
        'x code=250 outcome="delivered"',
        '" code=250 "',
        "a=b",
        "back\\slash",
        "\\n",
        "\\u001b",
        "two words",
        "",
    )

    def word(self, shown: str | None) -> str:
        """What a word in a line says."""
        if not shown:
            return ""
        return str(json.loads(shown)) if shown.startswith('"') else shown

    def test_usual_lines(self) -> None:
        """Without a quote or an escape."""
        facts = session(user="alice")
        made = transaction(facts, recipients=("b@example.net", "c@example.net"))
        self.assertEqual(
            records.message_text("t", "info", made),
            f"tZ INFO    {made.id} 192.0.2.7 <a@example.org> -> <b@example.net>, <c@example.net> 2048 octets delivered "
            "by 192.0.2.10:25 in 170 ms: 250 2.0.0 Ok: queued as 4bX1\n",
        )
        self.assertEqual(
            records.session_text("t", "info", facts),
            f"tZ INFO    {facts.id} 192.0.2.7 (client.example.com) TLSv1.3 user alice 1 messages 0 errors, closed by "
            "client at idle after 400 ms\n",
        )
        made = transaction(facts, "aborted", recipients=(), sender="", reply=None, server="")
        self.assertEqual(
            records.message_text("t", "info", made),
            f"tZ INFO    {made.id} 192.0.2.7 <> -> nobody 2048 octets aborted in 170 ms\n",
        )
        told = 'listener "mx": cannot listen on tcp:25 [::]: in use (98)'
        self.assertEqual(
            records.plain_text("t", "warning", "x.y", told, [("listener", "mx"), ("count", 3), ("list", ["a", "b"])]),
            f'tZ WARNING x.y: {told} listener="mx" count=3 list=["a","b"]\n',
        )

    def test_a_reply_keeps_its_quotes(self) -> None:
        """At the end of a line nothing can follow, so it stands as it was said."""
        said = 'Mailbox "bob" <bob@example.net> (full), a=b'
        made = transaction(session(), "refused", reply=Reply(552, "5.2.2", (said,)))
        self.assertTrue(records.message_text("t", "info", made).endswith(f": 552 5.2.2 {said}\n"))

    def test_every_part_of_a_message_can_be_read_back(self) -> None:
        """Whatever peers put into it."""
        for text in (*HOSTILE, *self.FORGED):
            short = text[:200]
            facts = session(client_ip=short or "-")
            found = finding()
            made = transaction(
                facts, "refused", (short, short), sender=short, server=short, reply=Reply(550, "5.0.0", (short,)),
                findings=[found], verdict=verdict(found),
            )  # fmt: skip
            line = records.message_text("t", "info", made).replace("tZ ", "t ", 1)
            match = self.MESSAGE.fullmatch(line)
            assert match is not None, line
            said = json.loads(records.message(AT, "info", WHO, records.client_part(facts), made))
            self.assertEqual(match[1], made.id)
            self.assertEqual(self.word(match[2]), said["client_ip"])
            self.assertEqual(self.word(match[3]), said["mail_from"])
            self.assertEqual([self.word(one) for one in (match[5] or "", match[6])], said["rcpt_to"])
            self.assertEqual(match[8], "refused")
            self.assertEqual(self.word(match[9]), said["filter"], "it was not the server that refused it")
            self.assertEqual(self.word(match[10]), said["reason"])
            self.assertEqual(self.word(match[14]), said["reply"])

    def test_every_part_of_a_session_can_be_read_back(self) -> None:
        """The same."""
        for text in (*HOSTILE, *self.FORGED):
            short = text[:200]
            facts = session(client_ip=short or "-", helo=short, user=short, stage="idle")
            line = records.session_text("t", "info", facts).replace("tZ ", "t ", 1)
            match = self.SESSION.fullmatch(line)
            assert match is not None, line
            said = json.loads(records.session(AT, "info", WHO, records.client_part(facts), facts))
            shown = [self.word(match[number]) for number in (2, 3, 4, 7, 8)]
            self.assertEqual(
                shown, [said.get(name, "") for name in ("client_ip", "helo", "auth_user", "closed_by", "stage")]
            )

    def test_every_part_of_another_line_can_be_read_back(self) -> None:
        """The message ends where the first field begins."""
        for text in (*HOSTILE, *self.FORGED):
            short = text[:200]
            fields = [(short or "k", short), ("number", 3), ("code", 550)]
            line = records.plain_text("t", "info", "x.y", short, fields)
            head = "tZ INFO    x.y:"
            self.assertTrue(line.startswith(head), line)
            rest = line[len(head) : -1]
            if rest.startswith(' "') and short:
                said = json.JSONDecoder().raw_decode(rest[1:])
                message, rest = said[0], rest[1 + said[1] :]
            else:
                first = self.FIELD.search(rest)
                assert first is not None, line
                message, rest = rest[1 : first.start()], rest[first.start() :]
            whole = json.loads(records.plain(AT, "info", WHO, "x.y", short, fields))
            self.assertEqual(message, whole["msg"])
            read = {self.word(found["key"]): found["value"] for found in self.FIELD.finditer(rest)}
            self.assertEqual("".join(found[0] for found in self.FIELD.finditer(rest)), rest)
            self.assertEqual(read.pop("code"), "550")
            self.assertEqual(read.pop("number"), "3")
            self.assertEqual([self.word(value) for value in read.values()], [whole[key] for key in read])

    def test_long_text_is_cut(self) -> None:
        """At the same place as in JSON, and in quotes, since it is not what was said."""
        made = transaction(session(), reply=Reply(250, "2.0.0", ("x" * 1000,)))
        line = records.message_text("t", "info", made)
        self.assertTrue(line.endswith(f': 250 2.0.0 "{"x" * records.TEXT}"\n'))


class SessionTests(SynchronousTestCase):
    """`session`."""

    def test_session_has_all_facts(self) -> None:
        """Fields of the list only, and none missing."""
        facts = session(client_name="c.example", peer_ip="198.51.100.9", user="alice", messages=2, errors=1)
        record = done(facts)
        self.assertEqual(set(record), {*COMMON, *EVENTS["session.done"].fields} - {"node"})
        self.assertEqual(record["proxy_ip"], "198.51.100.9")
        self.assertEqual((record["closed_by"], record["dur_ms"], record["bytes_in"]), ("client", 400, 2400))

    def test_clear_session_has_no_tls(self) -> None:
        """Absent, not empty."""
        self.assertNotIn("tls_version", done(session(tls=None)))


class PlainTests(SynchronousTestCase):
    """`plain` and its values."""

    def read(self, *fields: tuple[str, object]) -> dict[str, Any]:
        """The line of an event with these fields, read back."""
        record: dict[str, Any] = json.loads(records.plain(AT, "info", WHO, "x.y", "text", fields))
        return record

    def test_values_keep_their_kinds(self) -> None:
        """Numbers stay numbers, lists lists, and nothing stays away."""
        record = self.read(
            ("number", 3), ("zero", 0), ("part", 0.5), ("yes", True), ("no", False), ("list", ["a", 1]),
            ("pair", {"k": [1]}), ("path", path("a@example.org")), ("reply", ACCEPTED), ("octets", b"ab\xff"),
            ("empty", ""), ("none", None), ("nothing", []),
        )  # fmt: skip
        self.assertEqual(
            {name: record.get(name) for name in ("number", "zero", "part", "yes", "no", "list", "pair", "path")},
            {
                "number": 3, "zero": 0, "part": 0.5, "yes": True, "no": False, "list": ["a", 1], "pair": {"k": [1]},
                "path": "a@example.org",
            },
        )  # fmt: skip
        self.assertEqual(record["octets"], "ab\\xff")
        self.assertEqual({"empty", "none", "nothing"} & set(record), set())

    def test_whatever_it_is_becomes_json(self) -> None:
        """No value of an event can break the log."""

        class Broken:
            def __str__(self) -> str:
                raise RuntimeError("no text")

        endless: list[Any] = []
        endless.append(endless)
        record = self.read(
            ("nan", float("nan")), ("inf", float("inf")), ("huge", 10**5000), ("broken", Broken()),
            ("endless", endless), ("odd", {(1, 2): 3}), ("half", "\ud800"), ("long", "x" * 10_000),
        )  # fmt: skip
        self.assertEqual((record["nan"], record["inf"]), (None, None))
        self.assertEqual(record["broken"], "<Broken>")
        self.assertEqual(record["half"], "\\ud800")
        self.assertEqual(len(record["long"]), records.TEXT)

    def test_exception_and_failure_are_type_and_stack(self) -> None:
        """In one line."""
        try:
            raise ValueError("of\nthree\nlines")
        except ValueError as error:
            for value in (error, Failure()):
                line = records.plain(AT, "error", WHO, "x", "", [("error", value)])
                self.assertEqual(line.count("\n"), 1)
                record = json.loads(line)["error"]
                self.assertEqual(record["type"], "ValueError")
                self.assertIn("of\nthree\nlines", record["stack"])
                self.assertIn("test_exception_and_failure", record["stack"])

    def test_field_cannot_take_the_place_of_a_common_one(self) -> None:
        """A reader of `level` gets the level."""
        record = self.read(("level", "forged"), ("ts", "forged"))
        self.assertEqual((record["level"], record["level_"], record["ts_"]), ("info", "forged", "forged"))
