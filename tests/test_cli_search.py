"""Tests of `smtpgate detectors` and `smtpgate detect`, and of the page about what is found."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.cli import main
from smtpgate.config.packs import PACKS
from smtpgate.filters.detectors import markdown
from smtpgate.rules.searching import CATALOGUE
from tests.limits_kit import FILE

DOCS = Path(__file__).parent.parent / "docs"
OWN = """
[[detectors]]
name = "staff-number"
patterns = 'EMP-[0-9]{6}'
[[rules]]
name = "staff"
when = "matches.exists(m, m.detector == 'staff-number')"
action = "note"
"""


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and complaints."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


class CommandTests(SynchronousTestCase):
    """Without a gateway."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def file(self, name: str, content: bytes) -> str:
        """A file there."""
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def test_detectors(self) -> None:
        """All of them, with their vectors for programs."""
        self.assertRegex(run("detectors")[1], r"(?m)^iban +bank +- +high +high +bank account number")
        items = json.loads(run("detectors", "--json")[1])["items"]
        self.assertTrue(all(one["good"] for one in items if one["group"] != "dictionary"))

    def test_detect(self) -> None:
        """In a message, in another file, masked; nothing where there is nothing."""
        mail = self.file("a.eml", b"Subject: x\n\ncredit card 4111 1111 1111 1111\n")
        code, out, _ = run("detect", mail)
        self.assertEqual(code, 0)
        self.assertRegex(out, r"(?m)^card +high +1 +1 +0.0 +visa 4111 \*\*\*\* \*\*\*\* 1111 +part-1$")
        table = self.file("b ä.csv", b"name;iban\nx;DE89370400440532013000\n")
        found = json.loads(run("detect", table, "--json")[1])
        self.assertEqual((found["matches"][0]["detector"], found["matches"][0]["paths"]), ("iban", ["b _.csv"]))
        self.assertEqual(run("detect", self.file("c.txt", b"hello"))[1], "nothing is found\n")
        self.assertIn("not read: d.bin (unsupported)", run("detect", self.file("d.bin", b"\x7f\0\x81\xfe" * 60))[1])
        code, _, err = run("detect", str(self.folder / "none"))
        self.assertEqual((code, "is no file" in err), (1, True))

    def test_every_detector_works_in_a_child(self) -> None:
        """Which can open no file any more when it looks, whatever its checks would like to read."""
        text = "\n\n".join(one.good[0] + "\n" + "filler words here " * 40 for one in CATALOGUE.values())
        found = json.loads(run("detect", self.file("all.txt", text.encode()), "--json")[1])
        self.assertEqual({one["detector"] for one in found["matches"]}, set(CATALOGUE))

    def test_detect_by_a_configuration(self) -> None:
        """Its own detectors too."""
        config = self.file("gate.toml", (f'state_dir = "{self.folder}"\n' + FILE + OWN).encode())
        text = self.file("e.txt", b"EMP-123456")
        self.assertRegex(run("--config", config, "detect", text)[1], r"(?m)^staff-number +medium +1 ")
        self.assertEqual(run("detect", text)[1], "nothing is found\n")


class DocumentTests(SynchronousTestCase):
    """docs/dlp.md."""

    def test_it_has_all_detectors_and_packs(self) -> None:
        """As they are."""
        text = (DOCS / "dlp.md").read_text(encoding="utf-8")
        self.assertTrue(text.endswith("\n".join(markdown()) + "\n"), "write the table anew")
        for name in PACKS:
            self.assertIn(f"| `{name}` |", text)
