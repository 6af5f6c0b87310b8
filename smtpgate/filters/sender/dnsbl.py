"""Lists in the DNS of bad and good senders: by the address of the client, and by the domains that it names.

All lists are asked at once, and what has not answered after three seconds has no effect (B-144). Each that has an entry
adds the score of its answer, once; lists of good senders subtract. The sum only scores, until a threshold says what
becomes of it. A list counts while it is sound (`dnsbl_health`) and by its own codes only (`dnsbl_list`, B-142). Its
reason (TXT) is asked where there is an entry, and told to the sender in a refusal, without the key of the zone.

Never asked for: addresses of a house, trusted clients and relays, our own domains.

RFC 5782; RFC 6471 (how lists should be run, and used).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from pydantic import Field, model_validator

from smtpgate.config.problem import BadValue, Fault, warning
from smtpgate.filters.base import Factory, Options
from smtpgate.filters.sender.base import BUDGET_S, STAGES, SenderFilter, host_name, plain_address
from smtpgate.filters.sender.dnsbl_ask import TIME_S, Counts, Lists, Subject, differ
from smtpgate.filters.sender.dnsbl_list import DnsList, ListOptions
from smtpgate.policy.origin import Origin
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

__all__ = ["TIME_S", "Counts", "DnsblFilter", "DnsblOptions", "factory"]

#: Lists of one filter; each costs a question for every new client.
LISTS: Final = 32


class DnsblOptions(Options):
    """The lists, and what becomes of their sum."""

    lists: list[ListOptions] = Field([], max_length=LISTS, description="All are asked.")
    tag_at: float | None = Field(None, gt=0, description="Sum from which a message is tagged; not set: it only scores.")
    defer_at: float | None = Field(None, gt=0, description="Sum from which it is deferred.")
    reject_at: float | None = Field(None, gt=0, description="Sum from which it is refused.")

    @model_validator(mode="after")
    def _differ(self) -> DnsblOptions:
        differ(self.lists)
        names = ("tag_at", "defer_at", "reject_at")
        given = [(name, value) for name in names if (value := getattr(self, name)) is not None]
        for (lower, low), (upper, up) in pairwise(given):
            if low > up:
                message = f"{lower} is above {upper}: it would never count"
                raise BadValue(message, f"let {upper} be the higher of the two")
        return self

    def doubts(self, chain: Mapping[str, str]) -> Iterator[Fault]:
        """Without a list nothing is asked."""
        if not self.lists:
            yield warning((), "no lists are named, so nothing is asked", 'lists = [{ zone = "...", weight = 3.0 }]')


class DnsblFilter(Lists, SenderFilter):
    """Asks the lists."""

    def __init__(self, options: DnsblOptions, services: Any) -> None:
        SenderFilter.__init__(self, options, services)
        Lists.__init__(self, options.lists, services)

    async def look(self, transaction: Transaction, origin: Origin) -> list[Finding]:
        """At most one finding, over all lists."""
        hits = await self.ask(lambda one: self._subjects(one, transaction, origin))
        if not hits:
            return []
        score, detail = self.told(hits)
        if score <= 0:
            return [Finding("dnsbl-allowed", detail=detail, score=score)]
        worst = max(hits, key=lambda hit: hit.score)
        public = worst.list.reply(worst.what, worst.reason)
        return [Finding("dnsbl-listed", self._action(score), public, detail, score)]

    def _subjects(self, one: DnsList, transaction: Transaction, origin: Origin) -> Iterable[Subject]:
        options = one.options
        if not isinstance(options, ListOptions) or options.kind == "ip":
            address = plain_address(origin.ip)
            if address is not None and not self.services.settings.trusted_relays.contains(address):
                yield address
            return
        names = {"sender": transaction.sender.domain, "helo": origin.helo}
        for name in dict.fromkeys(host_name(names[which]) for which in options.asks):
            if name and not self.services.settings.local_domains.matches(name):
                yield name

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
