"""Several answers that are waited for together, each for its own time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from smtpgate.tasks import Clock, Signal

#: In place of an answer that did not come in time.
LATE: Final = object()


async def gather(asked: Sequence[tuple[Deferred[Any], float, float]], clock: Clock) -> list[tuple[Any, float]]:
    """The answers, in the order of those asked, and how long each took; a failure is a Failure, none in time `LATE`.
    What has not answered when this is cancelled is cancelled too.

    :param asked: the answer, when it was asked for, and how long it may take from now on, seconds
    """
    done = Signal()
    results: dict[int, tuple[Any, float]] = {}
    is_over = False

    def finished(result: Any, number: int) -> None:
        if number in results:
            # It was given up, or the time was: whatever it says now comes too late.
            return
        results[number] = (result, clock.seconds() - asked[number][1])
        if len(results) == len(asked) and done.task is not None and not is_over:
            done.fire()

    def late(number: int) -> None:
        # First the result, then the word: one that does not listen to it has failed all the same.
        finished(LATE, number)
        asked[number][0].cancel()

    timers = []
    for number, (deferred, _, limit) in enumerate(asked):
        deferred.addBoth(finished, number)
        if number not in results:
            timers.append(clock.callLater(limit, late, number))
    try:
        if len(results) < len(asked):
            await done
    finally:
        is_over = True
        for timer in timers:
            if timer.active():
                timer.cancel()
        for number, (deferred, _, _) in enumerate(asked):
            if number not in results:
                deferred.cancel()
    return [results[number] for number in range(len(asked))]
