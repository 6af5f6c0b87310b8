"""What a manager is shown of one held message: the jobs "view" and "page" of a child process.

"view" is the examination (`look`) with what people ask besides: the fields of the header, the way it came with what
each hop took, what each part is by its octets, and what of it is made to be taken for something else. "page" is one
part of HTML as it may be shown (`sanitised`).

RFC 5322 section 3.6.7 and RFC 5321 section 4.4 (Received); RFC 2392 (Content-ID).
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

import attrs

from smtpgate.examine.brands import BRANDS
from smtpgate.examine.facts import Facts, Link, to_plain
from smtpgate.examine.kinds import kind_of
from smtpgate.examine.look import Limits, examine
from smtpgate.examine.mapped import whole
from smtpgate.examine.sanitised import LETTERS, PICTURE_OCTETS, sanitised
from smtpgate.examine.skeleton import is_mixed, looks_like, unicode_host
from smtpgate.examine.texts import for_display
from smtpgate.examine.urls import has_known_ending, registrable
from smtpgate.message.header import HeaderSection
from smtpgate.message.mime import Message, MimeLimits, walk
from smtpgate.message.parts import Part
from smtpgate.message.words import decode, to_text

#: Fields that are shown, and letters of one. The limit of hops is that of a loop (`limits.received_hops`).
FIELDS: Final = 300
FIELD_LETTERS: Final = 2000
HOPS: Final = 100
#: Warnings of one kind.
WARNED: Final = 10
_DATE_LETTERS: Final = 100
_CLAUSE: Final = re.compile(r"(?:^|\s)(from|by|with|for)\s+(\S{1,200})", re.IGNORECASE)
_COMMENT: Final = re.compile(r"\([^()]{0,500}\)")
_ADDRESS: Final = re.compile(r"[^\s@<>\"'(),;:]{1,64}@([A-Za-z0-9.-]{3,253})")
_SHOWN_HOST: Final = re.compile(r"(?:https?://)?((?:[\w-]{1,63}\.){1,10}[\w-]{2,63})(?=[/:?#\s]|$)", re.IGNORECASE)


@attrs.frozen
class Hop:
    """One line Received, the oldest first.

    :ivar time: seconds since the epoch; 0.0 where it says none that can be read
    """

    sender: str = ""
    receiver: str = ""
    protocol: str = ""
    time: float = 0.0


@attrs.frozen
class Piece:
    """A part by its octets.

    :ivar digest: SHA-256 in hex of what it is decoded to, and `octets` how much that is
    :ivar kind: as `facts.KINDS`; `detail` a word on it
    """

    number: str
    octets: int = 0
    digest: str = ""
    kind: str = ""
    detail: str = ""


@attrs.frozen
class Warned:
    """Something that is made to be taken for something else.

    :ivar kind: a word that stays; `shown` what a reader sees, `real` what it is
    """

    kind: str
    shown: str = ""
    real: str = ""


@attrs.frozen
class Field:
    """A field of the header, decoded, on one line."""

    name: str
    value: str


@attrs.frozen
class View:
    """All of it."""

    facts: Facts = Facts()
    fields: tuple[Field, ...] = ()
    hops: tuple[Hop, ...] = ()
    pieces: tuple[Piece, ...] = ()
    warned: tuple[Warned, ...] = ()


def view(content: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The job "view".

    Request: `limits` as for "examine"; `own`: domains that nobody else may look like.
    """
    octets = whole(content)
    limits = Limits.of(request)
    facts = examine(octets, limits)
    message = walk(octets, MimeLimits(depth=limits.depth, parts=limits.parts))
    header = message.parts[0].header
    own = tuple(str(one) for one in request.get("own", ()))
    found = View(facts, _fields(header), _hops(header), _pieces(message), _warned(facts, own))
    plain: dict[str, Any] = to_plain(found)
    return plain


