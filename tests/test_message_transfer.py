"""Tests of smtpgate.message.transfer: encodings undone, in the ways of several programs."""

from __future__ import annotations

import base64
import binascii

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.anomaly import ANOMALIES
from smtpgate.message.transfer import READINGS, RUNS, blocks, decode, decode_block, normal, oddities, readings

#: The test string that every scanner knows, in two pieces, so that this file is no match.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
CODED = st.sampled_from(["base64", "quoted-printable", "x-uuencode", "x-yenc", "7bit", "", "no-such"])
PIECES = st.lists(
    st.sampled_from(
        [
            b"aGVs",
            b"=",
            b"==",
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"=3D",
            b"=zz",
            b"\xff",
            b"-_",
            b"begin 644 a\r\n",
            b"#86)C\r\n",
        ]
        + [b"end\r\n", b"`\n", b"=ybegin line=1 name=a\r\n", b"=yend\r\n", b"begin-base64 644 a\n", b"====\n"]
    ),
    max_size=14,
).map(b"".join)


def yenc(octets: bytes, name: bytes) -> bytes:
    """A file as yEnc writes it."""
    coded = bytearray()
    for octet in octets:
        shifted = (octet + 42) & 255
        coded += bytes((61, (shifted + 64) & 255)) if shifted in (0, 10, 13, 61) else bytes((shifted,))
    return b"=ybegin line=4096 size=%d name=%b\r\n%b\r\n=yend size=%d\r\n" % (len(octets), name, coded, len(octets))


class Base64Tests(SynchronousTestCase):
    """Base64 that is not clean."""

    def test_padding_in_the_middle(self) -> None:
        """The usual reading goes on, as mail programs do; stopping is another reading (B-103)."""
        body = base64.b64encode(EICAR[:35]) + b"\r\n" + base64.b64encode(EICAR[35:]) + b"\r\n"
        self.assertIn(b"=", body[:60])
        self.assertEqual(decode(body, "base64"), EICAR)
        self.assertIn(EICAR[:35], readings(body, ["base64"]))
        self.assertEqual(oddities(body, ["base64"]), ("base64-padding",))

    def test_a_footer_behind_padding_is_no_part_of_the_file(self) -> None:
        """Mailing lists write below; going on is another reading."""
        body = b"aGVsbG8=\r\n-- \r\nThe list\r\n"
        self.assertEqual(decode(body, "base64"), b"hello")
        self.assertTrue(any(one.startswith(b"hello") and len(one) > 5 for one in readings(body, ["base64"])))
        self.assertEqual(oddities(body, ["base64"]), ("base64-padding", "base64-foreign"))

    def test_foreign_characters(self) -> None:
        """Skipped by most; some stop, some show the body as it stands, some know the other alphabet."""
        body = b"aGVs\xffbG8="
        self.assertEqual(decode(body, "base64"), b"hello")
        self.assertEqual(readings(body, ["base64"]), (b"hel", body))
        self.assertEqual(readings(b"-_-_", ["base64"]), (b"-_-_", b"\xfb\xff\xbf"))
        self.assertEqual(oddities(body, ["base64"]), ("base64-foreign",))

    def test_missing_padding(self) -> None:
        """What is whole is decoded."""
        for body, plain in ((b"aGVsbG8", b"hello"), (b"aGVsb", b"hel"), (b"aGVsbG8===", b"hello"), (b"", b"")):
            self.assertEqual(decode(body, "base64"), plain)
        self.assertEqual(oddities(b"aGVsbG8\r\n", ["base64"]), ("base64-unpadded",))

    def test_clean_base64_has_one_reading(self) -> None:
        """Nothing is scanned twice where all agree."""
        for count in range(1, 200, 7):
            body = base64.encodebytes(bytes(range(count))).replace(b"\n", b"\r\n")
            self.assertEqual((readings(body, ["base64"]), oddities(body, ["base64"])), ((), ()))

    def test_more_runs_than_are_told_apart(self) -> None:
        """Each is decoded for itself up to a bound, and nothing is left out behind it."""
        self.assertEqual(decode(b"YQ==" * 20_000, "base64"), b"a" * 20_000)
        self.assertTrue(decode(b"=" * (RUNS + 5) + b"YWFh", "base64").endswith(b"aaa"))


