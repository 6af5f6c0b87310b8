"""Whether a DNS list may be believed: it is tried, watched, and switched off while it is dead, parked, or refuses us.

Each list has two entries for that (RFC 5782 section 5): one that it must have, one that it must not. `Health` tries
them with the first message and then every half hour, lazily; a list that fails has no effect until it passes again. One
that gives an error to an ordinary question, or is silent several times in a row, is switched off as well. Each change
is told once. A list that has not passed its first trial has no effect either, and is not asked.

Promised: a dead list costs the first few messages the time of a look-up, and then none; a list that answers everything
marks nobody.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from smtpgate.filters.sender.base import results
from smtpgate.filters.sender.dnsbl_list import DnsList
from smtpgate.policy.event import Happened
from smtpgate.policy.names import Answer

#: From one trial to the next, also of a list that failed; as the lists module of Haraka.
TRIAL_S: Final = 1800.0
#: The same after a trial that nobody answered.
RETRY_S: Final = 60.0
#: Silences in a row after which a list is dead.
SILENCES: Final = 5


@attrs.define
class Health:
    """The state of one list.

    :ivar is_sound: it counts
    :ivar is_off: it was switched off, and that was told
    :ivar reason: why
    """

    list: DnsList
    services: Any
    is_sound: bool = False
    is_off: bool = False
    reason: str = ""
    _due: float = 0.0
    _silences: int = 0

    def __attrs_post_init__(self) -> None:
        self.is_sound = not self.list.options.self_check

    async def check(self) -> bool:
        """Whether the list counts; tries it where that is due, in one trial for all who ask."""
        if self.services.clock.seconds() >= self._due:
            if self.list.options.self_check:
                key = ("dnsbl", self.list.zone, self.list.options.kind)
                self._judge(*await self.services.cached(key, self._try, RETRY_S))
            elif self.is_off:
                self._on()
        return self.is_sound

    async def _try(self) -> tuple[str, str]:
        """ "sound", "silent" or "bad", and why."""
        lookup = self.services.resolver.lookup
        answers: list[Answer] = await results([lookup(name, "A") for name in self.list.tests])
        listed, unlisted = answers
        if listed.is_temporary or unlisted.is_temporary:
            return "silent", "does not answer"
        for answer in answers:
            reading = self.list.read(answer.records)
            if reading.state == "error":
                return "bad", f"answers {reading.code}, which is an error"
        if not listed.records:
            return "bad", "has not the entry that every list has: it is dead, or not one"
        if unlisted.records:
            return "bad", "has the entry that no list has: it lists everything"
        return "sound", ""

    def _judge(self, result: str, reason: str) -> None:
        now = self.services.clock.seconds()
        if now < self._due:
            # Of several who waited for one trial, the first has done it.
            return
        if result == "silent":
            self._due = now + RETRY_S
            self.silent()
            return
        self._due = now + TRIAL_S
        if result == "sound":
            self._on()
        else:
            self._off(reason)

    def heard(self) -> None:
        """It answered a question."""
        self._silences = 0

    def silent(self) -> None:
        """It did not."""
        self._silences += 1
        if self._silences >= SILENCES:
            self._due = self.services.clock.seconds() + RETRY_S
            self._off("does not answer")

    def error(self, code: str) -> None:
        """It answered with what is no entry."""
        self._due = self.services.clock.seconds() + TRIAL_S
        self._off(f"answers {code}, which is an error")

    def _on(self) -> None:
        self._silences = 0
        self.is_sound, self.reason = True, ""
        if self.is_off:
            self.is_off = False
            self.services.tell(
                Happened("dnsbl.on", "info", f"list {self.list.name} is asked again", (("list", self.list.name),))
            )

    def _off(self, reason: str) -> None:
        self.is_sound, self.reason = False, reason
        if not self.is_off:
            self.is_off = True
            text = f"list {self.list.name} has no effect until it is mended: it {reason}"
            self.services.tell(Happened("dnsbl.off", "warning", text, (("list", self.list.name),)))
