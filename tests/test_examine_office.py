"""smtpgate.examine.office and its readers: macros, templates, commands, embedded files and locks."""

from __future__ import annotations

import struct
import sys
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.budget import Looked
from smtpgate.examine.facts import FLAGS
from smtpgate.examine.kinds import kind_of
from smtpgate.examine.macros import judge_source, look_at_workbook
from smtpgate.examine.office import look_at_office
from smtpgate.examine.richtext import is_elsewhere
from tests.files_kit import PROGRAM, budget, compound, docx, macro_project, native, packed, relations

EVIL = 'Sub AutoOpen()\r\nCreateObject("WSc" & "ript.Shell").Run "x"\r\nEnd Sub\r\n'
CALM = "Sub Format()\r\nSelection.Font.Bold = True\r\nEnd Sub\r\n"
ONENOTE = bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3")
STORE = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")


def looked(content: bytes, **limits: int) -> Looked:
    return look_at_office(content, kind_of(content).detail, budget(**limits))


def rtf(body: bytes) -> bytes:
    return b"{\\rtf1 hello " + body + b"}"


def rtf_object(name: bytes, body: bytes) -> bytes:
    """An embedded object in hexadecimal."""
    raw = struct.pack("<III", 0x501, 2, len(name) + 1) + name + b"\0" + bytes(8) + struct.pack("<I", len(body)) + body
    return b"{\\object\\objemb{\\*\\objdata " + raw.hex().encode() + b"}}"


class MacroTests(SynchronousTestCase):
    """Macros, wherever they stand."""

    def test_macros_of_each_kind_of_document(self) -> None:
        """In a compound document, in a package, in a package that hides its kind, and under another name."""
        project = compound(macro_project(EVIL))
        for content in (
            compound({"WordDocument": b"x", **macro_project(EVIL, "Macros/")}),
            docx({"word/vbaProject.bin": project}, macro_enabled=True),
            docx({"word/vbaProject.bin": project}),
            docx({"word/printerSettings1.bin": project}),
        ):
            found = looked(content)
            self.assertEqual(found.flags, {"macro", "macro-autorun", "macro-suspicious"})
            self.assertEqual(found.notes, ("AutoOpen", "wscript.shell"))

    def test_macros_that_do_nothing_by_themselves(self) -> None:
        """They are macros and no more."""
        self.assertEqual(looked(docx({"word/vbaProject.bin": compound(macro_project(CALM))})).flags, {"macro"})

    def test_a_project_that_cannot_be_read(self) -> None:
        """It is a macro all the same."""
        for project in (b"no compound document", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(3000)):
            self.assertEqual(looked(docx({"word/vbaProject.bin": project})).flags, {"macro", "broken"})

    def test_a_document_without_macros_does_not_load_oletools(self) -> None:
        """It takes a tenth of a second to import."""
        with patch.dict(sys.modules, {"oletools": None, "oletools.olevba": None}):
            self.assertEqual(looked(docx()), Looked())
            self.assertEqual(looked(compound({"WordDocument": b"x"})), Looked())
            found = looked(docx({"word/vbaProject.bin": compound(macro_project(EVIL))}))
        self.assertEqual(found.flags, {"macro", "unopened"})

    def test_streams_that_would_be_read_again_and_again(self) -> None:
        """A document whose streams claim many times its length is not given to olevba."""
        content = bytearray(compound({f"VBA/m{number}": bytes(600_000) for number in range(2)}))
        at = content.index("m1\0".encode("utf-16-le"))
        struct.pack_into("<I", content, at + 120, 90 << 20)
        self.assertEqual(looked(bytes(content)).flags, {"macro", "too-many"})

    def test_words_of_macros(self) -> None:
        """Calls of Shell, joined words; not words that only end alike, and not comments."""
        for source, is_harmful in (
            ('Shell "calc"', True),
            ("x = Shell(y)", True),
            ('CreateObject("MSX" + "ML2.XMLHTTP")', True),
            ("NutShell (x)", False),
            ("' Shell out of here", False),
            ("MsgBox 1", False),
        ):
            self.assertEqual("macro-suspicious" in judge_source(source, ())[0], is_harmful, source)

    def test_excel_4_macros(self) -> None:
        """A sheet of macros, one that runs by itself, locks, and commands of other programs."""

        def record(number: int, body: bytes) -> bytes:
            return struct.pack("<HH", number, len(body)) + body

        sheet, end = record(0x85, bytes(4) + b"\2\1\5\0Macro"), record(0x0A, b"")
        auto = record(0x18, b"\x20\0\0\1" + bytes(10) + b"\0\1")
        command = record(0x1AE, b"\0\0\7\0\0cmd\3/c calc")
        self.assertEqual(look_at_workbook(sheet + end)[0], {"macro"})
        self.assertEqual(look_at_workbook(sheet + auto + end)[0], {"macro", "macro-autorun"})
        self.assertEqual(look_at_workbook(auto + end)[0], set())
        self.assertEqual(look_at_workbook(record(0x2F, b"x") + end)[0], {"encrypted"})
        self.assertEqual(look_at_workbook(command + end), ({"dde"}, ["cmd|/c calc"]))
        self.assertEqual(look_at_workbook(end + sheet)[0], set())
        self.assertIn("macro", looked(compound({"Workbook": sheet + end})).flags)
        sheets = {"xl/macrosheets/sheet1.xml": b"<x/>"}
        self.assertEqual(looked(docx(sheets)).flags, {"macro"})
        for name, starts in (
            ("xl/workbook.xml", b'<definedName name="_xlnm.Auto_Open" hidden="1">M!$A$1</definedName>'),
            ("xl/workbook.xml", b"<definedName name='AUTO_CLOSE2'>M!$A$1</definedName>"),
            ("xl/workbook.bin", "_xlnm.Auto_Open".encode("utf-16-le")),
        ):
            self.assertEqual(looked(docx({name: starts, **sheets})).flags, {"macro", "macro-autorun"}, starts)
            self.assertEqual(looked(docx({name: starts})).flags, frozenset(), starts)
        self.assertEqual(looked(docx({"xl/workbook.xml": b'name="auto_opened_by"', **sheets})).flags, {"macro"})


