"""The first five minutes: five steps, each done when it was really done, and a card that each person may put away.

What was seen once stays so, over restarts too; it is looked for when somebody looks at the card.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from smtpgate.config.endpoint import parse_listen
from smtpgate.control import Control

#: As good as for ever: ten years.
KEEP_S: Final = 10 * 366 * 86400.0
_ONE: Final = "first-steps"
STEPS: Final = (
    ("send", "Send a test message"),
    ("why", "See why it passed"),
    ("bad", "Send a bad one, and see why it was refused"),
    ("server", "Point the gateway at your server"),
    ("rule", "Add a rule"),
)


@attrs.frozen
class Step:
    """One of them.

    :ivar link: the page where it is done; "" where the card itself has the button
    """

    id: str
    words: str
    is_done: bool
    link: str = ""


class FirstSteps:
    """Which of them are done.

    :ivar own: addresses of servers that are our own sink's
    """

    def __init__(self, control: Control, table: Any) -> None:
        """
        :param table: `interfaces.ITable`
        """
        self._control = control
        self._table = table
        self.own: frozenset[str] = frozenset()

    def sink(self, endpoint: str) -> None:
        """We have a sink of our own there: as a server it is nobody's."""
        parsed = parse_listen(endpoint)
        self.own = frozenset({f"unix:{parsed.path}" if parsed.path else f"{parsed.interface}:{parsed.port}"})

    def _seen(self) -> set[str]:
        """What can be seen now."""
        control, total = self._control, self._control.outcomes.total
        seen = set()
        if total["delivered"]:
            seen.add("send")
        if total["refused"]:
            seen.add("bad")
        if any(one.state == "up" and one.name not in self.own for one in control.servers()):
            seen.add("server")
        if control.settings.rules:
            seen.add("rule")
        return seen

    async def note(self, step: str) -> None:
        """A step was done."""
        known: list[str] = await self._table.get(_ONE) or []
        if step not in known:
            await self._table.put(_ONE, sorted({*known, step}), KEEP_S)

    async def steps(self) -> list[Step]:
        """All of them."""
        known = set(await self._table.get(_ONE) or [])
        done = known | self._seen()
        if done != known:
            await self._table.put(_ONE, sorted(done), KEEP_S)
        links = {
            "why": "/messages",
            "bad": "/messages?q=verdict:refused",
            "server": "/first/server",
            "rule": "/first/rule",
        }
        return [Step(id, words, id in done, links.get(id, "")) for id, words in STEPS]

    async def dismiss(self, who: str) -> None:
        """Somebody wants to see the card no more."""
        await self._table.put(f"{_ONE}-away:{who}", True, KEEP_S)

    async def is_dismissed(self, who: str) -> bool:
        """Whether they said so."""
        return bool(await self._table.get(f"{_ONE}-away:{who}"))
