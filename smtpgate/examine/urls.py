"""The one model of URLs: whatever it stood in, a link is read as a browser would read it.

`Links` gathers those of a whole message, from text, HTML, PDF, codes and headers. Each is normalised by the rules of
browsers (tabs and line feeds inside, backslashes, user parts, numbers for addresses, full-width letters, A-labels), so
that no spelling hides a host. Services that wrap links are opened: what they lead to is a link of its own. Text is
searched up to a cap, and so many links are kept; what is beyond is a limit that was reached.

WHATWG URL standard; RFC 3986; the public suffix list, private section included: a customer's name on a provider's
domain is that customer's.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import can_ada

from smtpgate.examine.facts import Link

#: Letters of text that are searched for links, over a whole message.
TEXT_LETTERS: Final = 262_144
#: Links that are kept of a message; rspamd's max_urls is 10,240.
KEPT: Final = 2000
_URL_LETTERS: Final = 2048
_SHOWN_LETTERS: Final = 500
#: What a browser leaves out inside a URL.
_INSIDE: Final = str.maketrans("", "", "\t\r\n")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:")
_DEFANGED: Final = re.compile(r"^hxxps?", re.IGNORECASE)
#: A word that ends in one of these is a file in a text, though a country has it too.
_FILE_ENDINGS: Final = frozenset({"py", "sh", "pl", "rs", "md", "cc", "so", "zip", "mov", "ps", "ai", "vi", "mk", "in"})


@lru_cache(1)
def _suffixes() -> Any:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


@lru_cache(4096)
def registrable(host: str) -> str:
    """The registrable domain of a host name; the host itself where it has none, or is an address."""
    if not host or host.startswith("[") or host.replace(".", "").isdigit():
        return host
    return _suffixes().privatesuffix(host) or host


def has_known_ending(host: str) -> bool:
    """True where the last label is a top-level domain, and no ending of a file."""
    return bool(_suffixes().publicsuffix(host, accept_unknown=False)) and host.rpartition(".")[2] not in _FILE_ENDINGS


@lru_cache(1)
def _finder() -> Any:
    from linkify_it import LinkifyIt

    return LinkifyIt(options={"fuzzy_email": False})


def link(
    raw: str, *, shown: str = "", source: str = "text", tag: str = "", part: str = "", base: str = ""
) -> Link | None:
    """A link as a browser reads it; None for one that leads nowhere.

    :param base: what relative ones are relative to
    """
    text = raw.strip().translate(_INSIDE)[: 4 * _URL_LETTERS]
    if not text or text.startswith("#"):
        return None
    if text.startswith(("\\\\", "//", "\\/", "/\\")):
        text = "https:" + text
    elif _SCHEME.match(text) is None:
        if not base:
            return None
        text = base.rstrip("/") + "/" + text.lstrip("/\\")
    scheme = text.partition(":")[0].lower()
    if scheme in ("mailto", "tel", "sms", "callto", "cid", "mid", "about"):
        return Link(text[:_URL_LETTERS], raw[:_URL_LETTERS], scheme, "", "", shown[:_SHOWN_LETTERS], source, tag, part)
    if scheme in ("javascript", "vbscript", "data"):
        return Link(text[:_URL_LETTERS], raw[:200], scheme, "", "", shown[:_SHOWN_LETTERS], source, tag, part)
    try:
        parsed = can_ada.parse(text)
    except ValueError:
        try:
            # Blanks and brackets where none may be: browsers cut there, or refuse; the host is what counts.
            parsed = can_ada.parse(re.split(r"[\s<>\"]", text, maxsplit=1)[0])
        except ValueError:
            return None
    host = parsed.hostname.rstrip(".")
    return Link(
        parsed.href[:_URL_LETTERS],
        raw[:_URL_LETTERS],
        parsed.protocol.rstrip(":"),
        host,
        registrable(host),
        " ".join(shown.split())[:_SHOWN_LETTERS],
        source,
        tag,
        part,
        parsed.has_credentials(),
    )


def unwrapped(one: Link) -> str:
    """Where a wrapping service leads to, told by the form of its URL alone; "" for a link that wraps nothing."""
    if one.scheme not in ("http", "https"):
        return ""
    parts = urlsplit(one.url)
    path = parts.path
    if one.host == "urldefense.com" and path.startswith("/v3/"):
        return path.partition("/v3/__")[2].partition("__;")[0].replace("https:/", "https://", 1)
    if one.host == "urldefense.proofpoint.com":
        text = dict(parse_qsl(parts.query)).get("u", "")
        return unquote(text.replace("-", "%").replace("_", "/")) if path.startswith("/v2") else text
    for name, value in parse_qsl(parts.query, max_num_fields=50) if parts.query.count("&") < 50 else []:
        if value[:8].lower().startswith(("http://", "https://", "http%3a", "https%3a")):
            return unquote(value)
        if name.lower() in ("url", "u", "target", "dest") and value[:4] in ("aHR0",):
            return _from_base64(value)
    inside = re.search(r"/(https?:/{1,2}[^/].*)$", path)
    return inside[1].replace(":/", "://", 1).replace(":///", "://") if inside else ""


def _from_base64(text: str) -> str:
    try:
        return binascii.a2b_base64(text + "==").decode("utf-8", "replace")
    except binascii.Error:
        return ""


def in_text(text: str) -> Iterator[str]:
    """The URLs in a text as they stand, and bare host names; no mail addresses."""
    for found in _finder().match(text) or ():
        if found.schema == "mailto:":
            continue
        if not found.schema and found.raw.rpartition(".")[2].lower() in _FILE_ENDINGS and "/" not in found.raw:
            continue
        yield found.url
    yield from _defanged_words(text)


def _defanged_words(text: str) -> Iterator[str]:
    if "hxxp" not in text.lower():
        return
    for word in text.split():
        if _DEFANGED.match(word):
            yield _DEFANGED.sub("http", word).replace("[.]", ".").replace("(.)", ".")


class Links:
    """The links of one message, each once for each place and text."""

    def __init__(self) -> None:
        self._links: dict[Link, None] = {}
        self._letters = TEXT_LETTERS
        self.is_cut = False
        self.count = 0

    def add(self, raw: str, **given: str) -> Link | None:
        """Take one in, and what it leads to where it is wrapped."""
        self.count += 1
        if len(self._links) >= KEPT:
            self.is_cut = True
            return None
        made = link(raw, **given)
        if made is None:
            return None
        self._links[made] = None
        inner = unwrapped(made)
        if inner:
            opened = link(inner, **{**given, "base": ""})
            if opened is not None and opened.host:
                self._links[opened] = None
        return made

    def search(self, text: str, source: str, part: str) -> None:
        """Take those of a text in."""
        if len(text) > self._letters:
            self.is_cut = True
        text, self._letters = text[: self._letters], max(0, self._letters - len(text))
        for raw in in_text(text) if text else ():
            self.add(raw, source=source, part=part)

    def all(self) -> tuple[Link, ...]:
        """In the order in which they came."""
        return tuple(self._links)
