"""Replies that wait: a client that is a little too fast is slowed down before anything is refused.

Those that wait are a pool of their own: no more than so many at a time, so that a flood of slow clients cannot hold all
sessions; who finds no place there hears a 4yz at once.
"""

from __future__ import annotations

from smtpgate.tasks import Clock, Signal

#: Sessions that may be paced at a time.
MOST = 1000


class Pacer:
    """The replies that wait now.

    :ivar waiting: how many
    """

    def __init__(self, clock: Clock, most: int = MOST) -> None:
        self.waiting = 0
        self._clock = clock
        self._most = most

    @property
    def has_room(self) -> bool:
        """Whether one more may wait."""
        return self.waiting < self._most

    async def pause(self, seconds: float) -> None:
        """Wait."""
        signal = Signal()
        call = self._clock.callLater(seconds, _wake, signal)
        self.waiting += 1
        try:
            await signal
        finally:
            self.waiting -= 1
            if call.active():
                call.cancel()


def _wake(signal: Signal) -> None:
    if signal.task is not None:
        signal.fire()
