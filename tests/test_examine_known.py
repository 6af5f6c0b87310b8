"""smtpgate.examine.known: parts of registered documents and rows of registered tables, found by hashes alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.known import Damaged, find, fingerprint_of, table_of
from smtpgate.examine.rowmatch import MOST
from smtpgate.examine.winnow import RUN, WINDOW, Marks, sketch
from tests.files_kit import packed
from tests.reading_kit import FORMATS, mail

KEY = bytes(range(32))


def prose(seed: int, count: int) -> list[str]:
    """Words of chance that look like some."""
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghiklmnorstu", k=rng.randrange(2, 11))) for _ in range(count)]


def never() -> None:
    """There is time."""


class Case(SynchronousTestCase):
    """Registered files in a folder."""

    def put(self, content: bytes) -> str:
        path = self.mktemp()
        Path(path).write_bytes(content)
        return path

    def ask(self, content: bytes, *, fingerprints: Sequence[str] = (), tables: Sequence[str] = ()) -> dict[str, Any]:
        return find(content, {"key": KEY.hex(), "fingerprints": list(fingerprints), "tables": list(tables)})


class FingerprintTests(Case):
    """Parts of documents."""

    def setUp(self) -> None:
        self.words = prose(1, 2000)
        text = " ".join(self.words)
        self.path = self.put(fingerprint_of("plan", [("plan.txt", text.encode())], KEY))

    def shares(self, text: str, name: str = "a.txt", make: Any = str.encode) -> dict[str, float]:
        found = self.ask(mail((name, make(text))), fingerprints=[self.path])["fingerprints"]
        return {one["name"]: one["share"] for one in found}

    def test_the_whole_of_it_in_every_format(self) -> None:
        """However it is laid out: in capitals, in lines, in a document, in an archive."""
        text = " ".join(self.words)
        self.assertEqual(self.shares(text), {"plan": 1.0})
        lines = "\r\n".join(" ".join(self.words[at : at + 9]).upper() + "," for at in range(0, 2000, 9))
        self.assertEqual(self.shares(lines), {"plan": 1.0})
        for name in ("a.docx", "a.odt", "a.rtf", "a.html", "a.doc"):
            self.assertGreater(self.shares(text, name, FORMATS[name])["plan"], 0.99, name)
        self.assertEqual(self.shares(text, "a.zip", lambda one: packed({"b.txt": one.encode()})), {"plan": 1.0})

    def test_a_part_of_it(self) -> None:
        """Its share is what is there of it, and the longest part that stands in one go is told in words."""
        part = " ".join([*prose(2, 300), *self.words[500:1100], *prose(3, 300), *self.words[1500:1600]])
        found = self.ask(mail(("a.txt", part.encode())), fingerprints=[self.path])["fingerprints"]
        self.assertEqual([one["name"] for one in found], ["plan"])
        self.assertTrue(0.33 < found[0]["share"] < 0.37, found)
        self.assertTrue(570 < found[0]["longest"] <= 600, found)

    def test_what_other_documents_have_too(self) -> None:
        """Does not count where it is said to be such, whatever stands around it."""
        footer = prose(21, 60)
        text = " ".join([*prose(22, 50), *footer, *prose(23, 50), *footer])
        letter = mail(("a.txt", " ".join([*prose(24, 200), *footer]).encode()))
        for without, is_found in ((), True), ((("footer.docx", FORMATS["a.docx"](" ".join(footer))),), False):
            path = self.put(fingerprint_of("plan", [("a.txt", text.encode())], KEY, without))
            found = self.ask(letter, fingerprints=[path])["fingerprints"]
            self.assertEqual([one["share"] > 0.2 and one["longest"] > 40 for one in found], [True] * is_found)
            (whole,) = self.ask(mail(("a.txt", text.encode())), fingerprints=[path])["fingerprints"]
            self.assertEqual(whole["share"], 1.0)
            (body,) = self.ask(mail(text=" ".join(prose(23, 50))), fingerprints=[path])["fingerprints"]
            self.assertGreater(body["share"], 0.2)
        with self.assertRaisesRegex(ValueError, "beside those of --without"):
            fingerprint_of("plan", [("a.txt", text.encode())], KEY, [("b.txt", text.encode())])

    def test_paragraphs_in_another_order(self) -> None:
        """Most of each is found, in other capitals and with words cut at the ends of lines."""
        pieces = [" ".join(self.words[at : at + 100]) for at in range(0, 2000, 100)]
        self.assertGreater(self.shares("\n\n".join(reversed(pieces)).title())["plan"], 0.85)
        cut = " ".join(
            f"{one[:3]}-\n{one[3:]}" if at % 10 == 0 and len(one) > 4 else one for at, one in enumerate(self.words)
        )
        self.assertGreater(self.shares(cut)["plan"], 0.99)
        others = " ".join("x" if at % 5 == 0 else one for at, one in enumerate(self.words))
        self.assertEqual(self.shares(others), {})

    def test_what_has_nothing_to_do_with_it(self) -> None:
        """Another text of the same kind of words, and one that has the same words in another order."""
        self.assertEqual(self.shares(" ".join(prose(4, 2000))), {})
        mixed = list(self.words)
        random.Random(5).shuffle(mixed)
        self.assertEqual(self.shares(" ".join(mixed)), {})

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 1900), st.integers(RUN + WINDOW - 1, 80), st.integers(0, 40), st.integers(0, 40))
    def test_a_run_that_is_long_enough_is_found(self, at: int, length: int, before: int, behind: int) -> None:
        """Winnowing promises it, whatever stands around."""
        count, stored = sketch([" ".join(self.words)], KEY)
        part = self.words[at : at + length]
        text = " ".join([*prose(6, before), *part, *prose(7, behind)])
        found = Marks([text], KEY, never).share(count, stored)
        if len(part) >= RUN + WINDOW - 1:
            self.assertGreater(found.share, 0.0)

    def test_both_ways_to_look(self) -> None:
        """A short text against a long document and the other way round give the same."""
        count, stored = sketch([" ".join(self.words)], KEY)
        part = self.words[100:160]
        short = Marks([" ".join(part)], KEY, never).share(count, stored)
        long = Marks([" ".join([*part, *prose(8, 9000)])], KEY, never).share(count, stored)
        self.assertGreater(short.share, 0.0)
        self.assertLessEqual(abs(short.share - long.share), 2 / count)

    def test_scripts_without_blanks(self) -> None:
        """Each sign counts as a word; words cut at the end of a line are whole."""
        rng = random.Random(9)
        text = "".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(500))
        path = self.put(fingerprint_of("cjk", [("a.txt", text.encode())], KEY))
        found = self.ask(mail(("b.txt", text[100:300].encode("utf-16"))), fingerprints=[path])["fingerprints"]
        self.assertTrue(0.3 < found[0]["share"] < 0.5, found)
        cut = " ".join(f"{word[:3]}-\r\n{word[3:]}" if len(word) > 6 else word for word in self.words)
        self.assertEqual(self.shares(cut), {"plan": 1.0})

    def test_another_key_finds_nothing(self) -> None:
        """What is stored is worth nothing without it; the words do not stand in it."""
        text = mail(("a.txt", " ".join(self.words).encode()))
        answer = find(text, {"key": bytes(32).hex(), "fingerprints": [self.path]})
        self.assertEqual(answer["fingerprints"], [])
        self.assertNotIn(self.words[3].encode(), Path(self.path).read_bytes())

    def test_documents_that_cannot_be_registered(self) -> None:
        """Too short, or without text."""
        with self.assertRaisesRegex(ValueError, "fewer than 40 words"):
            fingerprint_of("x", [("a.txt", b"one two three")], KEY)
        with self.assertRaisesRegex(ValueError, r"a\.png: there is no text in it"):
            fingerprint_of("x", [("a.png", b"\x89PNG\r\n\x1a\n" + bytes(100))], KEY)

    def test_damaged_files_fail_the_job(self) -> None:
        """What is registered and cannot be looked for is not taken for not found."""
        good = Path(self.path).read_bytes()
        for content in (b"", b"no line", good[:-8], good.replace(b'"fingerprint"', b'"tabletable1"')):
            path = self.put(content)
            self.assertRaises(Damaged, self.ask, mail(("a.txt", b"x")), fingerprints=[path])

    def test_what_was_removed_meanwhile(self) -> None:
        """It is looked for no more, and nothing fails for it."""
        text = mail(("a.txt", " ".join(self.words).encode()))
        found = self.ask(text, fingerprints=["/nowhere/at.all", self.path], tables=["/nowhere/at.all"])
        self.assertEqual([one["name"] for one in found["fingerprints"]], ["plan"])


ROWS = (
    ("Anna", "Fernandez-Lopez", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "Hauptstrasse 5"),
    ("Bob", "O'Neil", "5500-0000-0000-0004", "GB29 NWBK 6016 1331 9268 19", "12 High Street"),
    ("Anna", "Smith", "340000000000009", "", "Am Markt"),
)
COLUMNS = ("first", "last", "card", "iban", "street")


class RowTests(Case):
    """Rows of tables."""

    def register(self, rows: Any = ROWS, columns: Any = COLUMNS, least: int = 2, window: int = 300) -> str:
        return self.put(table_of("customers", columns, iter(rows), KEY, least, window))

    def rows(self, text: str, path: str) -> tuple[int, set[str]]:
        found = self.ask(mail(text=text), tables=[path])["rows"]
        return (found[0]["rows"], set(found[0]["columns"])) if found else (0, set())

    def test_values_of_one_row_together(self) -> None:
        """In whatever case and grouping; several rows are counted."""
        path = self.register()
        for text, count, columns in (
            ("ANNA FERNANDEZ LOPEZ, card 4111111111111111", 1, {"first", "last", "card"}),
            ("iban DE89370400440532013000 of fernandez-lopez", 1, {"last", "iban"}),
            ("card 4111-1111 1111-1111, iban de89 37040044 0532013000", 1, {"card", "iban"}),
            ("O'Neil, 12, high street", 1, {"last", "street"}),
            ("GB29NWBK60161331926819 / 5500 0000 0000 0004", 1, {"iban", "card"}),
            ("Anna Smith; Bob ONeil 5500000000000004", 2, {"first", "last", "card"}),
        ):
            self.assertEqual(self.rows(text, path), (count, columns), text)

    def test_letters_in_other_ways(self) -> None:
        """Without accents, with accents of their own, in a script that sets no blanks; not without any of it."""
        rows = [("José", "Müller-Łódź", "1980-03-02"), ("小明", "王", "13912345678"), ("Sören", "Größe", "x")]
        path = self.register(rows, ("first", "last", "number"))
        for text, count in (
            ("JOSE, Muller-Lodz", 1), ("Jose\u0301 Mu\u0308ller\u2010Łódź", 1), ("josé 19800302", 1),
            ("Jos\u00ade 1980-03-02", 1), ("小明139 1234 5678", 1), ("小明，13912345678", 1), ("GROSSE Soren", 1),
            ("Josh Muller-Lodz", 0), ("Josefine 1980-03-02", 0),
        ):  # fmt: skip
            self.assertEqual(self.rows(text, path)[0], count, text)
        # A table of before was hashed with its accents, and is searched so.
        old = Path(path).read_bytes().replace(b'"fold": 2', b'"fold": 1')
        self.assertEqual(self.rows("Josefine 1980-03-02", self.put(old))[0], 0)
        with self.assertRaises(Damaged):
            self.rows("x y", self.put(old.replace(b'"fold": 1', b'"fold": 9')))

    def test_one_value_is_no_row(self) -> None:
        """Nor two of different rows, nor two of one that stand far from each other."""
        path = self.register()
        for text in (
            "Anna",
            "4111111111111111",
            "Anna Anna Anna",
            "Bob Smith",
            "Smith 4111111111111111",
            f"Smith {'x ' * 200} 340000000000009",
            "41111111111111112 Fernandez-Lopez 14111111111111111",
        ):
            self.assertEqual(self.rows(text, path)[0], 0, text)

    def test_how_many_and_how_near(self) -> None:
        """As the table says."""
        far = f"Smith {'x ' * 200} 340000000000009"
        self.assertEqual(self.rows(far, self.register(window=0))[0], 1)
        self.assertEqual(self.rows("Anna Smith", self.register(least=3))[0], 0)
        self.assertEqual(self.rows("Anna Smith 340000000000009", self.register(least=3))[0], 1)
        self.assertEqual(self.rows("340000000000009", self.register(least=1))[0], 1)

    def test_values_that_many_rows_have(self) -> None:
        """They lead to no row, and support one."""
        rows = [("Anna", f"Name{number:05}", "Berlin") for number in range(3000)]
        path = self.register(rows, ("first", "last", "city"))
        self.assertEqual(self.rows("Anna from Berlin", path)[0], 0)
        self.assertEqual(self.rows("Anna Name01234", path), (1, {"first", "last"}))
        self.assertEqual(self.rows("Bob Name01234", path)[0], 0)
        self.assertEqual(self.rows("Berlin: Name00001, Name00002", path), (2, {"last", "city"}))

    def test_in_documents(self) -> None:
        """Rows of a sheet."""
        path = self.register()
        for name in ("shared.xlsx", "a.docx", "a.ods", "a.pdf"):
            text = "Anna; Fernandez-Lopez; 4111111111111111"
            found = self.ask(mail((name, FORMATS[name](text))), tables=[path])["rows"]
            self.assertEqual([(one["table"], one["rows"]) for one in found], [("customers", 1)], name)

    def test_nothing_of_it_is_stored(self) -> None:
        """No cell, and nothing that another key finds."""
        path = self.register()
        content = Path(path).read_bytes().lower()
        for cell in (cell for row in ROWS for cell in row if cell):
            self.assertNotIn(cell.lower().encode(), content)
        answer = find(mail(text="Anna Smith 340000000000009"), {"key": bytes(32).hex(), "tables": [path]})
        self.assertEqual(answer["rows"], [])

    def test_tables_that_cannot_be_registered(self) -> None:
        """Without a cell to look for, without columns, with more that must stand together than there are."""
        for rows, columns, least, said in (
            ([("a", "b")], ("x", "y"), 2, "no cell has 3"),
            (ROWS, (), 1, "1 to 16 columns"),
            (ROWS, ("first",), 2, "2 columns are to stand together, and there are 1"),
        ):
            with self.assertRaisesRegex(ValueError, said):
                table_of("x", columns, iter(rows), KEY, least, 300)

    def test_one_value_in_two_columns(self) -> None:
        """A word that stands in both is one value."""
        path = self.register([("Berlin", "Berlin", "Meyer")], ("name", "city", "last"))
        self.assertEqual(self.rows("Berlin, Berlin", path)[0], 0)
        self.assertEqual(self.rows("Berlin Meyer", path)[0], 1)

    def test_many_rows(self) -> None:
        """A whole table leaves; up to a number they are counted."""
        rows = [(f"Name{number}", f"{number + 10**9}") for number in range(12_000)]
        text = "\r\n".join(";".join(row) for row in rows)
        self.assertEqual(self.rows(text, self.register(rows, ("a", "b")))[0], MOST)

    def test_no_time(self) -> None:
        """It fails the job, since what was not looked for must not pass for not found."""
        request = {"key": KEY.hex(), "tables": [self.register()], "limits": {"time_s": 0.0}}
        self.assertRaises(TimeoutError, find, mail(text="Anna Smith"), request)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), min_size=1, max_size=20), st.text())
    def test_any_table_and_any_text(self, rows: list[tuple[str, str]], text: str) -> None:
        """Nothing raises; a row that stands there is found."""
        try:
            path = self.register([*rows, ("marker one", "7777777")], ("a", "b"))
        except ValueError:
            return
        self.assertGreaterEqual(self.rows(f"{text} . marker one 7777777", path)[0], 1)

    def test_damaged_tables_fail_the_job(self) -> None:
        """As damaged fingerprints do."""
        good = Path(self.register()).read_bytes()
        for content in (b"", good[:-1], good[:40], good.replace(b'"least"', b'"lxxst"')):
            path = self.put(content)
            self.assertRaises(Damaged, self.ask, mail(text="x"), tables=[path])
