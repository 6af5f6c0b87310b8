"""A pause of the intake: for a while nobody new is let in, and those who are in finish what they have.

It is not a drain: the gateway goes on, and lets everybody in again by itself when the time is over. It ends with the
process: whoever starts the gateway wants mail. Senders hear 421 4.3.2 (RFC 5321 section 3.8) and try again later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from smtpgate.control.views import Actor, Invalid, Refused, lasting
from smtpgate.policy.event import Happened
from smtpgate.proxy.reception import Reception
from smtpgate.proxy.revision import Engine

#: A pause that somebody forgot is over before senders' servers warn their users (RFC 5321 section 4.5.4.1: hours).
MOST_MINUTES: Final = 240


@attrs.frozen
class Pause:
    """One that holds. Times are seconds since the epoch."""

    reason: str
    by: str
    since: float
    until: float


class Intake:
    """Of one gateway.

    :ivar pause: the one that holds; None: everybody may come in
    """

    def __init__(self, engine: Engine, reception: Reception, did: Callable[[Actor, str, str, str], None]) -> None:
        self.pause: Pause | None = None
        self._engine = engine
        self._reception = reception
        self._did = did
        self._call: Any = None

    def check(self, minutes: int) -> None:
        """Raises Refused where it cannot be."""
        if not 1 <= minutes <= MOST_MINUTES:
            raise Invalid(f"minutes: 1 to {MOST_MINUTES}")
        if self._reception.is_draining:
            raise Refused("the gateway is draining: it takes no new sessions anyway")

    def begin(self, minutes: int, actor: Actor, reason: str = "") -> Pause:
        """Let nobody new in for so long; another one takes the place of one that holds."""
        self.check(minutes)
        self._cancel()
        now = self._engine.wall()
        self.pause = Pause(reason, f"{actor.kind} {actor.name}", now, now + minutes * 60.0)
        self._reception.is_paused = True
        self._call = self._engine.clock.callLater(minutes * 60.0, self._over)
        self._did(actor, "intake.pause", "gateway", lasting(reason, minutes))
        return self.pause

    def check_end(self) -> None:
        """Raises Refused where there is none."""
        if self.pause is None:
            raise Refused("the intake is not paused")

    def end(self, actor: Actor) -> None:
        """Let everybody in again."""
        self.check_end()
        self._cancel()
        self._did(actor, "intake.resume", "gateway", "")

    def _over(self) -> None:
        self._cancel()
        self._engine.tell(Happened("intake.resumed", "info", "the pause of the intake is over"))

    def _cancel(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call, self.pause, self._reception.is_paused = None, None, False

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
