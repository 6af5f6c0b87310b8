"""The tables of the configuration file that say with which keys mail is signed; see `schema`."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import MinLen

from smtpgate.config.table import REQUIRED, Table, key
from smtpgate.config.values import Addresses, Duration, FilePath, Words


class DKIMKeyTable(Table):
    """A key that signs mail of a domain with DKIM, last of all. Several of one domain all sign."""

    domain: str = key(REQUIRED, "Domain of the author (From) whose mail it signs.", example='"example.net"')
    selector: str = key(
        REQUIRED, "Name of the key in the DNS, before ._domainkey and the domain.", example='"gate2026"'
    )
    file: FilePath = key(
        REQUIRED,
        "PEM file with the private key: RSA of 2048 to 4096 bits, or Ed25519; mode 0600. `smtpgate dkim-key new` makes "
        "one.",
        example='"dkim-gate2026.pem"',
    )
    subdomains: bool = key(False, "Authors of domains below are signed for too, where these have no key of their own.")
    direction: Literal["in", "out", "both"] = key(
        "out", "in: listeners of role mx; out: those of role submission, and mail of the gateway's own; both."
    )
    listener: Words = key([], "Names of the listeners that it is about; none: all.", example='["submission"]')
    headers: Words | None = key(
        None,
        "Fields that are signed where they are there; From always is.",
        shown="docs/signing.md lists them",
        example='["From", "To", "Subject", "Date"]',
    )
    oversign: Words | None = key(
        None,
        "Fields of which nobody may add another one; From always is one.",
        shown="docs/signing.md lists them",
        example='["From", "Subject"]',
    )
    expire: Duration = key(0, "So long a signature holds; 0: for ever.", example='"14d"')
    required: bool = key(
        True, "Mail that cannot be signed is not delivered; false: it goes on unsigned, and that is told."
    )


class SMIMEKeyTable(Table):
    """A certificate with which rules sign mail of some authors (S/MIME). The first that is for the author is taken."""

    address: Annotated[Addresses, MinLen(1)] = key(
        REQUIRED, "Authors (From), written as in routes.", example='["ann@example.net"]'
    )
    certificate: FilePath = key(
        REQUIRED, "PEM file with the certificate, and those that issued it behind it.", example='"ann.pem"'
    )
    key: FilePath = key(
        REQUIRED, "PEM file with its private key: RSA or an elliptic curve; mode 0600.", example='"ann.key"'
    )
