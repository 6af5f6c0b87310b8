"""Rules tried before they are applied: those at work, or those of a text, on one message or the newest of the history.

Nothing comes of it: nothing is held, sent, told or counted. Content is looked at in the gateway's limited children.
"""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.config.model import Settings
from smtpgate.config.model_policy import RULES as OF_RULES
from smtpgate.config.position import BadSyntax, read
from smtpgate.control.quarantine import Quarantine
from smtpgate.control.views import Invalid, Refused
from smtpgate.policy.held import Addressee
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.tried import Past, Said
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.filed import Filed
from smtpgate.proxy.recall import recall
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.smtp.address import path_of

#: Messages of the history that may be asked for.
MOST: Final = 10_000
#: So many times as many sessions are read for them: not each has a message.
_SESSIONS: Final = 4
PAGE: Final = 500
#: Rules of a text. Each is judged on each message.
RULES: Final = 50
#: Tables of a text.
_MAY: Final = frozenset({"rules", "detectors", "dictionaries"})


@attrs.frozen
class Envelope:
    """How a message that is tried would have come.

    :ivar listener: "": the first of role mx, or else the first
    """

    sender: str = ""
    recipients: tuple[str, ...] = ()
    client_ip: str = ""
    helo: str = ""
    user: str = ""
    listener: str = ""


def settings_of(text: str, at_work: Settings) -> Settings:
    """The settings of a text of TOML with rules, beside what those at work have for rules to name:
    listeners, backends, groups, classes, detectors and dictionaries.

    Raises ConfigErrors for what is wrong in it, with its place, and Invalid for what is not a rule.
    """
    try:
        tree = read(text).tree
    except BadSyntax:
        # What is wrong is said below, with its place.
        tree = {}
    if set(tree) - _MAY:
        # Other keys could look at files.
        raise Invalid("give tables [[rules]], [[detectors]] and [[dictionaries]], and nothing else")
    lists = tree.get("dictionaries", [])
    if isinstance(lists, list) and any(isinstance(one, dict) and "file" in one for one in lists):
        raise Invalid("a dictionary that is tried has its terms in the text, not in a file")
    before = _before(at_work)
    lines = before.count("\n")
    try:
        settings = loads(before + text, "/nowhere/rules.toml", beside=at_work.own)
    except ConfigErrors as errors:
        moved = [attrs.evolve(one, line=max(one.line - lines, 1)) for one in errors.problems if one.is_error]
        raise ConfigErrors(moved) from None
    if not settings.rules:
        raise Invalid("give at least one table [[rules]]")
    if settings.search.is_too_large:
        raise Invalid("the dictionaries that these rules ask for are too large together; ask for fewer")
    if len(settings.rules) > RULES:
        raise Invalid(f"{len(settings.rules)} rules are too many at once; {RULES} are the most")
    return settings


def _before(at_work: Settings) -> str:
    """What stands before the text, so that both are a whole configuration."""
    domains = ", ".join(json.dumps(one) for one in at_work.local_domains) or '"example.net"'
    lines = [f"local_domains = [{domains}]"]
    for name in at_work.backends:
        lines += [
            f"[backends.{json.dumps(name)}]",
            'servers = ["127.0.0.1:1"]',
            'tls = "verify"',
            'tls_name = "a.test"',
        ]
    lines += ["[[routes]]", f"backend = {json.dumps(next(iter(at_work.backends)))}"]
    for number, (name, listener) in enumerate(at_work.listeners.items()):
        lines += [f"[listeners.{json.dumps(name)}]", f'listen = ["unix:/nowhere/{number}"]', 'tls = "optional"']
        lines += [f'role = "{listener.role}"']
        if listener.role != "mx":
            lines += ['relay_from = ["127.0.0.0/8"]']
    lines += [
        f"[groups.{json.dumps(name)}]\naddresses = {json.dumps(list(members.entries))}"
        for name, members in at_work.groups.items()
    ]
    lines += [f"[quarantine.classes.{json.dumps(name)}]" for name in at_work.quarantine.classes]
    return "\n".join(lines) + "\n"


