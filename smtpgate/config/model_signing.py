"""With which keys mail is signed, as values; see `model`."""

from __future__ import annotations

import attrs

from smtpgate.config.patterns import NO_ADDRESSES, AddressList
from smtpgate.signing.dkim import Terms
from smtpgate.signing.smime import Signer


@attrs.frozen
class DKIMKey:
    """One key.

    :ivar number: its place in the file
    :ivar direction: in, out, or "" for both
    :ivar listener: names of listeners; none: all
    """

    number: int
    terms: Terms
    subdomains: bool = False
    direction: str = "out"
    listener: tuple[str, ...] = ()
    required: bool = True

    @property
    def domain(self) -> str:
        """Whose mail it signs."""
        return self.terms.domain

    def signs_own(self, domain: str) -> bool:
        """Whether it signs mail of the gateway's own that comes from a domain."""
        return self.serves("", "out") and (
            domain == self.domain or self.subdomains and domain.endswith(f".{self.domain}")
        )

    def serves(self, listener: str, direction: str) -> bool:
        """Whether it is about mail that comes there; "": mail of the gateway's own, for which no listener stands."""
        return self.direction in ("", direction) and (not listener or not self.listener or listener in self.listener)


@attrs.frozen
class SMIMEKey:
    """Who signs for some authors.

    :ivar number: its place in the file
    """

    number: int
    signer: Signer
    address: AddressList = NO_ADDRESSES
