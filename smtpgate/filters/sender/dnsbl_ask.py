"""How DNS lists are asked, for all filters that have some: at once, within a time, and only while they are sound.

A `Lists` keeps of each list its health, what it did, and how often it had the same as another. A filter says what is to
be asked of each list, and gets the entries that count; of one list that which counts most. The reason (TXT) of a bad
entry is asked too.

RFC 5782; RFC 6471 (how lists should be run, and used).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any, Final

import attrs

from smtpgate.config.problem import BadValue, quoted
from smtpgate.filters.sender.base import in_time, results, together
from smtpgate.filters.sender.dnsbl_health import Health
from smtpgate.filters.sender.dnsbl_list import REASON_OCTETS, Address, DnsList, LinkListOptions, ListOptions
from smtpgate.policy.names import Answer

#: For all lists together, reasons included; postscreen waits 10 (postscreen_dnsbl_timeout), with the client on hold.
TIME_S: Final = 3.0

Subject = Address | str


def differ(tables: Iterable[ListOptions | LinkListOptions]) -> None:
    """Raises BadValue where two lists have the same name."""
    for name, count in Counter(DnsList(one).name for one in tables).items():
        if count > 1:
            raise BadValue(f"{count} lists are called {quoted(name)}", "give each a name of its own")


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
class Hit:
    """An entry that counts."""

    list: DnsList
    what: str
    code: str
    score: float
    reason: str = ""


class Lists:
    """Some lists, and what is known of them.

    :ivar health: of each list, by name
    :ivar counts: of each list, by name
    :ivar overlap: how often two lists had an entry for the same message
    """

    def __init__(self, tables: Iterable[ListOptions | LinkListOptions], services: Any) -> None:
        self._services = services
        self._lists = [DnsList(one) for one in tables]
        self.health = {one.name: Health(one, services) for one in self._lists}
        self.counts = {one.name: Counts() for one in self._lists}
        self.overlap: Counter[tuple[str, str]] = Counter()

    async def ask(self, subjects: Callable[[DnsList], Iterable[Subject]]) -> list[Hit]:
        """The entries that count, by the name of their list. What has not answered in time has no effect (B-144)."""
        hits: list[Hit] = []
        await together(self._ask_in_time(one, asked, hits) for one in self._lists if (asked := list(subjects(one))))
        hits.sort(key=lambda hit: hit.list.name)
        if len(hits) == 1:
            self.counts[hits[0].list.name].alone += 1
        self.overlap.update(combinations([hit.list.name for hit in hits], 2))
        return hits

    @staticmethod
    def told(hits: list[Hit]) -> tuple[float, str]:
        """Their sum, and what each of them says."""
        detail = "; ".join(
            f"{hit.list.name} has {hit.what} as {hit.code}, {hit.score:g}{f' ({hit.reason})' if hit.reason else ''}"
            for hit in hits
        )
        return round(sum(hit.score for hit in hits), 3), detail

    async def _ask_in_time(self, one: DnsList, subjects: list[Subject], hits: list[Hit]) -> None:
        is_done = await in_time(self._services, self._ask(one, subjects, hits), TIME_S)
        if not is_done and self.health[one.name].is_sound and all(hit.list is not one for hit in hits):
            self._silent(one)

    async def _ask(self, one: DnsList, subjects: list[Subject], hits: list[Hit]) -> bool:
        """Ask one list; its entry is in `hits` at once, and the reason in the entry when it comes. True at the end."""
        if not await self.health[one.name].check():
            return True
        asked = [(subject, question) for subject in subjects if (question := one.question(subject))]
        self.counts[one.name].asked += len(asked)
        lookup = self._services.resolver.lookup
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

    def _read(self, one: DnsList, subject: str, answer: Answer) -> Hit | None:
        counts, health = self.counts[one.name], self.health[one.name]
        if answer.is_temporary:
            self._silent(one)
            return None
        health.heard()
        if not answer.records:
            return None
        reading = one.read(answer.records)
        if reading.state == "listed":
            return Hit(one, subject, reading.code, reading.score)
        if reading.state == "error":
            counts.errors += 1
            health.error(reading.code)
        else:
            counts.others += 1
        return None

    def _silent(self, one: DnsList) -> None:
        self.counts[one.name].silences += 1
        self.health[one.name].silent()
