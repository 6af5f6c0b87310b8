"""Tests of smtpgate.message.params: structured values and all readings of their parameters."""

from __future__ import annotations

from email.message import Message as LibraryMessage

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.params import PARAMETERS, READINGS, VALUE_OCTETS, names, parse

PIECES = st.lists(
    st.sampled_from(
        [
            b"filename", b"name", b"*", b"*0", b"*1*", b"=", b'"', b"\\", b";", b" ", b"(", b")", b"a.exe", b"%41",
            b"''", b"utf-8''", b"=?utf-8?q?x?=", b"\xff", b"\0", b"'", b"/", b"boundary=",
        ]
    ),
    max_size=16,
).map(b"".join)  # fmt: skip


def attached(value: bytes) -> tuple[str, ...]:
    """The names that a Content-Disposition gives."""
    return names([parse(b"attachment; " + value)], [])


class MainTests(SynchronousTestCase):
    """What stands before the parameters."""

    def test_main(self) -> None:
        """Lower case, without comments, also where the semicolon is missing."""
        for value, main in (
            (b"Text/HTML", "text/html"),
            (b"text/html; charset=utf-8", "text/html"),
            (b"(a) text/(b;(c))html ; x=y", "text/html"),
            (b"text/html (comment); x=y", "text/html"),
            (b"text/html charset=utf-8", "text/html"),
            (b"base64 (really)", "base64"),
            (b"charset=utf-8", ""),
            (b"; x=y", ""),
            (b"", ""),
        ):
            self.assertEqual(parse(value).main, main, value)

    def test_parameters_where_the_semicolon_is_missing(self) -> None:
        """They begin at the first blank."""
        self.assertEqual(parse(b"multipart/mixed boundary=x").octets("boundary"), (b"x",))
        self.assertEqual(parse(b"boundary=x").octets("boundary"), (b"x",))


class ReadingTests(SynchronousTestCase):
    """All that programs make of one value, the likeliest first."""

    def test_readings(self) -> None:
        """One row for each habit of programs in the field."""
        for value, expected in (
            (b'filename="a.txt"', ("a.txt",)),
            (b"FileName = a.txt", ("a.txt",)),
            (b'filename="a b.exe"', ("a b.exe",)),
            # Not quoted, with blanks or brackets.
            (b"filename=my file.exe", ("my file.exe", "my")),
            (b"filename=report(1).pdf", ("report(1).pdf", "report")),
            # More behind the quote.
            (b'filename="invoice.pdf".exe', ("invoice.pdf", "invoice.pdf.exe", 'invoice.pdf".exe')),
            # Escapes are undone by some and kept by some.
            (b'filename="C:\\run.exe"', ("C:run.exe", "C:\\run.exe")),
            (b'filename="a\\"b.exe"', ('a"b.exe', 'a\\"b.exe')),
            # Cut at a semicolon inside quotes.
            (b'filename="a.txt;b.exe"', ("a.txt;b.exe", "a.txt")),
            (b'x="; filename=run.exe; y="', ("run.exe",)),
            # The closing quote is missing.
            (b'filename="run.exe; x=1', ("run.exe", "run.exe; x=1")),
            (b"filename='run.exe'", ("'run.exe'", "run.exe")),
            # Twice: first, last, joined.
            (b"filename=a.txt; filename=b.exe", ("a.txt", "b.exe", "a.txtb.exe")),
            # No semicolon between two parameters.
            (b'x="a" filename="b.exe"', ("b.exe",)),
            (b'x="a"filename="b.exe"', ("b.exe",)),
            # Encoded words, which the standard forbids here.
            (b'filename="=?utf-8?B?cnVuLmV4ZQ==?="', ("run.exe", "=?utf-8?B?cnVuLmV4ZQ==?=")),
            (b"filename==?utf-8?q?run=2Eexe?=", ("run.exe", "=?utf-8?q?run=2Eexe?=")),
            # Percent codes without a star.
            (b'filename="run%2Eexe"', ("run%2Eexe", "run.exe")),
            (b"filename=utf-8''run%2Eexe", ("utf-8''run%2Eexe", "utf-8''run.exe", "run.exe")),
            # Octets that are not declared.
            (b'filename="gr\xfcn.exe"', ("grün.exe",)),
            (b'filename="gr\xc3\xbcn.exe"', ("grün.exe",)),
        ):
            self.assertEqual(attached(value), expected, value)

    def test_extended_values(self) -> None:
        """RFC 2231: charset, percent codes, pieces; gaps and duplicates read in both ways."""
        for value, expected in (
            (b"filename*=utf-8''gr%C3%BCn.exe", ("grün.exe",)),
            (b"filename*=iso-8859-1'de'gr%FCn.exe", ("grün.exe",)),
            (b"filename*=no-such''gr%FCn.exe", ("grün.exe",)),
            (b"filename*=run%2Eexe", ("run.exe",)),
            (b"filename*0=run; filename*1=.exe", ("run.exe",)),
            (b"filename*1=.exe; filename*0=run", ("run.exe",)),
            (b"filename*0*=utf-8''%C3; filename*1*=%BC.exe", ("ü.exe",)),
            (b"filename*0=run; filename*2=.exe", ("run", "run.exe")),
            (b"filename*1=run; filename*2=.exe", ("run.exe",)),
            (b"filename*0=a; filename*0=b; filename*1=.exe", ("a.exe", "b.exe")),
            (b"filename*0*=''a%2E; filename*1=%62", ("a.%62", "a.b")),
            (b"filename=\"a.txt\"; filename*=utf-8''b.exe", ("b.exe", "a.txt")),
        ):
            self.assertEqual(attached(value), expected, value)

    def test_percent_coded_pieces(self) -> None:
        """Percent codes in pieces hide no ending (B-69)."""
        value = b'application/x-msdownload; name*0*="\'\'attached%2E"; name*1*="%62"; name*2=at'
        self.assertEqual(parse(value).texts("name"), ("attached.bat",))

    def test_a_star_without_value_is_no_name(self) -> None:
        """It is told, and nothing else becomes of it (B-55)."""
        value = parse(b"text/plain; name*")
        self.assertEqual((value.main, value.texts("name"), value.oddities), ("text/plain", (), ("broken-parameter",)))

    def test_a_blank_after_the_equals_sign(self) -> None:
        """The name is what follows it (B-79)."""
        self.assertEqual(attached(b' filename= "page.js"'), ("page.js",))

    def test_a_mark_that_turns_letters_stays_in_the_name(self) -> None:
        """Whoever judges the name must see it (B-71)."""
        self.assertEqual(attached(b"filename*=utf-8''invoice%E2%80%AEfdp.exe"), ("invoice\u202efdp.exe",))

    def test_names_of_both_fields(self) -> None:
        """The disposition's name first, then that of the type, and names under the wrong word."""
        self.assertEqual(
            names([parse(b"inline; name=d; filename=a")], [parse(b"x/y; name=b; filename=c")]), ("a", "b", "d", "c")
        )

    def test_the_boundary_by_the_grammar_first(self) -> None:
        """A comment behind it does not belong to it; other readings follow."""
        self.assertEqual(parse(b"multipart/mixed; boundary=abc (x)").octets("boundary"), (b"abc", b"abc (x)"))
        self.assertEqual(parse(b"multipart/mixed; boundary=a/b=c").octets("boundary"), (b"a/b=c",))

    def test_oddities(self) -> None:
        """What programs read differently is told; what is regular is not."""
        for value, oddities in (
            (b'a/b; x="c;d"; y=z', ()),
            (b"a/b; filename*0=a; filename*1=b", ()),
            (b"a/b; x=c; x=d", ("duplicate-parameter",)),
            (b"a/b; x=c; x=c", ()),
            (b'a/b; x="c', ("broken-parameter",)),
            (b'a/b; x="c"d', ("broken-parameter",)),
            (b"a/b; x*0=c; x*2=d", ("broken-parameter",)),
            (b"a/b" + b";x=y" * (PARAMETERS + 1), ("too-many-parameters",)),
        ):
            self.assertEqual(parse(value).oddities, oddities, value[:40])


