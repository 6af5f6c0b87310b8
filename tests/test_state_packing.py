"""Tests of smtpgate.state.packing: a session's record as a few octets."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.record import plain
from smtpgate.state import packing
from smtpgate.state.packing import pack, unpack
from tests.observe_kit import HOSTILE, finding, session, transaction, verdict

TEXT = st.text(alphabet=st.characters(codec=None), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def record() -> dict[str, Any]:
    """A usual session."""
    facts = session()
    found = finding()
    transaction(facts, findings=[found], verdict=verdict(found), notes=["bare_newline"])
    return plain(facts, facts.ended)


class PackingTests(SynchronousTestCase):
    """`pack` and `unpack`."""

    def test_a_record_comes_back_as_it_was(self) -> None:
        """And takes a fraction of its room."""
        made = record()
        octets = pack(made)
        self.assertEqual(unpack(octets), made)
        self.assertLess(len(octets), len(json.dumps(made)) // 3)

    @given(st.dictionaries(TEXT, VALUES, max_size=6))
    def test_any_record_comes_back(self, made: dict[str, Any]) -> None:
        """Also with half a surrogate pair in it, which UTF-8 cannot write."""
        self.assertEqual(unpack(pack(made)), made)

    def test_what_peers_say_to_break_things(self) -> None:
        """It comes back as it was said."""
        for text in HOSTILE:
            facts = session(helo=text, client_name=text, user=text)
            transaction(facts)
            made = plain(facts, facts.ended)
            self.assertEqual(unpack(pack(made)), made, text[:20])

    def test_records_do_not_depend_on_each_other(self) -> None:
        """Each can be read alone, in any order."""
        records = [{"id": str(number), "text": "x" * number} for number in range(50)]
        packed = [pack(one) for one in records]
        self.assertEqual([unpack(one) for one in reversed(packed)], records[::-1])

    def test_records_of_the_first_format_are_read(self) -> None:
        """They were plain zlib."""
        self.assertEqual(unpack(zlib.compress(b'{"id":"x"}')), {"id": "x"})

    def test_the_sample_is_part_of_the_format(self) -> None:
        """Another one would make what is on the disk unreadable: then it gets another mark, and this stays."""
        digest = hashlib.sha256(packing._SAMPLE).hexdigest()
        self.assertEqual(digest, "4011655ab82b0ae7bcdc9602e6b30ecca32d93e4de007f8d19d61647aa407065")

    def test_damage_is_told(self) -> None:
        """Wherever it is."""
        octets = pack(record())
        for damaged in (
            b"",
            b"\x01",
            b"x",
            octets[:-5],
            octets[: len(octets) // 2],
            octets[1:],
            b"\x01" + b"\xff" * 50,
        ):
            self.assertRaises(ValueError, unpack, damaged)
