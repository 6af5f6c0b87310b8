"""Tests of smtpgate.examine.patterns: what rules are shown, and what becomes of bad rules and hostile messages."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine import patterns
from smtpgate.examine.patterns import BadRules, compile_rules, packed, scan
from tests.accuracy.malware import opaque

NEEDLE = """
rule needle : test extra { meta: severity = "High" strings: $a = "needle-1234" condition: $a }
rule large { condition: filesize > 100KB }
rule program { meta: threat_level = 5 condition: extension == ".exe" or filename matches /evil/ }
"""
RULES = [("a.yar", NEEDLE), ("b.yar", "rule needle { condition: filesize < 4 }")]


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP file with one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def attached(content: bytes, name: str, kind: str = "application/octet-stream") -> bytes:
    """A message with a file."""
    encoded = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return (
        b"From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
        b"hello\r\n--b\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="%s"\r\n\r\n%s--b--\r\n' % (kind.encode(), name.encode(), encoded)
    )


class ScanTests(SynchronousTestCase):
    """`scan`."""

    def setUp(self) -> None:
        """A child that knows no rules."""
        patterns._kept.clear()

    def scan(self, content: bytes, rules: Any = RULES, **limits: Any) -> dict[str, Any]:
        """The answer of the job, over JSON as in a child."""
        request = {"digest": packed(rules)[:64], "rules": packed(rules), "limits": limits}
        answer: dict[str, Any] = json.loads(json.dumps(scan(content, json.loads(json.dumps(request)))))
        self.assertEqual(answer["octets"], len(content))
        return answer

    def found(self, content: bytes, **limits: Any) -> list[tuple[str, str, str, str]]:
        """What matched: file, rule, severity, place."""
        answer = self.scan(content, **limits)
        self.assertEqual((answer["status"], answer["limits"]), ("done", []))
        return [(one["namespace"], one["rule"], one["severity"], one["where"]) for one in answer["matches"]]

    def test_every_place_is_looked_at(self) -> None:
        """The octets as they came, a decoded part, a member, a member of a member, a message inside, a document."""
        needle = b"a needle-1234 b"
        inner = attached(needle, "inner.txt", "text/plain")
        docx = zipped("word/document.xml", b"<w>needle-1234</w>")
        for content, where in (
            (b"Subject: needle-1234\r\n\r\n", "message"),
            (attached(needle, "x.txt"), "x.txt"),
            (attached(zipped("y.txt", needle), "x.zip"), "x.zip/y.txt"),
            (attached(zipped("z.zip", zipped("y.txt", needle)), "x.zip"), "x.zip/z.zip/y.txt"),
            (attached(zipped("m.eml", inner), "x.zip"), "x.zip/m.eml/inner.txt"),
            (attached(docx, "x.docx"), "x.docx/word/document.xml"),
        ):
            self.assertIn(("a.yar", "needle", "high", where), self.found(content))
        # An attached message is walked with the message that it is in.
        forwarded = inner.replace(b"\r\n--b", b"\r\n--c").replace(b"boundary=b", b"boundary=c")
        content = b"Content-Type: message/rfc822\r\n\r\n" + forwarded
        self.assertIn("needle", [rule for _, rule, _, _ in self.found(content)])

    def test_what_rules_know_of_a_file(self) -> None:
        """Its name and its ending; tags and severity come back, of a number too."""
        self.assertIn(("a.yar", "program", "5", "x.exe"), self.found(attached(b"MZ", "x.exe")))
        self.assertIn(("a.yar", "program", "5", "evil.txt"), self.found(attached(b"hello", "evil.txt")))
        answer = self.scan(b"Subject: needle-1234\r\n\r\n")
        self.assertEqual(answer["matches"][0]["tags"], ["test", "extra"])

    def test_files_are_namespaces(self) -> None:
        """Two rules of one name in two files are two."""
        found = self.found(attached(b"abc", "x.txt") + b"needle-1234")
        self.assertEqual({(file, rule) for file, rule, _, _ in found}, {("a.yar", "needle"), ("b.yar", "needle")})

    def test_rules_are_sent_once(self) -> None:
        """A child that knows them needs their digest; one that does not says so."""
        request: dict[str, Any] = {"digest": "d"}
        self.assertEqual(scan(b"x", request)["status"], "unknown")
        scan(b"x", request | {"rules": packed(RULES)})
        self.assertEqual(scan(b"needle-1234", request)["matches"][0]["rule"], "needle")
        for number in range(patterns.KEPT):
            scan(b"x", {"digest": str(number), "rules": packed(RULES)})
        self.assertEqual(scan(b"x", request)["status"], "unknown")

    def test_rules_that_cannot_be_compiled(self) -> None:
        """Named, with the file; nothing is kept of them. No rule reads a file."""
        for text, why in (
            ("rule x { condition: nonsense }", "nonsense"),
            ("rule", "b.yar"),
            ('include "/etc/passwd"', "include"),
            ('import "cuckoos"', "cuckoos"),
            ("rule x { condition: true } rule x { condition: true }", "x"),
        ):
            answer = self.scan(b"x", [("a.yar", NEEDLE), ("b.yar", text)])
            self.assertEqual(answer["status"], "refused")
            self.assertIn(why, answer["error"])
            self.assertTrue(answer["error"].startswith("b.yar: "), answer["error"])
            self.assertRaises(BadRules, compile_rules, [("b.yar", text)])
        self.assertEqual(len(patterns._kept), 0)
        for rules in ("", "x", "!!!", base64.b64encode(b"x").decode()):
            self.assertIn(scan(b"x", {"digest": "d", "rules": rules})["status"], ("unknown", "refused"))

    def test_what_is_inside_calendars_and_signed_messages(self) -> None:
        """Rules see what the other filters see."""
        calendar = (
            b"BEGIN:VCALENDAR\r\nATTACH;ENCODING=BASE64;FILENAME=x.bin:" + base64.b64encode(b"needle-1234") + b"\r\n"
        )
        signed = opaque(attached(b"needle-1234", "x.bin"))
        for content, name in ((calendar, "a.ics"), (signed, "smime.p7m")):
            (match,) = self.scan(attached(content, name))["matches"]
            self.assertTrue(match["where"].endswith("x.bin"), match["where"])

    def test_limits_are_told(self) -> None:
        """Octets, files, depth: what was not looked at does not pass for looked at."""
        deep = b"needle-1234"
        for _ in range(8):
            deep = zipped("x.zip", deep, zipfile.ZIP_STORED)
        self.assertIn("depth", self.scan(attached(deep, "x.zip"), depth=3)["limits"])
        many = io.BytesIO()
        with zipfile.ZipFile(many, "w") as archive:
            for number in range(50):
                archive.writestr(f"{number}.txt", f"{number}")
        self.assertIn("files", self.scan(attached(many.getvalue(), "x.zip"), members=10)["limits"])
        bomb = zipped("x.txt", b"\0" * (30 << 20))
        self.assertTrue(set(self.scan(attached(bomb, "x.zip"), octets=1 << 20)["limits"]) & {"octets", "ratio"})

    def test_S_20_time_is_a_limit(self) -> None:
        """A rule that takes long ends with the time, and that is told."""
        slow = "rule slow { condition: for all i in (0..filesize*1000000) : (uint8(i % filesize) != 300) }"
        began = time.monotonic()
        answer = self.scan(b"x" * 100_000, [("s.yar", slow)], time_s=1.0)
        self.assertEqual(answer["limits"], ["time"])
        self.assertLess(time.monotonic() - began, 15)

    def test_matches_have_a_limit(self) -> None:
        """A set that matches everything fills no answer."""
        rules = [("m.yar", "\n".join(f"rule r{number} {{ condition: true }}" for number in range(200)))]
        answer = self.scan(b"x", rules)
        self.assertEqual((len(answer["matches"]), answer["limits"]), (patterns.MATCHES, ["matches"]))

    def test_anything_is_a_message(self) -> None:
        """Nothing is raised for what a stranger sent."""
        for content in (
            b"",
            b"\0" * 1000,
            b"PK\3\4" + b"\xff" * 500,
            attached(b"%PDF-1.4\n" + b"\xff" * 500, "x.pdf"),
            attached(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "x.doc"),
            attached(zipped("a", b"x")[:-9], "x.zip"),
            attached(b"\x78\x9f\x3e\x22" + b"\1" * 100, "winmail.dat", "application/ms-tnef"),
            attached(b"Rar!\x1a\7\0" + b"x" * 100, "x.rar"),
            attached(b"\x1f\x8b\x08" + b"x" * 100, "x.gz"),
        ):
            self.assertEqual(self.scan(content)["status"], "done")
