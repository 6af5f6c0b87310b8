"""Links that recipients get by mail: what one may do is in it, signed, and nobody else can make one.

A link says who may do what with which held message, and until when; the signature is a keyed MAC over all of it.
Whoever opens one sees a page that asks first: mail programs and scanners open links by themselves. What a link does is
done once, because the message is then no longer held for that recipient.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import attrs

#: Octets of the MAC: SHA-256 cut to 128 bits (RFC 2104 section 5).
_MAC = 16
ACTIONS = ("release", "ask")


@attrs.frozen
class Link:
    """What a link says.

    :ivar action: one of ACTIONS
    :ivar held: id of the held message
    :ivar address: of the recipient
    :ivar until: seconds since the epoch
    """

    action: str
    held: str
    address: str
    until: int


class Links:
    """Makes and reads them."""

    def __init__(self, secret: bytes) -> None:
        """:param secret: 32 octets that stay the same over restarts"""
        self._key = hmac.digest(secret, b"links of digests", "sha256")

    def token(self, link: Link) -> str:
        """The part of a URL that says it; letters, digits, - and _."""
        said = "\n".join((link.action, link.held, link.address, str(link.until))).encode("utf-8", "replace")
        return base64.urlsafe_b64encode(self._mac(said) + said).decode().rstrip("=")

    def read(self, token: str, now: float) -> Link | None:
        """What a token says; None for one that we did not make, or whose time is over."""
        try:
            octets = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            mac, said = octets[:_MAC], octets[_MAC:]
            if not hmac.compare_digest(mac, self._mac(said)):
                return None
            action, held, address, until = said.decode("utf-8").split("\n")
        except ValueError:
            return None
        return Link(action, held, address, int(until)) if now <= int(until) else None

    def _mac(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, hashlib.sha256)[:_MAC]