def page(content: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The job "page": `html` in base64, `links`, `away` and `is_cut`, or nothing where there is no such part.

    Request: `part`, a number of the usual reading.
    """
    message = walk(whole(content), MimeLimits())
    part = part_of(message, str(request.get("part", "")))
    if part is None or part.media_type != "text/html":
        return {}
    named = {
        name: one
        for one in message.parts
        if one.reading == 0 and not one.is_container
        for name in [one.header.first("content-id").decode("latin-1").strip(" \t<>")]
        if name
    }

    def picture(name: str) -> bytes | None:
        one = named.get(name)
        return one.decoded(PICTURE_OCTETS + 1) if one is not None else None

    made = sanitised(to_text(part.decoded(4 * LETTERS), part.charset), picture)
    written = base64.b64encode(made.html.encode("utf-8", "replace")).decode("ascii")
    return {"html": written, "links": made.links, "away": made.away, "is_cut": made.is_cut}


def part_of(message: Message, number: str) -> Part | None:
    """The part of that number in the usual reading."""
    return next((one for one in message.parts if one.reading == 0 and one.number == number), None)


def _fields(header: HeaderSection) -> tuple[Field, ...]:
    out = []
    for field in header.fields[:FIELDS]:
        name = field.raw.partition(b":")[0].decode("ascii", "replace").strip()
        out.append(Field(for_display(name, 100), for_display(decode(field.value[: 8 * FIELD_LETTERS]), FIELD_LETTERS)))
    return tuple(out)


def _hops(header: HeaderSection) -> tuple[Hop, ...]:
    """The way it came, the oldest first."""
    return tuple(_hop(value) for value in reversed(header.all("received")[:HOPS]))


def _hop(value: bytes) -> Hop:
    text = " ".join(value[:4000].decode("utf-8", "replace").split())
    trace, _, date = text.rpartition(";")
    # Comments in comments, from the innermost out.
    for _ in range(4):
        trace = _COMMENT.sub(" ", trace)
    said: dict[str, str] = {}
    for found in _CLAUSE.finditer(trace or text):
        said.setdefault(found[1].lower(), found[2])
    when = 0.0
    try:
        moment = parsedate_to_datetime(date.strip()[:_DATE_LETTERS])
        when = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        pass
    return Hop(
        for_display(said.get("from", ""), 200),
        for_display(said.get("by", ""), 200),
        for_display(said.get("with", ""), 40),
        when if 0 < when < 1e11 else 0.0,
    )


def _pieces(message: Message) -> tuple[Piece, ...]:
    out = []
    for part in message.parts:
        if part.reading or part.is_container:
            continue
        octets = part.decoded()
        known = kind_of(octets, part.names, part.media_type)
        out.append(
            Piece(part.number, len(octets), hashlib.sha256(octets).hexdigest(), known.kind, for_display(known.detail))
        )
    return tuple(out)


# What is made to be taken for something else


def _warned(facts: Facts, own: tuple[str, ...]) -> tuple[Warned, ...]:
    found: dict[Warned, None] = {}
    houses = frozenset(registrable(one.domain) for one in facts.authors if one.domain)
    targets = (*own, *(brand.domains[0] for brand in BRANDS))
    for author in facts.authors:
        named = _ADDRESS.search(author.name)
        if named is not None and registrable(named[1].lower().rstrip(".")) != registrable(author.domain):
            found[_warning("name-is-address", author.name, author.address)] = None
        _look_alike(found, author.domain, "author-looks-like", targets)
    for reply in facts.replies:
        if reply.domain and houses and registrable(reply.domain) not in houses:
            found[_warning("answers-elsewhere", ", ".join(one.address for one in facts.authors), reply.address)] = None
    for link in facts.links:
        _of_link(found, link, targets)
    counts: dict[str, int] = {}
    kept = []
    for one in found:
        counts[one.kind] = counts.get(one.kind, 0) + 1
        if counts[one.kind] <= WARNED:
            kept.append(one)
    return tuple(kept)


def _of_link(found: dict[Warned, None], link: Link, targets: tuple[str, ...]) -> None:
    if link.tag in ("img", "link") or not link.scheme:
        return
    if link.scheme in ("javascript", "vbscript") or link.scheme == "data" and link.tag in ("a", "area"):
        found[_warning("active-link", link.shown, f"{link.scheme}:")] = None
    if not link.host:
        return
    shown = _SHOWN_HOST.match(link.shown.strip()) if link.tag in ("a", "area") and "@" not in link.shown else None
    if shown is not None:
        host = shown[1].lower()
        if has_known_ending(host) and registrable(host) != link.domain:
            found[_warning("text-is-other-host", host, link.host)] = None
    if link.has_user:
        found[_warning("user-before-host", link.raw, link.host)] = None
    if link.host.startswith("[") or link.host.replace(".", "").isdigit():
        found[_warning("number-host", link.shown or link.url, link.host)] = None
    _look_alike(found, link.host, "link-looks-like", targets)


def _look_alike(found: dict[Warned, None], host: str, kind: str, targets: tuple[str, ...]) -> None:
    if not host:
        return
    alike = looks_like(host, targets)
    if alike is not None:
        found[_warning(kind, alike[0], host)] = None
    elif any(is_mixed(label) for label in unicode_host(host).split(".")):
        found[_warning("mixed-letters", unicode_host(host), host)] = None


def _warning(kind: str, shown: str, real: str) -> Warned:
    return Warned(kind, for_display(shown, 300), for_display(real, 300))
