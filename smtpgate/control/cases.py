"""Regression cases: mail that is tried again on each change, and what is wanted to become of it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs

from smtpgate.config.model import Settings
from smtpgate.control.bench import AT_WORK, DRAFT, Arrival, Bench, Tried, message_of
from smtpgate.control.bench_client import Client, play, stuffed
from smtpgate.control.views import Actor, Invalid, Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.case import MESSAGE, MOST, OCTETS, SESSION, Case
from smtpgate.proxy.revision import Engine, Revision

__all__ = ["MESSAGE", "MOST", "SESSION", "Case", "Cases", "Checked"]

_NAME: Final = 100


@attrs.frozen
class Checked:
    """One case, tried again.

    :ivar is_passed: it came to what is wanted
    :ivar outcome, action, decided_by: what it came to; "" where it could not be tried, and `why` says why
    """

    case: Case
    is_passed: bool
    outcome: str
    action: str
    decided_by: str
    why: str = ""


class Cases:
    """All of one gateway.

    :ivar store: `state.case_store`; `tap` gives it
    """

    def __init__(self, engine: Engine, current: Callable[[], Revision], bench: Bench) -> None:
        self.store: Any = None
        self._engine = engine
        self._current = current
        self._bench = bench

    async def all(self) -> list[Case]:
        """All, the oldest first, without their content."""
        found: list[Case] = await self._ask("all")
        return found

    async def plan(self, name: str, octets: bytes, arrival: Arrival, tried: Tried, actor: Actor) -> Case:
        """A case of what was just tried. Raises Invalid and Refused."""
        name = "".join(letter for letter in name if letter.isprintable()).strip()[:_NAME]
        if not name:
            raise Invalid("give it a name")
        if len(octets) > OCTETS:
            raise Invalid(f"a case has {OCTETS} octets at most")
        there = await self.all()
        if any(one.name == name for one in there):
            raise Refused(f"there is a case {name} already")
        if len(there) >= MOST:
            raise Refused(f"{MOST} cases are the most; delete some first")
        kind = SESSION if tried.is_session else MESSAGE
        # A time that was asked for belongs to it; now is another each time.
        said = json.dumps(attrs.asdict(arrival))
        wall, author = self._engine.wall(), f"{actor.kind} {actor.name}"
        return Case(secrets.token_hex(8), name, author, wall, kind, said, octets, *result_of(tried))

    async def keep(self, case: Case) -> None:
        """Keep it. Raises Refused."""
        if not await self._ask("put", case):
            raise Refused(f"{MOST} cases are the most; delete some first")

    async def check_there(self, id: str) -> Case:
        """One that is there. Raises Unknown."""
        found = next((one for one in await self.all() if one.id == id), None)
        if found is None:
            raise Unknown("no such case")
        return found

    async def remove(self, id: str) -> None:
        """Delete one. Raises Unknown."""
        if not await self._ask("remove", id):
            raise Unknown("no such case")

    async def run(
        self, draft: Settings | None = None, step: Callable[[int, int], Awaitable[bool]] | None = None
    ) -> list[Checked]:
        """All of them, on what is at work or on a draft. Raises Refused."""
        found: list[Checked] = await self._bench.alone(lambda: self._run(draft, step))
        return found

    async def _run(self, draft: Settings | None, step: Callable[[int, int], Awaitable[bool]] | None) -> list[Checked]:
        settings = draft if draft is not None else self._current().settings
        cases: list[Case] = await self._ask("all", has_content=True)
        out = []
        for number, case in enumerate(cases):
            out.append(await self._try(case, settings, DRAFT if draft is not None else AT_WORK))
            if step is not None and not await step(number + 1, len(cases)):
                break
        return out

    async def _try(self, case: Case, settings: Settings, of: str) -> Checked:
        light = attrs.evolve(case, octets=b"")
        try:
            given = json.loads(case.arrival)
            arrival = Arrival(**{**given, "recipients": tuple(given["recipients"])})
            if case.kind == SESSION:
                lines = case.octets.decode("utf-8", "surrogateescape").split("\n")

                def script(client: Client) -> Any:
                    return play(client, lines)

                tried = await self._bench.one(of, settings, arrival, lambda _: script)
            else:
                body = await self._engine.in_thread(stuffed, case.octets)
                tried = await self._bench.one(of, settings, arrival, lambda one: message_of(one, arrival, body))
        except (Refused, TypeError, KeyError, ValueError) as error:
            return Checked(light, False, "", "", "", f"it could not be tried: {error}")
        found = result_of(tried)
        return Checked(light, found == (case.outcome, case.action, case.decided_by), *found)

    async def _ask(self, verb: str, *args: Any, **more: Any) -> Any:
        if self.store is None:
            raise Refused("this gateway keeps no cases")
        try:
            return await getattr(self.store, verb)(*args, **more)
        except StoreFailed as error:
            raise Unavailable(f"cases cannot be read or kept now: {error}") from error


def result_of(tried: Tried) -> tuple[str, str, str]:
    """What became of a try: outcome, decision, who decided."""
    message = tried.message
    verdict = message["verdict"] if message is not None else None
    by = verdict["decided_by"] if verdict is not None else None
    return (
        tried.outcome,
        verdict["action"] if verdict is not None else "accept",
        f"{by['filter']}: {by['reason']}" if by is not None else "",
    )
