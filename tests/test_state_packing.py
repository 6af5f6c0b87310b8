"""Tests of smtpgate.state.packing: a session's record as a few octets."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.policy.record import compact, expand
from smtpgate.state import packing
from smtpgate.state.packing import pack, unpack
from tests.observe_kit import HOSTILE, finding, session, transaction, verdict

TEXT = st.text(alphabet=st.characters(codec=None), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def record(messages: int = 1) -> list[Any]:
    """A usual session."""
    facts = session()
    found = finding()
    for _ in range(messages):
        transaction(facts, findings=[found], verdict=verdict(found), notes=["bare_newline"])
    return compact(facts, facts.ended)


class PackingTests(SynchronousTestCase):
    """`pack` and `unpack`."""

    def test_a_record_comes_back_as_it_was(self) -> None:
        """With its names it would take twice the room; of many messages it takes a fraction of that."""
        for messages, share in ((1, 0.5), (20, 0.1)):
            made = record(messages)
            octets = pack(made)
            self.assertEqual(unpack(octets), made)
            self.assertLess(len(octets), share * len(json.dumps(expand(made))))

    @given(st.dictionaries(TEXT, VALUES, max_size=6))
    def test_any_record_comes_back(self, made: dict[str, Any]) -> None:
        """Also with half a surrogate pair in it, which UTF-8 cannot write."""
        self.assertEqual(unpack(pack(made)), made)

    def test_what_peers_say_to_break_things(self) -> None:
        """It comes back as it was said."""
        for text in HOSTILE:
            facts = session(helo=text, client_name=text, user=text)
            transaction(facts)
            made = compact(facts, facts.ended)
            self.assertEqual(unpack(pack(made)), made, text[:20])

    def test_records_do_not_depend_on_each_other(self) -> None:
        """Each can be read alone, in any order."""
        records = [{"id": str(number), "text": "x" * number} for number in range(50)]
        packed = [pack(one) for one in records]
        self.assertEqual([unpack(one) for one in reversed(packed)], records[::-1])

    def test_records_of_the_first_format_are_read(self) -> None:
        """They were plain zlib."""
        self.assertEqual(unpack(zlib.compress(b'{"id":"x"}')), {"id": "x"})

    def test_records_of_the_second_format_are_read(self) -> None:
        """They were compressed against a sample, which is part of that format."""
        octets = "AYOWJQaG3haOBh7OoZbmhib+ni7ubm4hFr5mHpYWQAMJ1Q4UFL+1+Ep6lCIPUbQlOsAqBGj5hS0n1sbWAgA="
        read = unpack(base64.b64decode(octets))
        self.assertEqual(read["tls"], {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384"})
        self.assertEqual(read["messages"], [{"sender": "<a@example.org>", "outcome": "delivered"}])
        self.assertEqual((read["id"], read["is_live"]), ("01K8A0HCU9714OIDGFFT8M6H98", False))

    def test_the_sample_is_part_of_the_format(self) -> None:
        """Another one would make what is on the disk unreadable: then it gets another mark, and this stays."""
        digest = hashlib.sha256(packing._SAMPLE).hexdigest()
        self.assertEqual(digest, "4011655ab82b0ae7bcdc9602e6b30ecca32d93e4de007f8d19d61647aa407065")

    def test_damage_is_told(self) -> None:
        """Wherever it is."""
        for octets in (pack(record()), pack(record(20))):
            for damaged in (octets[:-5], octets[: len(octets) // 2], octets[:1]):
                self.assertRaises(ValueError, unpack, damaged)
        for damaged in (b"", b"x", pack(record())[1:], *(mark + b"\xff" * 50 for mark in (b"\x01", b"\x02", b"\x03"))):
            self.assertRaises(ValueError, unpack, damaged)
