"""The check of SPF: whether the domain of a sender names a client among those that send for it.

`authentication.spf` asks for it once a message. pyspf judges, and asks nobody: `Replay` stands in front of its class,
answers it from what is known, and stops it with `Unknown` where something is missing. That is looked up, all hosts of a
term at once, and the check runs again from the start; nothing of the module is changed, so that others may use it too.
Bounded are rounds, the length of a record, and by RFC 7208 terms and void look-ups; a macro, the end of a name and a
network are judged here, in time proportional to their length, where pyspf needs the square of it or more. An
explanation is asked for only where it will be told.

RFC 7208; RFC 8616 section 4 (other scripts).
"""

from __future__ import annotations

import functools
import ipaddress
import re
import urllib.parse
from collections.abc import Iterable
from typing import Any, Final

import attrs

from smtpgate.filters.sender.base import results
from smtpgate.policy.authentication import SPFResult
from smtpgate.policy.names import Answer
from smtpgate.smtp.address import canonical_domain
from smtpgate.smtp.reply import printable

#: Each of the 10 terms of RFC 7208 section 4.6.4 takes two at most, the first record, names of the address and the
#: explanation some more: 40 are never reached by a record that keeps to the limits.
ROUNDS: Final = 40
#: Longest record; RFC 7208 section 3.4 asks for 450 octets, and answers of EDNS end at 4096 (RFC 6891 section 6.2.5).
RECORD_OCTETS: Final = 4096
#: Longest explanation before its macros are filled in; a reply line has 512 octets (RFC 5321 section 4.5.3.1.5).
EXPLANATION_OCTETS: Final = 512
#: What of a reason and an explanation is kept.
TEXT_CHARACTERS: Final = 300
#: Names of one address that are followed (RFC 7208 section 4.6.4), and hosts of one MX.
NAMES: Final = 10
#: The longest name in the DNS (RFC 1035 section 2.3.4), as text.
NAME_CHARACTERS: Final = 253

_MACRO: Final = re.compile(r"([slodiphcrtv])([0-9]{0,3})(r?)([-.+,/_=]*)", re.IGNORECASE)
_MODIFIER: Final = re.compile(r"([a-z][a-z0-9_.-]*)=", re.IGNORECASE)
_LITERALS: Final = {"%": "%", "_": " ", "-": "%20"}

Question = tuple[str, str]


class Unknown(Exception):
    """The check cannot go on without these answers."""

    def __init__(self, questions: Iterable[Question]) -> None:
        super().__init__()
        self.questions = tuple(dict.fromkeys(questions))


@attrs.frozen
class Wanted:
    """Where the explanation of a fail stands, and for which domain its macros are filled in."""

    name: str
    domain: str


