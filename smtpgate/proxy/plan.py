"""How one connection to a server is to be protected: what the link does, and what it says where that cannot be had."""

from __future__ import annotations

from typing import Any, Final

import attrs

from smtpgate.config.model import Backend
from smtpgate.policy.protection import NO_NEED, Need
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

#: By the words of RFC 8460 section 4.3.
NO_STARTTLS: Final = "starttls-not-supported"
#: What a link does, by the `tls` of its backend; whom a certificate must be of is known to `net.tls_client`.
MODES: Final = {
    "off": "off",
    "optional": "optional",
    "required": "required",
    "verify": "required",
    "implicit": "implicit",
}


@attrs.frozen
class Plan:
    """How a connection is protected.

    :ivar mode: off; optional: STARTTLS where it is offered; required; implicit
    :ivar tls: a `net.tls_client.ClientSide`; None where `mode` is off
    :ivar may_go_clear: where TLS fails it is tried once more without (P-157)
    :ivar need: what messages asked for
    :ivar unmet: what the client hears where the server does not have it and is not expected to; None: 4yz, since the
        backend's own settings, or what its domain publishes, ask for it
    """

    mode: str
    tls: Any = None
    may_go_clear: bool = False
    need: Need = NO_NEED
    unmet: Reply | None = None

    def in_clear(self) -> Plan:
        """The second try."""
        return attrs.evolve(self, mode="off")


def unmet(need: Need) -> Reply:
    """What a client hears whose message needs what cannot be had."""
    return status.REQUIRETLS_LOST if need.is_strict else status.ENCRYPTION_NEEDED


def why_never(backend: Backend, need: Need) -> str:
    """Why no server of a backend that is configured can meet a need; "" where one may."""
    if need and backend.tls == "off":
        return 'tls = "off" for this backend, and the message needs TLS'
    if need.level == "dane":
        return "the servers of this backend are not found by MX, and no DANE is asked for"
    return ""


def of_backend(backend: Backend, tls: Any, need: Need) -> Plan:
    """For a backend whose servers are configured."""
    mode = MODES[backend.tls]
    if not need:
        return Plan(mode, tls, backend.tls == "optional")
    if need.level == "verified":
        tls = tls.verified(need.names)
    return Plan("required" if mode == "optional" else mode, tls, need=need, unmet=unmet(need))
