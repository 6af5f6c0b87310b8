"""What a route gives back, and what every answer bears: the headers that keep browsers safe, and links that lead to
where a proxy has these pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import attrs

#: Where browsers say what they kept a page from.
REPORTS = "/csp-report"
_CSP = (
    "default-src 'none'; script-src {script}; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types {types}; report-uri " + REPORTS
)
CSP = _CSP.format(script="'self'", types="'none'")
#: What browsers could do for a page and these pages have no use for.
_FEATURES = (
    "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "fullscreen", "geolocation",
    "gyroscope", "magnetometer", "microphone", "midi", "payment", "picture-in-picture", "publickey-credentials-get",
    "screen-wake-lock", "usb", "xr-spatial-tracking",
)  # fmt: skip
#: Sent with every answer.
SAFE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{name}=()" for name in _FEATURES),
    "Cache-Control": "no-store",
}
#: With answers that go through TLS (RFC 6797); other names below this one are not ours to speak for.
STRICT_TRANSPORT: Mapping[str, str] = {"Strict-Transport-Security": "max-age=31536000"}


def content_policy(nonce: str) -> dict[str, str]:
    """The policy of a page with scripts: files of ours only. Of these htmx alone may make markup of text, and `live.js`
    a worker of one of ours. htmx heeds its attributes only where they bear the page's nonce, so markup that somebody
    got into a page moves nothing."""
    return {"Content-Security-Policy": _CSP.format(script=f"'self' 'nonce-{nonce}'", types="htmx smtpgate")}


@attrs.frozen
class Answer:
    """What a route gives back."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = attrs.field(factory=dict)
    cookies: tuple[str, ...] = ()


def html(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A page."""
    return Answer(text.encode("utf-8", "replace"), status, headers=headers or {})


def plain(text: str, status: int = 200) -> Answer:
    """One word, or a few lines."""
    return Answer(f"{text}\n".encode(), status, "text/plain; charset=utf-8")


def as_json(value: object, status: int = 200, content_type: str = "application/json") -> Answer:
    """A JSON value."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Answer(text.encode("utf-8", "replace"), status, content_type)


#: Where a page leads: what our templates write, never foreign text, in which a quotation mark is escaped.
_LINKS = re.compile(
    rb'(\s(?:href|src|action|formaction|hx-get|hx-post|data-series|data-stream|data-from|data-base)=")/(?!/)'
)


def under(prefix: str, answer: Answer) -> Answer:
    """An answer whose links lead to where a proxy has these pages.

    :param prefix: "/gate"; "" where they are at the root
    """
    if not prefix:
        return answer
    headers, body = dict(answer.headers), answer.body
    if headers.get("Location", "").startswith("/"):
        headers["Location"] = prefix + headers["Location"]
    if answer.content_type.startswith("text/html"):
        body = _LINKS.sub(rb"\1" + prefix.encode() + b"/", body)
    return attrs.evolve(answer, headers=headers, body=body)


def redirect(place: str, cookies: tuple[str, ...] = (), headers: Mapping[str, str] | None = None) -> Answer:
    """Go there and look (303): the answer to a form."""
    return Answer(b"", 303, headers={"Location": place, **(headers or {})}, cookies=cookies)
