"""Lists in the DNS of bad and good senders: by the address of the client, and by the domains that it names.

All lists are asked at once, and what has not answered after three seconds has no effect (B-144). Each that has an entry
adds the score of its answer, once; lists of good senders subtract. The sum only scores, until a threshold says what
becomes of it. A list counts while it is sound (`dnsbl_health`) and by its own codes only (`dnsbl_list`, B-142). Its
reason (TXT) is asked where there is an entry, and told to the sender in a refusal, without the key of the zone.

Never asked for: addresses of a house, trusted clients and relays, our own domains.

RFC 5782; RFC 6471 (how lists should be run, and used).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any, Final

import attrs
from pydantic import Field, model_validator

from smtpgate.config.problem import BadValue, quoted
from smtpgate.filters.base import Factory, Options
from smtpgate.filters.sender.base import (
    BUDGET_S,
    STAGES,
    SenderFilter,
    host_name,
    in_time,
    plain_address,
    results,
    together,
)
from smtpgate.filters.sender.dnsbl_health import Health
from smtpgate.filters.sender.dnsbl_list import REASON_OCTETS, Address, DnsList, ListOptions
from smtpgate.policy.names import Answer
from smtpgate.policy.origin import Origin
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: For all lists together, reasons included; postscreen waits 10 (postscreen_dnsbl_timeout), with the client on hold.
TIME_S: Final = 3.0
#: Lists of one filter; each costs a question for every new client.
LISTS: Final = 32

Subject = Address | str


class DnsblOptions(Options):
    """The lists, and what becomes of their sum."""

    lists: list[ListOptions] = Field([], max_length=LISTS, description="All are asked.")
    tag_at: float | None = Field(None, gt=0, description="Sum from which a message is tagged; not set: it only scores.")
    defer_at: float | None = Field(None, gt=0, description="Sum from which it is deferred.")
    reject_at: float | None = Field(None, gt=0, description="Sum from which it is refused.")

    @model_validator(mode="after")
    def _differ(self) -> DnsblOptions:
        names = Counter(DnsList(one).name for one in self.lists)
        for name, count in names.items():
            if count > 1:
                raise BadValue(f"{count} lists are called {quoted(name)}", "give each a name of its own")
        return self


@attrs.define
class Counts:
    """What one list did, since the configuration was loaded.

    :ivar alone: entries that no other list had: what would be missed without it
    """

    asked: int = 0
    hits: int = 0
    alone: int = 0
    others: int = 0
    errors: int = 0
    silences: int = 0


@attrs.define
class _Hit:
    """An entry that counts."""

    list: DnsList
    what: str
    code: str
    score: float
    reason: str = ""


class DnsblFilter(SenderFilter):
    """Asks the lists.

    :ivar health: of each list, by name
    :ivar counts: of each list, by name
    :ivar overlap: how often two lists had an entry for the same message
    """

    def __init__(self, options: DnsblOptions, services: Any) -> None:
        super().__init__(options, services)
        self._lists = [DnsList(one) for one in options.lists]
        self.health = {one.name: Health(one, services) for one in self._lists}
        self.counts = {one.name: Counts() for one in self._lists}
        self.overlap: Counter[tuple[str, str]] = Counter()

    async def look(self, transaction: Transaction, origin: Origin) -> list[Finding]:
        """At most one finding, over all lists."""
        hits: list[_Hit] = []
        await together(
            self._ask_in_time(one, subjects, hits)
            for one in self._lists
            if (subjects := list(self._subjects(one, transaction, origin)))
        )
        return self._judge(hits)

    def _subjects(self, one: DnsList, transaction: Transaction, origin: Origin) -> Iterable[Subject]:
        if one.options.kind == "ip":
            address = plain_address(origin.ip)
            if address is not None and not self.services.settings.trusted_relays.contains(address):
                yield address
            return
        names = {"sender": transaction.sender.domain, "helo": origin.helo}
        for name in dict.fromkeys(host_name(names[which]) for which in one.options.asks):
            if name and not self.services.settings.local_domains.matches(name):
                yield name

    async def _ask_in_time(self, one: DnsList, subjects: list[Subject], hits: list[_Hit]) -> None:
        is_done = await in_time(self.services, self._ask(one, subjects, hits), TIME_S)
        if not is_done and self.health[one.name].is_sound and all(hit.list is not one for hit in hits):
            self._silent(one)

    async def _ask(self, one: DnsList, subjects: list[Subject], hits: list[_Hit]) -> bool:
        """Ask one list; its entry is in `hits` at once, and the reason in the entry when it comes. True at the end."""
        if not await self.health[one.name].check():
            return True
        asked = [(subject, question) for subject in subjects if (question := one.question(subject))]
        self.counts[one.name].asked += len(asked)
        lookup = self.services.resolver.lookup
        answers: list[Answer] = await results([lookup(question, "A") for _, question in asked])
        found = []
        for (subject, question), answer in zip(asked, answers, strict=True):
            hit = self._read(one, str(subject), answer)
            if hit is not None:
                found.append((hit, question))
        if not found or not self.health[one.name].is_sound:
            return True
        # One list speaks once, however many names of a message it knows.
        hit, question = max(found, key=lambda pair: abs(pair[0].score))
        self.counts[one.name].hits += 1
        hits.append(hit)
        if hit.score > 0:
            reason: Answer = await lookup(question, "TXT")
            if reason.records:
                hit.reason = one.hide(reason.records[0][:REASON_OCTETS].decode("ascii", "replace"))
        return True

    def _read(self, one: DnsList, subject: str, answer: Answer) -> _Hit | None:
        counts, health = self.counts[one.name], self.health[one.name]
        if answer.is_temporary:
            self._silent(one)
            return None
        health.heard()
        if not answer.records:
            return None
        reading = one.read(answer.records)
        if reading.state == "listed":
            return _Hit(one, subject, reading.code, reading.score)
        if reading.state == "error":
            counts.errors += 1
            health.error(reading.code)
        else:
            counts.others += 1
        return None

    def _silent(self, one: DnsList) -> None:
        self.counts[one.name].silences += 1
        self.health[one.name].silent()

    def _judge(self, hits: list[_Hit]) -> list[Finding]:
        if not hits:
            return []
        hits = sorted(hits, key=lambda hit: hit.list.name)
        if len(hits) == 1:
            self.counts[hits[0].list.name].alone += 1
        self.overlap.update(combinations([hit.list.name for hit in hits], 2))
        score = round(sum(hit.score for hit in hits), 3)
        detail = "; ".join(
            f"{hit.list.name} has {hit.what} as {hit.code}, {hit.score:g}{f' ({hit.reason})' if hit.reason else ''}"
            for hit in hits
        )
        if score <= 0:
            return [Finding("dnsbl-allowed", detail=detail, score=score)]
        worst = max(hits, key=lambda hit: hit.score)
        public = worst.list.reply(worst.what, worst.reason)
        return [Finding("dnsbl-listed", self._action(score), public, detail, score)]

    def _action(self, score: float) -> str:
        options: DnsblOptions = self.options
        for action, at in (("reject", options.reject_at), ("defer", options.defer_at), ("tag", options.tag_at)):
            if at is not None and score >= at:
                return action
        return "note"


factory = Factory(
    "dnsbl",
    DnsblOptions,
    STAGES,
    DnsblFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    category="sender",
)
