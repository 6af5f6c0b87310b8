"""One DNS list: its table of the configuration, the names that are asked of it, and what its answers mean.

Pure: `filters/sender/dnsbl` asks. Promised: an answer counts only where it is one of the list's own (B-142). What lies
outside 127.0.0.0/8 is what a parked domain or a resolver that rewrites answers says, and 127.255.255.0/24 is how lists
say that they refuse the question; both are errors of the whole answer, whatever else is in it.

RFC 5782 sections 2.1 (addresses), 2.4 (IPv6), 3 (domains), 5 (test entries); postscreen_dnsbl_sites(5) for the tables.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import ClassVar, Final, Literal, Self

import attrs
from pydantic import Field, field_validator, model_validator

from smtpgate.config.entry import parse_domain
from smtpgate.config.masking import shown_zone
from smtpgate.config.problem import BadValue, quoted
from smtpgate.filters.base import Options

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: What a list may answer that names no codes of its own (RFC 5782 section 2.1: 127.0.0.2, others at its will).
USUAL: Final = "127.0.0.[2-255]"
#: Octets of a list's reason that a reply repeats; the whole text of a reply has 512 (RFC 5321 section 4.5.3.1.5).
REASON_OCTETS: Final = 200

_REFUSAL: Final = ipaddress.IPv4Network("127.255.255.0/24")
_LISTS: Final = ipaddress.IPv4Network("127.0.0.0/8")

Part = frozenset[int] | None
Code = tuple[Part, Part, Part, Part]


def parse_code(text: str) -> Code:
    """A pattern of answers, as "127.0.0.2", "127.0.0.[4-7]", "127.0.[0,2].*"; None in it matches any number."""
    parts = text.split(".")
    if len(parts) != 4 or parts[0] != "127":
        raise BadValue(f"{quoted(text)} is no answer of a list", 'write "127.0.0.2", "127.0.0.[4-7]" or "127.0.1.*"')
    first, second, third, fourth = (_parse_part(part, text) for part in parts)
    return first, second, third, fourth


def _parse_part(part: str, whole: str) -> Part:
    if part == "*":
        return None
    ranges = part[1:-1].split(",") if part.startswith("[") and part.endswith("]") else [part]
    numbers: set[int] = set()
    for one in ranges:
        low, dash, high = one.partition("-")
        ends = (low, high if dash else low)
        if not all(end.isascii() and end.isdigit() and len(end) <= 3 and int(end) <= 255 for end in ends):
            raise BadValue(f"{quoted(part)} in {quoted(whole)} is no number up to 255", "write 2, [4-7], [2,4-7] or *")
        if int(ends[0]) > int(ends[1]):
            raise BadValue(f"{quoted(part)} in {quoted(whole)} holds nothing", f"write [{high}-{low}]")
        numbers.update(range(int(ends[0]), int(ends[1]) + 1))
    return frozenset(numbers)


class AnyList(Options):
    """What is said of every list."""

    zone: str = Field(description="Where it is asked, as zen.example.org; with your key where it wants one.")
    name: str = Field("", description="How replies, log and counters call it; empty: the zone, without a key.")
    weight: float = Field(1.0, description="Score of an entry; negative for a list of good ones.")
    answers: dict[str, float] = Field(
        {}, description='Score for each answer, as {"127.0.0.2" = 4.0, "127.0.0.[4-7]" = 2.0}; others count nothing.'
    )
    reply: str = Field(
        "",
        description="Text of a refusal; {what}, {list} and {reason} stand for address or domain, list and its reason.",
    )
    self_check: bool = Field(True, description="Whether it is tried with the entries that every list has (RFC 5782).")
    listed: str = Field("", description="Entry that it must have; empty: 127.0.0.2, of domains TEST.")
    unlisted: str = Field("", description="Entry that it must not have; empty: 127.0.0.1, of domains INVALID.")

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        zone = parse_domain(value)
        if zone.startswith(("*", "[")) or "." not in zone:
            raise BadValue(f"{quoted(value)} is no zone of a list", "write it as zen.example.org")
        return zone

    @field_validator("answers")
    @classmethod
    def _answers(cls, value: dict[str, float]) -> dict[str, float]:
        for text in value:
            parse_code(text)
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.answers and "weight" in self.model_fields_set:
            raise BadValue("weight is not used with answers", "leave it out, or give the scores in answers")
        return self


class ListOptions(AnyList):
    """One list of clients, or of the domains that they name."""

    kind: Literal["ip", "domain"] = Field("ip", description="What it lists: addresses of clients, or domains.")
    asks: list[Literal["sender", "helo"]] = Field(
        ["sender", "helo"], min_length=1, description="Of domain: which names are asked."
    )
    ipv6: bool = Field(True, description="Of ip: whether it has entries for IPv6.")

    @model_validator(mode="after")
    def _what_is_used(self) -> Self:
        if self.kind == "ip" and "asks" in self.model_fields_set:
            raise BadValue("asks is not used with kind ip", 'leave it out, or write kind = "domain"')
        if self.kind == "domain" and "ipv6" in self.model_fields_set:
            raise BadValue("ipv6 is not used with kind domain", "leave it out")
        return self


class LinkListOptions(AnyList):
    """One list of the domains that links lead to (SURBL, URIBL and the like)."""

    kind: ClassVar[str] = "domain"
    ipv6: ClassVar[bool] = False


@attrs.frozen
class Reading:
    """What an answer means.

    :ivar state: "listed", "other" (a code that is not the list's own, or counts nothing), or "error"
    :ivar code: the answer that counts most; of an error the one that is wrong
    """

    state: str
    code: str = ""
    score: float = 0.0


class DnsList:
    """One list, ready to be asked.

    :ivar name: for people; holds no key
    """

    def __init__(self, options: ListOptions | LinkListOptions) -> None:
        self.options = options
        self.zone = options.zone
        self.name = options.name or shown_zone(options.zone)
        self._codes = [(parse_code(text), score) for text, score in options.answers.items()]
        if not self._codes:
            self._codes = [(parse_code(USUAL), options.weight)]
        by_kind = {"ip": ("2.0.0.127", "1.0.0.127"), "domain": ("test", "invalid")}[options.kind]
        self.tests = tuple(
            f"{self._subject(given) if given else usual}.{self.zone}"
            for given, usual in zip((options.listed, options.unlisted), by_kind, strict=True)
        )

    def _subject(self, text: str) -> str:
        try:
            return reversed_address(ipaddress.ip_address(text))
        except ValueError:
            return text.lower().removesuffix(".")

    def question(self, what: Address | str) -> str:
        """The name to ask for an address or a domain; "" where the list has nothing of that kind."""
        if isinstance(what, str):
            return f"{what}.{self.zone}" if self.options.kind == "domain" else ""
        # Lists of domains have the addresses that stand in their place in links, of IPv4 only.
        if what.version == 6 and not (self.options.kind == "ip" and self.options.ipv6):
            return ""
        return f"{reversed_address(what)}.{self.zone}"

    def read(self, records: Iterable[str]) -> Reading:
        """What the A records of an answer mean: of several that count, that which counts most."""
        best = Reading("other")
        for text in records:
            address = ipaddress.IPv4Address(text)
            if address not in _LISTS or address in _REFUSAL:
                return Reading("error", text)
            score = self._score(address.packed)
            if score and abs(score) > abs(best.score):
                best = Reading("listed", text, score)
            elif best.state == "other":
                best = Reading("other", text)
        return best

    def _score(self, octets: bytes) -> float:
        for code, score in self._codes:
            if all(part is None or octet in part for octet, part in zip(octets, code, strict=True)):
                return score
        return 0.0

    def reply(self, what: str, reason: str) -> str:
        """The text of a refusal, without a key that the zone may hold."""
        usual = "{what} is listed by {list}" + (": {reason}" if reason else "")
        text = (self.options.reply or usual).replace("{what}", what).replace("{list}", self.name)
        return self.hide(text.replace("{reason}", reason))

    def hide(self, text: str) -> str:
        """A text that may have come from the list, with its name in place of the zone, and no key."""
        text = "".join(one if one.isprintable() and one.isascii() else "?" for one in text)
        for secret in (self.zone, self.zone.partition(".")[0] if shown_zone(self.zone) != self.zone else ""):
            at = text.lower().find(secret) if secret else -1
            while at >= 0:
                text = text[:at] + self.name + text[at + len(secret) :]
                at = text.lower().find(secret, at + len(self.name))
        return text


def reversed_address(address: Address) -> str:
    """The labels of an address, as lists and the reverse DNS have them (RFC 5782 sections 2.1 and 2.4)."""
    return address.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
