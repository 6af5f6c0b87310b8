"""Tests of smtpgate.examine.chain: chains of ARC, whole and broken in each place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import dkim
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine.signatures import verify
from tests.signing_kit import MESSAGE, NOW_S, ed25519_key, keys, pem, record, rsa_key, seal, sign

CLAIMS = "mx.example.org; dmarc=pass header.from=example.org"


def chain(message: bytes, known: dict[str, Any] | None = None) -> tuple[str, str]:
    """Result and reason."""
    arc = verify(message, {"keys": keys() if known is None else known, "now": NOW_S})["arc"]
    return arc["result"], arc["reason"]


def sealed(count: int, message: bytes = MESSAGE) -> bytes:
    """A message with a chain."""
    for instance in range(1, count + 1):
        message = b"Received: by hop %d\r\n" % instance + seal(message, instance)
    return message


class GoodTests(SynchronousTestCase):
    """Chains that pass."""

    def test_chains_of_any_length_pass(self) -> None:
        """Each instance is told with its sealer and its claims."""
        for count in (1, 2, 3, 10):
            arc = verify(sealed(count), {"keys": keys(), "now": NOW_S})["arc"]
            sets = [{"instance": at, "domain": "example.org", "claims": CLAIMS} for at in range(1, count + 1)]
            self.assertEqual(arc, {"result": "pass", "reason": "", "sets": sets})

    def test_fifty_are_the_most(self) -> None:
        """RFC 8617 section 4.2.1."""
        whole = sealed(51)
        self.assertEqual(chain(whole), ("fail", "there are 51 instances"))
        self.assertEqual(chain(whole[whole.index(b"Received: by hop 50\r\n") :]), ("pass", ""))

    def test_what_dkimpy_seals_passes(self) -> None:
        """Another's chains, one set on the other."""
        results = b"Authentication-Results: example.org; dmarc=pass header.from=example.org"
        message = results + b"\r\n" + MESSAGE
        for count in (1, 2, 3):
            made = dkim.arc_sign(message, b"s", b"example.org", pem(rsa_key()), b"example.org", timestamp=str(NOW_S))
            message = b"".join(made) + message
            if count == 1:
                message = message.replace(results, results + b"; arc=none", 1)
            message = message.replace(b"arc=none", b"arc=pass")
            arc = verify(message, {"keys": keys(), "now": NOW_S})["arc"]
            self.assertEqual((arc["result"], len(arc["sets"])), ("pass", count), arc["reason"])

    def test_what_is_sealed_here_passes_there(self) -> None:
        """dkimpy's verifier takes the chains of these tests, so that they test what they say."""
        found = dkim.arc_verify(sealed(3), dnsfunc=lambda name, timeout=5: record().encode())
        self.assertEqual(found[0], b"pass")

    def test_changes_before_the_last_seal_are_no_break(self) -> None:
        """A list changes the message and seals it anew: only the newest signature counts."""
        changed = sealed(1).replace(b"Subject: dinner", b"Subject: [list] dinner") + b"Footer\r\n"
        self.assertEqual(chain(changed)[0], "fail")
        self.assertEqual(chain(seal(changed, 2)), ("pass", ""))

    def test_seals_and_signatures_of_ed25519(self) -> None:
        """RFC 8463 holds for ARC too."""
        made = seal(key=ed25519_key(), a="ed25519-sha256")
        self.assertEqual(chain(made, keys(s=record(ed25519_key()))), ("pass", ""))

    def test_an_order_of_fields_of_their_own(self) -> None:
        """The sets may stand in any order among the other fields."""
        header, end, body = sealed(2).partition(b"\r\n\r\n")
        lines = header.split(b"\r\n")
        self.assertEqual(chain(b"\r\n".join(sorted(lines)) + end + body), ("pass", ""))

    def test_a_chain_and_signatures_do_not_mind_each_other(self) -> None:
        """Both are there, each with its own result."""
        found = verify(sealed(2, sign()), {"keys": keys(), "now": NOW_S})
        self.assertEqual((found["dkim"][0]["result"], found["arc"]["result"]), ("pass", "pass"))


def _drop(name: bytes, at: int = 0) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        lines = message.split(b"\r\n")
        found = [number for number, line in enumerate(lines) if line.startswith(name + b":")]
        del lines[found[at]]
        return b"\r\n".join(lines)

    return change


def _twice(name: bytes) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        line = next(line for line in message.split(b"\r\n") if line.startswith(name + b":"))
        return line + b"\r\n" + message

    return change


def _new(old: bytes, new: bytes, count: int = 1) -> Callable[[bytes], bytes]:
    def change(message: bytes) -> bytes:
        assert old in message, old
        return message.replace(old, new, count)

    return change


