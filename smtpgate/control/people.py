"""Held mail as its recipients see it: what waits for them, what they may do with it, and lists of their own.

A person is a user with addresses. What they see is mail to one of these, of a class that lets recipients decide; whose
else it is, and what was found, is not theirs to know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from smtpgate.control.quarantine import Quarantine
from smtpgate.control.views import Actor, Invalid, Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.held import Held
from smtpgate.policy.own import KINDS, MOST, normal_address, normal_entry
from smtpgate.policy.person import ADDRESSES, Entry, Person, Preferences
from smtpgate.proxy.revision import Revision
from smtpgate.smtp.address import path_of

#: States of a recipient's copy that are theirs to see.
_SHOWN: Final = frozenset({"held", "refused", "sending", "unknown"})
_WAITS: Final = frozenset({"held", "refused"})
#: Messages that are gone through for one page.
_PAGE: Final = 100


def mine_of(person: Person, message: Held) -> dict[str, str]:
    """Of a held message the person's own addresses as they were written, with their states."""
    return {one.address: one.state for one in message.recipients if normal_address(one.address) in person.addresses}


class People:
    """All of them."""

    def __init__(
        self,
        engine: Any,
        current: Callable[[], Revision],
        quarantine: Quarantine,
        did: Callable[[Actor, str, str, str], None],
    ) -> None:
        self._engine = engine
        self._current = current
        self._quarantine = quarantine
        self._did = did
        #: A `state.people.People`; set by whoever has the stores.
        self.store: Any = None

    async def _ask(self, asked: Deferred[Any]) -> Any:
        try:
            return await asked
        except StoreFailed as error:
            raise Unavailable(f"what people chose cannot be read or written now: {error}") from error

    @property
    def _there(self) -> Any:
        if self.store is None:
            raise Refused("this gateway keeps nothing of people")
        return self.store

    def begin(self) -> None:
        """Take in what is on the disk, in this thread: mail must not come before that."""
        for one in self._there.load_now():
            self._engine.own.put(one.name, one.addresses, one.entries)

    async def person(self, name: str) -> Person:
        """A user; one who has chosen nothing has nothing."""
        if self.store is None:
            return Person(name)
        found: Person = await self._ask(self.store.person(name))
        return found

    async def all(self) -> list[Person]:
        """All who have an address."""
        found: list[Person] = await self._ask(self.store.all()) if self.store is not None else []
        return found

    # Whose mail

    async def check_addresses(self, name: str, addresses: Sequence[str]) -> tuple[str, ...]:
        """Addresses of a user in normal form. Raises Invalid, and Refused where one is somebody else's."""
        found: dict[str, None] = {}
        for address in addresses:
            normal = normal_address(address)
            try:
                path_of(normal)
            except ValueError:
                normal = ""
            if not normal:
                raise Invalid(f"{address[:80]!a} is no address; write it like ann@example.net")
            found[normal] = None
        if len(found) > ADDRESSES:
            raise Invalid(f"at most {ADDRESSES} addresses")
        if found:
            owners: dict[str, str] = await self._ask(self._there.owners(tuple(found)))
            taken = next((address for address, owner in owners.items() if owner != name), "")
            if taken:
                raise Refused(f"{taken} is the address of {owners[taken]}; take it from them first")
        return tuple(found)

    async def set_addresses(self, name: str, addresses: Sequence[str]) -> None:
        """Other addresses of a user, as they were checked."""
        await self._ask(self._there.set_addresses(name, addresses))
        await self._heed(name)

    async def forget(self, name: str) -> None:
        """A user is gone, and their lists with them."""
        if self.store is not None:
            await self._ask(self.store.set_addresses(name, ()))
        self._engine.own.put(name, (), {})

    async def _heed(self, name: str) -> Person:
        """The decision over mail has what is on the disk from now on."""
        person = await self.person(name)
        self._engine.own.put(name, person.addresses, person.entries)
        return person

    # What waits for somebody

    def _hidden(self) -> tuple[str, ...]:
        """Classes that are not for recipients to decide on."""
        classes = self._current().settings.quarantine.classes
        return tuple(name for name, one in classes.items() if one.users == "nothing")

    async def held(self, person: Person, limit: int, before: str = "") -> tuple[list[Held], str]:
        """What waits for somebody, the newest first, and the id to go on from; "" at the end."""
        if not person.addresses:
            return [], ""
        wanted = {"mine": person.addresses, "without": self._hidden(), "direction": "in"}
        found: list[Held] = []
        while True:
            page = await self._quarantine.search(wanted, _PAGE, before)
            for message in page:
                if _SHOWN & set(mine_of(person, message).values()):
                    if len(found) == limit:
                        return found, found[-1].id
                    found.append(message)
            if len(page) < _PAGE:
                return found, ""
            before = page[-1].id

    async def message(self, person: Person, id: str) -> Held:
        """One of theirs. Raises Unknown for any other, whether it is there or not."""
        message = await self._quarantine.message(id)
        if message.direction != "in" or message.held_as in self._hidden() or not mine_of(person, message):
            raise Unknown(f"no held message {id}")
        return message

    def may(self, message: Held) -> str:
        """What a recipient may do to get one: "release" or "request"."""
        return "release" if self._current().settings.quarantine.of(message.held_as).is_released_by_users else "request"

    async def check(self, person: Person, id: str, action: str) -> Held:
        """A message that somebody is about to release, request or delete. Raises Unknown and Refused."""
        message = await self.message(person, id)
        if action == "release" and self.may(message) != "release":
            raise Refused("somebody else decides on this message; ask for it")
        if not _WAITS & set(mine_of(person, message).values()):
            raise Refused("it does not wait for you any more")
        return message

    async def release(self, person: Person, id: str, actor: Actor) -> None:
        """Deliver a message to somebody."""
        message = await self.check(person, id, "release")
        (outcome,) = await self._quarantine.release([id], actor, list(mine_of(person, message)), is_own=True)
        if not outcome.done:
            raise Refused(outcome.why)

    async def request(self, person: Person, id: str, actor: Actor) -> None:
        """Somebody asks for a message."""
        message = await self.check(person, id, "request")
        await self._quarantine.ask_for(id, next(iter(mine_of(person, message))), actor)

    async def drop(self, person: Person, id: str, actor: Actor) -> None:
        """Somebody does not want a message. For others it waits still."""
        message = await self.check(person, id, "drop")
        gone = await self._ask(self._engine.vault.drop(id, list(mine_of(person, message))))
        if not gone:
            raise Refused("it does not wait for you any more")
        self._did(actor, "quarantine.drop", id, ", ".join(gone))

    async def restore(self, person: Person, id: str, actor: Actor) -> None:
        """They want it after all."""
        message = await self.message(person, id)
        back = await self._ask(self._engine.vault.restore(id, list(mine_of(person, message))))
        if not back:
            raise Refused("it was not deleted, or it is too late")
        self._did(actor, "quarantine.restore", id, ", ".join(back))

    # Lists of one's own

    def check_entry(self, person: Person, entry: str, kind: str) -> str:
        """An entry in normal form. Raises Invalid, and Refused where there are too many."""
        if kind not in KINDS:
            raise Invalid(f"a list is one of {', '.join(KINDS)}")
        try:
            normal = normal_entry(entry)
        except ValueError as error:
            raise Invalid(str(error)) from None
        if normal in person.addresses:
            raise Invalid("this is an address of your own")
        if normal not in person.entries and len(person.entries) >= MOST:
            raise Refused(f"there are {MOST} entries, and no more fit; take some off")
        return normal

    async def entries(self, person: Person) -> list[Entry]:
        """Their lists, by entry."""
        found: list[Entry] = await self._ask(self.store.entries(person.name)) if self.store is not None else []
        return found

    async def put_entry(self, person: Person, entry: str, kind: str, actor: Actor) -> None:
        """Allow or block a sender from now on."""
        normal = self.check_entry(person, entry, kind)
        if not await self._ask(self._there.put_entry(person.name, normal, kind)):
            raise Refused(f"there are {MOST} entries, and no more fit; take some off")
        await self._heed(person.name)
        self._did(actor, "own.put", normal, kind)

    async def drop_entry(self, person: Person, entry: str, actor: Actor) -> None:
        """Take a sender off."""
        if not await self._ask(self._there.drop_entry(person.name, entry)):
            raise Unknown("no such entry")
        await self._heed(person.name)
        self._did(actor, "own.remove", entry, "")

    async def set_preferences(
        self, person: Person, preferences: Preferences, heard: tuple[float, bool], actor: Actor
    ) -> None:
        """When they hear of what is held.

        :param heard: up to when they have heard, and whether they heard at all (`admin.digest`)
        """
        await self._ask(self._there.set_preferences(person.name, preferences, heard))
        self._did(actor, "own.preferences", person.name, preferences.digest)
