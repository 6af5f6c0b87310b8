"""What the gateway takes on itself of one message, before its client hears 250.

A message is *taken* for a recipient where a rule or a filter says quarantine, discard or redirect: then nothing of it
goes to the backend for that one. *Deeds* are done beside what becomes of it: a copy in the quarantine, a copy to
somebody, a report to a journal. All of it is on the disk before the end of data goes to any backend (promise 1c); what
was written for a message that is then not delivered is withdrawn.

A letter stays `pending` until its message is decided. Where the gateway is killed in between it goes all the same: a
report too many can be explained, one that is missing cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs

from smtpgate.config.model import Settings
from smtpgate.config.model_policy import RULES, Rule
from smtpgate.interfaces import StoreFailed
from smtpgate.message.header import HeaderSection
from smtpgate.message.words import clean, decode
from smtpgate.policy import held
from smtpgate.policy.edits import AddField
from smtpgate.policy.event import Happened
from smtpgate.policy.held import Addressee, Held, Letter
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Verdict
from smtpgate.proxy.hold_room import make_room
from smtpgate.proxy.journaling import hops_of, report
from smtpgate.proxy.recall import addressee, facts_of
from smtpgate.proxy.spool import Spool
from smtpgate.smtp import status
from smtpgate.smtp.reply import Reply

#: Of a field that the list of held messages shows.
_SHOWN = 500


def takes(transaction: Transaction) -> bool:
    """Whether there is anything to keep of a message that passed."""
    return bool(transaction.deeds) or any(one.taken is not None for one in transaction.recipients)


@attrs.define
class _Made:
    """What was written for one message."""

    held: list[Held] = attrs.field(factory=list)
    letters: list[Letter] = attrs.field(factory=list)
    bodies: list[Any] = attrs.field(factory=list)

    @property
    def ids(self) -> list[str]:
        """Of all rows."""
        return [one.id for one in self.held] + [one.id for one in self.letters]


class Keeping:
    """One message that is kept, for some of its recipients or besides."""

    def __init__(
        self, engine: Any, settings: Settings, transaction: Transaction, tls_level: str = "", copy_level: str = ""
    ) -> None:
        """
        :param tls_level: what rules ask of the way to its recipients; it holds for copies, and for a release
        :param copy_level: what `tls_policies` ask of it; whoever gets a copy may be none that they speak of
        """
        self._engine = engine
        self._vault = engine.vault
        self._settings = settings
        self._transaction = transaction
        self._made = _Made()
        levels = {"tls_level": tls_level, "copy_level": copy_level}
        self._facts = facts_of(transaction) | {name: level for name, level in levels.items() if level}
        self._rules = {rule.name: rule for rule in settings.rules}

    @property
    def takes_all(self) -> bool:
        """Nobody is left for whom it goes to a backend."""
        return not any(one.state == "accepted" for one in self._transaction.recipients)

    async def begin(self, spool: Spool, section: HeaderSection, key: str) -> Reply | None:
        """Write all that is to be kept. A Reply where that is not possible: the client is to come again.

        :param spool: the message as it came
        :param key: tells a retry of the same message
        """
        groups = self._groups()
        try:
            await self._hold(dict(groups), spool, section, key)
        except StoreFailed as error:
            return await self._failed(str(error), groups)
        except BaseException:
            # The client is gone, or the session was ended: nobody was told anything.
            self._engine.start(self._take_back())
            raise
        return None

    async def _failed(self, why: str, groups: dict[tuple[str, str], list[Recipient]]) -> Reply | None:
        await self._give_up()
        strict = any(rule.strict for rule in self._transaction.deeds)
        self._engine.tell(
            Happened(
                "quarantine.failed",
                "error",
                f"a message could not be kept and {'is deferred' if groups or strict else 'goes on without'}: {why}",
                (("msg_id", self._transaction.id),),
            )
        )
        if groups or strict:
            self._let_go()
            return status.DISK_FULL
        self._transaction.note("copy_not_kept")
        return None

    def _let_go(self) -> None:
        """It is taken for nobody."""
        for one in self._transaction.recipients:
            if one.taken is not None:
                one.taken, one.final, one.state = None, None, "accepted"

    async def _give_up(self) -> None:
        made, self._made = self._made, _Made()
        self._engine.undecided.difference_update(made.ids)
        for body in made.bodies:
            try:
                await body.abandon()
            except (StoreFailed, ValueError) as error:
                # The next start puts aside what no row names.
                self._engine.tell(Happened("quarantine.failed", "error", f"a file stays: {error}"))

    async def _take_back(self) -> None:
        """Whether rows were written nobody knows: they go before the files. A retry that found a row without its file
        would be told that it is held."""
        held_ids, letters = [one.id for one in self._made.held], [one.id for one in self._made.letters]
        try:
            if held_ids:
                await self._vault.withdraw(held_ids)
            if letters:
                await self._vault.settle(letters, is_taken=False)
        except StoreFailed as error:
            self._engine.undecided.difference_update((*held_ids, *letters))
            self._engine.tell(
                Happened("quarantine.failed", "error", f"a message may be held of which nobody was told: {error}")
            )
            return
        await self._give_up()

    async def end(self, is_taken: bool) -> None:
        """The message is decided: the letters go, or they were never written.

        :param is_taken: it was delivered, or may have been
        """
        made = self._made
        transaction = self._transaction
        if not is_taken and transaction.hears_each:
            # Each recipient has an answer of its own: it stands whatever the others hear.
            is_taken = any(one.taken is not None for one in transaction.recipients)
        if not is_taken:
            self._let_go()
        if is_taken:
            for one in made.held:
                transaction.note(f"held:{one.id}")
        ids, letters = [one.id for one in made.held], [one.id for one in made.letters]
        if not is_taken and ids:
            await self._write(self._vault.withdraw, ids)
        self._engine.undecided.difference_update(ids)
        if letters:
            await self._write(self._vault.settle, letters, is_taken=is_taken)
            self._engine.undecided.difference_update(letters)
        if is_taken and letters:
            self._engine.outbox.wake()

    async def _write(self, call: Any, ids: list[str], **more: Any) -> None:
        """What was decided; where that is not possible now, until it is. All of it is on the disk: what still waits at
        the end of the gateway goes with the next start."""
        try:
            await call(ids, **more)
        except StoreFailed as error:
            message = f"copies of a message wait for the index: {error}"
            self._engine.tell(Happened("quarantine.failed", "error", message, (("msg_id", self._transaction.id),)))
            self._engine.outbox.insist(partial(call, ids, **more))

    # What is to be written

    def _groups(self) -> dict[tuple[str, str], list[Recipient]]:
        """Those for whom it is taken, by who said so."""
        groups: dict[tuple[str, str], list[Recipient]] = {}
        for one in self._transaction.recipients:
            if one.taken is not None:
                decided = one.taken.decided_by
                assert decided is not None
                groups.setdefault((decided.filter, decided.reason), []).append(one)
        return groups

    async def _hold(
        self, groups: dict[tuple[str, str], list[Recipient]], spool: Spool, section: HeaderSection, key: str
    ) -> None:
        deeds: list[Rule] = list({rule.name: rule for rule in self._transaction.deeds}.values())
        if not groups and not deeds:
            return
        for place, group in list(groups.items()):
            if await self._was_held(place, group, key):
                del groups[place]
        if not groups and not deeds:
            return
        classes = [self._class_of(verdict) for verdict in (one[0].taken for one in groups.values()) if _holds(verdict)]
        classes += [rule.held_as or held.COPY for rule in deeds if _copies(rule)]
        await make_room(self._vault, self._settings.quarantine, classes, spool.octets)
        trace = self._trace()
        # A journal has the message in a file of its own.
        body = None if not groups and all(rule.action == "journal" for rule in deeds) else await self._begin()
        digest, is_ascii = hashlib.sha256(), True
        if body is not None:
            await body.write(trace)
        async for piece in spool.pieces():
            digest.update(piece)
            is_ascii = is_ascii and piece.isascii()
            if body is not None:
                await body.write(piece)
        if body is not None:
            await body.finish()
        base = self._base(section, body, digest.hexdigest())
        for (_, _), group in groups.items():
            verdict = group[0].taken
            assert verdict is not None
            self._take(verdict, group, base, key)
        for rule in deeds:
            if _copies(rule):
                everybody = [one for one in self._transaction.recipients if one.state == "accepted" or one.taken]
                self._made.held.append(self._held(base, rule.held_as or held.COPY, everybody, rule.name, rule.note, ""))
            elif rule.action == "bcc":
                self._made.letters.append(self._letter("bcc", rule, base.body, base.octets))
            else:
                await self._journal(rule, section, spool, trace, digest.hexdigest(), is_ascii)
        self._engine.undecided.update(self._made.ids)
        await self._vault.keep(self._made.held, self._made.letters)

    async def _begin(self) -> Any:
        """A file; it goes again where the message is not taken."""
        body = await self._vault.begin()
        self._made.bodies.append(body)
        return body

    async def _was_held(self, place: tuple[str, str], group: Sequence[Recipient], key: str) -> bool:
        """Whether an earlier try of it was held for all of these: its client did not hear so, and comes again."""
        found: Held | None = await self._vault.known(f"{key}/{'/'.join(place)}")
        if found is None or found.id in self._engine.undecided:
            # What another try has written, and may withdraw yet, is nothing to rely on.
            return False
        there = {one.address for one in found.recipients}
        if not all(str(one.path) in there for one in group):
            return False
        self._transaction.note(f"held_before:{found.id}")
        return True

    def _class_of(self, verdict: Verdict | None) -> str:
        """In which class a message is held."""
        decided = verdict.decided_by if verdict is not None else None
        assert decided is not None
        rule = self._rules.get(decided.reason) if decided.filter == RULES else None
        if rule is not None and rule.held_as:
            return rule.held_as
        if verdict is not None and verdict.action == "discard":
            return held.DISCARDED
        return held.BY_CATEGORY.get(decided.category, held.POLICY)

    def _take(self, verdict: Verdict, group: Sequence[Recipient], base: Held, key: str) -> None:
        decided = verdict.decided_by
        assert decided is not None
        if verdict.action == "redirect":
            rule = self._rules[decided.reason]
            self._made.letters.append(self._letter("redirect", rule, base.body, base.octets, group))
            return
        name = self._class_of(verdict)
        made = self._held(base, name, group, decided.reason, decided.detail, f"{key}/{decided.filter}/{decided.reason}")
        self._made.held.append(attrs.evolve(made, filter=decided.filter, score=verdict.score))

    def _base(self, section: HeaderSection, body: Any, digest: str) -> Held:
        """What all of them have in common."""
        transaction = self._transaction
        session = transaction.session
        now = self._engine.wall()
        return Held(
            id="",
            at=now,
            expires=now,
            held_as="",
            message=transaction.id,
            listener=session.listener,
            direction="in" if session.role == "mx" else "out",
            client_ip=session.client_ip,
            sender=str(transaction.sender),
            recipients=(),
            subject=clean(transaction.covered_subject or decode(section.first("subject")))[:_SHOWN],
            author=clean(decode(section.first("from")))[:_SHOWN],
            message_id=transaction.message_id,
            octets=body.octets if body is not None else 0,
            digest=digest,
            body=body.name if body is not None else "",
            facts=self._facts,
        )

    def _held(self, base: Held, name: str, group: Sequence[Recipient], reason: str, detail: str, key: str) -> Held:
        return attrs.evolve(
            base,
            id=self._vault.fresh_id(),
            expires=base.at + self._settings.quarantine.of(name).keep_s,
            held_as=name,
            recipients=tuple(map(addressee, group)),
            filter=RULES,
            reason=reason,
            detail=detail[:1000],
            key=key,
        )

    def _letter(
        self, kind: str, rule: Rule, body: str, octets: int, group: Sequence[Recipient] = (), **more: Any
    ) -> Letter:
        now = self._engine.wall()
        for_whom = " ".join(str(one.path) for one in group)
        return Letter(
            id=self._vault.fresh_id(),
            kind=kind,
            at=now,
            expires=now + self._settings.outbox.keep_s,
            body=body,
            octets=octets,
            # RFC 5321 section 4.5.5: what comes back of it is nobody's but ours.
            sender="",
            recipients=tuple(Addressee(address, state="waiting") for address in rule.to),
            message=self._transaction.id,
            state="pending",
            facts=self._facts | {"rule": rule.name, "from": str(self._transaction.sender), "for": for_whom},
            params=_needs(self._transaction),
            backend=rule.backend,
            due=now,
            **more,
        )

    async def _journal(
        self, rule: Rule, section: HeaderSection, spool: Spool, trace: bytes, digest: str, is_ascii: bool
    ) -> None:
        """A report with the message in it, as a file of its own."""
        body = await self._begin()
        transaction, settings, seal = self._transaction, self._settings, self._engine.ledger.seal
        octets, now = spool.octets, self._engine.wall()
        head, tail = report(transaction, section, rule, settings, now, octets, digest, is_ascii, seal)
        await body.write(hops_of(transaction, section, trace, settings.hostname, seal) + head + trace)
        last = b""
        async for piece in spool.pieces():
            await body.write(piece)
            last = (last + piece)[-2:]
        await body.write((b"" if last == b"\r\n" else b"\r\n") + tail)
        await body.finish()
        self._made.letters.append(self._letter("journal", rule, body.name, body.octets))

    def _trace(self) -> bytes:
        """Our own trace field, which the message has wherever it goes."""
        return b"".join(
            edit.raw
            for edit in self._transaction.edits.edits
            if type(edit) is AddField and edit.author == "gateway" and edit.raw.startswith(b"Received:")
        )


def _copies(rule: Rule) -> bool:
    """Whether a deed puts a copy in the quarantine; all others are letters."""
    return rule.action == "copy" or rule.change is not None


def _holds(verdict: Verdict | None) -> bool:
    """Whether what is taken so is held; else it is a letter."""
    return verdict is not None and verdict.action != "redirect"


def _needs(transaction: Transaction) -> dict[str, str | None]:
    """Parameters of MAIL that say how the octets are to be taken."""
    return {
        name: None if value is None else value.decode("latin-1")
        for name, value in transaction.params.items()
        if name in ("BODY", "SMTPUTF8", "REQUIRETLS")
    }
