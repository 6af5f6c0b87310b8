"""One try to deliver a letter: judged anew where it was held, signed, and given to its servers as a session would.

What came of it is in the attempt: the letter as its row is to say, what is known of recipients of a held message, and
why. What follows from that (when it is tried again, what goes back) is the outbox's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import attrs

from smtpgate.config.model_policy import RULES
from smtpgate.config.model_signing import DKIMKey
from smtpgate.message.splice import Splice
from smtpgate.policy.edits import AddField
from smtpgate.policy.event import Happened
from smtpgate.policy.held import GATEWAY, Held, Letter
from smtpgate.policy.protection import LENIENT, REQUIRETLS, Need
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.content import edited
from smtpgate.proxy.delivery import Delivery
from smtpgate.proxy.filed import Filed
from smtpgate.proxy.kept import KeptLinks
from smtpgate.proxy.part import Part
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.recall import recall
from smtpgate.proxy.recheck import recheck
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.signing import NotSigned, Signed, sign
from smtpgate.proxy.silence import Silence
from smtpgate.smtp import status
from smtpgate.smtp.framing import Chunk
from smtpgate.smtp.reply import Reply, printable


@attrs.define
class Attempt:
    """One try, and what it came to.

    :ivar fates: what is known of recipients of the held message: state and reply, by address
    :ivar is_final: a finding, or the server's last word, that no further try will change
    :ivar is_gone: it was taken back while it was on its way, before a server had its end of data
    """

    letter: Letter
    _engine: Engine
    _vault: Any
    _silence: Silence
    why: str = ""
    fates: dict[str, tuple[str, str]] = attrs.field(factory=dict, init=False)
    is_final: bool = attrs.field(default=False, init=False)
    is_gone: bool = attrs.field(default=False, init=False)

    async def run(self, revision: Revision, content: Filed, message: Held | None) -> None:
        """Send it.

        :param message: the held message that it is a release of
        """
        letter = self.letter
        if message is not None and message.is_damaged:
            # Nobody can tell any more what of it was judged already.
            self.why, self.is_final = message.detail, True
            return
        wanted = [one for one in letter.recipients if one.state == "waiting"]
        transaction = recall(letter.message or letter.id, letter.facts, letter.sender, letter.params, wanted)
        session = transaction.session
        session.listener = revision.settings.listener_of(session.listener, session.role)
        section = await content.header(revision.settings.limits.header_size_octets)
        if message is not None and message.filter != GATEWAY:
            if not session.listener:
                # Nobody would judge it, and no route is for it.
                self.why, self.is_final = f"there is no listener of role {session.role} any more", True
                return
            judged = (message.filter, message.reason, message.detail)
            finding = await recheck(
                self._engine, revision, transaction, section, content, judged, letter.facts.get("holds", ())
            )
            if finding is not None:
                self.why = _refusal(finding)
                self.is_final = finding.action != "defer"
                if finding.filter == RULES and finding.action == "quarantine":
                    self.why = f"{self.why} (a manager who releases it again has judged that too)"
                    self.letter = attrs.evolve(letter, facts=dict(letter.facts) | {"held_by": finding.reason})
                return
        transaction.header = section
        for field in _fields(letter):
            transaction.edits.append(AddField(field))
        splices: Sequence[Splice]
        splices, _ = transaction.edits.splices(section)
        keys = revision.signers.of_letter(letter, transaction)
        if keys:
            try:
                signed = await self._sign(keys, revision, transaction, edited(content.pieces(), splices), splices)
            except NotSigned as error:
                self.why, self.is_final = f"it could not be signed: {error}", error.is_permanent
                return
            splices = signed.onto(splices)
        delivery = self._delivery(revision, transaction, sum(len(one.put) - one.removed for one in splices))
        kept = delivery.kept
        try:
            await self._deliver(revision, transaction, delivery.delivery, edited(content.pieces(), splices))
        except BaseException:
            delivery.delivery.abandon("a fault of the gateway")
            raise
        finally:
            delivery.delivery.finish()
            kept.leave()

    async def _sign(
        self,
        keys: Sequence[DKIMKey],
        revision: Revision,
        transaction: Transaction,
        pieces: AsyncIterator[bytes],
        splices: Sequence[Splice],
    ) -> Signed:
        engine = self._engine
        cap = revision.settings.limits.header_size_octets + sum(len(one.put) for one in splices)
        return await sign(keys, pieces, cap, int(engine.wall()), engine.in_thread, engine.tell, transaction)

    def _delivery(self, revision: Revision, transaction: Transaction, more: int) -> _Way:
        engine, kept, timeouts = self._engine, KeptLinks(), revision.settings.timeouts

        def part(pool: Pool) -> Part:
            return Part(transaction, pool, kept, timeouts, engine.clock, engine.tell, more, is_union=False)

        return _Way(Delivery(transaction, part, timeouts, engine.clock), kept)

    async def _deliver(
        self,
        revision: Revision,
        transaction: Transaction,
        delivery: Delivery,
        pieces: AsyncIterator[bytes],
    ) -> None:
        """Envelope, content and end of data, as a session does it."""
        by_pool: dict[tuple[Pool, Need], list[Recipient]] = {}
        for recipient in transaction.recipients:
            recipient.state = ""
            pool = await self._pool(revision, transaction, recipient)
            if isinstance(pool, Reply):
                self._note(recipient, pool)
            else:
                need = need_of(self.letter, revision, transaction, recipient, pool)
                by_pool.setdefault((pool, need), []).append(recipient)
        transaction.accepted = 0
        for (pool, need), group in by_pool.items():
            said = self._silence.said(pool)
            if said is None:
                replies = await delivery.rcpt(pool, group, "", need)
                self._silence.heard(pool, replies)
            else:
                replies = [said] * len(group)
            for recipient, reply in zip(group, replies, strict=True):
                recipient.reply = reply
                if reply.is_positive:
                    recipient.state = "accepted"
                    transaction.accepted += 1
                else:
                    self._note(recipient, reply)
        there = [one for one in transaction.recipients if one.state == "accepted"]
        if not there:
            return
        refused = await delivery.start((transaction.params.get("BODY") or b"").upper() == b"BINARYMIME")
        held_back: Chunk | None = None
        if refused is None:
            async for piece in pieces:
                if held_back is not None:
                    refused = await delivery.content(held_back, b"")
                    if refused is not None:
                        break
                held_back = Chunk(piece, None)
        if refused is not None:
            delivery.abandon("refused")
            for recipient in there:
                self._note(recipient, refused)
            return
        # From here on a kill leaves it in doubt, and the row must say so.
        self.letter = attrs.evolve(self.letter, state="committing")
        if not await self._vault.go_on(self.letter, {}):
            self.is_gone = True
            delivery.abandon("taken back")
            return
        await delivery.commit(held_back, b"")
        unknown = {one for leg in delivery.legs if leg.is_unknown for one in leg.recipients}
        finals = dict(delivery.finals())
        for recipient in there:
            if recipient not in unknown:
                self._note(recipient, finals.get(recipient) or status.BACKEND_LOST)
        if unknown:
            self.in_doubt([str(recipient.path) for recipient in unknown])

    async def _pool(self, revision: Revision, transaction: Transaction, recipient: Recipient) -> Pool | Reply:
        """Where a recipient is reached; a Reply where it is not. Of letters of the gateway's own it was checked when
        the configuration was read; another may be at work now."""
        letter, session = self.letter, transaction.session
        name = letter.backend
        if not name and session.listener in revision.settings.listeners:
            route = revision.router.route(session, transaction.sender, recipient.path)
            name = route.backend if route is not None else ""
        if not name and letter.kind != "release":
            name = revision.router.anywhere(recipient.path) or revision.settings.outbox.backend
        destinations = revision.destinations.get(name)
        if destinations is not None:
            return await destinations.pool(recipient.path.domain)
        # A configuration without that backend may be a slip, and is no refusal.
        return revision.pools.get(name) or (_gone(name) if name else _NOWHERE)

    def _note(self, recipient: Recipient, reply: Reply) -> None:
        """What a server, or we for it, said of one."""
        if reply.is_positive:
            state = "sent"
        else:
            state = "refused" if reply.is_permanent else "waiting"
            self.why = reply_text(reply)
        self.mark(str(recipient.path), state, reply_text(reply))

    def mark(self, address: str, state: str, said: str) -> None:
        """What became of a recipient."""
        recipients = tuple(
            attrs.evolve(one, state=state, reply=said[:500]) if one.address == address else one
            for one in self.letter.recipients
        )
        self.letter = attrs.evolve(self.letter, recipients=recipients)
        self.fates[address] = {"sent": "released", "waiting": "sending"}.get(state, state), said

    def in_doubt(self, addresses: Iterable[str]) -> None:
        """A server may have it for these."""
        self.why = self.why or "the server's answer to the end of data was lost: it may have been delivered"
        state = "unknown" if self.letter.kind == "release" else "waiting"
        for address in addresses:
            self.mark(address, state, self.why)
        self._engine.tell(Happened("outbox.unknown", "warning", *told_of(self.letter, self.why)))


def told_of(letter: Letter, why: str) -> tuple[str, tuple[tuple[str, object], ...]]:
    """What an event about a letter says, and its fields."""
    fields: list[tuple[str, object]] = [
        ("letter", letter.id),
        ("kind", letter.kind),
        ("msg_id", letter.message),
        ("recipients", len(letter.recipients)),
        ("tries", letter.tries),
    ]
    if letter.held:
        fields.append(("held", letter.held))
    return f"{letter.kind} {letter.id}: {why[:300]}", tuple(fields)


#: No route leads to a recipient of a letter.
_NOWHERE = Reply(550, "5.1.2", ("No route to this recipient",))


def _gone(name: str) -> Reply:
    return Reply(451, "4.3.5", (f"There is no backend {name} in the configuration",))


def need_of(letter: Letter, revision: Revision, transaction: Transaction, recipient: Recipient, pool: Pool) -> Need:
    """What is asked of the leg to a recipient: what rules and policies asked for the message when it came, and what
    policies and its sender ask for now. A copy goes no less safely than the message."""
    need = revision.policies.need(transaction, recipient.path)
    if letter.kind == "tls-report":
        return need or LENIENT
    if "REQUIRETLS" in transaction.params and pool.backend.kind == "mx":
        need = need.and_(REQUIRETLS)
    if letter.kind != "release":
        need = need.and_(Need(str(letter.facts.get("copy_level", ""))))
    return need.and_(Need(str(letter.facts.get("tls_level", ""))))


@attrs.frozen
class _Way:
    delivery: Delivery
    kept: KeptLinks


def reply_text(reply: Reply) -> str:
    """A reply on one line."""
    return f"{reply.code} {reply.enhanced} {reply.text}".replace("  ", " ").strip()


def _refusal(finding: Finding) -> str:
    """Why a release was stopped."""
    return f"{finding.filter}: {finding.reason}: {finding.detail or finding.public}"


def _fields(letter: Letter) -> list[bytes]:
    """What mail that goes elsewhere than its sender said tells whoever gets it."""
    if letter.kind not in ("redirect", "bcc"):
        return []
    facts = letter.facts
    said = [f"X-Smtpgate-Copy: {letter.kind}; rule={facts.get('rule', '')}; id={letter.message}"]
    said += [f"from=<{facts.get('from', '')}>"]
    said += [f"for=<{one}>" for one in str(facts.get("for", "")).split()[:20]]
    return [(";\r\n\t".join(printable(one)[:400] for one in said) + "\r\n").encode("ascii", "replace")]
