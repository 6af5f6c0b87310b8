"""What a look-up in the DNS answers, as filters see it.

A look-up never raises: a name that does not exist, a server that fails and one that says nothing are answers, since
each means something else to whoever asked. RFC 8499 section 3 has the words.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

#: "ok": there are records; "nodata": the name exists, without records of that type; "nxdomain": no such name;
#: "failed": the resolver said SERVFAIL, REFUSED or something broken; "timeout": it said nothing in time.
STATUSES: Final = ("ok", "nodata", "nxdomain", "failed", "timeout")


@attrs.frozen
class Answer:
    """One answer.

    :ivar records: in the order of the answer. A and AAAA: the address as text; PTR, CNAME, NS: a host name in lower
        case without the final dot; MX: (preference, host); TXT: bytes, its strings joined; others: presentation text
    :ivar is_authentic: validated by DNSSEC, said by a resolver on loopback
    :ivar ttl: seconds for which it may be believed
    """

    status: str = attrs.field(validator=attrs.validators.in_(STATUSES))
    records: tuple[Any, ...] = ()
    is_authentic: bool = False
    ttl: int = 0

    @property
    def is_temporary(self) -> bool:
        """True where asking again later may answer otherwise."""
        return self.status in ("failed", "timeout")

    @property
    def is_void(self) -> bool:
        """True where there is surely nothing (RFC 7208 section 4.6.4: a void look-up)."""
        return self.status in ("nodata", "nxdomain")