class LoadingTests(SynchronousTestCase):
    """What is loaded from elsewhere."""

    def test_templates_and_objects_from_elsewhere(self) -> None:
        """The target is a link too; templates on the own disk and ordinary links are nothing."""
        for kind, target, is_external in (
            ("attachedTemplate", "http://evil.example.org/x.dotm", True),
            ("attachedTemplate", "file://///192.0.2.1/x.dotm", True),
            ("attachedTemplate", "\\\\192.0.2.1\\x.dotm", True),
            ("oleObject", "mhtml:http://evil.example.org/!x", True),
            ("frame", "https://evil.example.org/", True),
            ("attachedTemplate", "file:///C:\\Templates\\x.dotx", False),
            ("hyperlink", "http://example.org/", False),
            ("image", "http://example.org/a.png", False),
        ):
            found = looked(docx({"word/_rels/settings.xml.rels": relations((kind, target))}))
            self.assertEqual("external-template" in found.flags, is_external, (kind, target))
            if target.startswith("http"):
                self.assertEqual(found.links, ((target, ""),))

    def test_targets_on_another_machine(self) -> None:
        """In the writings that Office takes."""
        for target, is_far in (
            ("HTTP://x/", True),
            ("file://server/x", True),
            ("file:////server/x", True),
            ("//server/x", True),
            ("file:///c:/x", False),
            ("file://c:/x", False),
            ("other.xlsx", False),
            ("", False),
        ):
            self.assertEqual(is_elsewhere(target), is_far, target)

    def test_relationships_in_other_letters(self) -> None:
        """UTF-16 and character references are read as XML readers read them; a document type is not."""
        part = relations(("attachedTemplate", "http://evil.example.org/")).decode()
        wide = part.replace('version="1.0"', 'version="1.0" encoding="utf-16"').encode("utf-16")
        spelled = part.replace("External", "&#69;xternal").encode()
        for content in (wide, spelled):
            self.assertIn("external-template", looked(docx({"word/_rels/x.rels": content})).flags)
        bomb = b'<!DOCTYPE x [<!ENTITY a "b">]>' + part.partition("?>")[2].encode()
        self.assertEqual(looked(docx({"word/_rels/x.rels": bomb})).flags, frozenset())

    def test_shares_of_the_house(self) -> None:
        """The template of a company is on a server that has no domain; others are elsewhere."""
        for target, is_far in (
            ("file:///\\\\fs01\\t\\Brief.dotx", False),
            ("\\\\fs01\\Brief.dotx", False),
            ("\\\\203.0.113.9\\Brief.dotx", True),
            ("\\\\3405803785\\Brief.dotx", True),
            ("\\\\0xcb007109\\Brief.dotx", True),
            ("\\\\evil@80\\Brief.dotx", True),
            ("file://evil.example/Brief.dotx", True),
            ("https://intranet/Brief.dotx", True),
        ):
            found = looked(docx({"word/_rels/settings.xml.rels": relations(("attachedTemplate", target))}))
            self.assertEqual("external-template" in found.flags, is_far, target)

    def test_words_in_fields_are_no_commands(self) -> None:
        """Where the word does not begin the field."""
        for field in (' HYPERLINK "https://www.example.fr/dde/" ', " MERGEFIELD DDE ", " REF dde_1 "):
            self.assertNotIn("dde", looked(docx(body=f"<w:instrText>{field}</w:instrText>")).flags, field)

    def test_more_text_than_is_searched(self) -> None:
        """It is told; numbers and pictures of a workbook are not text."""
        with patch("smtpgate.examine.office._PARTS_OCTETS", 1000):
            self.assertIn("too-big", looked(docx({"word/footnotes.xml": b"<x>" + b"y" * 2000})).flags)
            self.assertEqual(looked(docx({"xl/pivotCache/records1.xml": b"<x>" + b"y" * 2000})).flags, frozenset())
            self.assertEqual(looked(docx({"word/footnotes.xml": b"<x>" + b"y" * 300})).flags, frozenset())

    def test_comments_without_an_end(self) -> None:
        """As many as there are, each is looked at once; what stands before them counts."""
        body = "<w:instrText>DDEAUTO c:\\x</w:instrText>" + "<!--" * 50_000
        self.assertIn("dde", looked(docx(body=body)).flags)

    def test_fields_that_run_commands(self) -> None:
        """Also split over runs, in character references and in links of workbooks; page numbers are fields too."""
        for content, is_command in (
            (docx(body="<w:instrText> DDE</w:instrText><w:instrText>AUTO c:\\x</w:instrText>"), True),
            (docx(body='<w:fldSimple w:instr=" &#68;DE c:\\x "/>'), True),
            (docx({"xl/externalLinks/externalLink1.xml": b'<ddeLink ddeService="cmd" ddeTopic="/c calc">'}), True),
            (docx(body='<w:fldChar w:x="begin"/><w:instrText>PAGE</w:instrText>'), False),
            (docx(body="<w:t>DDEAUTO</w:t>"), False),
            (compound({"WordDocument": b"\x13DDEAUTO c:\\x\x14"}), True),
            (rtf(b"{\\field{\\*\\fldinst{ DDE}{AUTO c:\\\\x}}}"), True),
            (rtf(b"{\\field{\\*\\fldinst PAGE}} DDEAUTO"), False),
        ):
            self.assertEqual("dde" in looked(content).flags, is_command, content[:60])


