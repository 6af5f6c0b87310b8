"""MTA-STS policies of the domains that mail goes to: fetched when a domain says that it has a new one, and kept.

RFC 8461 section 3.3 (fetching: a certificate that is right, no redirects, and anew long before it ends), section 5.1 (a
policy that is kept holds for its `max_age`, whatever the DNS says then). Without a policy that could be fetched there
is none: the domain's mail goes as if it had never had one, and that is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import attrs

from smtpgate.interfaces import HTTPFailed
from smtpgate.policy.names import Answer
from smtpgate.policy.sts import BadPolicy, Policy, parse, record_id
from smtpgate.proxy.shared import Flight

#: RFC 8461 section 3.3 suggests 64 kilobytes and a minute; mail waits for this, so it is less.
POLICY_OCTETS: Final = 64 * 1024
FETCH_S: Final = 10.0
#: After a fetch that failed none is tried for so long (RFC 8461 section 3.3: five minutes).
AGAIN_S: Final = 300.0
#: A policy that is kept is fetched again after so long, although its id is the same: it must not end while the domain
#: has it, or who keeps us from fetching it then has taken it away (RFC 8461 section 3.3: once per day).
RENEW_S: Final = 86_400.0
#: Failures that are remembered, and policies that are too large for the table.
REMEMBERED: Final = 10_000
#: What a table takes of one value (`state.memory_store.VALUE_OCTETS`), with some room.
_VALUE: Final = 3800
_TYPE: Final = "text/plain"

#: Told of a domain whose policy could not be had: domain and fault, by the words of RFC 8460 section 4.3.2.2.
Failed = Callable[[str, str], None]


@attrs.frozen
class _Kept:
    id: str
    policy: Policy
    expires: float

    def is_old(self, now: float) -> bool:
        """Whether it is time for a new copy."""
        age_s = self.policy.max_age_s
        return now >= self.expires - age_s + min(RENEW_S, age_s / 2)


class Policies:
    """The policies of all domains."""

    def __init__(self, resolver: Any, http: Any, table: Any, wall: Callable[[], float], failed: Failed) -> None:
        """
        :param resolver: an `interfaces.IResolver`
        :param http: an `interfaces.IHTTPClient` that goes to public addresses only
        :param table: an `interfaces.ITable`
        """
        self._resolver = resolver
        self._http = http
        self._table = table
        self._wall = wall
        self._failed = failed
        self._large: OrderedDict[str, _Kept] = OrderedDict()
        self._not_before: OrderedDict[str, float] = OrderedDict()
        self._running: dict[str, Flight] = {}

    async def policy(self, domain: str) -> Policy | None:
        """The policy of a domain; None where it has none."""
        if not domain or domain.startswith("["):
            return None
        now = self._wall()
        kept = await self._get(domain, now)
        answer: Answer = await self._resolver.lookup(f"_mta-sts.{domain}", "TXT")
        id = record_id(answer.records) if answer.status == "ok" else None
        if id is None or now < self._not_before.get(domain, 0.0):
            return kept.policy if kept is not None else None
        if kept is not None and kept.id == id:
            if kept.is_old(now):
                # Nobody waits for it.
                self._flight(domain, id)
            return kept.policy
        fetched: Policy | None = await self._flight(domain, id).wait()
        return fetched if fetched is not None or kept is None else kept.policy

    def _flight(self, domain: str, id: str) -> Flight:
        """One fetch of a domain at a time, which goes on when those who wait have gone."""
        flight = self._running.get(domain)
        if flight is None:
            flight = Flight(self._renew(domain, id))
            if not flight.is_done:
                self._running[domain] = flight
        return flight

    async def _renew(self, domain: str, id: str) -> Policy | None:
        try:
            fetched = await self._fetch(domain)
            if fetched is None:
                self._remember(self._not_before, domain, self._wall() + AGAIN_S)
            else:
                await self._put(domain, _Kept(id, fetched, self._wall() + fetched.max_age_s))
            return fetched
        finally:
            self._running.pop(domain, None)

    async def _fetch(self, domain: str) -> Policy | None:
        url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
        try:
            answer = await self._http.request("GET", url, {}, None, FETCH_S, POLICY_OCTETS)
        except HTTPFailed as error:
            self._failed(domain, "sts-webpki-invalid" if error.is_certificate else "sts-policy-fetch-error")
            return None
        media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.status != 200 or media != _TYPE:
            self._failed(domain, "sts-policy-fetch-error")
            return None
        try:
            return parse(answer.body)
        except BadPolicy:
            self._failed(domain, "sts-policy-invalid")
            return None

    # Kept

    async def _get(self, domain: str, now: float) -> _Kept | None:
        large = self._large.get(domain)
        if large is not None:
            return large if large.expires > now else None
        row = await self._table.get(domain)
        if row is None or row["expires"] <= now:
            return None
        return _Kept(row["id"], Policy(row["mode"], tuple(row["hosts"]), row["age"]), row["expires"])

    async def _put(self, domain: str, kept: _Kept) -> None:
        policy = kept.policy
        if sum(map(len, policy.hosts)) + 4 * len(policy.hosts) > _VALUE:
            self._remember(self._large, domain, kept)
            return
        self._large.pop(domain, None)
        row = {
            "id": kept.id,
            "mode": policy.mode,
            "hosts": list(policy.hosts),
            "age": policy.max_age_s,
            "expires": kept.expires,
        }
        await self._table.put(domain, row, policy.max_age_s)

    def _remember(self, kept: OrderedDict[str, Any], domain: str, value: Any) -> None:
        kept[domain] = value
        kept.move_to_end(domain)
        if len(kept) > REMEMBERED:
            kept.popitem(last=False)
