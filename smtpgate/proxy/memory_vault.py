"""A vault without a disk (`interfaces.IVault`): what the gateway in memory has taken on itself.

It keeps what it is given and sends nothing: there is no outbox in memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpgate.interfaces import IVault, StoreFailed
from smtpgate.policy.held import Held, Letter


class _Body:
    def __init__(self, vault: MemoryVault, name: str) -> None:
        self.name = name
        self._vault = vault
        self._pieces: list[bytes] = []
        self.octets = 0

    def write(self, octets: bytes) -> Deferred[None]:
        self._pieces.append(octets)
        self.octets += len(octets)
        return succeed(None)

    def finish(self) -> Deferred[None]:
        self._vault.bodies[self.name] = b"".join(self._pieces)
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        self._vault.bodies.pop(self.name, None)
        return succeed(None)


@implementer(IVault)
class MemoryVault:
    """Held messages and letters in lists.

    :ivar held: what is held, in its order; `letters`: what is to be sent; `bodies`: octets by name
    :ivar is_full: nothing more can be kept
    """

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.letters: list[Letter] = []
        self.bodies: dict[str, bytes] = {}
        self.is_full = False
        self._number = 0

    def fresh_id(self) -> str:
        """A name that was never used."""
        self._number += 1
        return f"m{self._number:015d}"

    def begin(self) -> Deferred[Any]:
        """A file to be written."""
        if self.is_full:
            return fail(StoreFailed("there is no room"))
        return succeed(_Body(self, self.fresh_id()))

    def open(self, name: str) -> Deferred[Any]:
        """A file to be read."""
        return succeed(io.BytesIO(self.bodies[name]))

    def keep(self, messages: Sequence[Held], letters: Sequence[Letter]) -> Deferred[None]:
        """Put them in."""
        self.held += messages
        self.letters += letters
        return succeed(None)

    def known(self, key: str) -> Deferred[Held | None]:
        """The message that was held for the same try."""
        return succeed(next((one for one in self.held if one.key == key), None))

    def settle(self, ids: Sequence[str], *, is_taken: bool) -> Deferred[None]:
        """Of pending letters: they go, or they never were."""
        if is_taken:
            self.letters = [attrs.evolve(one, state="waiting") if one.id in ids else one for one in self.letters]
        else:
            self.letters = [one for one in self.letters if one.id not in ids]
        return succeed(None)

    def withdraw(self, ids: Sequence[str]) -> Deferred[list[str]]:
        """Delete held messages."""
        gone = [one.id for one in self.held if one.id in ids]
        self.held = [one for one in self.held if one.id not in ids]
        return succeed(gone)

    def totals(self, domains: Sequence[str] = ()) -> Deferred[list[dict[str, Any]]]:
        """By class and state; of all mail here."""
        return succeed(
            [{"held_as": one.held_as, "state": one.state, "count": 1, "octets": one.octets} for one in self.held]
        )

    def oldest(self, held_as: str, octets: int) -> Deferred[list[str]]:
        """Ids of the oldest of a class."""
        return succeed([one.id for one in self.held if one.held_as == held_as][:1])

    def post(self, letter: Letter, fates: Mapping[str, tuple[str, str]]) -> Deferred[None]:
        """A letter is to go."""
        self.letters.append(letter)
        return succeed(None)

    def go_on(self, letter: Letter, fates: Mapping[str, tuple[str, str]]) -> Deferred[bool]:
        """A letter goes on."""
        is_there = any(one.id == letter.id for one in self.letters)
        self.letters = [letter if one.id == letter.id else one for one in self.letters]
        return succeed(is_there)

    def due(self, now: float, limit: int) -> Deferred[list[Letter]]:
        """None: nothing leaves."""
        return succeed([])

    def done(
        self, letter: Letter, fates: Mapping[str, tuple[str, str]], returned: Sequence[Held] = ()
    ) -> Deferred[None]:
        """A letter is over."""
        self.held += returned
        self.letters = [one for one in self.letters if one.id != letter.id]
        return succeed(None)


class NoOutbox:
    """Letters stay where they are."""

    def wake(self) -> None:
        """Nothing."""

    def try_now(self) -> None:
        """Nothing."""

    def insist(self, call: Callable[[], Deferred[Any]]) -> None:
        """Nothing: what is in memory does not fail."""
