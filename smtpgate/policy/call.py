"""One call of a webhook: something that happened, on its way to who wants to hear of it."""

from __future__ import annotations

from typing import Final

import attrs

#: It is to be tried; it was answered with 2xx; it was given up.
WAITING, DONE, FAILED = STATES = ("waiting", "done", "failed")
#: Time before the second try; each further one waits twice as long, an hour at most.
RETRY_S: Final = 15.0
LONGEST_S: Final = 3600.0


def pause_s(tries: int) -> float:
    """Seconds before the next try of what failed so often."""
    return min(LONGEST_S, RETRY_S * 2.0 ** min(max(tries - 1, 0), 20))


@attrs.frozen
class Call:
    """One call.

    :ivar n: its number, in the order of what happened; 0 for one that is not kept yet
    :ivar body: what is sent: JSON
    :ivar due: when it is tried next, seconds since the epoch
    :ivar code: status of the last answer; 0 for none
    :ivar told: what came of the last try
    """

    hook: str
    event: str
    body: str
    at: float
    n: int = 0
    state: str = WAITING
    due: float = 0.0
    tries: int = 0
    code: int = 0
    told: str = ""