class BoundTests(SynchronousTestCase):
    """Hostile values."""

    def test_a_hundred_thousand_semicolons(self) -> None:
        """B-204: they are blanks between parameters, and cost nothing."""
        value = parse(b"text/plain" + b";" * 100_000 + b" name=a.exe")
        self.assertEqual((value.main, value.texts("name")), ("text/plain", ("a.exe",)))

    def test_time_grows_with_the_value_only(self) -> None:
        """Openings without end are not searched for again and again; a quadratic search would take minutes."""
        for unit in (b"(", b'"', b'"\\', b'name="', b"()name=", b'()name="', b"a=(b ", b"name*0=", b"%", b"\\", b" ="):
            parse(b"x/y; " + unit * (400_000 // len(unit))).texts("name")

    def test_long_values_keep_their_ending(self) -> None:
        """The ending says what a file is."""
        (name,) = attached(b'filename="' + b"a" * 100_000 + b'.exe"')
        self.assertEqual(len(name), VALUE_OCTETS)
        self.assertTrue(name.endswith(".exe"))

    @settings(max_examples=400, deadline=None)
    @given(PIECES | st.binary(max_size=60))
    def test_anything_is_a_value(self, octets: bytes) -> None:
        """It never raises, and readings are few, without repeats and not empty."""
        value = parse(octets)
        for name in ("name", "filename", "boundary"):
            texts = value.texts(name)
            self.assertLessEqual(len(texts), READINGS)
            self.assertEqual(len(set(texts)), len(texts))
            self.assertNotIn("", texts)
            self.assertLessEqual(len(value.octets(name)), READINGS)
        names([value, value], [value])

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=90), st.booleans())
    def test_what_the_library_writes_is_read(self, name: str, is_extended: bool) -> None:
        """A name that the standard library writes is our first reading, plain or extended."""
        name = name.strip() or "x"
        if not is_extended:
            name = name.encode("ascii", "replace").decode().replace('"', "'").replace("\\", "/").replace("%", "_")
        message = LibraryMessage()
        message.add_header("Content-Disposition", "attachment", filename=("utf-8", "", name) if is_extended else name)
        if not is_extended and "=?" in name:
            return
        self.assertEqual(
            attached(str(message["Content-Disposition"]).partition(";")[2].encode())[0].strip(), name.strip()
        )