class QuotedPrintableTests(SynchronousTestCase):
    """Quoted-printable."""

    def test_decoding(self) -> None:
        """Escapes, soft breaks with blanks, escapes that are none."""
        for body, plain in (
            (b"a=3Db", b"a=b"),
            (b"a=3db", b"a=b"),
            (b"a=\r\nb", b"ab"),
            (b"a= \t\r\nb", b"ab"),
            (b"a=\nb", b"ab"),
            (b"a=zzb", b"a=zzb"),
            (b"a=", b"a"),
            (b"a_b", b"a_b"),
        ):
            self.assertEqual(decode(body, "quoted-printable"), plain, body)

    def test_nothing_hides_behind_a_lone_cr(self) -> None:
        """The library's decoder drops everything up to the next LF there."""
        self.assertEqual(decode(b"a=\rhttp://evil.example\r\nb", "quoted-printable"), b"ahttp://evil.example\r\nb")

    def test_oddities(self) -> None:
        """What is regular is not told."""
        for body, told in (
            (b"a=3Db=\r\nc= \r\n=", ()),
            (b"a=zz", ("quoted-printable-broken",)),
            (b"a=\rb", ("quoted-printable-broken",)),
        ):
            self.assertEqual(oddities(body, ["quoted-printable"]), told, body)

    @given(st.binary(max_size=300))
    def test_what_the_library_writes_is_read(self, octets: bytes) -> None:
        """Both ways give the same."""
        self.assertEqual(decode(binascii.b2a_qp(octets, istext=False), "quoted-printable"), octets)


