"""Held mail and letters as their managers see them: look for them, let them go, delete them, send them elsewhere.

Nothing here answers before it is written. What is done twice is done once: a message that is on its way, or was
delivered, is not sent again but where somebody says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.control.views import Actor, Invalid, Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.event import Happened
from smtpgate.policy.held import Addressee, Held, Letter
from smtpgate.proxy.filed import Filed
from smtpgate.proxy.revision import Revision
from smtpgate.smtp.address import path_of

#: Messages of one order: an order for more says first how many they are.
MANY: Final = 10_000
#: Read at a time.
PAGE: Final = 500
#: Largest message that is shown; what is larger can be downloaded in no page either, and is on the disk.
SHOWN_OCTETS: Final = 100 * 2**20


@attrs.frozen
class Outcome:
    """What an order did to one message.

    :ivar done: False where there was nothing to do; `why` says so
    """

    id: str
    done: bool
    why: str = ""


@attrs.frozen
class Total:
    """How much is held of one class in one state."""

    held_as: str
    state: str
    count: int
    octets: int


class Quarantine:
    """The quarantine and the outbox of the running gateway."""

    def __init__(
        self, engine: Any, current: Callable[[], Revision], did: Callable[[Actor, str, str, str], None]
    ) -> None:
        self._engine = engine
        self._current = current
        self._did = did

    @property
    def _vault(self) -> Any:
        if self._engine.vault is None:
            raise Refused("this gateway has no place to hold mail")
        return self._engine.vault

    async def _ask(self, asked: Deferred[Any]) -> Any:
        try:
            return await asked
        except StoreFailed as error:
            raise Unavailable(f"the quarantine cannot be read or written now: {error}") from error

    # Look

    async def search(self, wanted: Mapping[str, Any], limit: int, before: str = "") -> list[Held]:
        """Held messages that fit, the newest first; see `state.vault.Vault.search`."""
        found: list[Held] = await self._ask(self._vault.search(wanted, limit, before))
        return found

    async def count(self, wanted: Mapping[str, Any]) -> int:
        """How many fit."""
        return int(await self._ask(self._vault.count(wanted)))

    async def totals(self, domains: Sequence[str] = ()) -> list[Total]:
        """By class and state; of all, or of the mail of some domains."""
        return [Total(**row) for row in await self._ask(self._vault.totals(domains))]

    async def message(self, id: str) -> Held:
        """One. Raises Unknown."""
        found: Held | None = await self._ask(self._vault.get(id))
        if found is None:
            raise Unknown(f"no held message {id}")
        return found

    async def content(self, id: str) -> bytes:
        """Its octets. Raises Refused where they are more than SHOWN_OCTETS."""
        message = await self.message(id)
        if message.octets > SHOWN_OCTETS:
            raise Refused(f"it has {message.octets >> 20} MiB, and no more than {SHOWN_OCTETS >> 20} are read at once")
        file = await self._ask(self._vault.open(message.body))
        try:
            octets: bytes = await self._engine.in_thread(file.read, message.octets)
        finally:
            file.close()
        return octets

    async def opened(self, message: Held) -> Filed:
        """Its octets, to be read piece by piece; whoever asks closes them."""
        file = await self._ask(self._vault.open(message.body))
        return Filed(file, message.octets, message.digest, self._engine.in_thread)

    async def letters(self, limit: int, before: str = "") -> list[Letter]:
        """What waits in the outbox, the newest first."""
        found: list[Letter] = await self._ask(self._vault.letters(limit, before))
        return found

    # Do

    async def release(
        self,
        ids: Sequence[str],
        actor: Actor,
        recipients: Sequence[str] | None = None,
        again: bool = False,
        is_own: bool = False,
    ) -> list[Outcome]:
        """Deliver held messages to those for whom they wait.

        :param recipients: only to these
        :param again: also to those who have it, or may have it
        :param is_own: it is a recipient who has it delivered
        """
        expires = self._engine.wall() + self._current().settings.outbox.keep_s
        # A recipient sees no reasons, and has no say in what other rules hold.
        is_manager = actor.kind != "link" and not is_own
        out = []
        for id in ids:
            before: Held | None = await self._ask(self._vault.get(id))
            second = actor.name if before is not None and self.wants_two(before) else None
            if before is not None and second is not None:
                why = _why_not_second(before, actor)
                if why:
                    out.append(Outcome(id, False, why))
                    continue
            letter: Letter | None = await self._ask(
                self._vault.release(id, recipients, again, expires, is_manager=is_manager, second=second)
            )
            if letter is not None:
                whom = ", ".join(one.address for one in letter.recipients)
                if before is not None and second is not None:
                    whom += f"; proposed by {before.proposed_by}"
                self._did(actor, "quarantine.release", id, whom)
                out.append(Outcome(id, True))
                continue
            there: Held | None = await self._ask(self._vault.get(id))
            out.append(Outcome(id, False, _why_not(there, recipients)))
        self._engine.outbox.wake()
        return out

    def wants_two(self, message: Held) -> bool:
        """Whether it is released by two persons."""
        return bool(self._current().settings.quarantine.of(message.held_as).two_persons)

    async def check_proposal(self, id: str, actor: Actor) -> None:
        """Raises Refused where somebody cannot be the first of two, and Unknown."""
        message = await self.message(id)
        if not self.wants_two(message):
            raise Refused(f"mail held as {message.held_as} needs no second person; release it")
        if actor.kind != "user":
            raise Refused(_PERSONS)
        if message.proposed_by:
            raise Refused(f"{message.proposed_by} asked for it already; somebody else can approve")
        if message.state not in ("held", "refused", "unknown"):
            raise Refused(f"it is {message.state} already")

    async def propose(self, id: str, actor: Actor, reason: str) -> None:
        """The first of two persons asks for a release. Raises Refused and Unknown."""
        await self.check_proposal(id, actor)
        if not await self._ask(self._vault.propose(id, actor.name)):
            raise Refused("somebody else was faster; look again")
        self._did(actor, "quarantine.propose", id, reason)

    async def check_approval(self, id: str, actor: Actor) -> None:
        """Raises Refused where somebody cannot be the second of two, and Unknown."""
        message = await self.message(id)
        why = _why_not_second(message, actor) if self.wants_two(message) else "it needs no second person; release it"
        if why:
            raise Refused(why)

    async def delete(self, ids: Sequence[str], actor: Actor) -> list[Outcome]:
        """Delete held messages; one that is on its way stays."""
        gone = set(await self._ask(self._vault.withdraw(ids)))
        for id in gone:
            self._did(actor, "quarantine.delete", id, "")
        return [Outcome(id, id in gone, "" if id in gone else "it is not there, or on its way") for id in ids]

    async def turn_down(self, ids: Sequence[str], actor: Actor) -> list[Outcome]:
        """Say no to those who asked for messages; they stay held."""
        out = []
        for id in ids:
            done = await self._ask(self._vault.ask(id, ""))
            if done:
                self._did(actor, "quarantine.deny", id, "")
            out.append(Outcome(id, done, "" if done else "there is no such message"))
        return out

    async def ask_for(self, id: str, who: str, actor: Actor) -> None:
        """A recipient asks for a message. Raises Unknown, and Refused where its class is not for asking."""
        message = await self.message(id)
        if who.lower() not in {one.address.lower() for one in message.recipients}:
            raise Unknown(f"no held message {id}")
        if self._current().settings.quarantine.of(message.held_as).users == "nothing":
            raise Refused("this message is not for recipients to decide on")
        await self._ask(self._vault.ask(id, who))
        self._did(actor, "quarantine.ask", id, who)

    async def forward(self, id: str, to: Sequence[str], actor: Actor) -> Letter:
        """Send a held message as it came to somebody else; it stays held."""
        message = await self.message(id)
        for address in to:
            try:
                path_of(address)
            except ValueError as error:
                raise Invalid(str(error)) from None
        if not to:
            raise Invalid("say who is to get it")
        if message.is_damaged:
            # What it asks of its way is not known any more.
            raise Refused("its row in the index is damaged; download it, and send it as what it is")
        if self.wants_two(message):
            raise Refused(f"mail held as {message.held_as} leaves by the word of two persons, and by release only")
        settings = self._current().settings
        now = self._engine.wall()
        letter = Letter(
            id=self._vault.fresh_id(),
            kind="forward",
            at=now,
            expires=now + settings.outbox.keep_s,
            body=message.body,
            octets=message.octets,
            sender="",
            recipients=tuple(Addressee(address, state="waiting") for address in to),
            message=message.message,
            facts=message.facts,
            params={name: value for name, value in message.facts.get("params", {}).items() if name in _FORM},
            due=now,
        )
        try:
            await self._ask(self._vault.post(letter, {}))
        except Unavailable:
            if await self._ask(self._vault.get(id)) is None:
                raise Refused(f"{id} is not held any more") from None
            raise
        self._did(actor, "quarantine.forward", id, ", ".join(to))
        self._engine.outbox.wake()
        return letter

    async def chosen(self, wanted: Mapping[str, Any], expected: int) -> list[str]:
        """Ids of all that fit, for an order about many. Raises Refused where they are not as many as was expected:
        between the look and the order others came, or went."""
        found = await self.count(wanted)
        if found != expected:
            raise Refused(f"{found} messages fit, and {expected} were expected; look again")
        if found > MANY:
            raise Refused(f"{found} messages are too many for one order; {MANY} are the most")
        ids: list[str] = []
        while len(ids) < found:
            page = await self.search(wanted, PAGE, ids[-1] if ids else "")
            if not page:
                break
            ids += [one.id for one in page]
        if len(ids) != expected:
            # It came or went while they were gone through.
            raise Refused(f"{len(ids)} messages fit, and {expected} were expected; look again")
        return ids

    async def letter(self, id: str) -> Letter | None:
        """One; None where there is none."""
        found: Letter | None = await self._ask(self._vault.letter(id))
        return found

    async def check_letter(self, id: str) -> None:
        """Raises Unknown where there is no such letter that waits."""
        found: Letter | None = await self._ask(self._vault.letter(id))
        if found is None or found.state != "waiting":
            raise Unknown(f"no letter {id} that waits")

    async def try_letter(self, id: str, actor: Actor) -> None:
        """Try a letter now."""
        if not await self._ask(self._vault.hasten(id)):
            raise Unknown(f"no letter {id} that waits")
        self._did(actor, "outbox.try", id, "")
        self._engine.outbox.try_now()

    async def cancel(self, id: str, actor: Actor) -> None:
        """Take a letter back; a release is held again."""
        gone = await self._ask(self._vault.cancel(id))
        if gone is None:
            raise Unknown(f"no letter {id} that waits")
        self._did(actor, "outbox.cancel", id, gone.kind)

    async def expire(self) -> int:
        """Delete what is past its time, slice by slice; how many messages went."""
        gone = 0
        while True:
            ids = await self._ask(self._vault.expired(self._engine.wall()))
            went = await self._ask(self._vault.withdraw(ids)) if ids else []
            if not went:
                break
            gone += len(went)
        if gone:
            self._engine.tell(
                Happened("quarantine.expired", "info", f"{gone} held messages were past their time", (("count", gone),))
            )
        return gone


_PERSONS: Final = "it is released by two persons who are logged in; tokens, the command line and links are none"


def _why_not_second(message: Held, actor: Actor) -> str:
    """Why somebody cannot be the second of two persons; "" where they can."""
    if actor.kind != "user":
        return _PERSONS
    if not message.proposed_by:
        return "it is released by two persons: ask for its release first, and somebody else approves"
    if message.proposed_by == actor.name:
        return "you asked for its release; somebody else has to approve"
    return ""


def _why_not(message: Held | None, recipients: Sequence[str] | None) -> str:
    """Why there was nothing to release."""
    if message is None:
        return "there is no such message"
    if message.is_damaged:
        return message.detail
    wanted = None if recipients is None else {one.lower() for one in recipients}
    chosen = [one for one in message.recipients if wanted is None or one.address.lower() in wanted]
    if not chosen:
        return "it is for none of these recipients"
    return f"it is {attrs.evolve(message, recipients=tuple(chosen)).state} already"


#: Parameters of MAIL that say how octets are to be taken, and over what (RFC 8689 section 4.2.1).
_FORM: Final = frozenset({"BODY", "SMTPUTF8", "REQUIRETLS"})
