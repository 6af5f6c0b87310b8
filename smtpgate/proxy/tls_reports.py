"""Counts how TLS fares to each domain and day, for its owners (RFC 8460) and for ours.

`proxy.guard` tells of each connection to a server that the DNS names. Counts are kept over restarts by
`proxy.counters`; who asks for a report gets it of `policy.tls_report`.
"""

from __future__ import annotations

import calendar
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import DeferredList, DeferredSemaphore

from smtpgate.policy.names import Answer
from smtpgate.policy.tls_report import Row, addresses, report
from smtpgate.proxy.guard import Published

#: Domains and policies of one day; whoever sends chooses the domains. What comes after them counts in `totals` only.
ROWS: Final = 20_000
#: Faults and servers of one row.
FAULTS: Final = 50
#: Domains whose wishes are asked for at once: mail that waits for the DNS meanwhile finds places there.
ASKED: Final = 32
#: Days that are kept; reports are made of the day before, and asked for again for a few days.
KEPT_DAYS: Final = 8
_DAY_S: Final = 86_400
#: Result of a session that was as it should be.
SUCCESS: Final = "success"


class TLSReports:
    """The counts.

    :ivar totals: sessions by result since the start
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._days: dict[str, dict[tuple[str, str], Row]] = {}
        self._changed: dict[tuple[str, str, str], None] = {}
        self.totals: Counter[str] = Counter()

    # Counting

    def succeeded(self, domain: str, policy: Published) -> None:
        """A session had the protection that the domain publishes; TLS, where it publishes nothing."""
        self.totals[SUCCESS] += 1
        row = self._row(domain, policy)
        if row is not None:
            row.successes += 1

    def failed(self, domain: str, policy: Published, host: str, fault: str) -> None:
        """A session had not.

        :param host: the server; "" where it did not come so far
        :param fault: one of `policy.tls_report.FAULTS`
        """
        self.totals[fault] += 1
        row = self._row(domain, policy)
        if row is None:
            return
        key = fault, host
        if key not in row.failures and len(row.failures) >= FAULTS:
            key = fault, ""
        row.failures[key] = row.failures.get(key, 0) + 1

    def _row(self, domain: str, policy: Published) -> Row | None:
        day = _day(self._wall())
        rows = self._days.get(day)
        if rows is None:
            rows = self._days[day] = {}
            for old in sorted(self._days)[:-KEPT_DAYS]:
                del self._days[old]
        key = domain, policy.kind
        row = rows.get(key)
        if row is None:
            if len(rows) >= ROWS:
                return None
            row = rows[key] = Row(domain, policy.kind)
        # The newest is the one that is shown.
        row.lines, row.hosts = policy.lines or row.lines, policy.hosts or row.hosts
        self._changed[day, domain, policy.kind] = None
        return row

    # Reports

    @property
    def days(self) -> list[str]:
        """Days of which something is known, in order."""
        return sorted(self._days)

    def reports(self, day: str, organisation: str, after: str = "", most: int = ROWS) -> list[dict[str, Any]]:
        """Reports of a day, one for each domain, in the order of their names.

        :param after: those of domains behind this one; "": the first
        """
        rows: dict[str, list[Row]] = {}
        for (domain, _), row in self._days.get(day, {}).items():
            if domain > after:
                rows.setdefault(domain, []).append(row)
        return [report(day, organisation, domain, rows[domain]) for domain in sorted(rows)[:most]]

    # Kept over restarts

    def changed(self, wall: float, most: int) -> list[tuple[str, Any, float]]:
        """Rows that changed since the last time."""
        out = []
        for place in list(self._changed)[:most]:
            del self._changed[place]
            day, domain, kind = place
            row = self._days.get(day, {}).get((domain, kind))
            if row is None:
                continue
            value = {
                "lines": list(row.lines),
                "hosts": list(row.hosts),
                "successes": row.successes,
                "failures": [[fault, host, count] for (fault, host), count in row.failures.items()],
            }
            out.append((f"{day}|{kind}|{domain}", value, _end(day)))
        return out

    def restore(self, rows: list[tuple[str, Any, float]], wall: float) -> None:
        """Take over what was kept."""
        for key, value, _ in rows:
            day, kind, domain = key.split("|", 2)
            failures = {(fault, host): count for fault, host, count in value["failures"]}
            self._days.setdefault(day, {})[domain, kind] = Row(
                domain, kind, tuple(value["lines"]), tuple(value["hosts"]), value["successes"], failures
            )


def _day(wall: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(wall))


def _end(day: str) -> float:
    return float(calendar.timegm(time.strptime(day, "%Y-%m-%d"))) + (KEPT_DAYS + 1) * _DAY_S


async def wanted_at(resolver: Any, domains: list[str]) -> dict[str, tuple[str, ...] | None]:
    """Where domains want their reports; None where the DNS does not answer, so that it is not known whether they do."""
    turns = DeferredSemaphore(ASKED)
    asked = [turns.run(resolver.lookup, f"_smtp._tls.{domain}", "TXT") for domain in domains]
    answers: list[tuple[bool, Answer]] = await DeferredList(asked, consumeErrors=True)
    return {
        domain: None if not is_there or answer.is_temporary else addresses(answer.records)
        for domain, (is_there, answer) in zip(domains, answers, strict=True)
    }
