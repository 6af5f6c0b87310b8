"""At the door of every request: is it meant for us, who asks, and may it change anything.

A request passes, in this order: the Host header is one of ours (DNS rebinding); an unsafe method comes from
our own pages (Origin, Sec-Fetch-Site); the principal is found by bearer token or cookie; an unsafe request of
a cookie's session brings the session's CSRF token. Nothing here knows a page or a route.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from smtpgate.admin.permission import Principal
from smtpgate.admin.wire import WebRequest
from smtpgate.config.endpoint import is_loopback
from smtpgate.config.model import Settings

#: Methods that change nothing.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: The cookie where the browser came by TLS; no other site and no plain connection can set it.
SECURE_COOKIE = "__Host-sg"
#: The cookie on plain loopback HTTP, where `__Host-` cannot be had.
LOCAL_COOKIE = "sg-local"
#: Binds a login or setup form to the browser that fetched it.
FORM_COOKIE = "sg-form"
#: The colours that somebody chose; "" and anything else: those of the system.
THEME_COOKIE = "sg-theme"
THEMES: Final = ("light", "dark")
#: How a browser sends a form with files.
MULTIPART: Final = "multipart/form-data"
#: RFC 2046 section 5.1.1; browsers make letters and digits.
_BOUNDARY: Final = re.compile(r"""boundary=(?:"([\x21\x23-\x7e ]{1,70})"|([A-Za-z0-9'()+_,./:=?-]{1,70}))\s*(?:;|$)""")
_DISPOSITION: Final = re.compile(
    rb"""(?im)^content-disposition:[ ]?form-data;[ ]?name="([^"\r\n]{1,80})"(?:;[ ]?filename="([^"\r\n]*)")?"""
)
#: Fields of one form.
FORM_FIELDS = 50


class Refusal(Exception):
    """The request is not served: a problem slug, its status, and what to say."""

    def __init__(self, slug: str, status: int, detail: str, seconds: float = 0.0) -> None:
        super().__init__(detail)
        self.slug = slug
        self.status = status
        self.detail = detail
        self.seconds = seconds
        self.headers: dict[str, str] = {}
        self.errors: list[dict[str, str]] = []
        #: What else the problem says.
        self.more: dict[str, Any] = {}


_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


def split_host(host: str) -> str:
    """The name in a Host header, lower case, without port and brackets; "" where it is no host."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower().removesuffix(".") if match is not None else ""


class Caller:
    """The outer facts of one request.

    :ivar is_near: it comes from this machine and through no proxy
    :ivar is_secure: the browser's own connection has TLS
    :ivar address: who asks; behind a proxy on this machine, whom the proxy names
    """

    def __init__(self, request: WebRequest, settings: Settings, door: str) -> None:
        self.request = request
        self.door = door
        self.method = request.method.decode("latin-1")
        self.host = request.header("host")
        self.name = split_host(self.host)
        peer = request.peer_ip
        forwarded = request.header("x-forwarded-for") or request.header("forwarded") or request.header("x-real-ip")
        is_peer_near = not peer or is_loopback(peer)
        is_named_near = is_loopback(self.name)
        #: Who it is, once that is known; and what the audit says of all requests now.
        self.principal: Principal | None = None
        self.facts: Mapping[str, Any] = {}
        #: Changes that the audit has by now as done, and that are not `made` yet: who, action and target.
        self.written: list[tuple[Any, str, str]] = []
        self.is_near = is_peer_near and is_named_near and not forwarded
        trusts_proxy = is_peer_near and self.name in settings.admin.trusted_hosts
        says_https = trusts_proxy and request.header("x-forwarded-proto") == "https"
        # A name that is not this machine's own, on a listener that only this machine reaches, is a proxy's.
        self.is_secure = (
            bool(request.isSecure())
            or says_https
            or (is_peer_near and not is_named_near and not settings.admin.insecure)
        )
        self.address = peer
        if trusts_proxy and request.header("x-forwarded-for"):
            self.address = request.header("x-forwarded-for").rpartition(",")[2].strip()[:45]
        self._known = {
            "localhost",
            "127.0.0.1",
            "::1",
            settings.hostname.lower(),
            *settings.admin.trusted_hosts,
        }

    def made(self) -> None:
        """The changes that the audit has are made, and nothing that fails from here on takes them back."""
        self.written.clear()

    @property
    def is_safe(self) -> bool:
        """True for methods that change nothing."""
        return self.method in SAFE_METHODS

    def check(self) -> None:
        """Raises Refusal where the request is not meant for us or was made by a foreign page."""
        if self.door == "local":
            return
        if self.name not in self._known:
            raise Refusal("misdirected", 421, "this host name is not one of ours; see admin.trusted_hosts")
        if not self.is_safe:
            self._check_origin()

    def _check_origin(self) -> None:
        site = self.request.header("sec-fetch-site")
        if site and site not in ("same-origin", "none"):
            raise Refusal("csrf", 403, "this request was made by a page of another site")
        origin = self.request.header("origin")
        # Our own pages send no referrer, and then a browser's form has the origin "null"; what says that it is ours is
        # Sec-Fetch-Site, which no page can set.
        if origin and not (origin == "null" and site == "same-origin"):
            try:
                netloc = urlsplit(origin).netloc
            except ValueError:
                netloc = ""
            if not netloc or netloc.lower() != self.host.lower():
                raise Refusal("csrf", 403, "this request was made by a page of another site")

    # Cookies

    @property
    def cookie_name(self) -> str:
        """What the session's cookie is called on this connection."""
        return SECURE_COOKIE if self.is_secure else LOCAL_COOKIE

    def cookie(self, name: str, value: str, seconds: int | None = None, site: str = "Strict") -> str:
        """A Set-Cookie line; seconds 0 takes the cookie away."""
        line = f"{name}={value}; Path=/; HttpOnly; SameSite={site}"
        if self.is_secure:
            line += "; Secure"
        return line if seconds is None else f"{line}; Max-Age={seconds}"

    def sent_cookie(self, name: str) -> str:
        """A cookie's value; "" without one, or where it was sent twice."""
        found = []
        for line in self.request.headers_of("cookie"):
            for pair in line.split(";"):
                key, equals, value = pair.strip().partition("=")
                if equals and key == name:
                    found.append(value)
        return found[0] if len(found) == 1 else ""

    @property
    def theme(self) -> str:
        """The colours that this browser's user chose; "" for those of the system."""
        chosen = self.sent_cookie(THEME_COOKIE)
        return chosen if chosen in THEMES else ""

    @property
    def bearer(self) -> str:
        """The token of an Authorization header; "" without one."""
        kind, _, token = self.request.header("authorization").partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""

    # Bodies

    def form(self, takes_files: bool = False) -> tuple[dict[str, str], dict[str, bytes]]:
        """The fields of a form, and its files; raises Refusal where the body is none."""
        not_packed(self.request)
        said = self.request.header("content-type")
        kind = said.partition(";")[0].strip().lower()
        if kind == MULTIPART and takes_files:
            return parts_of(self.request.body, said)
        if kind != "application/x-www-form-urlencoded":
            other = f" or {MULTIPART}" if takes_files else ""
            raise Refusal("media-type", 415, f"send a form as application/x-www-form-urlencoded{other}")
        try:
            text = self.request.body.decode("ascii")
            fields = parse_qs(
                text, keep_blank_values=True, max_num_fields=FORM_FIELDS, encoding="utf-8", errors="strict"
            )
        except ValueError:
            raise Refusal("malformed", 400, "the form cannot be read") from None
        return {name: values[0] for name, values in fields.items()}, {}

    def check_csrf(self, principal: Principal, form: dict[str, str] | None) -> None:
        """Raises Refusal where an unsafe request of a browser's session has not its token."""
        if self.is_safe or not principal.csrf:
            return
        sent = self.request.header("x-csrf-token") or (form or {}).get("csrf", "")
        if not hmac.compare_digest(sent.encode("utf-8", "replace"), principal.csrf.encode()):
            raise Refusal("csrf", 403, "the form has no valid token; load the page anew and send it again")


def parts_of(body: bytes, content_type: str) -> tuple[dict[str, str], dict[str, bytes]]:
    """Fields and files of a form that a browser sends in parts (RFC 7578), the first of each name.

    One pass over the octets. A file field that was left empty is not there. Raises Refusal where it cannot be read.
    """
    malformed = Refusal("malformed", 400, "the form cannot be read")
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise malformed
    mark = b"--" + (found[1] or found[2]).encode("ascii")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark, FORM_FIELDS + 2)
    if pieces[0] or len(pieces) < 2 or len(pieces) > FORM_FIELDS + 1 or not pieces[-1].startswith(b"--"):
        raise malformed
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        about = _DISPOSITION.search(head)
        if not blank or about is None:
            raise malformed
        try:
            name = about[1].decode("utf-8")
            if about[2] is None:
                fields.setdefault(name, content.decode("utf-8"))
            elif content or about[2]:
                files.setdefault(name, content)
        except UnicodeDecodeError:
            raise malformed from None
    return fields, files


class FormKeys:
    """Tokens for the forms of those who have no session yet: login and setup."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(self, caller: Caller) -> tuple[str, str]:
        """The form's token, and the Set-Cookie line that goes with it ("" where the browser has one)."""
        nonce = caller.sent_cookie(FORM_COOKIE)
        if len(nonce) != 32 or not nonce.isalnum():
            nonce = secrets.token_hex(16)
            return self._token(nonce), caller.cookie(FORM_COOKIE, nonce)
        return self._token(nonce), ""

    def check(self, caller: Caller, form: dict[str, str]) -> None:
        """Raises Refusal where the form was not fetched by this browser."""
        nonce = caller.sent_cookie(FORM_COOKIE)
        if not nonce or not hmac.compare_digest(
            form.get("csrf", "").encode("utf-8", "replace"), self._token(nonce).encode()
        ):
            raise Refusal("csrf", 403, "the form has no valid token; load the page anew and send it again")

    def _token(self, nonce: str) -> str:
        return hmac.new(self._key, nonce.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def not_packed(request: Any) -> None:
    """Raises Refusal for a body in a coding: what is unpacked could be of any size (RFC 9110 section 15.5.16)."""
    if request.header("content-encoding").strip().lower() not in ("", "identity"):
        raise Refusal("media-type", 415, "send the body as it is, without a Content-Encoding")


def content_json(request: Any) -> bytes:
    """The body of a JSON request; raises Refusal for other content types, which foreign forms could send."""
    not_packed(request)
    body: bytes = request.body
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        raise Refusal("media-type", 415, "send application/json")
    return body
