"""A regression case: mail that was tried once, and what became of it then."""

from __future__ import annotations

from typing import Final

import attrs

#: Cases of one gateway, and octets of one.
MOST: Final = 200
OCTETS: Final = 2**20
MESSAGE, SESSION = "message", "session"


@attrs.frozen
class Case:
    """One of them.

    :ivar kind: MESSAGE or SESSION
    :ivar arrival: how it comes, as JSON
    :ivar octets: of the message, or of the client's lines
    :ivar outcome, action, decided_by: what became of it, which is wanted from then on
    """

    id: str
    name: str
    author: str
    created: float
    kind: str
    arrival: str
    octets: bytes = attrs.field(repr=False)
    outcome: str = ""
    action: str = ""
    decided_by: str = ""