class EncodingTests(SynchronousTestCase):
    """Names of encodings, and bodies with several."""

    def test_names(self) -> None:
        """Spellings in the field."""
        for name, usual in (("BASE64", "base64"), (" uuencode ", "x-uuencode"), ('"8bit"', "8bit"), ("x-foo", "x-foo")):
            self.assertEqual(normal(name), usual)

    def test_two_encodings(self) -> None:
        """The first is the usual reading, the other one is a reading."""
        self.assertEqual(decode(b"TVqQ", "7bit"), b"TVqQ")
        self.assertEqual(readings(b"TVqQ", ["7bit", "base64"]), (b"MZ\x90",))
        self.assertEqual(oddities(b"TVqQ", ["7bit", "base64"]), ("duplicate-encoding",))

    def test_an_unknown_encoding(self) -> None:
        """The octets as they stand, and what a guess would give."""
        self.assertEqual(decode(b"TVqQ", "x-foo"), b"TVqQ")
        self.assertIn(b"MZ\x90", readings(b"TVqQ", ["x-foo"]))
        self.assertEqual(oddities(b"TVqQ", ["x-foo"]), ("unknown-encoding",))

    def test_the_cap(self) -> None:
        """No more than was asked for."""
        self.assertEqual(decode(b"aGVsbG8=", "base64", 3), b"hel")
        self.assertEqual(decode(memoryview(b"hello"), "", 3), b"hel")
        self.assertEqual(readings(b"TVqQ", ["7bit", "base64"], 2), (b"MZ",))

    @settings(max_examples=300, deadline=None)
    @given(PIECES | st.binary(max_size=80), st.lists(CODED, max_size=3))
    def test_anything_decodes(self, body: bytes, encodings: list[str]) -> None:
        """It never raises, nothing grows, and readings are few and differ from the usual one."""
        usual = decode(body, encodings[0] if encodings else "")
        others = readings(body, encodings)
        self.assertLessEqual(len(usual), len(body))
        self.assertLessEqual(len(others), READINGS)
        self.assertNotIn(usual, others)
        self.assertTrue(all(len(one) <= len(body) for one in others))
        self.assertLessEqual(set(oddities(body, encodings)), set(ANOMALIES))

    def test_hostile_bodies(self) -> None:
        """Bodies that would take a decoder long or much: each is a megabyte or two and ends soon."""
        for unit in (b"A=", b"=", b"=\r", b"= ", b"\n", b"!!\n", b"M\n", b"begin 644 x\n!!\n", b"=ybegin name=x\n=}"):
            body = b"begin 644 x\n!!!\n" + unit * (1_000_000 // len(unit))
            for encoding in ("base64", "quoted-printable", "x-uuencode", "x-yenc"):
                self.assertLessEqual(len(decode(body, encoding)), len(body))


class BlockTests(SynchronousTestCase):
    """Files inside texts."""

    def test_a_uuencoded_file_in_a_text(self) -> None:
        """Name and octets are found (B-101)."""
        coded = b"".join(binascii.b2a_uu(EICAR[at : at + 45]) for at in range(0, len(EICAR), 45)).replace(
            b"\n", b"\r\n"
        )
        text = b"Here is the file.\r\n\r\nbegin 644 run.exe\r\n" + coded + b"`\r\nend\r\n\r\nregards\r\n"
        (block,) = blocks(text)
        self.assertEqual((block.kind, block.name, decode_block(text, block)), ("x-uuencode", "run.exe", EICAR))
        self.assertEqual(text[block.end :], b"\r\nregards\r\n")
        self.assertEqual(decode(text, "x-uuencode"), EICAR)

    def test_other_kinds(self) -> None:
        """What uuencode -m and yEnc write; a name may have blanks."""
        octets = bytes(range(256)) * 3
        text = b"a\nbegin-base64 644 x y.bin\n" + base64.encodebytes(octets) + b"====\nb\n" + yenc(octets, b"z 1.bin")
        self.assertEqual(
            [(block.kind, block.name, decode_block(text, block)) for block in blocks(text)],
            [("base64", "x y.bin", octets), ("x-yenc", "z 1.bin", octets)],
        )
        self.assertEqual(decode(text, "x-yenc"), octets)

    def test_prose_is_no_file(self) -> None:
        """A line that begins with the word, and none that its first character counts."""
        for text in (b"begin 644 reasons\nto go on\n", b"begin the day\n", b"begin 644 x\n", b"x begin 644 a\n#86)C\n"):
            self.assertEqual(blocks(text), [], text)

    def test_a_file_without_end_hides_no_other(self) -> None:
        """The next one begins its own."""
        text = b"begin 644 a.txt\n#86)C\nbegin 644 run.exe\n#35I0\n`\nend\n"
        self.assertEqual([decode_block(text, block) for block in blocks(text)], [b"abc", b"MZP"])

    def test_lines_that_are_longer_or_shorter_than_they_say(self) -> None:
        """Some encoders add a character, some programs trim blanks."""
        self.assertEqual(decode(b"begin 644 a\n#86)Cx\n#86)C\n`\nend\n", "x-uuencode"), b"abcabc")
        self.assertEqual(decode(b"begin 644 a\n$86)C  \n\nend\n", "x-uuencode")[:3], b"abc")

    @settings(max_examples=100, deadline=None)
    @given(st.binary(min_size=1, max_size=300))
    def test_whatever_is_coded_comes_back(self, octets: bytes) -> None:
        """Both kinds, every octet."""
        coded = b"".join(binascii.b2a_uu(octets[at : at + 45]) for at in range(0, len(octets), 45))
        self.assertEqual(decode(b"begin 644 a\n" + coded + b"`\nend\n", "x-uuencode"), octets)
        self.assertEqual(decode(yenc(octets, b"a"), "x-yenc"), octets)