class Replay:
    """What stands in front of `spf.query`: all that asks, and all that would take long.

    :ivar answers: what is known; shared by all rounds
    :ivar terms: terms that were read in earlier rounds, by text and domain
    """

    PermError: type[Exception]
    TempError: type[Exception]
    answers: dict[Question, Answer]
    terms: dict[tuple[str, str], Any]
    ipaddr: ipaddress.IPv4Address | ipaddress.IPv6Address
    d: str
    A: str
    void_lookups: int

    def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
        """The records of a name, as pyspf wants them; nothing for what is no name of the DNS."""
        answer = self._known(name, qtype)
        if answer is None:
            return []
        if answer.is_temporary:
            raise self.TempError(f"{name} {qtype}: {answer.status}")
        if answer.is_void and not ignore_void:
            self._void()
        return [(one,) for one in answer.records] if qtype == "TXT" else list(answer.records)

    def _known(self, name: str, kind: str) -> Answer | None:
        question = _question(name, kind)
        if question is None:
            return None
        answer = self.answers.get(question)
        if answer is None:
            raise Unknown([question])
        return answer

    def _void(self) -> None:
        self.void_lookups += 1
        if self.void_lookups > 2:
            raise self.PermError("more than 2 void look-ups")

    def _ask(self, names: Iterable[str]) -> None:
        """Have the addresses of all names looked up at the same time."""
        questions = (_question(name, self.A) for name in names)
        missing = [one for one in questions if one is not None and one not in self.answers]
        if missing:
            raise Unknown(missing)

    def dns_spf(self, domain: str) -> str | None:
        """The record of a domain."""
        record: str | None = super().dns_spf(domain)  # type: ignore[misc]
        if record is None:
            return None
        if len(record) > RECORD_OCTETS:
            raise self.PermError(f"the record of {domain} has {len(record)} octets")
        return " ".join(_modifier(term, place) for place, term in enumerate(record.split(" ")))

    def dns_mx(self, domainname: str) -> list[str]:
        """The addresses of all hosts; without any that is one void look-up, not one for each host."""
        hosts = sorted(self.dns(domainname, "MX"))
        if len(hosts) > NAMES:
            raise self.PermError(f"more than {NAMES} hosts in the MX of {domainname}")
        names = [name for _, name in hosts]
        self._ask(names)
        found = [address for name in names for address in self.dns(name, self.A, ignore_void=True)]
        if hosts and not found:
            self._void()
        return found

    def validated_ptrs(self) -> list[str]:
        """The names of the client that lead back to it; trouble makes there be none (RFC 7208 section 5.5)."""
        try:
            names = self.dns(self.ipaddr.reverse_pointer, "PTR")[:NAMES]
        except self.TempError:
            return []
        self._ask(names)
        found = []
        for name in names:
            answer = self._known(name, self.A)
            if answer is not None and any(self.ipaddr == ipaddress.ip_address(one) for one in answer.records):
                found.append(name)
        return found

    def cidrmatch(self, ipaddrs: Iterable[str], n: int) -> bool:
        """Whether the client is in a network of `n` bits around one of these addresses."""
        for text in ipaddrs:
            try:
                address = ipaddress.ip_address(text)
            except ValueError as error:
                raise self.PermError(str(error)) from None
            shift = address.max_prefixlen - n
            if address.version == self.ipaddr.version and int(address) >> shift == int(self.ipaddr) >> shift:
                return True
        return False

    def validate_mechanism(self, mech: str) -> Any:
        """A term, read once for all rounds; where it names the client's names it can ask, and is read each time."""
        key = mech, self.d
        term = self.terms.get(key)
        if term is None:
            term = super().validate_mechanism(mech)  # type: ignore[misc]
            if "%{p" not in mech.lower():
                self.terms[key] = term
        return term

    def expand_domain(self, arg: str) -> str:
        """A domain-spec, filled in."""
        if not _ends_as_name(arg):
            raise self.PermError("no domain", arg)
        return self.expand(arg)

    def expand(self, s: str, stripdot: bool = True) -> str:
        """Fill in macros: of a name, which is cut from the left to what the DNS can hold, or of an explanation."""
        parts: list[str] = []
        at = 0
        while (sign := s.find("%", at)) >= 0:
            parts.append(s[at:sign])
            following = s[sign + 1 : sign + 2]
            if following in _LITERALS:
                parts.append(_LITERALS[following])
                at = sign + 2
                continue
            end = s.find("}", sign)
            if following != "{" or end < 0:
                raise self.PermError("no macro", s[sign : sign + 20])
            parts.append(self._macro(s[sign + 2 : end], stripdot))
            at = end + 1
        text = "".join([*parts, s[at:]])
        if not stripdot:
            return text
        text = text.removesuffix(".")
        if len(text) > NAME_CHARACTERS:
            dot = text.find(".", len(text) - NAME_CHARACTERS - 1)
            text = text[dot + 1 :] if dot >= 0 else text
        return text

    def _macro(self, text: str, is_name: bool) -> str:
        match = _MACRO.fullmatch(text)
        if match is None:
            raise self.PermError("unknown macro", text[:20])
        letter, digits, is_reversed, delimiters = match[1].lower(), match[2], match[3], match[4] or "."
        if letter in "crt" and is_name or digits and not int(digits):
            raise self.PermError("unknown macro", text[:20])
        value: str = self.getp() if letter == "p" else getattr(self, letter)  # type: ignore[attr-defined]
        if len(text) > 1:
            for delimiter in delimiters:
                value = value.replace(delimiter, "\0")
            parts = value.split("\0")
            if is_reversed:
                parts.reverse()
            value = ".".join(parts[-int(digits) :] if digits else parts)
        return value if letter == match[1] else urllib.parse.quote(value, safe="~")

    def get_explanation(self, spec: str) -> Any:
        """Where it stands; `check` gives it back with a fail."""
        return Wanted(spec, self.d)


def _question(name: str, kind: str) -> Question | None:
    """What is asked for; None for what is no name. A name in another script, of a macro, matches nothing."""
    name = name.lower().removesuffix(".")
    is_name = name.isascii() and len(name) <= NAME_CHARACTERS and all(0 < len(one) < 64 for one in name.split("."))
    return (name, kind) if is_name else None


