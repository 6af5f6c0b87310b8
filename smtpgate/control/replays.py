"""Mail of the history decided again: by what is at work, or by a draft.

Most of it from what the history keeps (`filters.replay`); held mail, where its content may be read, is tried whole
(`control.bench`). Nothing comes of either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.config.model import Settings
from smtpgate.control.bench import AT_WORK, DRAFT, Arrival, Bench, message_of
from smtpgate.control.bench_client import stuffed
from smtpgate.control.quarantine import Quarantine
from smtpgate.control.views import Invalid, Refused, Unknown
from smtpgate.policy.held import Held
from smtpgate.policy.replayed import UNKNOWN, Replayed, Row, Scores, Weighed, spread, summed, tried
from smtpgate.policy.verdict import Scale
from smtpgate.proxy.revision import Engine, Revision

#: Messages of the history that may be asked for, and held ones that are tried whole.
MOST: Final = 10_000
WHOLE: Final = 200
#: Sessions that are read at a time, and decided in one go in a thread.
PAGE: Final = 200
#: So many times as many sessions are read: not each has a message.
_SESSIONS: Final = 4


class Replays:
    """Decides the history again."""

    def __init__(
        self, engine: Engine, current: Callable[[], Revision], history: Any, quarantine: Quarantine, bench: Bench
    ) -> None:
        """
        :param history: `begun_since` and `edge`, as `interfaces.IHistoryStore` has them
        """
        self._engine = engine
        self._current = current
        self._history = history
        self._quarantine = quarantine
        self._bench = bench
        #: Makes what decides by some settings (`filters.replay.Replay`); `tap` gives it.
        self.make: Callable[[Settings, Settings, str], Any] | None = None

    async def run(
        self,
        last: int,
        draft: Settings | None = None,
        step: Callable[[int, int], Awaitable[bool]] | None = None,
        read: Callable[[Held], Awaitable[None]] | None = None,
    ) -> Replayed:
        """The newest messages of the history, decided again. Raises Refused.

        :param draft: None: by what is at work
        :param step: told how far it is, between two slices; False ends it
        :param read: told of each held message whose content is about to be read; None: none is
        """
        if self.make is None or self._history is None:
            raise Refused("the history cannot be decided again here")
        result: Replayed = await self._bench.alone(lambda: self._run(last, draft, step or _go_on, read))
        return result

    async def _run(
        self,
        last: int,
        draft: Settings | None,
        step: Callable[[int, int], Awaitable[bool]],
        read: Callable[[Held], Awaitable[None]] | None,
    ) -> Replayed:
        assert self.make is not None
        revision = self._current()
        settings = draft if draft is not None else revision.settings
        replay = self.make(settings, revision.settings, revision.id)
        out: list[Row] = []
        is_cut = await self._decide(last, replay.rows, out, step)
        if read is not None and not is_cut:
            is_cut = await self._whole(out, settings, DRAFT if draft is not None else AT_WORK, step, read)
        found: Replayed = await self._engine.in_thread(
            summed, settings.digest[:12], out, replay.left_out if draft is not None else (), is_cut
        )
        return found

    async def _decide(
        self,
        last: int,
        decide: Callable[[Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]], list[Any]],
        out: list[Any],
        step: Callable[[int, int], Awaitable[bool]],
    ) -> bool:
        """What is decided over the newest messages goes into `out`; whether it was ended before it was through."""
        rows: deque[Any] = deque(maxlen=last)
        at, after, seen, is_cut = await self._history.edge(last * _SESSIONS), "", 0, False
        while True:
            page: Sequence[Mapping[str, Any]] = await self._history.begun_since(at, PAGE, after)
            records = [(session, message) for session in page for message in session["messages"]]
            rows.extend(await self._engine.in_thread(decide, records))
            seen += len(records)
            if len(page) < PAGE:
                break
            if not await step(min(seen, last), last):
                is_cut = True
                break
            at, after = page[-1]["started"], page[-1]["id"]
        out += rows
        return is_cut

    async def scores(self, last: int, scale: Scale) -> Scores:
        """How the sums of the newest messages are spread, and what other thresholds would make of them. Raises
        Refused."""
        if self.make is None or self._history is None:
            raise Refused("the history cannot be decided again here")
        result: Scores = await self._bench.alone(lambda: self._scores(last, scale))
        return result

    async def _scores(self, last: int, scale: Scale) -> Scores:
        assert self.make is not None
        revision = self._current()
        settings = revision.settings
        now = self.make(settings, settings, revision.id)
        then = self.make(attrs.evolve(settings, scale=scale), settings, revision.id)

        def decide(records: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[Weighed]:
            weighed = []
            for session, message in records:
                if message["end_ms"] is not None:
                    before, after = now.decide(session, message), then.decide(session, message)
                    weighed.append(Weighed(before.score, before.action, after.action))
            return weighed

        out: list[Weighed] = []
        await self._decide(last, decide, out, _go_on)
        found: Scores = await self._engine.in_thread(spread, out)
        return found

    async def _whole(
        self,
        rows: list[Row],
        settings: Settings,
        of: str,
        step: Callable[[int, int], Awaitable[bool]],
        read: Callable[[Held], Awaitable[None]],
    ) -> bool:
        """Try those whose content is there still, the newest first; whether it was ended before that was done."""
        places = [place for place in reversed(range(len(rows))) if rows[place].held][:WHOLE]
        for number, place in enumerate(places):
            try:
                held = await self._quarantine.message(rows[place].held)
            except Unknown:
                continue
            try:
                await read(held)
                octets = await self._quarantine.content(held.id)
                rows[place] = await self._try(rows[place], held, octets, settings, of)
            except Refused as error:
                rows[place] = attrs.evolve(rows[place], new=UNKNOWN, why=f"it could not be tried: {error}")
            if not await step(number, len(places)):
                return True
        return False

    async def _try(self, row: Row, held: Held, octets: bytes, settings: Settings, of: str) -> Row:
        comes = came(held)
        if comes.listener not in settings.listeners:
            raise Invalid(f"no listener {comes.listener}")
        body = await self._engine.in_thread(stuffed, octets)
        made = await self._bench.one(of, settings, comes, lambda listener: message_of(listener, comes, body))
        found = tried(made.message)
        return attrs.evolve(row, new=found.action, new_score=found.score, why=found.why, is_whole=True)


async def _go_on(done: int, total: int) -> bool:
    return True


def came(held: Held) -> Arrival:
    """How a held message came."""
    facts = held.facts
    tls = facts.get("tls") or {}
    version = str(tls.get("version", ""))
    return Arrival(
        held.sender,
        tuple(one.address for one in held.recipients),
        str(facts.get("client_ip") or held.client_ip),
        str(facts.get("helo", "")),
        str(facts.get("user", "")),
        version if version in ("TLSv1.2", "TLSv1.3") else "off" if not tls else "",
        held.listener,
        held.at,
    )
