"""What a manager sees of policy: the rules at work, how often each was true of a message, and what is registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from smtpgate.config.model_policy import RULES
from smtpgate.control.views import Refused, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.transaction import Transaction
from smtpgate.proxy.revision import Revision


@attrs.frozen
class RuleView:
    """One rule.

    :ivar when, unless: its conditions as they are written
    :ivar step: at which it is judged: mail, rcpt, data, header or end
    :ivar is_packed: it comes from a pack
    :ivar hits: messages that it was true of since the start, in shadow too
    :ivar last_hit: seconds since the epoch; 0.0: never
    """

    name: str
    when: str
    unless: str
    listener: tuple[str, ...]
    direction: str
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
    """The rules of the configuration at work. Counts outlive a reload, by the name of a rule."""

    def __init__(self, wall: Callable[[], float], current: Callable[[], Revision]) -> None:
        self._wall = wall
        self._current = current
        self._hits: dict[str, tuple[int, float]] = {}
        #: An `interfaces.IRegister`, and what runs its calls in a thread; `tap` gives them.
        self.register: Any = None
        self.in_thread: Callable[..., Deferred[Any]] | None = None

    def count(self, transaction: Transaction) -> None:
        """A message has ended: which rules were true of it."""
        names = {one.reason for one in transaction.findings if one.filter == RULES}
        for name in names:
            self._hits[name] = self._hits.get(name, (0, 0.0))[0] + 1, self._wall()

    def rules(self) -> list[RuleView]:
        """All rules, in the order of the file."""
        return [
            RuleView(
                rule.name,
                rule.when,
                rule.unless,
                rule.listener,
                rule.direction,
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
            raise Refused(str(error)) from None
