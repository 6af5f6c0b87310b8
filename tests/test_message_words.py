"""Tests of smtpgate.message.words: charsets, encoded words, raw octets."""

from __future__ import annotations

import codecs

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message import words
from smtpgate.message.words import clean, codec, decode, lenient_base64, raw_text, to_text

#: Pieces that lie about where a word ends.
PIECES = st.lists(
    st.sampled_from(
        [
            b"=?",
            b"?=",
            b"?",
            b"q",
            b"B",
            b"utf-8",
            b"=?utf-8?q?",
            b"=C3",
            b"=",
            b" ",
            b"\r\n ",
            b"w7w=",
            b"\xff",
            b"*en",
            b"_",
        ]
    ),
    max_size=14,
).map(b"".join)


class DecodeTests(SynchronousTestCase):
    """`decode`."""

    def test_words(self) -> None:
        """Values as a person reads them."""
        for value, text in (
            (b"plain", "plain"),
            (b"=?utf-8?q?=0AMy_Shop?= <alice@example.com>", "My Shop <alice@example.com>"),
            (b"=?x-no-such-charset?B?aGVsbG8=?= world", "hello world"),
            (b"=?utf-8?B?w7w=?= =?utf-8?Q?=C3=BC?=", "üü"),
            (b"=?utf-8?B?w7w=?=\t =?iso-8859-1?Q?=FC?=", "üü"),
            (b"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
            (b"a =?utf-8?q?b?= c", "a b c"),
            (b"=?utf-8?q?b?=c", "bc"),
            (b"=?utf-8*en?q?b?=", "b"),
            (b"=?utf-8?q?a b?=", "a b"),
            (b"=?utf-8?q??=x", "x"),
            (b"=?UTF-8?b?w7w?=", "ü"),
            (b"=?gb2312?B?xOO6ww==?=", "你好"),
            (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            (b"=?windows-1251?q?=CF=F0=E8?=", "При"),
            (b"=?us-ascii?q?=C3=BC?=", "ü"),
        ):
            self.assertEqual(decode(value), text, value)

    def test_what_is_no_word_stays(self) -> None:
        """Marks without an end, without an encoding, or with an unknown one."""
        for value in (
            b"=?utf-8?q?abc",
            b"=?utf-8?x?abc?=",
            b"=??q?abc?=",
            b"a =? b ?= c",
            b"=?" + b"x" * 80 + b"?q?a?=",
        ):
            self.assertEqual(decode(value), value.decode())

    def test_a_word_without_end_does_not_swallow_the_next(self) -> None:
        """The mark of the next word stands before the end that is found."""
        self.assertEqual(decode(b"=?utf-8?q?a =?utf-8?q?b?="), "=?utf-8?q?a b")

    def test_raw_octets(self) -> None:
        """UTF-8 where it is, else what the field's charset says, else windows-1252 (B-63)."""
        self.assertEqual(decode("grün".encode()), "grün")
        self.assertEqual(decode(b"gr\xfcn"), "grün")
        self.assertEqual(decode(b"\xcf\xf0\xe8", "windows-1251"), "При")
        self.assertEqual(raw_text(b"\x93a\x94"), "“a”")

    def test_no_control_character_reaches_a_person(self) -> None:
        """A line feed in a word starts no line (B-53); C1 controls and line separators neither."""
        shown = decode(b"a=?utf-8?q?=0D=0A=00=1B=C2=85=E2=80=A8?=b")
        self.assertEqual(shown.split(), ["a", "b"])
        self.assertTrue(shown.isprintable())

    def test_marks_that_turn_letters_stay(self) -> None:
        """Whoever judges a name wants to see them."""
        self.assertEqual(clean("a\u202eb\n"), "a\u202eb")

    @settings(max_examples=300, deadline=None)
    @given(PIECES | st.binary(max_size=60), st.sampled_from(["", "utf-8", "utf-7", "utf-16", "no such", "idna", "hex"]))
    def test_anything_gives_printable_text(self, value: bytes, charset: str) -> None:
        """It never raises, no control character comes out, and the text can be written as UTF-8."""
        text = decode(value, charset)
        text.encode("utf-8")
        self.assertNotRegex(text, "[\x00-\x1f\x7f-\x9f]")

    def test_time_grows_with_the_value_only(self) -> None:
        """Values that would make a search begin again and again end at once; a quadratic search would take hours."""
        for value in (b"=?" * 400_000, b"=?a?q?" * 150_000, b"=?a?q?" * 150_000 + b"?=", b"=?a?q?x?= " * 80_000):
            decode(value)


class CharsetTests(SynchronousTestCase):
    """`codec` and `to_text`."""

    def test_labels(self) -> None:
        """Labels as they are written, and what programs read under them."""
        for label, name in (
            ("utf-8", "utf_8"),
            (" UTF8 ", "utf_8"),
            ('"utf-8"', "utf_8"),
            ("us-ascii", ""),
            ("ISO-8859-1", "cp1252"),
            ("ks_c_5601-1987", "cp949"),
            ("GB2312", "gb18030"),
            ("cp-850", ""),
            ("windows-1252", "cp1252"),
            ("x-unknown", ""),
            ("", ""),
            ("../../etc", ""),
            ("x" * 10_000, ""),
        ):
            self.assertEqual(codec(label), name, label)

    def test_only_charsets_are_looked_up(self) -> None:
        """No codec that packs, escapes or takes quadratic time can be named by a stranger."""
        for label in (
            "rot13",
            "hex",
            "base64",
            "zlib",
            "bz2",
            "uu",
            "quopri",
            "idna",
            "punycode",
            "unicode_escape",
            "mbcs",
        ):
            self.assertEqual(codec(label), "", label)
        for label in words._LABELS:
            if codec(label):
                self.assertTrue(codecs.lookup(codec(label))._is_text_encoding, label)

    def test_bodies(self) -> None:
        """The declared charset counts, with replacement characters where it does not fit (B-167)."""
        self.assertEqual(to_text("card\n".encode("utf-16"), "utf-16"), "card\n")
        self.assertEqual(to_text(b"a\xff", "utf-8"), "a\ufffd")
        self.assertEqual(to_text(b"a\xfc", "no-such"), "aü")
        self.assertEqual(to_text(b"+2AA-", "utf-7").encode("utf-8", "strict"), b"?")

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=40), st.sampled_from(sorted(words._LABELS)))
    def test_any_octets_in_any_charset(self, octets: bytes, label: str) -> None:
        """Nothing raises, and what comes out can be written as UTF-8."""
        to_text(octets, label).encode("utf-8")


class Base64Tests(SynchronousTestCase):
    """`lenient_base64`."""

    def test_what_is_missing_is_made_up_for(self) -> None:
        """Padding that is missing, foreign characters, one character too many."""
        for octets, plain in (
            (b"aGVsbG8=", b"hello"),
            (b"aGVsbG8", b"hello"),
            (b"aGVs\r\n bG8", b"hello"),
            (b"aGVsb", b"hel"),
            (b"!", b""),
            (b"", b""),
        ):
            self.assertEqual(lenient_base64(octets), plain, octets)

    @given(st.binary(max_size=40))
    def test_never_longer_than_what_it_was_made_of(self, octets: bytes) -> None:
        """Three octets for four characters."""
        self.assertLessEqual(len(lenient_base64(octets)), len(octets) * 3 // 4)
