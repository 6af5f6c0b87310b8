"""Signed tokens: whatever comes, it is believed or refused with a reason, and nothing else happens."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.issuer import Wanted, check_claims, factor_of, groups_of
from smtpgate.admin.jose import ALGORITHMS, Token, Untrusted, find_key, from_base64, read_json, read_token, verify
from smtpgate.config.model_sso import Provider
from tests.oidc_kit import EC_KEY, RSA_KEY, b64, compact

_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_CLAIMS = ("iss", "aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "sub", "auth_time", "groups", "acr", "amr")
_HEADER = ("alg", "kid", "typ", "jwk", "crit", "x")
_KEY = ("kty", "use", "alg", "crv", "key_ops", "n", "e", "x", "y", "kid")
PROVIDER = Provider("corp", "https://id.example.com", "smtpgate", "secret", second_factor=frozenset({"mfa"}))
WANTED = Wanted(lambda nonce: nonce == "n", 1000.0, is_fresh=True)
GOOD = {
    "iss": PROVIDER.issuer, "aud": "smtpgate", "exp": 1300, "iat": 1000, "nonce": "n", "sub": "u", "auth_time": 1000,
}  # fmt: skip


class AnythingTests(SynchronousTestCase):
    """No token is a fault of the gateway."""

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=200) | st.lists(st.text("AZaz09-_=", max_size=20), max_size=5).map(".".join))
    def test_any_text(self, text: str) -> None:
        """It is no token."""
        with self.assertRaises(Untrusted):
            read_token(text, list(ALGORITHMS))

    @settings(max_examples=200, deadline=None)
    @given(st.dictionaries(st.sampled_from(_HEADER), _VALUES), st.dictionaries(st.sampled_from(_CLAIMS), _VALUES))
    def test_any_header_and_claims(self, header: dict[str, Any], claims: dict[str, Any]) -> None:
        """Of any kind: never believed, since one claim at least is wrong, or it is not signed with what it says."""
        header = {"alg": "RS256", **header}
        try:
            token = read_token(compact(header, claims, lambda _: os.urandom(256)), ["RS256", "ES256"])
            key = find_key([RSA_KEY.jwk(), EC_KEY.jwk()], token)
        except Untrusted:
            return
        if key is not None:
            self.assertRaises(Untrusted, verify, token, key)

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(_CLAIMS), _VALUES)
    def test_one_claim_that_is_anything(self, name: str, value: Any) -> None:
        """Refused with words, or right."""
        token = Token("RS256", "", {**GOOD, name: value}, b"", b"")
        try:
            check_claims(token, "", PROVIDER, WANTED, 1000.0)
        except Untrusted as error:
            self.assertTrue(str(error).isprintable(), str(error))
        else:
            told = token.claims["iss"], token.claims["nonce"]
            self.assertEqual(told, (PROVIDER.issuer, "n"))
            self.assertIn(token.claims["aud"], ("smtpgate", ["smtpgate"]))
        try:
            found = groups_of(token.claims, "groups")
        except Untrusted:
            found = []
        self.assertTrue(all(isinstance(one, str) for one in found))
        self.assertIn(factor_of(token.claims, PROVIDER), (True, False))

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(_KEY), _VALUES, st.booleans())
    def test_one_word_of_a_key_that_is_anything(self, name: str, value: Any, is_curve: bool) -> None:
        """A key that is none opens nothing, and one that is right is the one that signed."""
        signer = EC_KEY if is_curve else RSA_KEY
        algorithm = "ES256" if is_curve else "RS256"
        header = {"alg": algorithm, "kid": signer.id}
        token = read_token(compact(header, GOOD, signer.sign), [algorithm])
        try:
            key = find_key([{**signer.jwk(), name: value}], token)
            if key is not None:
                verify(token, key)
                self.assertEqual(
                    [key[part] for part in ("n", "e", "x", "y") if part in signer.jwk()],
                    [signer.jwk()[part] for part in ("n", "e", "x", "y") if part in signer.jwk()],
                )
        except Untrusted:
            pass

    def test_a_good_one(self) -> None:
        """Both kinds; and each octet that is another is not."""
        for signer, algorithm in ((RSA_KEY, "RS256"), (EC_KEY, "ES256")):
            text = compact({"alg": algorithm, "kid": signer.id}, GOOD, signer.sign)
            token = read_token(text, [algorithm])
            verify(token, signer.jwk())
            check_claims(token, "", PROVIDER, WANTED, 1000.0)
            for place in range(0, len(token.signature), 37):
                wrong = bytearray(token.signature)
                wrong[place] ^= 1
                bad = Token(token.algorithm, token.key_id, token.claims, token.signed, bytes(wrong))
                self.assertRaises(Untrusted, verify, bad, signer.jwk())

    def test_one_form_of_base64(self) -> None:
        """Bits that mean nothing are none, or a token would have several texts."""
        self.assertEqual(from_base64(b"AA", "x"), b"\0")
        for text in (b"AB", b"A", b"AA==", b"A A", b"+/", b"AA\n"):
            self.assertRaises(Untrusted, from_base64, text, "x")

    def test_json_that_has_two_meanings(self) -> None:
        """Keys twice at any depth, numbers that are none, other encodings."""
        for text in ('{"a": {"b": 1, "b": 2}}', '{"a": Infinity}', "[" * 100_000, '{"a": 1' + "0" * 5000 + "}"):
            self.assertRaises(Untrusted, read_json, text.encode(), "x")
        self.assertRaises(Untrusted, read_json, '{"a": 1}'.encode("utf-16"), "x")
        self.assertRaises(Untrusted, read_json, b'\xff{"a": 1}', "x")
        self.assertEqual(read_json(json.dumps({"a": 1}).encode(), "x"), {"a": 1})
        self.assertEqual(b64(b"\0"), "AA")
