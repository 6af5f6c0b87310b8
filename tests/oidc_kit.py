"""A provider of identities over TCP that can be made to misbehave: real keys, real HTTP, and a page where one logs in.

`Provider.listen` begins it on a port of loopback. What it says of itself, its keys, and each token can be bent by the
attributes of the same names, or by a call over the finished header and claims.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

CLIENT, SECRET = "smtpgate", "a-secret/of+the client".replace(" ", "-")


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Key:
    """A pair of keys with a name."""

    def __init__(self, id: str, kind: str = "RSA", bits: int = 2048) -> None:
        self.id, self.kind = id, kind
        self.private: Any = (
            rsa.generate_private_key(65537, bits) if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())
        )

    def jwk(self) -> dict[str, Any]:
        """The public half as a set of keys has it."""
        public = self.private.public_key().public_numbers()
        head = {"kid": self.id, "use": "sig"}
        if self.kind == "RSA":
            return {**head, "kty": "RSA", "alg": "RS256", "n": number(public.n), "e": number(public.e)}
        point = {"x": b64(public.x.to_bytes(32, "big")), "y": b64(public.y.to_bytes(32, "big"))}
        return {**head, "kty": "EC", "alg": "ES256", "crv": "P-256", **point}

    def sign(self, data: bytes) -> bytes:
        if self.kind == "RSA":
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())  # type: ignore[no-any-return]
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def pem(self) -> bytes:
        """The public half, which somebody could take for a secret that is shared."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, kind)  # type: ignore[no-any-return]


#: Made once: a key of RSA takes a tenth of a second.
RSA_KEY, EC_KEY, STRANGE_KEY = Key("rsa-1"), Key("ec-1", "EC"), Key("rsa-1")


def compact(header: Any, claims: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token of a header and claims, which may be texts already."""
    parts = [one if isinstance(one, str) else json.dumps(one) for one in (header, claims)]
    signed = ".".join(b64(one.encode()) for one in parts)
    return f"{signed}.{b64(sign(signed.encode()))}"


class Provider:
    """The provider.

    :ivar wall: its clock
    :ivar person: what tokens say of who logs in
    :ivar described: over what it says of itself; `keys`: the keys that it shows; `key`: the one that signs
    :ivar bend: called with header and claims before they are signed
    :ivar token: in place of making a token: called with header and claims
    :ivar hangs: paths that are never answered
    :ivar statuses: by path a status in place of the answer; `bodies`: by path a body
    :ivar asked: paths in the order in which they were asked for
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self.wall = wall
        self.person: dict[str, Any] = {
            "sub": "u-1", "preferred_username": "carla", "email": "ann@example.net", "groups": ["mail-admins"],
        }  # fmt: skip
        self.described: dict[str, Any] = {}
        self.keys: list[Any] = [RSA_KEY.jwk(), EC_KEY.jwk()]
        self.key = RSA_KEY
        self.bend: Callable[[dict[str, Any], dict[str, Any]], None] = lambda header, claims: None
        self.token: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
        self.said: dict[str, str] = {}
        self.hangs: set[str] = set()
        self.statuses: dict[str, int] = {}
        self.bodies: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.forms: list[dict[str, str]] = []
        self.heads: list[str] = []
        self.is_automatic = True
        self.issuer = ""
        self._open: list[Any] = []

    def listen(self, case: Any, host: str = "127.0.0.1") -> str:
        """Begin on a port of its own, until the test is over; the issuer.

        :param host: what it is called; "localhost" is another site than 127.0.0.1 for a browser
        """
        site = Site(_Every(self))
        port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")  # type: ignore[attr-defined]

        def stop() -> Deferred[Any]:
            for request in self._open:
                if request.channel is not None:
                    request.channel.forceAbortClient()
            return maybeDeferred(port.stopListening)

        case.addCleanup(stop)
        self.issuer = f"http://{host}:{port.getHost().port}/realms/staff"
        return self.issuer

    def answer(self, request: Any) -> Any:
        """One request."""
        path = request.path.decode().removeprefix("/realms/staff")
        self.asked.append(path)
        if path in self.hangs:
            self._open.append(request)
            return NOT_DONE_YET
        if path in self.statuses:
            request.setResponseCode(self.statuses[path])
            request.setHeader("Location", "http://127.0.0.1:1/")
            return self.bodies.get(path, b"{}")
        if path in self.bodies:
            return self.bodies[path]
        found = {
            "/.well-known/openid-configuration": self._describe,
            "/keys": lambda request: json.dumps({"keys": self.keys}).encode(),
            "/token": self._tokens,
            "/login": self._login,
            "/logout": lambda request: b"<title>out</title>You are logged out of the provider.",
        }.get(path)
        return found(request) if found is not None else b""

    def _describe(self, request: Any) -> bytes:
        base = self.issuer
        said = {
            "issuer": base,
            "authorization_endpoint": f"{base}/login",
            "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/keys",
            "end_session_endpoint": f"{base}/logout",
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.described,
        }
        return json.dumps({name: value for name, value in said.items() if value is not None}).encode()

    def permit(self, query: dict[str, str]) -> str:
        """Somebody has logged in: the address that the browser is sent back to."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], **self.said})}"

    def _login(self, request: Any) -> bytes:
        query = {name.decode(): values[0].decode() for name, values in request.args.items()}
        if "go" not in query:
            again = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in query.items())
            request.setHeader("Content-Type", "text/html; charset=utf-8")
            return (
                f'<title>provider</title><form>{again}<button name="go" value="1">I am Carla</button></form>'.encode()
            )
        request.setResponseCode(302)
        request.setHeader("Location", self.permit(query))
        return b""

    def _tokens(self, request: Any) -> bytes:
        form = {name: values[0] for name, values in parse_qs(request.content.read().decode()).items()}
        self.forms.append(form)
        self.heads.append(request.getHeader("authorization") or "")
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or challenge != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            request.setResponseCode(400)
            return b'{"error": "invalid_grant"}'
        now, access = int(self.wall()), "an access token"
        claims = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"],
            "at_hash": b64(hashlib.sha256(access.encode()).digest()[:16]), **self.person,
        }  # fmt: skip
        if "max_age" in asked:
            claims["auth_time"] = now
        header = {"alg": "RS256" if self.key.kind == "RSA" else "ES256", "kid": self.key.id, "typ": "JWT"}
        self.bend(header, claims)
        text = self.token(header, claims) if self.token is not None else compact(header, claims, self.key.sign)
        return json.dumps({"access_token": access, "token_type": "Bearer", "id_token": text}).encode()


class _Every(Resource):
    isLeaf = True

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self._provider = provider

    def render_GET(self, request: Any) -> Any:
        return self._provider.answer(request)

    render_POST = render_GET


def shared(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token signed with the public key, as if that were a secret (CVE-2015-9235)."""
    pem = RSA_KEY.pem()
    return compact({**header, "alg": "HS256"}, claims, lambda data: hmac.digest(pem, data, "sha256"))
