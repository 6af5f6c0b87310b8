# ruff: noqa: E501 - tables
"""People: whom a message says that it is from, and whom it borrows the looks of.

Names are what readers see and addresses what they do not: a name that holds another address, the name of a brand or of one
of our own people on a foreign address, a domain that looks like ours, answers that are to go elsewhere. Each kind counts
once. Which people and domains are to be protected is the operator's to say; brands are shipped (`examine.brands`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from smtpgate.config.patterns import DomainList
from smtpgate.config.problem import BadValue, quoted
from smtpgate.examine.brands import BRANDS, Brand, brands_called, brands_in
from smtpgate.examine.facts import Facts
from smtpgate.examine.skeleton import looks_like, skeleton
from smtpgate.examine.urls import registrable
from smtpgate.filters.base import Options
from smtpgate.filters.content.base import ContentFilter, content_factory, sentence, weights
from smtpgate.message.mailbox import Mailbox
from smtpgate.policy.houses import FREEMAIL, is_hosting
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

_ADDRESS: Final = re.compile(r"[\w.+-]{1,64}@((?:[\w-]{1,63}\.){1,8}[a-z]{2,20})", re.IGNORECASE)
#: Words of a name that a company's office has, and no person.
_OFFICE: Final = re.compile(
    r"\b(?:support|service|services|team|security|admin|administrator|account|accounts|billing|customer|department|dept|"
    r"help ?desk|bank|notification|notice|alert|delivery|express|payment|invoice|webmail|mail ?server|postmaster|it desk|"
    r"hr|payroll|refund|tax|finance|office|kundenservice|sicherheit|servicio|soporte|assistenza|suporte|atendimento)\b",
    re.IGNORECASE,
)
#: Marks and pictures; letters, digits and what names are written with are none.
_MARKS: Final = re.compile(
    "[\u00ae\u2122\u2190-\u2bff\u2605-\u27bf\ufe0f\U0001d400-\U0001d7ff\U0001f000-\U0001faff!*#$%^=+~|<>\\[\\]{}]"
)
#: Domains that come with a trial of something; nobody's mail is at home there.
_NOWHERE: Final = (".onmicrosoft.com", ".sa.com", ".za.com", ".us.com", ".ru.com", ".uk.com", ".br.com", ".co.com")
_GREETINGS: Final = (
    "hello",
    "hi",
    "dear",
    "hallo",
    "bonjour",
    "hola",
    "ciao",
    "olá",
    "ola",
    "beste",
    "guten tag",
    "cher",
)
_RANDOM: Final = re.compile(r"[bcdfghjklmnpqrstvwxz]{5}|(?=[a-z0-9]*\d[a-z0-9]*[a-z])[a-z0-9]{12}", re.IGNORECASE)

KINDS: Final[dict[str, tuple[str, float]]] = {
    "name-holds-address": ("its author's name is an address of somebody else", 3.0),
    "name-holds-ours": ("its author's name is an address of ours, and it is not from there", 4.0),
    "brand-name": ("its author's name is a brand that it does not come from", 3.5),
    "brand-subject": ("its subject speaks for a brand that it neither comes from nor leads to", 0.8),
    "brand-text": ("it speaks for a brand that it neither comes from nor leads to", 0.0),
    "look-alike": ("its author's domain looks like a well-known one", 4.0),
    "look-alike-ours": ("its author's domain looks like one of ours or of our partners", 4.0),
    "protected-name": ("its author has the name of one of our people, and another address", 4.0),
    "protected-initials": ("its author's name may be that of one of our people, by its initials", 1.5),
    "office-at-freemail": ("an office writes from a mailbox that anybody may have", 2.0),
    "answers-elsewhere": ("answers go to another domain than it comes from", 0.8),
    "answers-freemail": ("answers go to a mailbox that anybody may have", 2.0),
    "name-in-letters": ("its author's name mixes letters of several alphabets", 2.0),
    "random-author": ("its author's address is made of random letters", 0.0),
    "sender-elsewhere": ("its envelope is from another domain than its author", 0.0),
    "no-name": ("its author has an address and no name", 1.2),
    "decorated-name": ("its author's name has pictures or marks in it that names do not have", 1.5),
    "nowhere-author": ("its author's domain is one that anybody gets for a page or a trial", 1.8),
    "reader-in-subject": ("its subject holds the reader's address", 2.0),
    "reader-greeted": ("it greets the reader by address in place of a name", 0.5),
    "several-names": ("its author field has several names for one address, or none", 1.8),
}


class PeopleOptions(Options):
    """Whom to protect, and what each kind weighs."""

    protected: list[str] = Field([], description="Domains of yours and of partners that no author may look like.")
    people: dict[str, list[str]] = Field(
        {}, description="People of yours by name, each with all addresses that they write from."
    )
    borrowed: Literal["note", "tag", "quarantine", "reject"] = Field(
        "tag", description="What becomes of mail in the name of one of these people, or from a domain that looks so."
    )
    scores: dict[str, float] = Field({}, description="Weights by kind, in place of those that are shipped.")

    @field_validator("protected")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        DomainList(value)
        return value

    @field_validator("people")
    @classmethod
    def _people(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, addresses in value.items():
            if not _words(name):
                raise BadValue(f"{quoted(name)} is no name", 'write a person as "Erika Mustermann" = [addresses]')
            for address in addresses:
                local, _, domain = address.rpartition("@")
                if not local or not domain:
                    raise BadValue(f"{quoted(address)} is no address", 'write it as "erika@example.net"')
        return value

    @field_validator("scores")
    @classmethod
    def _kinds(cls, value: dict[str, float]) -> dict[str, float]:
        weights(value, KINDS)
        return value


class PeopleFilter(ContentFilter):
    """Looks at authors."""

    def __init__(self, options: PeopleOptions, services: Any) -> None:
        super().__init__(options, services)
        self.options = options
        self.scores = {kind: options.scores.get(kind, score) for kind, (_, score) in KINDS.items()}
        self.ours = DomainList(options.protected)
        self.local = services.settings.local_domains if services is not None else DomainList([])
        self.people = [(_words(name), frozenset(map(str.lower, held))) for name, held in options.people.items()]
        self.protected = tuple(entry.removeprefix("*.") for entry in options.protected)
        self.targets = (*self.protected, *(brand.domains[0] for brand in BRANDS))

    def look(self, facts: Facts, transaction: Transaction) -> list[Finding]:
        """One finding for each kind."""
        found: dict[str, str] = {}
        for author in facts.authors:
            for kind, detail in self._author(author, facts, transaction):
                found.setdefault(kind, detail)
        for kind, detail in self._brands(facts, transaction):
            found.setdefault(kind, detail)
        for kind, detail in self._reader(facts, transaction):
            found.setdefault(kind, detail)
        if "brand-name" in found:
            found.pop("brand-subject", None)
            found.pop("brand-text", None)
        return [self._finding(kind, detail) for kind, detail in found.items()]

    def _finding(self, kind: str, detail: str) -> Finding:
        borrowed = kind in ("name-holds-ours", "look-alike-ours", "protected-name")
        said, _ = KINDS[kind]
        action = self.options.borrowed if borrowed else "note"
        public, score = f"The message is not accepted: {said}", self.scores[kind]
        return Finding(f"people-{kind}", action, public, sentence(said, detail), score)

    def _author(self, author: Mailbox, facts: Facts, transaction: Transaction) -> Iterator[tuple[str, str]]:
        shown = f"{author.name} <{author.address}>"[:300]
        domain = registrable(author.domain)
        named = _ADDRESS.search(author.name)
        if named is not None and author.address and registrable(named[1].lower()) != domain:
            ours = self.ours.matches(named[1].lower()) or self.local.matches(named[1].lower())
            yield ("name-holds-ours" if ours else "name-holds-address"), shown
        like = looks_like(author.domain, self.targets) if author.domain else None
        if like is not None:
            ours = like[0] in self.protected
            yield ("look-alike-ours" if ours else "look-alike"), f"{author.domain}: {like[1]} as {like[0]}"
        yield from ((kind, shown) for kind in self._borrowed(author))
        if domain in FREEMAIL and _OFFICE.search(author.name):
            yield "office-at-freemail", shown
        if _is_mixed_name(author.name):
            yield "name-in-letters", shown
        local = author.address.rpartition("@")[0]
        if _RANDOM.search(local) and not any(mark in local for mark in "=+"):
            yield "random-author", author.address
        if _MARKS.search(author.name):
            yield "decorated-name", shown
        if is_hosting(author.domain) or author.domain.endswith(_NOWHERE):
            yield "nowhere-author", shown
        if author.address and not author.name:
            yield "no-name", author.address
        if transaction.sender.domain and registrable(transaction.sender.domain) != domain:
            yield "sender-elsewhere", f"{transaction.sender} for {author.address}"
        for reply in facts.replies[:3]:
            answers = registrable(reply.domain)
            if answers and answers != domain and not _is_list(transaction):
                yield (
                    ("answers-freemail" if answers in FREEMAIL else "answers-elsewhere"),
                    f"{reply.address} for {shown}",
                )

    def _borrowed(self, author: Mailbox) -> Iterator[str]:
        """Whose name it is, whatever stands around it: titles, offices, words in brackets, letters that look alike."""
        words = _words(author.name)
        for person, addresses in self.people:
            if author.address.lower() in addresses:
                continue
            if person <= words if len(person) > 1 else person == words:
                yield "protected-name"
            elif len(person) > 1 and len(words) == len(person) and _are_initials(words - person, person - words):
                yield "protected-initials"

    @staticmethod
    def _reader(facts: Facts, transaction: Transaction) -> Iterator[tuple[str, str]]:
        """Whom it is for, named where a sender who knows its reader would not."""
        addresses = {one.address.lower() for one in facts.recipients[:5]} | {
            str(one.path).lower() for one in transaction.recipients[:5]
        }
        addresses = {one for one in addresses if "@" in one}
        subject = facts.subject.lower()
        if any(address in subject for address in addresses):
            yield "reader-in-subject", facts.subject[:200]
        start = "\n".join(text.text[:600].lower() for text in facts.texts if text.source in ("plain", "html"))
        if any(f"{word} {address}" in start for address in addresses for word in _GREETINGS):
            yield "reader-greeted", start[:100]
        empty = sum(not author.address for author in facts.authors)
        if empty or len({author.address for author in facts.authors}) < len(facts.authors):
            yield "several-names", ", ".join(f"{one.name} <{one.address}>" for one in facts.authors)[:300]

    def _brands(self, facts: Facts, transaction: Transaction) -> Iterator[tuple[str, str]]:
        hosts = [author.domain for author in (*facts.authors, *facts.senders)]
        leads = [link.host for link in facts.links if link.tag in ("", "a", "area", "form")]

        def is_theirs(brand: Brand) -> bool:
            return any(brand.owns(host) for host in hosts if host)

        for author in facts.authors:
            for brand in (*brands_in(author.name), *brands_called(author.name)):
                if not is_theirs(brand):
                    yield "brand-name", f"{author.name} <{author.address}>"[:300]
        for brand in brands_in(facts.subject):
            if not is_theirs(brand) and not any(brand.owns(host) for host in leads if host):
                yield "brand-subject", brand.names[0]
        text = max((text.text for text in facts.texts if text.source in ("plain", "html")), key=len, default="")
        for brand in brands_in(text[:4000]):
            if leads and not is_theirs(brand) and not any(brand.owns(host) for host in leads if host):
                yield "brand-text", brand.names[0]


def _words(name: str) -> frozenset[str]:
    """The words of a name as they look, in no order: "Doe, John" is John Doe."""
    return frozenset(skeleton(word) for word in re.findall(r"\w+", name.lower()))


def _are_initials(letters: frozenset[str], words: frozenset[str]) -> bool:
    """Whether a single letter stands for the one word that is left."""
    return len(letters) == len(words) == 1 and all(len(one) == 1 for one in letters) and min(words)[:1] == min(letters)


def _is_mixed_name(name: str) -> bool:
    return any(
        any("a" <= letter.lower() <= "z" for letter in word) and any("\u0370" <= letter <= "\u052f" for letter in word)
        for word in name.split()
    )


def _is_list(transaction: Transaction) -> bool:
    return transaction.header is not None and bool(
        transaction.header.all("list-id") or transaction.header.all("list-post")
    )


factory = content_factory("people", PeopleOptions, PeopleFilter, on_error="continue", category="spam")
