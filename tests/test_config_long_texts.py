"""Texts of a draft that are long and repeat themselves: the work grows as the text does.

A search in a text holds the whole process, so one that takes the square of its length stops all mail. Nothing here is
timed: with such a search these tests take hours.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config import build_edits, endpoint, units
from smtpgate.config.entry import BadValue
from smtpgate.config.hiding import hide, restore
from smtpgate.config.masking import HIDDEN, is_path, masked_urls
from smtpgate.config.position import read

LETTERS = 300_000
#: Where the repeated piece stands: in a string, a comment with an address behind it, a text that is no TOML.
HEADS = ('a = "%s"\n', "# %s x://y?z\n", "a = %s\n")
PIECES = ("://", "a", "a-", "x://", "x://@", "password ", "zone ", "-----BEGIN ", '"', "'''", "\\", " ", "=", ".", "/")


class LongTests(SynchronousTestCase):
    """Each is done."""

    def test_what_repeats_itself_is_hidden(self) -> None:
        """Whatever the piece, and wherever it stands; what is asked in the address behind it is hidden all the same."""
        for head in HEADS:
            for piece in PIECES:
                hidden = hide(head % (piece * (LETTERS // len(piece))))
                if head.startswith("#"):
                    self.assertNotIn("y?z", hidden, piece)

    def test_values(self) -> None:
        """What is read out of one value: a path, a size, a time, an endpoint, a page."""
        blank = " " * LETTERS
        self.assertFalse(is_path("./" * LETTERS + "="))
        for parse, text in (
            (units.parse_size, f"1{blank}!"),
            (units.parse_duration, f"1s{blank}!"),
            (units.parse_duration, f"{'1s' * LETTERS}!"),
            (endpoint.parse_listen, "a" * LETTERS + "\\"),
            (endpoint.parse_listen, "tcp:" + "a" * LETTERS + "\\"),
        ):
            self.assertRaises(BadValue, parse, text)
        self.assertIsNone(build_edits._PAGE.search(f"<{blank}"))

    def test_many_secrets(self) -> None:
        """In tables of their own, in one line, and beside long strings."""
        count = LETTERS // 60
        for text in (
            "".join(f'[[filters]]\nuse = "u{one}"\noptions.password = "secret{one}"\n' for one in range(count)),
            f"[x]\npassword = [{', '.join(f'{chr(34)}se cret{one}{chr(34)}' for one in range(count))}]\n",
            "".join(f'[a{one}]\npassword = """\nse cret\n[b]\n"""\n' for one in range(count)),
        ):
            hidden = hide(text)
            self.assertEqual((hidden.count(HIDDEN), hidden.count("cret")), (count, 0))
            self.assertEqual(restore(hidden, text), text)


class WhatIsFoundTests(SynchronousTestCase):
    """A search that begins at few places misses nothing."""

    def test_addresses(self) -> None:
        """Behind whatever letters: the longest scheme, one that begins with a digit, none, another address."""
        for before in ("x" * 100, "1", "-", "see-", "é", "(", "://", "a.b+c-", "", "y://"):
            found = masked_urls(f"{before}https://me:hunter2@x.example/a?key=hunter2 b")
            self.assertNotIn("hunter2", found, before)
            self.assertTrue(found.startswith(before) and found.endswith(" b"), found)

    def test_quotes_before_the_last(self) -> None:
        """A long string may end with quotes of its own (TOML 1.0): what is behind it is a comment, and is hidden."""
        for mark in ('"""', "'''"):
            for more in range(3):
                quotes = mark[0] * more
                text = f"password = {mark}se cret{quotes}{mark} # {mark[0]} token = hunter2\na = 1\n"
                hidden = hide(text)
                self.assertNotIn("hunter2", hidden)
                self.assertNotIn("cret", hidden)
                self.assertEqual(read(hidden).tree, {"password": HIDDEN, "a": 1})

    def test_paths(self) -> None:
        """Names of files, and what is none."""
        for text, is_one in (("hook.secret", True), ("/etc/x/y", True), ("secret", True), ("a b.c", False)):
            self.assertEqual(is_path(text), is_one, text)
        for text in ("", "abc123", "x=y/z", "a" * 16, "/run/aaaaaaaaaaaaaaaaaaaa1"):
            self.assertFalse(is_path(text), text)

    def test_units(self) -> None:
        """Blanks around and within."""
        self.assertEqual(units.parse_size(" 10  MiB\n"), 10 * 2**20)
        self.assertEqual(units.parse_duration(" 1h 30 m "), 5400.0)

    def test_pieces(self) -> None:
        """A backslash at the end is a letter; before a colon it makes it one."""
        self.assertEqual(endpoint.parse_listen(r"tcp:25:interface=\:\:1").interface, "::1")
        error = self.assertRaises(BadValue, endpoint.parse_listen, "tcp:25\\")
        self.assertIn("port", str(error))

    def test_pages(self) -> None:
        """With blanks around the slash."""
        for text in ("<html>", "< / body>", "</  script>", "<!-- x", "<!doctype html>"):
            self.assertIsNotNone(build_edits._PAGE.search(text), text)
        self.assertIsNone(build_edits._PAGE.search("<p>html</p>"))
