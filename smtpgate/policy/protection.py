"""How well a leg must be protected before content may go over it, and how well it is.

A `Need` comes from rules and `tls_policies` (the operator's word) or from REQUIRETLS (the sender's). What several ask
for adds up: the strictest wins. `proxy.opener` opens links that meet it, `proxy.part` takes no other for the message.

RFC 3207 (encrypted), RFC 9525 (names), RFC 7672 (DANE), RFC 8689 (REQUIRETLS); Postfix smtp_tls_policy_maps has the
same levels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from smtpgate.policy.transaction import TLSFacts
from smtpgate.policy.verdict import TLS_LEVELS

#: Mildest first. "encrypted": any TLS; "verified": chain and name of the certificate are right, or DANE says that it
#: is; "dane": DANE says so.
LEVELS: Final = TLS_LEVELS
#: By what a certificate was proved (`TLSFacts.proof`), and the level that it comes to.
PROOFS: Final = {"": "encrypted", "chain": "verified", "pin": "verified", "dane": "dane"}


def _sets(value: Iterable[Iterable[str]]) -> frozenset[frozenset[str]]:
    return frozenset(frozenset(one) for one in value)


@attrs.frozen
class Need:
    """What is asked of a leg.

    :ivar level: one of `LEVELS`
    :ivar names: sets of names; the certificate must be for one of each, and its chain right
    :ivar is_strict: where the DNS says who the server is, that must be proved too (RFC 8689 section 4.2.1)
    :ivar is_lenient: what a domain publishes of its TLS is passed over: of reports on that very TLS (RFC 8460
        section 3)
    """

    level: str = attrs.field(default="", validator=attrs.validators.in_(LEVELS))
    names: frozenset[frozenset[str]] = attrs.field(default=frozenset(), converter=_sets)
    is_strict: bool = False
    is_lenient: bool = False

    def __bool__(self) -> bool:
        return bool(self.level)

    @property
    def rank(self) -> int:
        """How much it asks for."""
        return LEVELS.index(self.level)

    def and_(self, other: Need) -> Need:
        """What meets both."""
        if not other.level:
            return other if other.is_lenient and not self.level else self
        if not self.level:
            return other
        level = self.level if self.rank >= other.rank else other.level
        return Need(level, self.names | other.names, self.is_strict or other.is_strict)

    def is_met(self, tls: TLSFacts | None, opened_for: Need) -> bool:
        """Whether a connection will do.

        :param opened_for: what was asked of it when it was opened: it was held against these names
        """
        if opened_for.is_lenient and not self.is_lenient:
            return False
        if not self.level:
            return True
        if LEVELS.index(level_of(tls)) < self.rank or self.is_strict and not opened_for.is_strict:
            return False
        return self.names <= opened_for.names


NO_NEED: Final = Need()
#: What goes however a domain fails at what it publishes.
LENIENT: Final = Need(is_lenient=True)
#: What a sender asks for with REQUIRETLS (RFC 8689 section 4.2.1).
REQUIRETLS: Final = Need("verified", is_strict=True)


def level_of(tls: TLSFacts | None) -> str:
    """The level that a connection has; "" in clear."""
    return "" if tls is None else PROOFS[tls.proof]
