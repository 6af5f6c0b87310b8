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
from urllib.parse import unquote, unquote_plus, urljoin, urlsplit

import can_ada

from smtpgate.examine.facts import Link

#: Letters of text that are searched for links, over a whole message.
TEXT_LETTERS: Final = 262_144
#: Links that are kept of a message; rspamd's max_urls is 10,240.
KEPT: Final = 2000
_URL_LETTERS: Final = 2048
_SHOWN_LETTERS: Final = 500
#: A URL in a message is looked at so far; browsers take up to 2 MiB.
_RAW_LETTERS: Final = 65_536
_AUTHORITY_END: Final = re.compile(r"[/\\?#]")
#: What a browser leaves out inside a URL.
_INSIDE: Final = str.maketrans("", "", "\t\r\n")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:")
#: What a browser leaves out around a URL: controls and blanks; `str.strip` alone keeps most controls.
_AROUND: Final = "".join(map(chr, range(0x21)))
_DEFANGED: Final = re.compile(r"^h(?:xx|\*\*|tt)ps?(?=[:\[(]|://)", re.IGNORECASE)
_DOTS: Final = re.compile(r"\[\.\]|\(\.\)|\{\.\}|\[dot\]|\(dot\)", re.IGNORECASE)
_COLONS: Final = re.compile(r"\[:(?://)?\]|\[://\]")
#: Schemes of browsers whose host part is where they go; only with these is a user part cut out of a long URL.
_WEB: Final = ("http", "https", "ftp", "ws", "wss")
#: Layers of wrapping services that are opened: one of the sender, and one of each house that forwarded it.
UNWRAPPED: Final = 4
#: Fields of a query that are looked at for a URL inside.
_FIELDS: Final = 200
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


#: What ends a sentence or a bracket behind a word.
_CLOSING: Final = ".,;:!?)]}'\"”’»"
_WORDS_AT_ONCE: Final = 50


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
    # Bounded before anything else: tabs and user parts may be as long as the message.
    text = _within(raw[:_RAW_LETTERS].strip().strip(_AROUND).translate(_INSIDE))
    if not text or text.startswith("#"):
        return None
    shown = " ".join(shown[: 4 * _SHOWN_LETTERS].split())[:_SHOWN_LETTERS]
    if text.startswith("\\\\"):
        # A path of Windows: a mail program opens it as a file of that server, a browser as a page of that host.
        text = ("file:" if source != "html" else "https:") + text
    elif text.startswith(("//", "\\/", "/\\")):
        text = "https:" + text
    elif _SCHEME.match(text) is None or _is_host_and_port(text):
        text = _resolved(text, base)
        if not text:
            return None
    scheme = text.partition(":")[0].lower()
    if scheme in ("mailto", "tel", "sms", "callto", "cid", "mid", "about"):
        return Link(text[:_URL_LETTERS], raw[:_URL_LETTERS], scheme, "", "", shown, source, tag, part)
    if scheme in ("javascript", "vbscript", "data"):
        return Link(text[:_URL_LETTERS], raw[:200], scheme, "", "", shown, source, tag, part)
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
        shown,
        source,
        tag,
        part,
        parsed.has_credentials(),
    )


def _within(text: str) -> str:
    """At most so many letters, cut where no host is lost: a user part of any length stands before the host."""
    most = 4 * _URL_LETTERS
    if len(text) <= most:
        return text
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in _WEB:
        return text[:most]
    rest = rest.lstrip("/\\")
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if at:
        rest = f"{user[:200]}@{rest[len(user) + 1 :]}"
    return f"{scheme}://{rest}"[:most]


def _is_host_and_port(text: str) -> bool:
    """`www.example.com:8080/x` has no scheme, though it looks as if it had."""
    host, _, rest = text.partition(":")
    return "." in host and rest[:1].isdigit()


def _resolved(text: str, base: str) -> str:
    """A reference without a scheme as a whole URL; "" where it leads nowhere."""
    if base:
        try:
            return urljoin(base[:_URL_LETTERS], text.replace("\\", "/"))
        except ValueError:
            return ""
    host = _AUTHORITY_END.split(text[:300], maxsplit=1)[0].partition(":")[0].lower()
    if "@" in host:
        return ""  # a mail address
    # Mail programs have no page that it could be relative to, and take it for the name of a host.
    is_host = "." in host and " " not in host and (host[:4] == "www." or has_known_ending(host))
    return f"http://{text}" if is_host else ""


