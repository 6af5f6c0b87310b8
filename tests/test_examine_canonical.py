"""Tests of smtpgate.examine.canonical: the same forms as dkimpy's, wherever the pieces of a body are cut."""

from __future__ import annotations

import hashlib

from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine import canonical
from smtpgate.examine.canonical import body_hashes, body_start, canonical_field, signed_fields, unsigned
from smtpgate.examine.signature import by_name
from smtpgate.message.header import HeaderSection

POLICIES = {
    name == b"relaxed": CanonicalizationPolicy.from_c_value(name + b"/" + name) for name in (b"simple", b"relaxed")
}
PIECES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"b c", b"\r", b"\n", b"\r\n\r\n"]), max_size=40)


class BodyTests(SynchronousTestCase):
    """`body_hashes`."""

    @settings(max_examples=400, deadline=None)
    @given(PIECES, st.integers(1, 9), st.lists(st.integers(0, 50), max_size=3))
    def test_forms_are_those_of_dkimpy(self, pieces: list[bytes], size: int, lengths: list[int]) -> None:
        """Both forms, whole and cut, whatever the size of a piece."""
        body = b"".join(pieces) + b"\r\n"
        self.patch(canonical, "PIECE_OCTETS", size)
        for is_relaxed, policy in POLICIES.items():
            form = policy.canonicalize_body(body)
            wanted = {
                (is_relaxed, length): hashlib.sha256(form[: length if length >= 0 else None]).digest()
                for length in [*lengths, -1]
                if length <= len(form)
            }
            found = body_hashes(b"head" + body, 4, {(is_relaxed, length) for length in [*lengths, -1]})
            self.assertEqual(found, wanted)

    def test_ends_of_bodies(self) -> None:
        """RFC 6376 sections 3.4.3 and 3.4.4: nothing, no line end, many, and blanks that stand last."""
        table = [
            (b"", b"", b"\r\n"),
            (b"\r\n", b"", b"\r\n"),
            (b"\r\n" * 10_000, b"", b"\r\n"),
            (b"a", b"a\r\n", b"a\r\n"),
            (b"a\r\n\r\n", b"a\r\n", b"a\r\n"),
            (b"a \t", b"a\r\n", b"a \t\r\n"),
            (b" \r\n\t\r\n", b"", b" \r\n\t\r\n"),
            (b"a" + b"\r\n" * 9000 + b"b\r\n", b"a" + b"\r\n" * 9000 + b"b\r\n", b"a" + b"\r\n" * 9000 + b"b\r\n"),
            (b"a\r", b"a\r\r\n", b"a\r\r\n"),
        ]
        for body, relaxed, simple in table:
            wanted = {(True, -1): hashlib.sha256(relaxed).digest(), (False, -1): hashlib.sha256(simple).digest()}
            self.assertEqual(body_hashes(body, 0, wanted), wanted, body[:20])

    def test_where_a_body_begins(self) -> None:
        """Behind the empty line; an empty header has one too."""
        for content, start in ((b"", 0), (b"\r\nx", 2), (b"A: b\r\n\r\nx", 8), (b"A: b\r\n", 6), (b"A: b\r\n\r\n", 8)):
            self.assertEqual(body_start(content), start)


class FieldTests(SynchronousTestCase):
    """Header fields."""

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"a", b":", b"b"]), max_size=20))
    def test_fields_are_those_of_dkimpy(self, pieces: list[bytes]) -> None:
        """B-138: in both forms, folded wherever it may be."""
        value = b"".join(pieces) + b"\r\n"
        for is_relaxed, policy in POLICIES.items():
            ((name, wanted),) = policy.canonicalize_headers([(b"SubJect ", value)])
            self.assertEqual(canonical_field(b"SubJect :" + value, is_relaxed), name + b":" + wanted)

    def test_the_value_of_a_signature_is_taken_out(self) -> None:
        """Only that of b=, with the blanks around it; bh= and what ends in b stay."""
        for raw, wanted in (
            (b"X: a=1; b=QQ==; bh=x\r\n", b"X: a=1; b=; bh=x\r\n"),
            (b"X: bh=x;\r\n b = Q\r\n Q ;c=1\r\n", b"X: bh=x;\r\n b =;c=1\r\n"),
            (b"X:b=QQ\r\n", b"X:b="),
            (b"X: bb=1; a=b\r\n", b"X: bb=1; a=b\r\n"),
        ):
            self.assertEqual(unsigned(raw), wanted)

    def test_fields_are_taken_from_the_bottom(self) -> None:
        """Each name as often as it stands there; what is not there stands for nothing (RFC 6376 section 5.4.2)."""
        fields = by_name(HeaderSection(b"A: 1\r\nB: 2\r\nA: 3\r\n\r\n").fields)
        found = list(signed_fields(fields, ("a", "b", "a", "a", "c"), True))
        self.assertEqual(found, [b"a:3\r\n", b"b:2\r\n", b"a:1\r\n"])
