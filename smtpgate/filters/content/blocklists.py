"""Lists of bad domains, URLs and attachments: files that the operator keeps, and lists in the DNS.

Links of every kind of text are looked up, also those of PDF files and QR codes. Files are read anew when they change,
and those that are broken then are told of and not used: what there was stays. The DNS is asked for the domains that
links lead to, at most so many of a message, and never for our own; each list counts while it is sound (`dnsbl_health`).

RFC 5782 section 3 (lists of domains).
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from smtpgate.config.patterns import DomainList
from smtpgate.config.problem import BadValue
from smtpgate.config.values import Wait
from smtpgate.examine.facts import Facts
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.filters.content.base import BUDGET_S
from smtpgate.filters.content.entries import Entries, read_entries
from smtpgate.filters.engines.files import located, stamp_of
from smtpgate.filters.sender.dnsbl_ask import Lists, Subject, differ
from smtpgate.filters.sender.dnsbl_list import LinkListOptions
from smtpgate.policy.event import Happened
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: Domains of a message that are asked for; as SpamAssassin's uridnsbl_max_domains.
DOMAINS: Final = 20
LISTS: Final = 16
#: Entries that a finding names.
NAMED: Final = 5

Action = Literal["note", "tag", "quarantine", "defer", "reject"]


class BlocklistOptions(Options):
    """The lists, and what becomes of what is on them."""

    files: list[str] = Field([], description="Files of domains, URLs and SHA-256 of attachments, one in a line.")
    poll: Wait = Field(60.0, description="How often the files are looked at for changes.")
    lists: list[LinkListOptions] = Field([], max_length=LISTS, description="Lists in the DNS; all are asked.")
    trusted: list[str] = Field([], description="Domains that are never looked up, as example.org or *.example.org.")
    links: Action = Field("tag", description="What becomes of a message with a link that a file has.")
    attachments: Action = Field("reject", description="What becomes of one with an attachment that a file has.")
    score: float = Field(6.0, description="Score of a link or an attachment that a file has.")
    tag_at: float | None = Field(
        None, gt=0, description="Sum of the lists in the DNS from which a message is tagged; not set: it only scores."
    )
    reject_at: float | None = Field(None, gt=0, description="Their sum from which it is refused.")
    _paths: tuple[str, ...] = PrivateAttr(())
    _entries: Entries = PrivateAttr(Entries())

    @field_validator("trusted")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        DomainList(value)
        return value

    @model_validator(mode="after")
    def _read(self, info: ValidationInfo) -> BlocklistOptions:
        differ(self.lists)
        self._paths = tuple(str(located(text, info.context)) for text in self.files)
        try:
            self._entries = read_entries(self._paths)
        except BadValue as error:
            raise error.at("files") from None
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the files are."""
        return self._paths

    @property
    def entries(self) -> Entries:
        """What stood in them when the configuration was loaded."""
        return self._entries


class BlocklistFilter(Lists, Filter):
    """Looks links and attachments up."""

    def __init__(self, options: BlocklistOptions, services: Any) -> None:
        Lists.__init__(self, options.lists, services)
        self.options = options
        self.services = services
        self.trusted = DomainList(options.trusted)
        self.entries = options.entries
        self._looked = services.clock.seconds()
        self._refused = ""

    def transaction(self, transaction: Transaction) -> _Visit:
        """One message."""
        return _Visit(self, transaction)

    async def found(self, transaction: Transaction) -> list[Finding]:
        """At most one finding for links, one for attachments, and one for the lists in the DNS."""
        facts: Facts = await self.services.examine(transaction)
        await self._poll()
        return [*self._listed(facts), *await self._asked(facts)]

    def _is_ours(self, domain: str) -> bool:
        return not domain or self.trusted.matches(domain) or self.services.settings.local_domains.matches(domain)

    def _listed(self, facts: Facts) -> list[Finding]:
        entries, options = self.entries, self.options
        links = {
            entry: f"{link.url[:200]} ({link.source} {link.part}) is listed as {entry[:200]}"
            for link in facts.links
            if not self._is_ours(link.host) and not self._is_ours(link.domain) and (entry := entries.of_link(link))
        }
        files = [
            f"{file.path} is listed by its SHA-256 {file.digest}"
            for file in facts.files
            if file.digest in entries.digests
        ]
        found = []
        if files:
            public = "An attachment of the message is known to be malware"
            detail = "; ".join(files[:NAMED])
            action, score = options.attachments, options.score
            found.append(Finding("blocklist-file", action, public, detail, score, category="malware"))
        if links:
            public = "A link in the message is on a list of bad ones"
            detail = "; ".join([*links.values()][:NAMED])
            found.append(Finding("blocklist-link", options.links, public, detail, options.score))
        return found

    async def _asked(self, facts: Facts) -> list[Finding]:
        domains = dict.fromkeys(one.domain for one in facts.links if not self._is_ours(one.domain))
        subjects = [subject for domain in list(domains)[:DOMAINS] if (subject := _subject(domain))]
        hits = await self.ask(lambda one: subjects) if subjects else []
        if not hits:
            return []
        score, detail = self.told(hits)
        worst = max(hits, key=lambda hit: hit.score)
        options = self.options
        action = (
            "reject" if _reaches(score, options.reject_at) else "tag" if _reaches(score, options.tag_at) else "note"
        )
        public = worst.list.reply(worst.what, worst.reason)
        return [Finding("blocklist-dns", action, public, detail, score)]

    async def _poll(self) -> None:
        """Take files over that have changed. Whatever is wrong with them, what there was stays."""
        paths, now = self.options.paths, self.services.clock.seconds()
        if not paths or now - self._looked < self.options.poll:
            return
        self._looked = now
        try:
            if await self.services.run_in_worker(stamp_of, paths) == self.entries.stamp:
                return
            self.entries = await self.services.run_in_worker(read_entries, paths)
        except BadValue as error:
            if error.message != self._refused:
                self._refused = error.message
                fields = (("filter", "blocklists"), ("reason", error.message))
                message = f"blocklists: changed files are not used: {error.message}"
                self.services.tell(Happened("engine.rules_refused", "error", message, fields))
            return
        self._refused = ""
        count = sum(map(len, (self.entries.domains, self.entries.urls, self.entries.digests)))
        message = f"blocklists: files have changed: {count} entries"
        self.services.tell(Happened("engine.rules", "info", message, (("filter", "blocklists"),)))


class _Visit:
    __slots__ = ("_filter", "_transaction")

    def __init__(self, parent: BlocklistFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction

    async def end(self) -> list[Finding]:
        """All of it has come."""
        return await self._filter.found(self._transaction)


def _subject(domain: str) -> Subject | None:
    """What is asked for a domain, or for the address in its place; None for what no list has."""
    try:
        address = ipaddress.ip_address(domain.strip("[]"))
    except ValueError:
        return domain if "." in domain and len(domain) <= 200 else None
    return address if address.version == 4 and address.is_global else None


def _reaches(score: float, threshold: float | None) -> bool:
    return threshold is not None and score >= threshold


factory = Factory(
    "blocklists",
    BlocklistOptions,
    frozenset({"end"}),
    BlocklistFilter,
    on_error="continue",
    budget_s=BUDGET_S,
    needs_content=True,
    category="spam",
)
