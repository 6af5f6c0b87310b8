"""Rules that sign or encrypt with S/MIME: what they do once all other changes of a message are planned.

`rules` calls `Sealing.seal` with those that are due. What was planned before is applied, the outcome becomes an entity,
that is signed and then encrypted, whatever the order of the rules, and one plan stands for all of it. The work is done
in a thread of the gateway, never in the child process: that reads what strangers wrote, and must not come near a key.

Nothing goes in clear in silence: where a certificate is missing `on_missing` of the rule speaks, where something fails
its `on_error`. A message needs some nine times its size of memory meanwhile; so there is a limit (`smime_size`), and
few are at work at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import DeferredSemaphore, TimeoutError, ensureDeferred

from smtpgate.config.entry import normal_address, normal_domain
from smtpgate.config.model_policy import RULES, Rule
from smtpgate.config.model_signing import SMIMEKey
from smtpgate.filters.certificates import CertificateFolder
from smtpgate.message.header import HeaderSection
from smtpgate.message.mailbox import read
from smtpgate.message.splice import Splice, apply
from smtpgate.policy.changes import LETTERS, MOST, Changed
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.signing.smime import Sealed, Signer, encrypt, entity_of, sign, splices, why_not_signed

#: Messages that are worked on at a time.
AT_ONCE: Final = 2
#: What was made is in memory until the backend has it: of all messages so many times the largest one, twice as large as
#: it came. Whoever comes when that is taken comes again.
ROOM: Final = 10
#: What a small message takes besides.
_LEAST_OCTETS: Final = 1 << 16
_MISSING: Final = {"refuse": "reject", "defer": "defer", "continue": "note"}
#: Encryption needed, of the registry of RFC 5248; no code speaks of signatures.
_DETAIL: Final = {"smime-sign": "7.0", "smime-encrypt": "7.10"}
_SIGN: Final = "smime-sign"
_DONE: Final = {"smime-sign": "smime_signed", "smime-encrypt": "smime_encrypted"}
_NOT_DONE: Final = {"smime-sign": "not_smime_signed", "smime-encrypt": "not_encrypted"}
Failure = Callable[[Rule, str], Finding]


@attrs.frozen
class _Job:
    """What a thread is given."""

    content: bytes
    planned: tuple[Splice, ...]
    section: HeaderSection
    rules: Sequence[Rule]
    author: str
    recipients: tuple[str, ...]
    now: datetime


@attrs.define
class _Outcome:
    """What it came to: of each rule "" where it was done, or why not and whether something was missing."""

    said: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    splices: list[Splice] | None = None


class _LibraryFailed(Exception):
    """What the library raised."""


class Sealing:
    """The keys and certificates of one revision."""

    def __init__(self, keys: Iterable[SMIMEKey] = (), folder: Path | None = None, most_octets: int = 0) -> None:
        self._keys = tuple(keys)
        self._folder = CertificateFolder(folder) if folder is not None else None
        self._most_octets = most_octets
        self._turns = DeferredSemaphore(AT_ONCE)
        self._free_octets = ROOM * max(most_octets, _LEAST_OCTETS)

    async def seal(
        self, transaction: Transaction, rules: Sequence[Rule], services: Any, failure: Failure, time_s: float
    ) -> list[Finding]:
        """Sign and encrypt as the rules say; what there is to say of it.

        :param rules: that are due
        :param failure: makes a finding of a rule that could not be done
        :param time_s: after that it is not waited for
        """
        if transaction.octets > self._most_octets:
            why = f"larger than {self._most_octets} octets (smime_size)"
            return [_refused(transaction, rule, why) for rule in rules]
        taken = 2 * transaction.octets + _LEAST_OCTETS
        if taken > self._free_octets:
            return [_busy(transaction, rule) for rule in rules]
        self._free_octets -= taken
        transaction.at_end.append(lambda: self._give_back(taken))
        ordered = sorted(rules, key=lambda rule: rule.action != _SIGN)
        turn = self._turns.run(lambda: ensureDeferred(self._in_thread(transaction, ordered, services)))
        try:
            made = await turn.addTimeout(time_s, services.clock)
            if made.splices is not None:
                services.edits(transaction).seal(made.splices, transaction.content.octets)
        except TimeoutError:
            return [failure(rule, f"not done within {time_s:.0f} s") for rule in ordered]
        except OSError as error:
            return [failure(rule, f"cannot be read: {error}") for rule in ordered]
        except ValueError as error:
            return [failure(rule, f"it does not fit: {error}"[:300]) for rule in ordered]
        except _LibraryFailed as error:
            return [failure(rule, f"the library failed: {error}"[:300]) for rule in ordered]
        return [_told(transaction, rule, *made.said[rule.name]) for rule in ordered]

    def _give_back(self, octets: int) -> None:
        self._free_octets += octets

    async def _in_thread(self, transaction: Transaction, rules: Sequence[Rule], services: Any) -> _Outcome:
        content = await transaction.content.read()
        section = transaction.header or HeaderSection(b"")
        authors = [one.address for one in read(section, "from").mailboxes]
        job = _Job(
            content,
            services.edits(transaction).planned,
            section,
            rules,
            # Of several authors it is nobody's signature.
            authors[0] if len(authors) == 1 else "",
            tuple(str(one.path) for one in transaction.recipients if one.state in ("accepted", "known")),
            datetime.fromtimestamp(transaction.session.started + transaction.begun - transaction.session.begun, UTC),
        )
        made: _Outcome = await services.run_in_worker(self._work, job)
        return made

    def _work(self, job: _Job) -> _Outcome:
        """In a thread."""
        try:
            return self._made(job)
        except (OSError, ValueError):
            raise
        except Exception as error:
            # Whatever it was: it is the failure of the rules, and they say what happens then.
            raise _LibraryFailed(f"{type(error).__name__}: {error}") from error

    def _made(self, job: _Job) -> _Outcome:
        entity = entity_of(apply(job.planned, job.content))
        made = _Outcome()
        sealed: Sealed | None = None
        done: list[str] = []
        for rule in job.rules:
            if entity.seal == "encrypted" or rule.action == _SIGN and entity.seal:
                made.said[rule.name] = ("there", entity.seal)
                continue
            if rule.action == _SIGN:
                signer, why = self._signer(job.author, job.now)
                if signer is None:
                    made.said[rule.name] = ("missing", why)
                    continue
                sealed = sign(entity, signer)
            else:
                if self._folder is None:
                    made.said[rule.name] = ("missing", "no folder of certificates")
                    continue
                found = self._folder.find(job.recipients, job.now)
                if found.lacking or not found.certificates:
                    why = "; ".join(f"{address}: {why}" for address, why in found.lacking)
                    made.said[rule.name] = ("missing", why)
                    continue
                sealed = encrypt(entity, found.certificates)
            seal = "signed" if rule.action == _SIGN else "encrypted"
            entity = attrs.evolve(sealed.as_entity(), seal=seal)
            made.said[rule.name] = ("done", seal)
            done.append(f"{RULES}/{rule.name}")
        if sealed is not None:
            made.splices = splices(job.section, len(job.content), sealed, ", ".join(done))
        return made

    def _signer(self, author: str, now: datetime) -> tuple[Signer | None, str]:
        local, _, domain = author.rpartition("@")
        if not local:
            return None, "the message has not one author"
        lacking = f"no certificate for {author}"
        for key in self._keys:
            if not key.address.matches(local, normal_domain(domain)):
                continue
            why = why_not_signed(key.signer.certificate, author, normal_address, now)
            if not why:
                return key.signer, ""
            lacking = f"the certificate of {author}: {why}"
        return None, lacking


def _told(transaction: Transaction, rule: Rule, what: str, why: str) -> Finding:
    if what == "missing":
        transaction.note(_NOT_DONE[rule.action])
        action = _MISSING[rule.on_missing]
        code = {"reject": "5.", "defer": "4."}.get(action, "")
        _change(transaction, rule, "not done", why)
        text = "The message cannot be encrypted for all of its recipients"
        if rule.action == _SIGN:
            text = "The message cannot be signed for its author"
        return Finding(
            rule.name,
            action,
            text if action != "note" else "",
            f"rule {rule.name}: {why}"[:1000],
            enhanced=code + _DETAIL[rule.action] if code else "",
        )
    if what == "there":
        _change(transaction, rule, "not done", f"it is {why} already")
        return Finding(rule.name, detail=f"rule {rule.name} changed nothing: it is {why} already")
    transaction.note(_DONE[rule.action])
    _change(transaction, rule, why, "S/MIME")
    return Finding(rule.name, detail=f"rule {rule.name}: {why} with S/MIME")


def _refused(transaction: Transaction, rule: Rule, why: str) -> Finding:
    """Too large: whatever the rule says of certificates, it is not for its mail."""
    _change(transaction, rule, "not done", why)
    transaction.note(_NOT_DONE[rule.action])
    text = "The message is too large to be signed or encrypted"
    return Finding(rule.name, "reject", text, f"rule {rule.name}: {why}", code=552, enhanced="5.3.4")


def _busy(transaction: Transaction, rule: Rule) -> Finding:
    """There is no room now."""
    why = "too many messages that were signed or encrypted are in memory"
    _change(transaction, rule, "not done", why)
    return Finding(rule.name, "defer", "Too busy to sign or encrypt; try again later", why, enhanced="4.3.2")


def _change(transaction: Transaction, rule: Rule, what: str, after: str) -> None:
    if len(transaction.changes) < MOST:
        transaction.changes.append(Changed(f"{RULES}/{rule.name}", what, "", "", after[:LETTERS]))