class RuleTrials:
    """Trials, one at a time: each may examine a message or read much of the history."""

    def __init__(self, engine: Engine, current: Callable[[], Revision], history: Any, quarantine: Quarantine) -> None:
        """
        :param history: `find`, `begun_since` and `edge`, as `interfaces.IHistoryStore` has them
        """
        self._engine = engine
        self._current = current
        self._history = history
        self._quarantine = quarantine
        self._is_busy = False
        #: Makes what judges the rules of some settings (`filters.rule_trial.Trial`); `tap` gives it.
        self.trial: Callable[[Settings], Any] | None = None

    async def message(self, octets: bytes, envelope: Envelope, text: str = "") -> list[Said]:
        """What rules say of a message: those of a text, or without one those at work.

        Raises ConfigErrors for a text that is wrong, Invalid, and Refused while another trial runs.
        """
        transaction = self._would_be(envelope)
        return await self._alone(lambda: self._of_octets(octets, transaction, text))

    async def held(self, id: str, text: str = "") -> list[Said]:
        """What they say of a held message, as it came. Raises Unknown too."""
        return await self._alone(lambda: self._of_held(id, text))

    async def past(self, last: int, text: str = "") -> Past:
        """What they say of the newest messages of the history."""
        return await self._alone(lambda: self._of_past(last, text))

    async def _alone(self, work: Callable[[], Any]) -> Any:
        if self._is_busy:
            raise Refused("other rules are being tried; wait for their result")
        self._is_busy = True
        try:
            return await work()
        finally:
            self._is_busy = False

    async def _trial(self, text: str) -> Any:
        if self.trial is None:
            raise Refused("rules cannot be tried here")
        settings = self._current().settings
        if text.strip():
            settings = await self._engine.in_thread(settings_of, text, settings)
        return self.trial(settings)

    def _would_be(self, envelope: Envelope) -> Transaction:
        """A transaction with that envelope."""
        return would_be(envelope, *listener_of(self._current().settings, envelope.listener))

    async def _of_octets(self, octets: bytes, transaction: Transaction, text: str) -> list[Said]:
        trial = await self._trial(text)
        octets = await self._engine.in_thread(wired, octets)
        # It has no name, so nothing is left of it.
        file = await self._engine.in_thread(_filed, octets)
        content = Filed(file, len(octets), "", self._engine.in_thread)
        return await self._judge(trial, transaction, content, None)

    async def _of_held(self, id: str, text: str) -> list[Said]:
        trial = await self._trial(text)
        message = await self._quarantine.message(id)
        transaction = recall(message.message, message.facts, message.sender, {}, message.recipients)
        record = await self._history.find(message.message)
        found = _found_in(record, message.message) if record is not None else None
        content = await self._quarantine.opened(message)
        return await self._judge(trial, transaction, content, found)

    async def _judge(self, trial: Any, transaction: Transaction, content: Filed, found: Any) -> list[Said]:
        revision = self._current()
        # What the child processes belong to must not end under it.
        revision.enter()
        try:
            for recipient in transaction.recipients:
                recipient.state = "accepted"
            section = await content.header(revision.settings.limits.header_size_octets)
            transaction.header, transaction.content, transaction.octets = section, content, content.octets
            said: list[Said] = await trial.message(transaction, section, revision.services, found)
            return said
        finally:
            for call in transaction.at_end:
                call()
            transaction.content = None
            content.close()
            revision.leave()

    async def _of_past(self, last: int, text: str) -> Past:
        trial = await self._trial(text)
        records: deque[tuple[Mapping[str, Any], Mapping[str, Any]]] = deque(maxlen=last)
        at, after = await self._history.edge(last * _SESSIONS), ""
        while True:
            page = await self._history.begun_since(at, PAGE, after)
            records.extend((session, message) for session in page for message in session["messages"])
            if len(page) < PAGE:
                break
            at, after = page[-1]["started"], page[-1]["id"]
        past: Past = await self._engine.in_thread(trial.past, records)
        return past


def listener_of(settings: Settings, name: str) -> tuple[str, str]:
    """A listener and its role; without a name the first of role mx. Raises Invalid for one that is not there."""
    listeners = settings.listeners
    name = name or next((one.name for one in listeners.values() if one.role == "mx"), next(iter(listeners), ""))
    if name not in listeners:
        raise Invalid(f"no listener {name}; known: {', '.join(listeners)}")
    return name, listeners[name].role


def wired(octets: bytes) -> bytes:
    """A message whose lines end as on the wire: in a file of Unix they do not."""
    return octets if b"\r\n" in octets else octets.replace(b"\n", b"\r\n")


def would_be(envelope: Envelope, listener: str, role: str) -> Transaction:
    """A transaction that never was. Raises Invalid for an address that is none."""
    facts = {"client_ip": envelope.client_ip, "helo": envelope.helo, "user": envelope.user}
    try:
        for address in (envelope.sender, *envelope.recipients):
            if address:
                path_of(address)
        recipients = [Addressee(one) for one in envelope.recipients]
        return recall("trial", {**facts, "listener": listener, "role": role}, envelope.sender, {}, recipients)
    except ValueError as error:
        raise Invalid(str(error)) from None


def _filed(octets: bytes) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        file.write(octets)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _found_in(record: Mapping[str, Any], message: str) -> list[Finding] | None:
    """What filters had found of a message, of its record."""
    for one in record["messages"]:
        if one["id"] == message:
            return [
                Finding(
                    it["reason"], it["action"], filter=it["filter"], category=it.get("category", ""), score=it["score"]
                )
                for it in one["findings"]
                if not it["is_shadow"] and it["filter"] != OF_RULES
            ]
    return None
