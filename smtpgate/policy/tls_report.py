"""Reports on TLS to the domains that mail went to, and the record that says where they want them (RFC 8460)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

#: What can go wrong (RFC 8460 section 4.3).
FAULTS: Final = (
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
)
_URI: Final = re.compile(r"(?:mailto:[^\s@,]+@[^\s@,]+|https://[^\s,]+)")


@attrs.define
class Row:
    """What was seen of one policy of one domain on one day.

    :ivar kind: tlsa, sts or no-policy-found
    :ivar lines: the policy as it stood there; `hosts`: the patterns of its servers, of sts
    :ivar failures: sessions that failed, by fault and server
    """

    domain: str
    kind: str
    lines: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    successes: int = 0
    failures: dict[tuple[str, str], int] = attrs.field(factory=dict)


def day_of(text: str) -> str:
    """A day as it is written here, as 2026-11-27; raises ValueError for what is none."""
    try:
        if datetime.date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ValueError("a day is written as 2026-11-27")


def report(day: str, organisation: str, domain: str, rows: Iterable[Row]) -> dict[str, Any]:
    """The report for one domain (RFC 8460 section 4.4).

    :param day: as 2026-11-27, in UTC
    :param organisation: our name
    """
    return {
        "organization-name": organisation,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": f"postmaster@{organisation}",
        "report-id": f"{day}!{domain}!{organisation}",
        "policies": [_policy(row) for row in rows if row.domain == domain],
    }


def _policy(row: Row) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": row.kind, "policy-domain": row.domain}
    if row.lines:
        policy["policy-string"] = list(row.lines)
    if row.hosts:
        policy["mx-host"] = list(row.hosts)
    found: dict[str, Any] = {
        "policy": policy,
        "summary": {
            "total-successful-session-count": row.successes,
            "total-failure-session-count": sum(row.failures.values()),
        },
    }
    if row.failures:
        found["failure-details"] = [_failure(*key, count) for key, count in sorted(row.failures.items())]
    return found


def _failure(fault: str, host: str, count: int) -> Mapping[str, Any]:
    shown: dict[str, Any] = {"result-type": fault, "failed-session-count": count}
    if host:
        shown["receiving-mx-hostname"] = host
    return shown


def addresses(texts: Iterable[bytes]) -> tuple[str, ...]:
    """Where a domain wants its reports, by the TXT records of `_smtp._tls` below it; none where it wants none, or has
    several records (RFC 8460 section 3)."""
    found = [text for text in texts if re.match(rb"v=TLSRPTv1[ \t]*;", text)]
    if len(found) != 1:
        return ()
    for part in found[0].decode("latin-1").split(";"):
        name, _, value = part.strip(" \t").partition("=")
        if name.strip() == "rua":
            uris = [one.strip(" \t") for one in value.split(",")]
            return tuple(one for one in uris if _URI.fullmatch(one))[:10]
    return ()
