"""Filters that run otherwise than the configuration says, for a while: another mode, another time for a call.

What was said holds for sessions that begin from then on; one that is under way keeps the chain that it began with, so
no message is judged by halves of two. A filter in shadow has services of its own, whose edits nobody reads: where
another mode needs the other kind, the filter is built once more from the same options, and closed with its revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal
from weakref import WeakSet

import attrs

from smtpgate.policy.event import Happened
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.said import Said
from smtpgate.proxy.use import Use
from smtpgate.tasks import Clock

#: The first name of a place (`Said`), for all of them.
FILTER: Final = "filter"


class TuningFailed(Exception):
    """A filter could not be built for another mode; the text says why."""


@attrs.frozen
class Tuning:
    """What was said of one filter. Times are seconds since the epoch.

    :ivar mode: enforce, shadow or off; "" as configured
    :ivar budget_s: longest that a call may take, seconds; 0.0 as configured
    """

    reason: str
    since: float
    until: float
    mode: Literal["", "enforce", "shadow", "off"] = ""
    budget_s: float = 0.0
    by: str = ""


class Tuner:
    """Of one revision: makes its chains as they are wanted.

    :ivar uses: all filters as they are configured, those that are off too
    :ivar at_work: by name what sessions that begin now have, those that are off too
    :ivar failed: those that could not be made as they were wanted, and are as configured
    """

    def __init__(
        self,
        uses: Iterable[Use],
        names: Iterable[str],
        make: Callable[[str, bool], Any],
        chain: Callable[[list[Use], str], Chain],
    ) -> None:
        """
        :param names: those that may be tuned: the filters of the file, not its rules and what guards the protocol
        :param make: the filter of a name once more; True: for shadow
        :param chain: all filters of a role at work
        """
        self.uses = tuple(uses)
        self.names = frozenset(names)
        self._make = make
        self._chain = chain
        self._others: dict[str, Any] = {}
        self.at_work: dict[str, Use] = {}
        self.failed: set[str] = set()
        #: Chains of sessions that began before.
        self.former: WeakSet[Chain] = WeakSet()

    def use(self, name: str) -> Use | None:
        """A filter as it is configured; None where there is none of that name that may be tuned."""
        return next((use for use in self.uses if use.name == name), None) if name in self.names else None

    def tuned(self, use: Use, tuning: Tuning | None) -> Use:
        """One filter as it is wanted. Raises TuningFailed."""
        if tuning is None or use.name not in self.names:
            return use
        mode, budget_s = tuning.mode or use.mode, tuning.budget_s or use.budget_s
        made = use.filter
        if mode != "off" and (mode == "shadow") is not (use.mode == "shadow"):
            made = self._other(use.name, mode == "shadow")
        return attrs.evolve(use, filter=made, mode=mode, budget_s=budget_s)

    def _other(self, name: str, is_shadow: bool) -> Any:
        made = self._others.get(name)
        if made is None:
            try:
                made = self._others[name] = self._make(name, is_shadow)
            except BaseException as error:
                # A stranger's code may raise what it likes.
                raise TuningFailed(f"filter {name} could not be built: {error!r}"[:500]) from error
        return made

    def chain(
        self, wanted: Mapping[str, Tuning], role: str, failed: Callable[[str], None] = lambda words: None
    ) -> Chain:
        """A chain with what is wanted; a filter that cannot be so is as configured.

        :param failed: is told why
        """
        uses = []
        for use in self.uses:
            try:
                uses.append(self.tuned(use, wanted.get(use.name)))
                self.failed.discard(use.name)
            except TuningFailed as error:
                failed(str(error))
                self.failed.add(use.name)
                uses.append(use)
        self.at_work = {use.name: use for use in uses}
        return self._chain(uses, role)

    def others(self) -> list[tuple[str, Any]]:
        """Those that were built beside, with their names."""
        return list(self._others.items())


class Tunings(Said[Tuning]):
    """What was said of filters, by their names."""

    def __init__(
        self,
        clock: Clock,
        wall: Callable[[], float],
        current: Callable[[], Any],
        tell: Callable[[Any], None],
        changed: Callable[[], None],
    ) -> None:
        """
        :param current: the `proxy.revision.Revision` at work
        :param changed: its chains are others now
        """
        super().__init__(clock, wall, tell, Tuning, ("filter.tuning_over", "filter {1} is as configured again"))
        self._current = current
        self._chains_changed = changed

    def of(self, name: str) -> Tuning | None:
        """What was said of one."""
        return self.find(FILTER, name)

    def tune(self, name: str, tuning: Tuning) -> None:
        """It holds from now on."""
        self.say((FILTER, name), tuning)

    def restore_one(self, name: str) -> bool:
        """As configured again; whether something was said."""
        return self.take_back((FILTER, name))

    def wanted(self) -> dict[str, Tuning]:
        """All, by name."""
        return {place[1]: one for place, one in self.all()}

    def apply(self) -> None:
        """New sessions have them from now on."""
        self._current().tune(self.wanted(), self._failed)
        self._chains_changed()

    def _end(self, place: tuple[str, str]) -> None:
        self.apply()

    def _failed(self, words: str) -> None:
        self._tell(Happened("filter.tuning_failed", "error", f"{words}; it is as configured"))