def _modifier(term: str, place: int) -> str:
    """A term as pyspf wants it: it knows modifiers in small letters only, and refuses unknown ones that come twice."""
    match = _MODIFIER.match(term)
    if match is None or place == 0:
        return term
    name = match[1].lower()
    return f"{name if name in ('exp', 'redirect') else f'x{place}'}={term[match.end() :]}"


def _ends_as_name(spec: str) -> bool:
    """The domain-end of RFC 7208 section 7.1: a macro, or a label that is not all digits."""
    if spec.endswith(("%%", "%_", "%-")) or spec.endswith("}") and "%{" in spec:
        return True
    rest, dot, label = spec.removesuffix(".").rpartition(".")
    is_label = label.isascii() and label.replace("-", "").isalnum() and "-" not in (label[0], label[-1])
    return bool(dot) and is_label and not label.isdigit()


@functools.cache
def _query_class() -> type[Any]:
    """Made with the first check, since pyspf loads dnspython."""
    import spf

    return type("Query", (Replay, spf.query), {"PermError": spf.PermError, "TempError": spf.TempError})


class _Check:
    """One check at work."""

    def __init__(self, ip: str, local: str, domain: str, helo: str, receiver: str) -> None:
        self._given = ip, f"{local}@{domain}", helo, None, receiver
        self._local, self._domain = local, domain
        self._answers: dict[Question, Answer] = {}
        self._terms: dict[tuple[str, str], Any] = {}
        self._wanted: Wanted | None = None

    async def run(self, resolver: Any, identity: str) -> SPFResult:
        """The result, and for a fail what the domain says about it."""
        for _ in range(ROUNDS):
            try:
                result, reason, explanation = self._round()
            except Unknown as missing:
                await self._ask(resolver, missing.questions)
                continue
            return SPFResult(result, self._domain, identity, _clean(reason), _clean(explanation))
        return SPFResult("permerror", self._domain, identity, f"more than {ROUNDS} rounds of look-ups")

    async def _ask(self, resolver: Any, questions: tuple[Question, ...]) -> None:
        found = await results([resolver.lookup(*question) for question in questions])
        self._answers.update(zip(questions, found, strict=True))

    def _round(self) -> tuple[str, str, str]:
        query = _query_class()(*self._given)
        # pyspf parts an address at the first @, which a quoted local part may have.
        query.l, query.o, query.d = self._local, self._domain, self._domain
        query.answers, query.terms = self._answers, self._terms
        result, _, told = query.check()
        if result in ("permerror", "temperror"):
            return result, str(told).partition(" Error: ")[2], ""
        reason = f"matches {query.mechanism}" if query.mechanism else ""
        explained = self._explanation(query, told) if result == "fail" and isinstance(told, Wanted) else ""
        return result, reason, explained

    def _explanation(self, query: Any, wanted: Wanted) -> str:
        """Whatever is wrong with it makes it be none (RFC 7208 section 6.2)."""
        try:
            texts = query.dns(wanted.name, "TXT", ignore_void=True)
            if len(texts) != 1 or len(texts[0][0]) > EXPLANATION_OCTETS:
                return ""
            query.d = wanted.domain
            text: str = query.expand(texts[0][0].decode("ascii"), False)
            return text
        except (query.PermError, query.TempError, UnicodeDecodeError):
            return ""


def _clean(text: str) -> str:
    return printable(text[:TEXT_CHARACTERS])


async def check_spf(resolver: Any, ip: str, sender: str, helo: str, receiver: str) -> SPFResult:
    """What the policy of the sender's domain says about a client.

    Never raises but where it is cancelled; the caller limits the time.

    :param resolver: `interfaces.IResolver`
    :param ip: of the client, IPv4 or IPv6
    :param sender: without angle brackets; "" is the null sender, for which the greeting is checked
    :param helo: the client's greeting
    :param receiver: who checks, for explanations
    :return: "none" for a sender without a domain, or with an address in its place
    """
    identity = "mailfrom" if sender else "helo"
    helo = canonical_domain(helo)
    local, at, domain = sender.rpartition("@")
    domain = (canonical_domain(domain) if at or domain else helo).removesuffix(".")
    question = _question(domain, "TXT")
    if question is None or "." not in domain or domain.startswith("["):
        return SPFResult("none", "" if domain.startswith("[") else _clean(domain), identity, "no name of a domain")
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return SPFResult("none", domain, identity, "no address of a client")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    check = _Check(str(mapped or address), local or "postmaster", domain, helo, receiver or "unknown")
    return await check.run(resolver, identity)
