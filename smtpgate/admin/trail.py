"""What the audit says of a request: from where, by which login, under which configuration; and how many denials it
takes.

Who tries what they may not, or guesses passwords, must not fill the disk: of such rows there are some for each who and
what, and some in all; the next that is written says how many were left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from smtpgate.admin.guard import Caller

#: Rows about denials: so many at once for each who and what, and one a minute after that.
ROWS_EACH: Final = 10
#: The same for all together, and so many a minute after that.
ROWS_ALL: Final = 300
ROWS_A_MINUTE: Final = 5
_KEYS: Final = 2000
#: What is said of logins at a provider of identities.
METHOD: Final = "oidc"


def context_of(caller: Caller) -> dict[str, Any]:
    """What is known of who makes a request."""
    agent = caller.request.header("user-agent").encode("ascii", "replace").decode()
    found: dict[str, Any] = {
        "source": caller.address or ("local socket" if caller.door == "local" else ""),
        "request_id": caller.request.id,
        "agent": "".join(one for one in agent if one.isprintable())[:200] or None,
        **caller.facts,
    }
    who = caller.principal
    if who is not None:
        found["role"] = who.role or None
        found["auth"] = {"user": "session", "token": "token"}.get(who.kind, "local socket")
        found["id"] = who.id or None
        found["has_code"] = who.has_code or None
        found["method"] = METHOD if who.issuer else None
        found["domains"] = list(who.domains) or None
    return found


class Bounds:
    """How many rows about denials are written."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """
        :param wall: seconds since the epoch
        """
        self._wall = wall
        #: What is left for each, and when that was worked out.
        self._left: dict[tuple[str, ...], tuple[float, float]] = {}
        self._skipped = 0

    def admit(self, *key: str) -> int | None:
        """How many were left out since the last that was written; None where this one is left out too."""
        now = self._wall()
        each = self._room(key, now, ROWS_EACH, 1)
        everybody = self._room((), now, ROWS_ALL, ROWS_A_MINUTE)
        if each < 1 or everybody < 1:
            self._skipped += 1
            return None
        self._left[key] = (each - 1, now)
        self._left[()] = (everybody - 1, now)
        while len(self._left) > _KEYS:
            del self._left[next(one for one in self._left if one)]
        skipped, self._skipped = self._skipped, 0
        return skipped

    def _room(self, key: tuple[str, ...], now: float, most: int, a_minute: int) -> float:
        left, since = self._left.get(key, (float(most), now))
        return min(float(most), left + max(0.0, now - since) / 60 * a_minute)
