"""What a manager sees of policy: the rules at work, how often each was true of a message, and what is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.model_policy import RULES
from smtpgate.control.views import Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.transaction import Transaction
from smtpgate.proxy.counters import Row
from smtpgate.proxy.revision import Revision

#: How long the counts of a rule are remembered that is gone: it may come back, as after a mistake.
KEEP_S: Final = 30 * 86400.0
_AGAIN_S: Final = 86400.0


@attrs.frozen
class RuleView:
    """One rule.

    :ivar when, unless: its conditions as they are written
    :ivar step: at which it is judged: mail, rcpt, data, header or end
    :ivar is_packed: it comes from a pack
    :ivar hits: messages that it was true of, in shadow too
    :ivar last_hit: seconds since the epoch; 0.0: never
    """

    name: str
    when: str
    unless: str
    listener: tuple[str, ...]
    direction: str
    sender: tuple[str, ...]
    recipient: tuple[str, ...]
    action: str
    mode: str
    step: str
    is_packed: bool
    owner: str
    note: str
    hits: int
    last_hit: float


@attrs.frozen
class RegisteredView:
    """A registered document or table: what it is, and never what was in it.

    :ivar kind: fingerprint or table
    :ivar octets: of its file; `since` when that was written
    :ivar files: of a document; `hashes` that are kept of them
    :ivar rows: of a table, `columns` that are looked for, of which `least` must stand together within `window` letters
    """

    kind: str
    name: str
    octets: int
    since: float
    files: int
    hashes: int
    rows: int
    columns: tuple[str, ...]
    least: int
    window: int


class Policy:
    """The rules of the configuration at work. Counts are kept by the name of a rule, over reloads and restarts
    (`proxy.counters.Counted`); those of a rule that is gone for `KEEP_S` are forgotten.
    """

    def __init__(
        self, wall: Callable[[], float], current: Callable[[], Revision], revision: Callable[[], Revision | None]
    ) -> None:
        """
        :param revision: the same, or None before there is one
        """
        self._revision = revision
        self._wall = wall
        self._current = current
        self._hits: dict[str, tuple[int, float]] = {}
        #: Rules whose counts are not written yet, and when those of each were written last.
        self._fresh: dict[str, None] = {}
        self._kept: dict[str, float] = {}
        #: An `interfaces.IRegister`, and what runs its calls in a thread; `tap` gives them.
        self.register: Any = None
        self.in_thread: Callable[..., Deferred[Any]] | None = None

    def count(self, transaction: Transaction) -> None:
        """A message has ended: which rules were true of it."""
        names = {one.reason for one in transaction.findings if one.filter == RULES}
        for name in names:
            self._hits[name] = self._hits.get(name, (0, 0.0))[0] + 1, self._wall()
            self._fresh[name] = None

    def changed(self, wall: float, most: int) -> list[Row]:
        """As `proxy.counters.Counted`: name, and how often and when last. The count of a rule that is there is written
        anew once a day, so that it does not end."""
        revision = self._revision()
        if revision is None:
            return []
        rules = {rule.name for rule in revision.settings.rules}
        for name in self._hits:
            kept = self._kept.get(name)
            # One that was never written is in there already.
            if kept is not None and kept < wall - (_AGAIN_S if name in rules else KEEP_S):
                self._fresh[name] = None
        rows: list[Row] = []
        for name in list(self._fresh)[:most]:
            del self._fresh[name]
            if name not in rules and self._kept.get(name, wall) < wall - KEEP_S:
                del self._hits[name], self._kept[name]
                rows.append((name, None, 0.0))
                continue
            self._kept[name] = wall
            rows.append((name, list(self._hits[name]), wall + KEEP_S))
        return rows

    def restore(self, rows: list[Row], wall: float) -> None:
        """Take over rows, before there is a revision."""
        for name, (hits, last), expires in rows:
            self._hits[name] = hits, last
            self._kept[name] = expires - KEEP_S

    def rules(self) -> list[RuleView]:
        """All rules, in the order of the file."""
        return [
            RuleView(
                rule.name,
                rule.when,
                rule.unless,
                rule.listener,
                rule.direction,
                rule.sender.entries,
                rule.recipient.entries,
                rule.action,
                rule.mode,
                rule.condition.step,
                rule.table == "packs",
                rule.owner,
                rule.note,
                *self._hits.get(rule.name, (0, 0.0)),
            )
            for rule in self._current().settings.rules
        ]

    async def registered(self) -> list[RegisteredView]:
        """All registered documents and tables. Raises Refused where they cannot be read."""
        return [
            RegisteredView(
                one["kind"],
                one["name"],
                one["octets"],
                one["changed"],
                one["files"] or 0,
                one["hashes"] or 0,
                one["rows"] or 0,
                tuple(one["columns"] or ()),
                one["least"] or 0,
                one["window"] or 0,
            )
            for one in await self._ask("listed")
        ]

    async def check(self, kind: str, name: str) -> None:
        """Raises Unknown where there is no such one, and Refused."""
        if not any((one.kind, one.name) == (kind, name) for one in await self.registered()):
            raise Unknown(f"no {kind} {name} is registered")

    async def forget(self, kind: str, name: str) -> None:
        """Forget one. Raises Unknown, Refused."""
        if not await self._ask("remove", kind, name):
            raise Unknown(f"no {kind} {name} is registered")

    async def _ask(self, call: str, *values: str) -> Any:
        if self.register is None or self.in_thread is None:
            raise Refused("nothing can be registered here")
        try:
            return await self.in_thread(getattr(self.register, call), *values)
        except StoreFailed as error:
            raise Unavailable(str(error)) from None
