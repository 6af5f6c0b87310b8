"""Where the next page of a list begins, as a text that only we can make.

A cursor holds the place of the last row (so a list stays whole while rows come) and for which list it was made; whoever
changes either is refused, and nobody learns how rows are numbered by counting.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from typing import Any, Final

from smtpgate.admin.guard import Refusal

_MAC: Final = 12


class Cursors:
    """Made and read with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"cursors", "sha256")

    def seal(self, of: str, place: Any) -> str:
        """A cursor.

        :param of: names the list and what it was asked for
        :param place: JSON
        """
        said = json.dumps(place, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(of, said) + said).decode().rstrip("=")

    def open(self, of: str, cursor: str) -> Any:
        """The place; raises Refusal where the cursor is not one of this list."""
        try:
            octets = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            octets = b""
        mac, said = octets[:_MAC], octets[_MAC:]
        if not said or not hmac.compare_digest(mac, self._mac(of, said)):
            raise Refusal("parameter", 400, "cursor: take the next_cursor of the page before, with the same filters")
        return json.loads(said)

    def _mac(self, of: str, said: bytes) -> bytes:
        return hmac.digest(self._key, of.encode("utf-8", "replace") + b"\0" + said, "sha256")[:_MAC]
