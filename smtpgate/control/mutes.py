"""Alerts that somebody has muted: they are shown, and nobody is told of them, until a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from smtpgate.control.views import Actor, Invalid, Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed

#: Alerts that are muted at a time; days of one.
MOST: Final = 100
DAYS: Final = 30
_KEY: Final = "mutes"


@attrs.frozen
class Mute:
    """One alert that nobody is told of.

    :ivar until: seconds since the epoch
    """

    id: str
    until: float
    who: str
    reason: str


class Mutes:
    """All of them. They outlive a restart."""

    def __init__(self, wall: Callable[[], float], did: Callable[[Actor, str, str, str], None]) -> None:
        self._wall = wall
        self._did = did
        self._mutes: dict[str, Mute] = {}
        #: An `interfaces.ITable`; set by whoever has the stores.
        self.table: Any = None

    async def load(self) -> None:
        """Take in what is on the disk."""
        found = await self.table.get(_KEY) if self.table is not None else None
        self._mutes = {one.id: one for one in (Mute(*row) for row in found or ())}

    def all(self) -> list[Mute]:
        """Those that hold, by the time of their end."""
        now = self._wall()
        self._mutes = {id: one for id, one in self._mutes.items() if one.until > now}
        return sorted(self._mutes.values(), key=lambda one: one.until)

    def holds(self, id: str) -> bool:
        """Whether nobody is told of an alert."""
        one = self._mutes.get(id)
        return one is not None and one.until > self._wall()

    def unmuted(self, alerts: Iterable[Any]) -> list[Any]:
        """Of some alerts those that somebody is told of."""
        return [one for one in alerts if not self.holds(one.id)]

    def check(self, id: str, minutes: int) -> None:
        """Raises Invalid, and Refused where there are too many."""
        if not 1 <= minutes <= DAYS * 1440:
            raise Invalid(f"minutes: 1 to {DAYS * 1440}")
        if not id or len(id) > 500:
            raise Invalid("say which alert")
        if id not in self._mutes and len(self.all()) >= MOST:
            raise Refused(f"{MOST} alerts are muted already; lift some")

    async def mute(self, id: str, minutes: int, reason: str, actor: Actor) -> None:
        """Tell nobody of an alert for so long."""
        self.check(id, minutes)
        self._mutes[id] = Mute(id, self._wall() + minutes * 60, f"{actor.kind} {actor.name}", reason)
        await self._keep()
        self._did(actor, "alert.mute", id, reason)

    def check_lift(self, id: str) -> None:
        """Raises Unknown."""
        if not self.holds(id):
            raise Unknown("no such alert is muted")

    async def lift(self, id: str, actor: Actor) -> None:
        """Tell of it again."""
        self.check_lift(id)
        del self._mutes[id]
        await self._keep()
        self._did(actor, "alert.unmute", id, "")

    async def _keep(self) -> None:
        if self.table is None:
            return
        try:
            await self.table.put(_KEY, [list(attrs.astuple(one)) for one in self.all()], (DAYS + 1) * 86400.0)
        except StoreFailed as error:
            raise Unavailable(f"what is muted cannot be written now: {error}") from error
