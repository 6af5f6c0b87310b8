"""What a manager sees of TLS on the way to servers that the DNS names: its reports, and where they are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from smtpgate.proxy.revision import Revision
from smtpgate.proxy.tls_reports import TLSReports, wanted_at

#: Reports that are given out at a time: for each the DNS is asked where it is wanted.
MOST: Final = 500


@attrs.frozen
class ReportView:
    """The report for one domain and day.

    :ivar wanted_at: addresses, mailto: or https:, by its own word; none: it wants none; None: the DNS does not say
    :ivar report: as RFC 8460 section 4.4 has it
    """

    domain: str
    successes: int
    failures: int
    wanted_at: tuple[str, ...] | None
    report: dict[str, Any]


class TLSWatch:
    """The counts, and what is made of them."""

    def __init__(self, wall: Callable[[], float], current: Callable[[], Revision]) -> None:
        self.reports = TLSReports(wall)
        self._current = current

    def destinations(self) -> list[tuple[str, int]]:
        """How many domains are known of each backend whose servers the DNS names."""
        return [(name, len(one)) for name, one in self._current().destinations.items()]

    async def day(self, day: str, after: str = "") -> list[ReportView]:
        """The reports of a day, as 2026-11-27 in UTC; "" for the last of which something is known. MOST at a time, of
        the domains behind `after`."""
        revision = self._current()
        day = day or (self.reports.days or [""])[-1]
        made = self.reports.reports(day, revision.settings.hostname, after, MOST)
        named = [report["policies"][0]["policy"]["policy-domain"] for report in made]
        resolver = next((one.resolver for one in revision.destinations.values()), None)
        wanted = await wanted_at(resolver, named) if resolver is not None else {}
        return [
            ReportView(
                domain,
                sum(one["summary"]["total-successful-session-count"] for one in report["policies"]),
                sum(one["summary"]["total-failure-session-count"] for one in report["policies"]),
                wanted.get(domain),
                report,
            )
            for domain, report in zip(named, made, strict=True)
        ]
