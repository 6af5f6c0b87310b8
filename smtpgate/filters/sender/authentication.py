"""What is known of the sender by SPF, once for a message and for all who ask: `spf`, `greylist`, `dmarc`, `authres`.

It is known from MAIL on where the client is no relay of ours, else once the header section has told where the message
comes from; until then the answer is "none", and is not kept. Not looked up: senders that logged in, here or at a relay
of ours, whose addresses no policy names, and addresses of a house. A check that takes too long is a temperror.

RFC 7208 sections 2.4 (when) and 4.6.4 (time).
"""

from __future__ import annotations

from typing import Any, Final

from smtpgate.filters.sender.base import in_time, is_exempt, known_origin, plain_address
from smtpgate.filters.sender.spf_check import check_spf
from smtpgate.policy.authentication import SPFResult
from smtpgate.policy.origin import Origin
from smtpgate.policy.transaction import Transaction

#: For all look-ups of one check: under the time that a filter of senders has. RFC 7208 asks for 20 seconds, in which a
#: client would be lost; what comes later is in the resolver's memory when it tries again.
TIME_S: Final = 4.0


async def spf(transaction: Transaction, services: Any) -> SPFResult:
    """The result for a message."""
    sender = transaction.sender
    identity = "helo" if sender.is_null else "mailfrom"
    origin = (await known_origin(services, transaction)).origin
    if not origin.is_known:
        return SPFResult("none", sender.domain, identity, "it is not known where the message comes from")
    if is_exempt(transaction.session) or origin.is_authenticated:
        return SPFResult("none", sender.domain, identity, "the sender is known otherwise")
    if plain_address(origin.ip) is None:
        return SPFResult("none", sender.domain, identity, "an address of a house")
    found: SPFResult = await services.once(transaction, "spf", lambda: _check(transaction, services, origin, identity))
    return found


async def _check(transaction: Transaction, services: Any, origin: Origin, identity: str) -> SPFResult:
    sender = transaction.sender
    address = "" if sender.is_null else f"{sender.local}@{sender.domain}"
    work = check_spf(services.resolver, origin.ip, address, origin.helo, services.settings.hostname)
    found: SPFResult | None = await in_time(services, work, TIME_S)
    if found is not None:
        if found.result == "pass":
            transaction.authenticated["spf"] = (found.domain,)
        return found
    return SPFResult("temperror", sender.domain, identity, f"no result within {TIME_S:g} s")