class EmbeddedTests(SynchronousTestCase):
    """Files inside documents."""

    def test_packaged_files_have_their_name_and_octets(self) -> None:
        """In OOXML, compound documents, RTF and OneNote."""
        package = native("run.exe", PROGRAM)
        for content in (
            docx({"word/embeddings/oleObject1.bin": compound({"\1Ole10Native": package})}),
            compound({"WordDocument": b"x", "ObjectPool/_1/\1Ole10Native": package}),
            rtf(rtf_object(b"Package", package[4:])),
        ):
            found = looked(content)
            self.assertEqual([(one.names[0], one.content) for one in found.members], [("run.exe", PROGRAM)])
            self.assertIn("embedded-object", found.flags)

    def test_documents_and_programs_as_they_are(self) -> None:
        """Embedded packages, and what is no part of a document at all."""
        sheet = docx(main="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml")
        found = looked(docx({"word/embeddings/sheet1.xlsx": sheet, "run.exe": PROGRAM, "docProps/app.xml": b"<x/>"}))
        self.assertEqual(
            [(one.names, one.content) for one in found.members],
            [(("word/embeddings/sheet1.xlsx",), sheet), (("run.exe",), PROGRAM)],
        )

    def test_objects_in_rtf_as_word_reads_them(self) -> None:
        """Control words, blanks, groups and odd signs between the digits; raw octets; many objects."""
        whole = rtf_object(b"Package", native("run.exe", PROGRAM)[4:])
        at = whole.index(b"objdata ") + 8
        digits = whole[at:-2]
        messy = b"\\par ".join(
            [digits[:9], b"\r\n" + digits[9:30] + b"{\\*\\x12 }" + digits[30:50], b"zz" + digits[50:]]
        )
        raw = b"\\bin%d " % (len(digits) // 2) + bytes.fromhex(digits.decode())
        for body in (messy, raw):
            found = looked(rtf(whole[:at] + body + b"}}"))
            self.assertEqual([one.content for one in found.members], [PROGRAM])
        many = looked(rtf(whole * 200))
        self.assertEqual((len(many.members), "too-many" in many.flags), (100, True))

    def test_templates_of_rtf(self) -> None:
        """One that is loaded from the network."""
        self.assertIn("external-template", looked(rtf(b"{\\*\\template http://evil.example.org/x}")).flags)
        self.assertEqual(looked(rtf(b"{\\*\\template C:\\\\x.dot}")).flags, frozenset())

    def test_an_old_formula_editor(self) -> None:
        """Its object is told by name."""
        self.assertEqual(looked(rtf(rtf_object(b"Equation.3", b"x" * 90))).notes, ("object Equation.3",))

    def test_files_in_onenote(self) -> None:
        """Each stands behind a mark of its own; one that is cut off is broken."""
        stored = STORE + struct.pack("<Q", len(PROGRAM)) + bytes(12) + PROGRAM
        found = looked(ONENOTE + bytes(90) + stored + bytes(30) + stored[:60])
        self.assertEqual([(one.content, one.flags) for one in found.members][0], (PROGRAM, frozenset()))
        self.assertEqual(found.members[1].flags, {"broken"})

    def test_attachments_of_a_msg_file(self) -> None:
        """By their long name."""
        folder = "__attach_version1.0_#00000000/__substg1.0_"
        content = compound(
            {
                "__properties_version1.0": b"x",
                folder + "3707001F": "run.exe\0".encode("utf-16-le"),
                folder + "3704001F": "RUN~1.EXE\0".encode("utf-16-le"),
                folder + "37010102": PROGRAM,
            }
        )
        [member] = looked(content).members
        self.assertEqual((member.names, (member.content or b"")[: len(PROGRAM)]), (("run.exe", "RUN~1.EXE"), PROGRAM))


class LockedTests(SynchronousTestCase):
    """Documents with passwords."""

    def test_each_kind_of_lock(self) -> None:
        """Packages in a compound document, old documents, old presentations, OpenDocument."""
        word = b"\xec\xa5" + bytes(9) + b"\1" + bytes(20)
        manifest = b'<manifest:encryption-data manifest:checksum="x">'
        for content in (
            compound({"EncryptedPackage": b"x", "EncryptionInfo": b"\4\0\4\0"}),
            compound({"WordDocument": word}),
            compound({"Workbook": struct.pack("<HH", 0x2F, 2) + b"xx"}),
            compound({"Current User": bytes(12) + b"\xdf\xc4\xd1\xf3", "PowerPoint Document": b"x"}),
            packed({"mimetype": b"application/vnd.oasis.opendocument.text", "META-INF/manifest.xml": manifest}),
        ):
            self.assertIn("encrypted", looked(content).flags)

    def test_a_lock_that_is_made_to_cost_time(self) -> None:
        """More rounds of hashing than Office writes are not gone through."""
        limits = budget()
        for told in (b'<e spinCount="10000000"/>', b"<e spinCount = '999999'/>", b"<e/>"):
            content = compound({"EncryptedPackage": b"x", "EncryptionInfo": b"\4\0\4\0\x40\0\0\0" + told})
            self.assertEqual(look_at_office(content, "ooxml-encrypted", limits).flags, {"encrypted"})
        self.assertEqual(limits.tries, budget().tries)


class BoundTests(SynchronousTestCase):
    """Whatever is called a document."""

    def test_a_document_that_bursts(self) -> None:
        """The ratio of one part, parts over one another, more members than are looked at, no octets left."""
        self.assertEqual(looked(docx({"word/media/x.xml": bytes(30 << 20)})).flags, {"bomb"})
        self.assertIn("too-many", looked(docx({f"word/x{number}.xml": b"" for number in range(3100)})).flags)
        self.assertIn("too-big", looked(docx({"word/vbaProject.bin": bytes(5000)}), octets=100).flags)
        self.assertIn("not-examined", look_at_office(docx(), "docx", budget(seconds=-1.0)).flags)

    def test_what_is_no_document(self) -> None:
        """It is broken; a table of the old kind is only text."""
        self.assertEqual(look_at_office(b"garbage", "docx", budget()).flags, {"broken"})
        self.assertEqual(look_at_office(b"\xd0\xcf\x11\xe0garbage", "doc", budget()).flags, {"broken"})
        self.assertEqual(look_at_office(b"ID;P", "slk", budget()).flags, frozenset())

    @settings(max_examples=120, deadline=None)
    @given(
        st.sampled_from(
            [
                docx({"word/_rels/x.rels": relations(("frame", "http://x/")), "word/embeddings/o.bin": PROGRAM}),
                compound({"WordDocument": b"x" * 20, "ObjectPool/_1/\1Ole10Native": native("a", b"b")}),
                compound({"Workbook": b"\x85\0\x09\0" * 20, "__properties_version1.0": b"x"}),
                rtf(rtf_object(b"Package", native("run.exe", PROGRAM)[4:])),
                ONENOTE + STORE + b"\x09" + bytes(30),
            ]
        ),
        st.lists(st.tuples(st.integers(0, 9000), st.binary(max_size=8)), max_size=5),
        st.integers(0, 9000),
    )
    def test_nothing_raises(self, good: bytes, changes: list[tuple[int, bytes]], cut: int) -> None:
        """Octets changed or cut off: flags that exist come out."""
        content = bytearray(good)
        for at, piece in changes:
            content[at % len(content) : at % len(content) + len(piece)] = piece
        found = looked(bytes(content[: cut or None]))
        self.assertTrue(found.flags <= FLAGS.keys())