SEAL, SIGNATURE, RESULTS = b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"
#: Ways to break a chain of three, and a piece of what is said.
BREAKS: list[tuple[Callable[[bytes], bytes], str]] = [
    (_new(b"Is it", b"It is"), "signature 3: the body was changed"),
    (_new(b"Subject: dinner", b"Subject: lunch"), "signature 3: the header was changed"),
    (_new(b"\r\nFrom:", b"\r\nFrom: eve@example.com\r\nFrom:"), "signature 3: of 2 From fields"),
    (_drop(SEAL), "missing"),
    (_drop(SIGNATURE, 1), "missing"),
    (_drop(RESULTS, 2), "missing"),
    (_twice(SEAL), "there twice"),
    (_twice(RESULTS), "there twice"),
    (lambda message: _twice(SEAL)(_twice(SIGNATURE)(_twice(RESULTS)(message))), "not numbered"),
    (_new(b"i=3", b"i=4", 9), "not numbered"),
    (_new(b"i=1", b"i=0", 9), "not numbered"),
    (_new(b"i=2;", b"i=02x;", 9), "not numbered"),
    (_new(b"ARC-Authentication-Results: i=2; ", b"ARC-Authentication-Results: "), "not numbered"),
    (_new(b"dmarc=pass", b"dmarc=fail"), "seal 3: what it is over was changed"),
    (_new(b"i=1; mx.example.org", b"i=1; mx.example.com"), "seal 1: what it is over was changed"),
    (_new(b"ARC-Seal: i=2; a=rsa-sha256; cv=pass;", b"ARC-Seal: i=2; a=rsa-sha256; cv=none;"), "seal 2 says nothing"),
    (_new(b"cv=none", b"cv=pass"), "seal 1 says nothing"),
    (_new(b"ARC-Seal: i=2; a=rsa-sha256; cv=pass;", b"ARC-Seal: i=2; a=rsa-sha256; cv=fail;"), "failed before"),
    (_new(b" cv=pass;", b""), "says nothing"),
    (_new(b"ARC-Seal: i=3;", b"ARC-Seal: i=3; h=from;"), "has tags of a signature"),
    (_new(b"ARC-Seal: i=3;", b"ARC-Seal: i=3; i=3;"), "no list of tags"),
    (_new(b"ARC-Seal: i=3; a=rsa-sha256", b"ARC-Seal: i=3; a=rsa-sha1"), "seal 3: rsa-sha1"),
    (_new(b"ARC-Seal: i=3; a=rsa-sha256", b"ARC-Seal: i=3; a=none"), "seal 3: a= is no known"),
    (_new(b"ARC-Message-Signature: a=rsa-sha256", b"ARC-Message-Signature: a=rsa-sha1"), "signature 3: rsa"),
    (_new(b"ARC-Message-Signature: a=", b"ARC-Message-Signature: t=x; a="), "signature 3: t= is no number"),
    (_new(b"h=from:", b"h=to:"), "signature 3: From is not signed"),
    (_new(b"h=from:", b"h=arc-seal:from:"), "signature 3 is over seals"),
    (_new(b"ARC-Seal: i=3;", b"ARC-Seal: i=3; t=x;"), "t= is no number"),
]


class BrokenTests(SynchronousTestCase):
    """Chains that fail."""

    def test_each_kind_of_break(self) -> None:
        """Fields, instances, tags, what is sealed and what is signed."""
        whole = sealed(3)
        self.assertEqual(chain(whole), ("pass", ""))
        right = 0
        wrong = []
        for number, (change, wanted) in enumerate(BREAKS):
            word, reason = chain(change(whole))
            if (word, wanted in reason) == ("fail", True):
                right += 1
            else:
                wrong.append((number, wanted, word, reason))
        print(f"\nbroken chains: {right} of {len(BREAKS)} fail as they should", file=sys.__stderr__)
        self.assertEqual(wrong, [])

    def test_a_broken_chain_tells_no_claims(self) -> None:
        """Nobody is to believe them."""
        arc = verify(sealed(2).replace(b"Is it", b"It is"), {"keys": keys(), "now": NOW_S})["arc"]
        self.assertEqual(arc["sets"], [])

    def test_keys_of_a_chain(self) -> None:
        """B-140: one that is missing, revoked or cannot be had makes it fail, and that is said."""
        message = seal(seal(s="old"), 2)
        table: list[tuple[dict[str, Any], tuple[str, str]]] = [
            (keys(s=record(), old=record()), ("pass", "")),
            (keys(s=record(), old="nxdomain"), ("fail", "seal 1: there is no key old._domainkey.example.org")),
            (keys(s=record(), old="timeout"), ("fail", "seal 1: key old._domainkey.example.org: timeout")),
            (keys(s="failed", old=record()), ("fail", "signature 2: key s._domainkey.example.org: failed")),
            (keys(s=record(), old="v=DKIM1; p="), ("fail", "seal 1: the key is revoked")),
            ({}, ("fail", "signature 2: key s._domainkey.example.org: not looked up")),
        ]
        for known, wanted in table:
            self.assertEqual(chain(message, known), wanted)

    def test_the_form_of_a_signature_without_c_is_simple(self) -> None:
        """RFC 8617 section 4.1.2 has the defaults of DKIM."""
        self.assertEqual(chain(seal(signature={"c": None})), ("pass", ""))
        wrong = seal().replace(b" c=relaxed/relaxed;", b"")
        self.assertEqual(chain(wrong)[0], "fail")

    def test_a_field_alone_is_a_broken_chain(self) -> None:
        """Each of the three."""
        for name in (SEAL, SIGNATURE, RESULTS):
            self.assertEqual(chain(name + b": i=1; x=y\r\n" + MESSAGE), ("fail", "a field is missing, or there twice"))

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_nothing_raises(self, data: st.DataObject) -> None:
        """Octets put in and cut out of a chain: always an answer, and a reason with each fail."""
        octets = bytearray(sealed(2))
        pieces = st.sampled_from([b" ", b"\r\n ", b";", b"=", b"i=1;", b"i", b"x", b"\r\nARC-Seal: i=2;", b"\xff", b""])
        for at, new in data.draw(st.lists(st.tuples(st.integers(0, len(octets)), pieces), max_size=3)):
            octets[at : at + data.draw(st.integers(0, 2))] = new
        word, reason = chain(bytes(octets))
        self.assertIn(word, ("pass", "fail", "none"))
        self.assertEqual(bool(reason), word == "fail")
