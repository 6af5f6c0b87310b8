"""Links: where a message wants its reader to go, and whether it says so.

Every link of the text, of HTML, documents and codes is looked at as a browser reads it (`examine.urls`). Lists of hosts
and addresses are the operator's; all else is form: a text that shows one host and leads to another, names that look
like others, hosts that are numbers, user parts, forms in the mail itself. Each kind counts once, with an example in its
detail.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from smtpgate.config.patterns import DomainList
from smtpgate.examine.brands import BRANDS
from smtpgate.examine.facts import Facts, Link
from smtpgate.examine.skeleton import is_mixed, looks_like, unicode_host
from smtpgate.examine.urls import has_known_ending, registrable
from smtpgate.filters.base import Options
from smtpgate.filters.content.base import ContentFilter, content_factory, sentence, weights
from smtpgate.policy.houses import SHORT, is_hosting
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: Elements that a person follows; pictures and styles are fetched from anywhere.
_FOLLOWED: Final = frozenset({"", "a", "area", "form", "meta", "button", "input", "rest", "comment", "iframe"})
_SHOWN_HOST: Final = re.compile(
    r"^(?:https?://)?((?:[\w-]{1,63}\.){1,6}[^\W\d_]{2,20})(?::\d{1,5})?(?:[/?#]\S{0,500})?$", re.IGNORECASE
)
_ADDRESS: Final = re.compile(r"[\w.+-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63})+", re.IGNORECASE)
_RANDOM: Final = re.compile(r"[bcdfghjklmnpqrstvwxz]{6}|[a-z]+\d+[a-z]+\d+|[0-9a-f]{16}")
_IN_REASON: Final = re.compile(r"[^a-z0-9]+")

#: What each kind is called, what is said of it, and what it weighs.
KINDS: Final[dict[str, tuple[str, float]]] = {
    "listed": ("a link that is on a list", 6.0),
    "mismatch": ("its text shows one host and it leads to another", 2.0),
    "tracked": ("its text shows the sender's own host and it leads elsewhere", 0.6),
    "look-alike": ("its host looks like a well-known one", 3.0),
    "mixed-letters": ("its host mixes letters of several alphabets", 3.0),
    "user-part": ("a name stands before the host, to be taken for it", 2.0),
    "number-host": ("its host is a number in place of a name", 2.8),
    "active": ("it runs something in place of leading somewhere", 2.5),
    "reader-in-link": ("it carries the reader's address to a host that is not the sender's", 0.0),
    "short": ("a short link, whose end is not to be seen", 1.6),
    "hosting": ("a page that anybody may have made", 1.5),
    "odd-port": ("it leads to an unusual port", 1.0),
    "random-host": ("its host is made of random letters", 0.8),
    "deep-host": ("its host has more levels than real ones have", 1.0),
    "encoded-host": ("its host was written so that it cannot be read", 2.0),
    "form": ("a form in the mail itself", 0.8),
    "password-form": ("a form in the mail itself asks for a password", 4.0),
    "script": ("script in the mail itself", 0.6),
    "redirect": ("the mail leads elsewhere by itself", 2.0),
    "all-one": ("every part of it is one link", 0.8),
    "foreign": ("none of its links leads to where it comes from", 2.5),
    "reader-known": ("it carries the address of the very reader", 0.5),
    "cheap-ending": ("its host has an ending that costs nothing and is mostly abused", 0.8),
}


class LinkOptions(Options):
    """What is listed, whom links may not look like, and what each kind weighs."""

    domains: list[str] = Field([], description="Hosts that are listed, as example.org or *.example.org.")
    addresses: list[str] = Field([], description="Beginnings of URLs that are listed, as https://example.org/path.")
    listed: Literal["note", "tag", "quarantine", "reject"] = Field("tag", description="What becomes of listed ones.")
    protected: list[str] = Field([], description="Domains of yours and of partners that no link may look like.")
    trusted: list[str] = Field([], description="Hosts that are passed over.")
    scores: dict[str, float] = Field({}, description="Weights by kind, in place of those that are shipped.")

    @field_validator("domains", "protected", "trusted")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        DomainList(value)
        return value

    @field_validator("scores")
    @classmethod
    def _kinds(cls, value: dict[str, float]) -> dict[str, float]:
        weights(value, KINDS)
        return value


class LinkFilter(ContentFilter):
    """Looks at links."""

    def __init__(self, options: LinkOptions, services: Any) -> None:
        super().__init__(options, services)
        self.options = options
        self.domains = DomainList(options.domains)
        self.trusted = DomainList(options.trusted)
        self.scores = {kind: options.scores.get(kind, score) for kind, (_, score) in KINDS.items()}
        self.protected = tuple(entry.removeprefix("*.") for entry in options.protected)
        self.targets = self.protected + tuple(brand.domains[0] for brand in BRANDS)

    def look(self, facts: Facts, transaction: Transaction) -> list[Finding]:
        """One finding for each kind."""
        senders = _domains_of(facts, transaction)
        found: dict[str, str] = {}
        for link in facts.links:
            if link.tag not in _FOLLOWED or self.trusted.matches(link.host):
                continue
            for kind in self._kinds(link, senders):
                found.setdefault(kind, _shown(link))
        for kind, count in (
            ("form", "body-html-form"), ("password-form", "body-html-password"), ("script", "body-html-script"),
            ("redirect", "body-html-redirect"),
        ):  # fmt: skip
            if facts.counts.get(count):
                found[kind] = KINDS[kind][0]
        readers = {one.address.lower() for one in facts.recipients[:5]} | {
            str(one.path).lower() for one in transaction.recipients[:5]
        }
        for link in facts.links:
            if link.tag in _FOLLOWED and link.domain not in senders and _names_one(link, readers):
                found.setdefault("reader-known", _shown(link))
        if _is_foreign(facts, senders):
            found["foreign"] = KINDS["foreign"][0]
        if _is_one_link(facts):
            found["all-one"] = KINDS["all-one"][0]
        return [self._finding(kind, detail) for kind, detail in found.items()]

    def _finding(self, kind: str, detail: str) -> Finding:
        action = self.options.listed if kind == "listed" else "note"
        said, _ = KINDS[kind]
        public, score = f"A link in the message is not accepted: {said}", self.scores[kind]
        return Finding(f"link-{kind}", action, public, sentence(said, detail), score)

    def _kinds(self, link: Link, senders: frozenset[str]) -> list[str]:
        checks: tuple[tuple[str, Callable[[Link, frozenset[str]], bool]], ...] = (
            ("listed", self._is_listed),
            ("mismatch", lambda one, own: (shown := _shown_domain(one)) != "" and shown not in own),
            ("tracked", lambda one, own: _shown_domain(one) in own),
            ("look-alike", self._is_look_alike),
            ("mixed-letters", lambda one, _: any(is_mixed(label) for label in unicode_host(one.host).split("."))),
            ("user-part", lambda one, _: one.has_user and bool(one.host)),
            ("number-host", lambda one, _: _is_number(one.host)),
            ("active", lambda one, _: one.scheme in ("javascript", "vbscript", "data") and one.tag != "rest"),
            ("reader-in-link", _has_reader),
            ("short", lambda one, _: one.host in SHORT),
            ("hosting", lambda one, own: is_hosting(one.host) and one.domain not in own),
            ("odd-port", lambda one, _: _has_odd_port(one)),
            ("random-host", lambda one, own: one.domain not in own and _is_random(one.domain)),
            ("deep-host", lambda one, own: one.host.count(".") > 5 and one.domain not in own),
            ("encoded-host", lambda one, _: _is_encoded(one)),
            ("cheap-ending", lambda one, _: one.host.endswith(_CHEAP)),
        )
        return [kind for kind, check in checks if check(link, senders)]

    def _is_listed(self, link: Link, senders: frozenset[str]) -> bool:
        return bool(link.host) and (
            self.domains.matches(link.host) or any(link.url.startswith(start) for start in self.options.addresses)
        )

    def _is_look_alike(self, link: Link, senders: frozenset[str]) -> bool:
        return bool(link.host) and link.domain not in senders and looks_like(link.host, self.targets) is not None


def _domains_of(facts: Facts, transaction: Transaction) -> frozenset[str]:
    """Registrable domains that the message comes from."""
    hosts = [author.domain for author in (*facts.authors, *facts.senders)] + [transaction.sender.domain]
    return frozenset(registrable(host) for host in hosts if host)


def _shown_domain(link: Link) -> str:
    """The registrable domain that its text shows, where that is not the one that it leads to; else ""."""
    if link.tag not in ("a", "area") or link.scheme not in ("http", "https") or not link.shown or "@" in link.shown:
        return ""
    shown = _SHOWN_HOST.match(link.shown.strip())
    if shown is None:
        return ""
    host = _ascii(shown[1].lower())
    domain = registrable(host)
    is_other = domain != link.domain and not link.host.endswith(host) and has_known_ending(host)
    return domain if is_other else ""


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError:
        return host


def _is_number(host: str) -> bool:
    return host.startswith("[") or (bool(host) and host.replace(".", "").isdigit())


def _has_reader(link: Link, senders: frozenset[str]) -> bool:
    if link.scheme not in ("http", "https") or link.domain in senders or link.source == "header":
        return False
    return _ADDRESS.search(link.url.partition(link.host)[2]) is not None


def _has_odd_port(link: Link) -> bool:
    rest = link.url.partition("://")[2].partition("/")[0]
    port = rest.rpartition(":")[2]
    return port.isdigit() and port not in ("80", "443", "8080", "8443") and not rest.endswith("]")


def _is_random(domain: str) -> bool:
    return _RANDOM.search(domain.partition(".")[0]) is not None


def _is_encoded(link: Link) -> bool:
    """The host was percent-coded, full-width, in numbers of another base, or behind backslashes."""
    if not link.host or link.scheme not in ("http", "https"):
        return False
    rest = link.raw.partition(":")[2][:300].lstrip("/\\").lower()
    head = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return (
        "%" in head
        or "\\" in link.raw[:12]
        or (_is_number(link.host) and not rest.rpartition("@")[2].startswith(link.host))
    )


def _names_one(link: Link, readers: set[str]) -> bool:
    """Whether one of some addresses is in the URL, plain, coded, or in base64."""
    if link.scheme not in ("http", "https"):
        return False
    rest = link.url.partition(link.host)[2]
    lower = rest.lower()
    for reader in readers:
        if "@" in reader and (
            reader in lower
            or reader.replace("@", "%40") in lower
            or len(reader) > 8
            and b2a_base64(reader.encode()).decode()[:10] in rest
        ):
            return True
    return False


def _is_foreign(facts: Facts, senders: frozenset[str]) -> bool:
    """Whether a page with few places to go has none at home."""
    domains = {link.domain for link in facts.links if link.tag in ("a", "area") and link.scheme in ("http", "https")}
    return 0 < len(domains) <= 3 and not domains & senders


#: The endings with the worst names in Spamhaus' and other statistics over years; where honest people live too.
_CHEAP: Final = (
    ".top", ".icu", ".cyou", ".click", ".buzz", ".rest", ".cfd", ".sbs", ".quest", ".monster", ".bond", ".xyz", ".tk",
    ".ml", ".ga", ".cf", ".gq", ".work", ".loan", ".win", ".bid", ".country", ".stream", ".download", ".racing", ".men",
    ".gdn", ".party", ".review", ".trade", ".date", ".faith", ".cricket", ".science", ".zip", ".mov", ".best",
    ".beauty", ".hair", ".skin", ".makeup", ".autos", ".boats", ".shop", ".store", ".online", ".site", ".website",
    ".space", ".fun", ".sa.com", ".za.com", ".ru.com", ".us.com", ".su",
)  # fmt: skip


def _is_one_link(facts: Facts) -> bool:
    followed = [link for link in facts.links if link.tag == "a" and link.scheme in ("http", "https")]
    urls = {link.url for link in followed}
    return len(urls) == 1 and facts.counts.get("letters", 0) < 300 and facts.counts.get("linked-images", 0) > 0


def _shown(link: Link) -> str:
    where = f" ({link.source} {link.part})".replace(" )", ")")
    return (f'"{link.shown[:80]}" leads to ' if link.shown else "") + link.url[:300] + where


factory = content_factory("links", LinkOptions, LinkFilter, on_error="continue", category="spam")
