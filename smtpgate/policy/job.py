"""A long piece of work that somebody ordered, as it is known while it runs and afterwards."""

from __future__ import annotations

from typing import Final

import attrs

#: It waits for its turn; it runs; it ended well, with a fault, by somebody's word, or with the gateway.
STATES: Final = ("waiting", "running", "done", "failed", "canceled", "interrupted")
#: Those in which nothing more happens.
OVER: Final = frozenset({"done", "failed", "canceled", "interrupted"})


@attrs.frozen
class Job:
    """One of them.

    :ivar kind: what was ordered, in words
    :ivar who: "user ann"
    :ivar permission: what its order needed, and so its result
    :ivar done: of `total` steps; 0 of 0 where nobody knows how many
    :ivar detail: why it failed
    :ivar result: as its order wanted it; "" for none
    :ivar created, changed, expires: seconds since the epoch
    :ivar media: type of the result
    """

    id: str
    kind: str
    who: str
    permission: str
    state: str
    done: int
    total: int
    detail: str
    result: str = attrs.field(repr=False)
    created: float
    changed: float
    expires: float
    media: str = "application/json"
