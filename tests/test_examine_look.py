"""Tests of smtpgate.examine.look: one message, from its octets to facts."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.facts import Facts, from_plain, to_plain
from smtpgate.examine.look import TEXT_LETTERS, Limits, examine, look
from tests.accuracy.malware import by_library
from tests.files_kit import PROGRAM

HEAD = (
    b"From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\nMIME-Version: 1.0\r\n"
)


def mixed(*parts: bytes) -> bytes:
    """A message of parts."""
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body + b"--b--\r\n"


def attached(name: str, content: bytes, kind: str = "application/octet-stream") -> bytes:
    """A part with a file."""
    return (
        f'Content-Type: {kind}\r\nContent-Disposition: attachment; filename="{name}"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n"
    ).encode() + base64.encodebytes(content).replace(b"\n", b"\r\n")


def zipped(**members: bytes) -> bytes:
    """An archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return out.getvalue()


def message(text: str, archive: bytes) -> bytes:
    """A text and a ZIP file."""
    return (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        + text.encode()
        + b'\r\n--b\r\nContent-Type: application/zip; name="a.zip"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        + base64.encodebytes(archive).replace(b"\n", b"\r\n")
        + b"--b--\r\n"
    )


class LookTests(SynchronousTestCase):
    """`examine`."""

    def test_a_plain_message(self) -> None:
        """Addresses, subject, text, digest."""
        content = HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\nSee http://example.org/x\r\n"
        facts = examine(content)
        self.assertEqual(facts.digest, hashlib.sha256(content).hexdigest())
        self.assertEqual([(one.name, one.address) for one in facts.authors], [("Alice", "alice@example.com")])
        self.assertEqual([one.address for one in facts.recipients], ["bob@example.net"])
        self.assertEqual((facts.subject, facts.is_complete, facts.files), ("café", True, ()))
        self.assertEqual([text.source for text in facts.texts], ["plain"])
        self.assertEqual([(one.host, one.source) for one in facts.links], [("example.org", "text")])

    def test_html_is_read_as_it_is_shown(self) -> None:
        """With its links, and what the body itself runs."""
        html = b'<p style="display:none">x</p><form><a href="http://evil.example">http://bank.example</a>'
        html += b"<input type=password>"
        facts = examine(HEAD + b"Content-Type: text/html\r\n\r\n" + html)
        (text,) = facts.texts
        self.assertEqual((text.source, text.text, text.hidden), ("html", "http://bank.example", "x"))
        self.assertEqual(
            [(one.host, one.shown) for one in facts.links if one.tag == "a"], [("evil.example", "http://bank.example")]
        )
        self.assertEqual((facts.counts["body-html-form"], facts.counts["body-html-password"]), (1, 1))

    def test_records_are_no_prose(self) -> None:
        """Their capitals are no shouting; a text of a kind that nobody knows is shown, and judged, as any."""
        body = (
            b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nSTATUS:CONFIRMED\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
        for label, source in ((b"text/calendar; method=REQUEST", "attachment"), (b"text/strange", "plain")):
            (text,) = examine(b"Content-Type: " + label + b"\r\n\r\n" + body).texts
            self.assertEqual(text.source, source)

    def test_files_and_what_is_in_them(self) -> None:
        """Paths from the outermost in."""
        facts = examine(mixed(b"\r\nhello\r\n", attached("a.zip", zipped(run_exe=b"MZ" + bytes(200)))))
        self.assertEqual(
            [(one.path, one.kind) for one in facts.files], [("a.zip", "archive"), ("a.zip/run.exe", "executable")]
        )
        self.assertEqual([one.depth for one in facts.files], [0, 1])

    def test_every_reading_is_looked_at(self) -> None:
        """B-77, B-81, B-103: the file that only another program sees is in the facts too."""
        two_types = HEAD + (
            b"Content-Type: multipart/mixed; boundary=no\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\n" + attached("run.exe", b"MZ" + bytes(200)) + b"\r\n--b--\r\n"
        )
        broken = mixed(
            b'Content-Type: application/octet-stream;\r\nname="run.exe"\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\nTVqQ\r\n"
        )
        padded = mixed(
            b'Content-Type: application/x; name="run.exe"\r\nContent-Transfer-Encoding: base64\r\n\r\nTQ==\r\nWpAA\r\n'
        )
        for content in (two_types, broken, padded):
            facts = examine(content)
            self.assertIn("run.exe", [name for one in facts.files for name in one.names])
            self.assertNotEqual(facts.anomalies, ())

    def test_a_message_in_a_message(self) -> None:
        """B-90: its files are files of ours."""
        inner = mixed(attached("run.exe", b"MZ" + bytes(200)))
        facts = examine(
            mixed(b"Content-Type: message/rfc822\r\n\r\n" + inner.replace(b"=b\r\n", b"=c\r\n").replace(b"--b", b"--c"))
        )
        self.assertIn("executable", [one.kind for one in facts.files])
        facts = examine(mixed(attached("mail.eml", inner)))
        self.assertIn("mail.eml/run.exe", [one.path for one in facts.files])

    def test_a_password_in_the_text_opens_an_archive(self) -> None:
        """What is called one is tried first."""
        facts = examine(mixed(b"\r\nThe password is: s3cret-99.\r\n", attached("a.zip", zipped(a_txt=b"x"))))
        self.assertEqual(facts.files[0].flags, frozenset())

    def test_ways_to_say_a_password(self) -> None:
        """In any words: those behind the one for it are tried."""
        archive = by_library("zip", "zip:encryption=zipcrypt", "geheim")("a.txt", b"hello " * 30)
        for said in (
            "Das Passwort lautet geheim",
            "The password for the file is geheim.",
            "密码：geheim",
            "Hasło: geheim",
            "It opens with geheim",
            "mot de passe : geheim",
        ):
            (locked,) = [one for one in examine(message(said, archive)).files if one.kind == "archive"]
            self.assertIn("password-in-text", locked.flags, said)
        (locked,) = [one for one in examine(message("We keep it geheim", archive)).files if one.kind == "archive"]
        self.assertNotIn("password-in-text", locked.flags)

    def test_what_is_called_a_message_and_is_none(self) -> None:
        """It is a file; a message in a file has its name judged beside what is in it."""
        body = base64.encodebytes(PROGRAM)
        head = b'Content-Type: message/rfc822; name="%s"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        kinds = [(one.kind, "bad-name" in one.flags) for one in examine(head % b"a.exe" + body).files]
        self.assertIn(("executable", True), kinds)
        inner = b"From: a@example.org\r\nSubject: x\r\n\r\nhello\r\n"
        found = examine(b'Content-Type: message/rfc822; name="a.pdf.exe"\r\n\r\n' + inner).files
        # It is named by its subject, as mail programs do, and nothing else can be made of it.
        self.assertEqual([(one.flags, one.kind) for one in found], [(frozenset(), "message")])
        self.assertEqual(examine(b"Content-Type: message/rfc822\r\n\r\n" + inner).files, ())

    def test_a_text_that_is_none(self) -> None:
        """Without a name too; any other text is shown."""
        body = base64.encodebytes(PROGRAM)
        for label, wanted in ((b"text/x-msdownload", ["executable"]), (b"text/calendar", ["executable"])):
            head = b"Content-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n" % label
            self.assertEqual([one.kind for one in examine(head + body).files], wanted)
        self.assertEqual(examine(b"Content-Type: text/x-strange\r\n\r\nhello\r\n").files, ())

    def test_limits_are_told(self) -> None:
        """What was not looked at never passes for clean."""
        long = examine(HEAD + b"\r\n" + b"word " * (TEXT_LETTERS // 4))
        self.assertEqual((long.is_complete, "text" in long.limits), (False, True))
        many = examine(mixed(*[b"\r\nx\r\n"] * 20), Limits(parts=10))
        self.assertIn("parts", many.limits)
        no_time = examine(mixed(attached("a.zip", zipped(run_exe=b"MZ"))), Limits(time_s=0.0))
        self.assertIn("time", no_time.limits)
        self.assertIn("not-examined", no_time.files[0].flags)

    def test_facts_travel_as_json(self) -> None:
        """The job's answer is what `examine` found."""
        content = mixed(b"\r\nhttp://example.org\r\n", attached("a.zip", zipped(run_exe=b"MZ" + bytes(99))))
        plain = json.loads(json.dumps(look(content, {"limits": {"parts": 50, "children": 2}})))
        facts = from_plain(plain)
        self.assertEqual(facts.files, examine(content).files)
        self.assertEqual(from_plain(json.loads(json.dumps(to_plain(facts)))), facts)

    def test_an_answer_that_is_none_is_refused(self) -> None:
        """A child that lies is a child that failed."""
        for plain in (
            {"octets": "1"},
            {"files": [{"path": 1}]},
            {"nonsense": 1},
            [],
            {"files": {}},
            {"counts": {"a": "b"}},
        ):
            self.assertRaises(ValueError, from_plain, plain, Facts)

    @given(st.binary(max_size=600))
    def test_nothing_raises(self, content: bytes) -> None:
        """Whatever a message is."""
        examine(content)
        examine(HEAD + content)
