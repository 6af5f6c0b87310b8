"""Files with lists of bad domains, URLs and attachments, as feeds have them: one entry in a line.

`blocklists` reads them when a configuration is loaded, and again, in a worker thread, when they have changed. A line is
a domain (it and all below it), an address in its place, a URL (it and all whose path goes on behind it), or the SHA-256
of a file in hexadecimal digits. Lines of the form of a hosts file ("0.0.0.0 example.org") are domains too. What begins
with "#", ";" or "!" is a comment.

Promised: an entry is found by a few look-ups in sets, however many there are; a file with a line that is none of these
is refused, with the number of the line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from smtpgate.config.entry import normal_domain
from smtpgate.config.problem import BadValue, quoted
from smtpgate.examine.facts import Link
from smtpgate.filters.engines.files import read_octets, stamp_of

#: Of all files together; the whole of URLhaus has some 5 MB, a list of all malware hashes of a year some 60.
OCTETS: Final = 128 << 20
#: Parts of a path that an entry may have, as in Safe Browsing, twice over.
PARTS: Final = 8
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DOMAIN: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")
_HOSTS_FILE: Final = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})
_LOCAL: Final = frozenset({"localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost"})
_COMMENTS: Final = ("#", ";", "!", "//")


@attrs.frozen
class Entries:
    """All entries of some files.

    :ivar stamp: of the files, changes when one is written
    """

    domains: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    stamp: tuple[tuple[str, int, int], ...] = ()

    def of_link(self, link: Link) -> str:
        """The entry that a link falls under; "" for none."""
        for name in _above(link.host):
            if name in self.domains:
                return name
        if self.urls:
            for key in _keys(link.url):
                if key in self.urls:
                    return key
        return ""


def read_entries(paths: Iterable[str]) -> Entries:
    """What stands in files. Raises BadValue with file and line."""
    paths = tuple(paths)
    stamp = stamp_of(paths)
    found: dict[str, set[str]] = {"domain": set(), "url": set(), "digest": set()}
    left = OCTETS
    for text in paths:
        octets = read_octets(Path(text), left)
        left -= len(octets)
        for number, line in enumerate(octets.decode("utf-8", "replace").splitlines(), 1):
            entry = line.strip()
            if entry and not entry.startswith(_COMMENTS):
                try:
                    kind, value = read_entry(entry)
                except ValueError:
                    what = f"{text} line {number}: {quoted(entry[:80])} is no entry"
                    raise BadValue(what, "write a domain, a URL or a SHA-256, one in a line") from None
                if value:
                    found[kind].add(value)
    return Entries(frozenset(found["domain"]), frozenset(found["url"]), frozenset(found["digest"]), stamp)


def read_entry(text: str) -> tuple[str, str]:
    """The kind of an entry, domain, url or digest, and what it is looked up by. Raises ValueError."""
    lower = text.partition(" #")[0].strip().lower()
    if _DIGEST.fullmatch(lower):
        return "digest", lower
    if "://" in lower:
        key = next(_keys(text.partition(" #")[0].strip()), "")
        if not key:
            raise ValueError(text)
        return "url", key
    words = lower.split()
    if len(words) == 2 and words[0] in _HOSTS_FILE:
        if words[1] in _LOCAL:
            return "domain", ""
        words = words[1:]
    if len(words) != 1:
        raise ValueError(text)
    name = words[0].removeprefix("*.").removeprefix(".").removesuffix(".")
    try:
        return "domain", str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        domain = normal_domain(name)
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(text)
    return "domain", domain


def _above(host: str) -> Iterator[str]:
    """A host, and all that it is below of; of an address only itself."""
    host = host.strip("[]")
    yield host
    if not host.replace(".", "").isdigit():
        while "." in host:
            host = host.partition(".")[2]
            yield host


def _keys(url: str) -> Iterator[str]:
    """What a URL may be listed as: whole, without its query, and by each part of its path."""
    _, _, rest = url.partition("://")
    rest = rest.partition("#")[0]
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2].lower()
    if not host:
        return
    path, question, query = (slash + path).partition("?")
    path = path.rstrip("/")
    if question:
        yield f"{host}{path}?{query}"
    yield host + path
    parts = path.split("/")[1:]
    for count in range(min(len(parts) - 1, PARTS), 0, -1):
        yield f"{host}/{'/'.join(parts[:count])}"
    if parts:
        yield host
