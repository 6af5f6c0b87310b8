"""smtpgate.examine.names: real endings of file names, and names that mislead."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.facts import FLAGS
from smtpgate.examine.names import ENDINGS, HARMLESS, NAMES, RUNS, look_at_names

PLAIN = frozenset()
BAD = frozenset({"bad-name"})


class ShortNameTests(SynchronousTestCase):
    """Names of old beside long ones."""

    def test_a_short_form_is_no_other_name(self) -> None:
        """What Windows makes of a long name; of another ending it is one."""
        self.assertEqual(look_at_names(["Rechnung Mai.docx", "RECHNU~1.DOC"]).flags, frozenset())
        self.assertIn("names-differ", look_at_names(["Rechnung Mai.docx", "RECHNU~1.EXE"]).flags)
        self.assertIn("bad-name", look_at_names(["RECHNU~1.EXE"]).flags)

    def test_more_names_than_are_read(self) -> None:
        """Are told."""
        self.assertEqual(look_at_names(["a.pdf"] * NAMES).flags, frozenset())
        self.assertIn("names-differ", look_at_names(["a.pdf"] * NAMES + ["a.exe"]).flags)

    def test_a_page_beside_a_text_is_no_disguise(self) -> None:
        """A manual as a page; a page that passes for a document is one."""
        self.assertNotIn("double-extension", look_at_names(["README.md.html"]).flags)
        self.assertIn("double-extension", look_at_names(["invoice.pdf.html"]).flags)


class EndingTests(SynchronousTestCase):
    """Which ending counts."""

    def test_what_the_file_system_keeps(self) -> None:
        """Dots, blanks and streams at the end are dropped, as Windows does; folders before the name are none of it."""
        for name in (
            "run.exe",
            "RUN.EXE",
            "run.exe.",
            "run.exe. . ",
            "run.exe\u00a0",
            "run.exe::$DATA",
            "run.exe:stream",
            "a/b\\run.exe",
            "..\\run.exe",
            "run.exe\0",
            ".exe",
        ):
            found = look_at_names([name])
            self.assertEqual((found.ending, found.flags, found.classes), ("exe", BAD, {"program"}), name)

    def test_all_readings_of_one_name_count(self) -> None:
        """A NUL cuts a name for some programs; marks that cannot be seen and wide letters vanish for others."""
        for name in ("run.exe\0.pdf", "report.pdf\0.exe", "run.e\u200bxe", "run\uff0eexe", "run.\uff45\uff58\uff45"):
            found = look_at_names([name])
            self.assertIn("exe", found.endings, ascii(name))
            self.assertIn("bad-name", found.flags, ascii(name))
        self.assertIn("names-differ", look_at_names(["run.exe\0.pdf"]).flags)

    def test_classes(self) -> None:
        """Each class of the well-known lists; only what runs is a bad name."""
        for name, kind, is_bad in (
            ("a.scr", "program", True),
            ("a.msi", "installer", True),
            ("a.wsf", "script", True),
            ("a.settingcontent-ms", "settings", True),
            ("a.lnk", "shortcut", True),
            ("a.chm", "help", True),
            ("x.{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}", "clsid", True),
            ("a.docm", "macro", False),
            ("a.iso", "disk-image", False),
            ("a.html", "page", False),
            ("a.zip", "archive", False),
            ("a.p7s", "certificate", False),
        ):
            found = look_at_names([name])
            self.assertEqual((found.classes, "bad-name" in found.flags), ({kind}, is_bad), name)

    def test_the_table_contradicts_nothing(self) -> None:
        """No ending is both harmless and one that runs."""
        self.assertEqual([ending for ending in HARMLESS if ENDINGS.get(ending) in RUNS], [])


class MisleadingTests(SynchronousTestCase):
    """Names that are made to look like others."""

    def test_a_harmless_ending_before_a_dangerous_one(self) -> None:
        """Also with blanks between, behind a dot that is dropped, and before pages that act."""
        for name in (
            "a.pdf.exe",
            "a.pdf   .exe",
            "a.docx.js.",
            "a.jpg.lnk",
            "a.pdf.iso",
            "invoice.pdf.html",
            "a.txt.{%s}",
        ):
            self.assertIn(
                "double-extension", look_at_names([name % ("0-" * 4 + "0" * 28,) if "%" in name else name]).flags, name
            )

    def test_honest_names_with_several_dots(self) -> None:
        """Regression B-73: tables, packed archives, dates, versions and minified scripts hide nothing."""
        for name in (
            "orders.csv",
            "archive.tar.gz",
            "report.2024.pdf",
            "notes v1.2.docx",
            "Meeting 10:30.pdf",
            "setup-1.2.3.zip",
            "mail.example.com.pdf",
            "",
            ".",
            "...",
            "no ending",
            "Re: x. y z",
        ):
            found = look_at_names([name])
            self.assertEqual(found.flags, PLAIN, name)
        self.assertEqual(look_at_names(["jquery.min.js"]).flags, BAD)

    def test_marks_that_turn_letters_round(self) -> None:
        """Regression B-71: the real ending counts, and the mark is told; marks of honest Arabic names are not."""
        found = look_at_names(["invoice\u202efdp.exe"])
        self.assertEqual((found.ending, found.flags), ("exe", {"bad-name", "bidi-name"}))
        self.assertEqual(look_at_names(["\u05d3\u05d5\u05d7\u200f.pdf"]).flags, PLAIN)

    def test_an_ending_out_of_sight(self) -> None:
        """Blanks of every kind, but not at the end and not a few."""
        for blank in (" ", "\u00a0", "\u2003", "\u2800", "\u3164"):
            self.assertIn("padded-name", look_at_names(["a.pdf" + blank * 30 + ".exe"]).flags, ascii(blank))
        for name in ("a   b.pdf", "a.pdf" + " " * 30):
            self.assertNotIn("padded-name", look_at_names([name]).flags, name)

    def test_two_names_of_one_file(self) -> None:
        """They differ where their endings do; one without an ending says nothing."""
        self.assertIn("names-differ", look_at_names(["report.doc", "report.wsf"]).flags)
        self.assertIn("bad-name", look_at_names(["report.doc", "report.wsf"]).flags)
        for names in (["report.doc", "REPORT.DOC"], ["report", "report.doc"], ["a.doc", "b.doc"]):
            self.assertEqual(look_at_names(names).flags, PLAIN, names)


class AnyNameTests(SynchronousTestCase):
    """Whatever stands in a name."""

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.text(st.sampled_from(".:/\\ \0\u202eexpdf{}-$DATA\u2800\uff0e"), max_size=60), max_size=3))
    def test_nothing_raises(self, names: list[str]) -> None:
        """Only flags that exist come out, and endings without dots."""
        found = look_at_names(names)
        self.assertTrue(found.flags <= FLAGS.keys())
        self.assertTrue(all("." not in ending for ending in found.endings))

    def test_a_very_long_name(self) -> None:
        """It is cut from its end, where the ending is."""
        self.assertEqual(look_at_names(["a" * 1_000_000 + ".pdf.exe"]).flags, {"bad-name", "double-extension"})
