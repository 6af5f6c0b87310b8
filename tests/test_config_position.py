"""Tests of smtpgate.config.position."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.position import BadSyntax, read

TEXT = """\
hostname = "x"
[admin]
listen = "é"
[empty]
[listeners.mx]
listen = [
  "tcp:25",
  "tcp:26",
]
[listeners."m.y"]
tls = "x"
[[routes]]
listener="mx"
[[routes]]
[[routes]]
backend = {address="é", weight=2}
[filters]
value_line = 1
key_line = 2
[deep.under]
a.b = 1
"""


class PlaceTests(SynchronousTestCase):
    """Where `Document.place` says that things stand."""

    def setUp(self) -> None:
        """Read the text above."""
        self.document = read(TEXT)

    def test_values_and_keys_have_their_own_places(self) -> None:
        """A bad value is pointed at itself, an unknown key at its name."""
        self.assertEqual(self.document.place(("hostname",)), (1, 12))
        self.assertEqual(self.document.place(("hostname",), is_key=True), (1, 1))
        self.assertEqual(self.document.place(("listeners", "m.y", "tls")), (11, 7))

    def test_entries_of_lists_have_places(self) -> None:
        """The bad one of many is found."""
        self.assertEqual(self.document.place(("listeners", "mx", "listen", 1)), (8, 3))

    def test_headers_have_places(self) -> None:
        """A table as a whole is at its header, also an empty one and the n-th of an array."""
        self.assertEqual(self.document.place(("empty",)), (4, 1))
        self.assertEqual(self.document.place(("listeners", "mx")), (5, 1))
        self.assertEqual(self.document.place(("routes", 1)), (14, 1))
        self.assertEqual(self.document.place(("routes",)), (12, 1))

    def test_table_without_a_header_is_at_its_first_key(self) -> None:
        """Tables that dotted keys make have no header of their own."""
        self.assertEqual(self.document.place(("deep", "under", "a")), (21, 3))
        self.assertEqual(self.document.place(("listeners",)), (6, 1))

    def test_missing_key_is_at_its_table(self) -> None:
        """What is not there is told where it should be."""
        self.assertEqual(self.document.place(("routes", 1, "backend")), (14, 1))
        self.assertEqual(self.document.place(("nothing", "at", "all")), (1, 1))

    def test_columns_count_characters(self) -> None:
        """Text beyond ASCII before a value does not move it."""
        self.assertEqual(self.document.place(("routes", 2, "backend", "weight")), (16, 32))

    def test_keys_named_like_the_parser_s_own_do_not_confuse(self) -> None:
        """The parser's metadata uses plain names that a file may use too."""
        self.assertEqual(self.document.place(("filters", "value_line")), (18, 14))
        self.assertEqual(self.document.place(("filters", "key_line")), (19, 12))

    def test_header_inside_a_text_is_none(self) -> None:
        """What looks like a header in a value of several lines is passed over."""
        document = read("a = '''\n[admin]\n'''\nb = [\n  ['c'],\n]\n[admin]\nx = 1\n[c]\n")
        self.assertEqual(document.place(("admin",)), (7, 1))
        self.assertEqual(document.place(("c",)), (9, 1))

    def test_tables_below_arrays_belong_to_the_last_entry(self) -> None:
        """`[filters.options]` is below the `[[filters]]` before it."""
        document = read("[[filters]]\n[filters.options]\na = 1\n[[filters]]\n[filters.options]\na = 1\n")
        self.assertEqual(document.place(("filters", 1, "options")), (5, 1))
        self.assertEqual(document.place(("filters", 1, "options", "a")), (6, 5))

    def test_path_is_shown_as_the_file_writes_it(self) -> None:
        """An entry without brackets has no number."""
        self.assertEqual(self.document.as_written(("routes", 0, "listener", 0)), ("routes", 0, "listener"))
        self.assertEqual(self.document.as_written(("routes", 7, "x")), ("routes", 7, "x"))

    def test_windows_line_ends_change_nothing(self) -> None:
        """A file that was edited elsewhere has the same places."""
        document = read(TEXT.replace("\n", "\r\n"))
        self.assertEqual(document.place(("listeners", "mx")), (5, 1))
        self.assertEqual(document.place(("routes", 2, "backend", "weight")), (16, 32))


class SyntaxTests(SynchronousTestCase):
    """Texts that are no TOML."""

    def test_bad_syntax_has_a_place_and_a_reason(self) -> None:
        """One error tells line, column, what is wrong and what would be right."""
        error = self.assertRaises(BadSyntax, read, "a = 1\n\n  b = tru\n")
        self.assertEqual((error.line, error.column), (3, 7))
        self.assertEqual(error.reason, "invalid boolean, expected `true`")

    def test_reason_does_not_repeat_the_text(self) -> None:
        """The line may hold a password."""
        error = self.assertRaises(BadSyntax, read, 'password = "hunter2\n')
        self.assertNotIn("hunter2", str(error))

    def test_double_key_says_what_would_be_right(self) -> None:
        """The parser says duplicate key and no more."""
        error = self.assertRaises(BadSyntax, read, "a = 1\na = 2\n")
        self.assertEqual((error.line, error.hint), (2, "write each key and each table once"))

    def test_deep_nesting_never_reaches_the_parser(self) -> None:
        """The parser would end the process on each of these."""
        for text in (
            "a = " + "[" * 20000,
            "a = " + "{a = " * 5000,
            "a." * 5000 + "b = 1",
            "[" + "a." * 5000 + "b]",
            'x = "]"\na = ' + "[\n" * 20000,
        ):
            error = self.assertRaises(BadSyntax, read, text)
            self.assertEqual(error.reason, "nested too deeply")

    def test_numbers_of_more_than_64_bits(self) -> None:
        """TOML asks for no more, and what is calculated with them would overflow."""
        self.assertEqual(read(f"a = {2**63 - 1}\nb = -{2**63}").tree, {"a": 2**63 - 1, "b": -(2**63)})
        for text in (f"x = 1\n  a = {2**63}", f"x = 1\n  a = -{2**63 + 1}", "x = 1\n  a = 1" + "0" * 5000):
            error = self.assertRaises(BadSyntax, read, text)
            self.assertEqual((error.line, error.column, error.reason), (2, 7, "a number of more than 64 bits"))
        error = self.assertRaises(BadSyntax, read, f"[a]\nb = [1, {{c = {2**63}}}]")
        self.assertEqual(error.line, 2)

    def test_half_a_letter(self) -> None:
        """Of a text that is no UTF-8."""
        error = self.assertRaises(BadSyntax, read, 'x = 1\ny = "\ud800"')
        self.assertEqual((error.line, error.column), (2, 6))

    def test_brackets_in_texts_and_comments_do_not_count(self) -> None:
        """Only real nesting is refused."""
        many = "[" * 500
        text = f"a = \"{many}\"\nb = '{many}'\n# {many}\nc = '''\n{many}\n'''\nd = \"\"\"\n{many}\n\"\"\"\n"
        self.assertEqual(read(text).tree["a"], many)

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet=st.sampled_from("[]{}.=\"'#\\\n a1é,"), max_size=60))
    def test_any_text_gives_a_document_or_bad_syntax(self, text: str) -> None:
        """No text brings out any other error, and every path found has a place in the text."""
        try:
            document = read(text)
        except BadSyntax:
            return
        lines = text.count("\n") + 1
        for key in document.tree:
            line, column = document.place((key,))
            self.assertTrue(1 <= line <= lines and column >= 1)
