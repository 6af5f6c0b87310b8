"""The shelf's factories."""

from __future__ import annotations

from smtpgate.filters.access import factory as access
from smtpgate.filters.address import factory as address
from smtpgate.filters.content.attachments import factory as attachments
from smtpgate.filters.content.identifiers import factory as identifiers
from smtpgate.filters.content.links import factory as links
from smtpgate.filters.content.people import factory as people
from smtpgate.filters.content.structure import factory as structure
from smtpgate.filters.content.wording import factory as wording
from smtpgate.filters.helo import factory as helo
from smtpgate.filters.limits import factory as limits
from smtpgate.filters.loop import factory as loop
from smtpgate.filters.match import factory as match
from smtpgate.filters.sender.dnsbl import factory as dnsbl
from smtpgate.filters.sender.helo_dns import factory as helo_dns
from smtpgate.filters.sender.iprev import factory as iprev

__all__ = [
    "access",
    "address",
    "attachments",
    "dnsbl",
    "helo",
    "helo_dns",
    "identifiers",
    "iprev",
    "limits",
    "links",
    "loop",
    "match",
    "people",
    "structure",
    "wording",
]