def unwrapped(one: Link) -> str:
    """Where a wrapping service leads to, told by the form of its URL alone; "" for a link that wraps nothing."""
    if one.scheme not in ("http", "https"):
        return ""
    try:
        parts = urlsplit(one.url)
    except ValueError:
        return ""
    path = parts.path
    if one.host in ("urldefense.com", "urldefense.us") and path.startswith("/v3/"):
        return _third_form(one.url)
    if one.host.endswith(".translate.goog"):
        # "a--b" stands for "a-b", "a-b" for "a.b".
        name = one.host.removesuffix(".translate.goog").replace("--", "\0").replace("-", ".").replace("\0", "-")
        return f"https://{name}{path}"
    if "google." in one.host and path.startswith("/amp/"):
        return "https://" + path.removeprefix("/amp/").removeprefix("s/")
    for name, value in _fields(parts.query):
        if one.host == "urldefense.proofpoint.com" and name == "u" and path.startswith("/v2"):
            return unquote(value.replace("-", "%").replace("_", "/"))
        if value[:8].lower().startswith(("http://", "https://", "http%3a", "https%3a", "//")):
            return unquote(value) if value[:5].lower() != "https" or "://" not in value[:8] else value
        if value.startswith(("aHR0c", "a1aHR0c")):
            return _from_base64(value.removeprefix("a1"))
        if name in ("q", "url", "u") and path in ("/url", "/l.php", "/redirect") and "." in value.partition("/")[0]:
            return f"http://{value}"
    inside = re.search(r"/(https?)(?::|%3a)(?:/|%2f){1,2}([^/].*)$", path, re.IGNORECASE)
    if inside is None:
        return ""
    rest = unquote(inside[2]) if "/" not in inside[2] else inside[2]
    return f"{inside[1].lower()}://{rest}" + (f"?{parts.query}" if parts.query else "")


def _fields(query: str) -> Iterator[tuple[str, str]]:
    """The first and the last fields of a query, decoded: whoever pads it pads one side."""
    fields = query.split("&")
    for field in fields if len(fields) <= _FIELDS else fields[: _FIELDS // 2] + fields[-_FIELDS // 2 :]:
        name, _, value = field.partition("=")
        yield name.lower(), unquote_plus(value)


def _third_form(url: str) -> str:
    """The third form of one service: letters that it replaced by `*` stand in base64 behind the URL."""
    inside, _, rest = url.partition("/v3/__")[2].rpartition("__;")
    letters = iter(_from_base64(rest.partition("!")[0].replace("-", "+").replace("_", "/")))
    # `**x` stands for a run of replaced letters; only a path has them, so that the host is right in any case.
    return "".join(next(letters, "*") if letter == "*" else letter for letter in inside)


def _from_base64(text: str) -> str:
    try:
        return binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "==").decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def in_text(text: str) -> Iterator[str]:
    """The URLs in a text as they stand, and bare host names; no mail addresses."""
    # No URL goes over a blank, so only words that may hold one are searched; few at a time, for the library cuts
    # the rest of its text off anew behind each that it finds.
    words = [word for word in text.split() if "." in word.rstrip(_CLOSING) or "//" in word]
    for at in range(0, len(words), _WORDS_AT_ONCE):
        for found in _finder().match("\n".join(words[at : at + _WORDS_AT_ONCE])) or ():
            if found.schema == "mailto:":
                continue
            if not found.schema and found.raw.rpartition(".")[2].lower() in _FILE_ENDINGS and "/" not in found.raw:
                continue
            yield found.url
    yield from _defanged_words(text)


def _defanged_words(text: str) -> Iterator[str]:
    """URLs that were made unclickable, by a person who warns or by one who asks to repair them."""
    lower = text.lower()
    if not any(sign in lower for sign in ("hxxp", "h**p", "[.]", "(.)", "{.}", "[dot]", "(dot)", "[:]", "[://]")):
        return
    for word in text.split():
        if len(word) > _URL_LETTERS:
            continue
        word = word.strip("<>\"'`,;")
        plain = _COLONS.sub(lambda found: found[0].strip("[]"), _DOTS.sub(".", word))
        begin = _DEFANGED.match(plain)
        if begin is not None and (plain != word or begin[0][1].lower() != "t"):
            yield "http" + ("s" if begin[0][-1:] in "sS" else "") + plain[begin.end() :]
        elif plain != word and "://" not in plain and "@" not in plain:
            plain = plain.strip("().")
            if has_known_ending(_AUTHORITY_END.split(plain, maxsplit=1)[0].partition(":")[0].lower()):
                yield f"http://{plain}"


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
        one = made
        for _ in range(UNWRAPPED):
            inner = unwrapped(one)
            opened = link(inner, **{**given, "base": ""}) if inner else None
            if opened is None or not opened.host or opened in self._links:
                break
            self._links[opened] = None
            one = opened
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
