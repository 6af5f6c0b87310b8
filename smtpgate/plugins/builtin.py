"""The shelf's factories."""

from __future__ import annotations

from smtpgate.filters.access import factory as access
from smtpgate.filters.address import factory as address
from smtpgate.filters.content.attachments import factory as attachments
from smtpgate.filters.content.blocklists import factory as blocklists
from smtpgate.filters.content.identifiers import factory as identifiers
from smtpgate.filters.content.links import factory as links
from smtpgate.filters.content.people import factory as people
from smtpgate.filters.content.structure import factory as structure
from smtpgate.filters.content.wording import factory as wording
from smtpgate.filters.engines.clamd import factory as clamd
from smtpgate.filters.engines.hook import factory as hook
from smtpgate.filters.engines.icap import factory as icap
from smtpgate.filters.engines.milter import factory as milter
from smtpgate.filters.engines.rspamd import factory as rspamd
from smtpgate.filters.engines.spamd import factory as spamd
from smtpgate.filters.engines.yara import factory as yara
from smtpgate.filters.helo import factory as helo
from smtpgate.filters.identity import factory as identity
from smtpgate.filters.limits import factory as limits
from smtpgate.filters.lists import factory as lists
from smtpgate.filters.loop import factory as loop
from smtpgate.filters.match import factory as match
from smtpgate.filters.sender.arc import factory as arc
from smtpgate.filters.sender.authres import factory as authres
from smtpgate.filters.sender.contacts import factory as contacts
from smtpgate.filters.sender.dkim import factory as dkim
from smtpgate.filters.sender.dmarc import factory as dmarc
from smtpgate.filters.sender.dnsbl import factory as dnsbl
from smtpgate.filters.sender.greylist import factory as greylist
from smtpgate.filters.sender.helo_dns import factory as helo_dns
from smtpgate.filters.sender.iprev import factory as iprev
from smtpgate.filters.sender.reputation import factory as reputation
from smtpgate.filters.sender.spf import factory as spf

__all__ = [
    "access",
    "address",
    "arc",
    "attachments",
    "authres",
    "blocklists",
    "clamd",
    "contacts",
    "dkim",
    "dmarc",
    "dnsbl",
    "greylist",
    "helo",
    "helo_dns",
    "hook",
    "icap",
    "identifiers",
    "identity",
    "iprev",
    "limits",
    "lists",
    "links",
    "loop",
    "match",
    "milter",
    "people",
    "reputation",
    "rspamd",
    "spamd",
    "spf",
    "structure",
    "wording",
    "yara",
]
