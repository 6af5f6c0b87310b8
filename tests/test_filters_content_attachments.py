"""Tests of smtpgate.filters.content.attachments: what may not come by mail."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.facts import FLAGS, KINDS, Facts, File
from smtpgate.filters.content.attachments import AttachmentFilter, AttachmentOptions, factory
from smtpgate.policy.verdict import Finding
from smtpgate.testing import complaints


def found(file: File, **options: Any) -> list[Finding]:
    """What the filter says of a message with that file."""
    return AttachmentFilter(AttachmentOptions(**options), None).look(Facts(files=(file,)), None)  # type: ignore[arg-type]


class AttachmentTests(SynchronousTestCase):
    """Files and what becomes of them, as shipped and as configured."""

    def test_harmless_files_pass(self) -> None:
        """Documents, pictures, archives, texts."""
        for kind in (
            "office",
            "office-legacy",
            "pdf",
            "image",
            "archive",
            "text",
            "calendar",
            "message",
            "html",
            "xml",
        ):
            self.assertEqual(found(File("a", (f"a.{kind}",), kind=kind)), [], kind)

    def test_programs_are_refused_whatever_their_name(self) -> None:
        """The reply names the file and says why."""
        (finding,) = found(File("report.zip/run.exe", ("invoice.pdf",), kind="executable", detail="PE"))
        self.assertEqual((finding.reason, finding.action), ("attachment-executable", "reject"))
        self.assertEqual(finding.public, 'The attachment "invoice.pdf" is not accepted: it is a program')
        self.assertEqual(finding.detail, "report.zip/run.exe: executable")

    def test_names_that_deceive_are_refused(self) -> None:
        """Whatever the file is."""
        for flag in ("bad-name", "double-extension", "bidi-name"):
            (finding,) = found(File("a", ("a.pdf.exe",), kind="text", flags=frozenset({flag})))
            self.assertEqual((finding.reason, finding.action), (f"attachment-{flag}", "reject"))

    def test_scripts_of_developers_pass(self) -> None:
        """Shell, Python and Perl do nothing when they are opened; those of Windows do."""
        for detail, action in (("shell", "note"), ("python", "note"), ("JavaScript", "reject"), ("batch", "reject")):
            (finding,) = found(File("a", ("a.x",), kind="script", detail=detail, flags=frozenset({"bad-name"})))
            self.assertEqual(finding.action, action, detail)

    def test_the_strongest_word_decides_and_all_scores_count(self) -> None:
        """The detail has the other words, and what was seen."""
        flags = frozenset({"macro", "macro-autorun", "encrypted"})
        (finding,) = found(File("a.docm", ("a.docm",), kind="office", flags=flags, notes=("AutoOpen, Shell",)))
        self.assertEqual(
            (finding.reason, finding.action, finding.score), ("attachment-macro-autorun", "quarantine", 2.0)
        )
        self.assertEqual(finding.detail, "a.docm: macro-autorun, encrypted, macro; AutoOpen, Shell")

    def test_a_word_counts_once_a_message(self) -> None:
        """What holds for an archive holds for each file in it."""
        flags = frozenset({"password-in-text"})
        files = tuple(File(f"{n}", (f"{n}.pdf",), kind="pdf", flags=flags) for n in range(3))
        findings = AttachmentFilter(AttachmentOptions(), None).look(Facts(files=files), None)  # type: ignore[arg-type]
        self.assertEqual([one.score for one in findings], [3.0, 0.0, 0.0])

    def test_a_file_that_was_not_looked_at_waits(self) -> None:
        """Nothing passes unseen."""
        (finding,) = found(File("a", ("a.zip",), kind="archive", flags=frozenset({"not-examined"})))
        self.assertEqual(finding.action, "defer")

    def test_the_worst_of_many_files_speaks(self) -> None:
        """Ten findings are enough."""
        files = [File(f"{n}", (f"{n}.iso",), kind="disk-image") for n in range(30)]
        files.append(File("x", ("x.exe",), kind="executable"))
        findings = AttachmentFilter(AttachmentOptions(), None).look(Facts(files=tuple(files)), None)  # type: ignore[arg-type]
        self.assertEqual((len(findings), findings[0].action, findings[1].action), (10, "reject", "tag"))

    def test_endings_are_refused_by_name(self) -> None:
        """As Windows reads them; allowed ones are passed over."""
        for name in ("a.iso", "A.ISO", "a.iso.", "a.iso  ", "x/a.b.iso"):
            (finding,) = found(File("a", (name,), kind="text"), reject=[".iso"])
            self.assertEqual(finding.reason, "attachment-iso")
            self.assertIn("files named .iso may not be sent", finding.public)
        self.assertEqual(found(File("a", ("a.iso",), kind="text"), reject=[".iso"], allow=[".iso"]), [])
        self.assertEqual(found(File("a", ("iso", "a.iso.txt"), kind="text"), reject=[".iso"]), [])

    def test_words_that_mean_nothing_are_refused(self) -> None:
        """At load, with what would be right."""
        for options in ('reject = ["executables"]', 'tag = ["Iso"]', 'note = [".ISO"]', "scores = { exe = 1.0 }"):
            self.assertEqual(len(complaints(factory, options)), 1, options)
        for options in ('reject = ["script/shell", ".iso", "macro"]', "scores = { bomb = 2.0 }"):
            self.assertEqual(complaints(factory, options), [])

    def test_every_word_of_the_defaults_means_something(self) -> None:
        """And every flag has an action, a score, or is harmless alone."""
        options = AttachmentOptions()
        named = {word for name in ("reject", "defer", "quarantine", "tag", "note") for word in getattr(options, name)}
        self.assertEqual({word.partition("/")[0] for word in named} - KINDS - FLAGS.keys(), set())
        harmless = {"embedded-object", "pdf-open-action", "pdf-embedded"}
        self.assertEqual(FLAGS.keys() - named - options.scores.keys(), harmless)
