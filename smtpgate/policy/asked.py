"""What a server said when it was asked how far a message would come."""

from __future__ import annotations

import attrs


@attrs.frozen
class Step:
    """One thing that was said to it.

    :ivar stage: open, mail, rcpt, or where it failed
    :ivar code: of its reply; 0 where there is none
    :ivar text: its words, or why there are none
    """

    stage: str
    code: int
    text: str
    ms: float
    is_good: bool


@attrs.frozen
class Asked:
    """What it said.

    :ivar tls: version; "" for none
    """

    steps: tuple[Step, ...]
    banner: str = ""
    capabilities: tuple[str, ...] = ()
    tls: str = ""
    is_verified: bool = False

    @property
    def is_good(self) -> bool:
        """It would take mail for that recipient."""
        return bool(self.steps) and all(step.is_good for step in self.steps)
