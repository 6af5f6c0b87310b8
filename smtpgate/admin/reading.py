"""Who reads the content of held mail, and why: in the audit before the first octet.

Where the audit cannot be written nothing is read. A class may ask for a reason (`quarantine.classes.NAME.reason`); what
was said holds for one message and one session for some minutes, so that the parts of one page are one reading.
It may ask for a second person as well (`seconds`).
"""

from __future__ import annotations

from typing import Final

from smtpgate.admin.guard import Refusal
from smtpgate.admin.routes import Ask
from smtpgate.policy.held import Held

#: So long the frame, and what else a page loads of a message, belong to the reading that was written down.
HOLDS_S: Final = 600.0
#: Letters of a reason.
REASON: Final = 300
#: Readings that are remembered; of more the oldest are forgotten, and written down anew.
MOST: Final = 1000


class Readings:
    """What was written down of late, by who reads and what."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str, str], float] = {}

    def holds(self, ask: Ask, message: Held) -> bool:
        """Whether who asks is at it."""
        return self._until.get(_key(ask, message), 0.0) > ask.office.clock.seconds()

    def begin(self, ask: Ask, message: Held) -> None:
        """It was written down."""
        key = _key(ask, message)
        self._until.pop(key, None)
        self._until[key] = ask.office.clock.seconds() + HOLDS_S
        while len(self._until) > MOST:
            del self._until[next(iter(self._until))]


def _key(ask: Ask, message: Held) -> tuple[str, str, str]:
    return ask.who.kind, ask.who.id or ask.who.name, message.id


def wants_reason(ask: Ask, message: Held) -> bool:
    """Whether a reason is to be given before it is read: the class asks for one, and none was given of late."""
    of_class = ask.office.control.settings.quarantine.of(message.held_as)
    return bool(of_class.reason) and not ask.office.readings.holds(ask, message)


def is_of_two(ask: Ask, message: Held) -> bool:
    """Whether it is read with a second person's approval only (`seconds`)."""
    return bool(ask.office.control.settings.quarantine.of(message.held_as).second_person)


def wants_second(ask: Ask, message: Held) -> bool:
    """Whether somebody else has to approve before it is read, now."""
    return is_of_two(ask, message) and ask.office.seconds.held(message.id, ask.who) is None


def check_second(ask: Ask, message: Held) -> None:
    """Raises Refusal where somebody else has to approve first."""
    if wants_second(ask, message):
        detail = f"mail held as {message.held_as} is read when somebody else has approved that; ask for it"
        raise Refusal("second-person-required", 403, detail)


async def read(ask: Ask, message: Held, what: str, reason: str = "") -> None:
    """Write down that somebody reads.

    Raises Refusal where a second person or a reason is wanted and not there, and where the audit cannot be written.

    :param what: "" for all of it; else the part, for people
    """
    reason = "".join(letter for letter in reason if letter.isprintable()).strip()[:REASON]
    check_second(ask, message)
    wish = ask.office.seconds.held(message.id, ask.who)
    if wish is not None:
        what, reason = f"{what + ', ' if what else ''}approved by {wish.by}", reason or wish.reason
    if not reason and wants_reason(ask, message):
        raise Refusal("reason-required", 403, f"mail held as {message.held_as} is read for a reason; say which")
    detail = f"held as {message.held_as}" + (f"; {what}" if what else "") + (f"; reason: {reason}" if reason else "")
    await ask.office.accounts.audit(ask.who.actor, "content.read", message.id, detail, ask.caller)
    ask.office.readings.begin(ask, message)


def check_sealed(ask: Ask, message: Held) -> bool:
    """Whether content of a message is sealed. Raises Refusal for who may not have what is dangerous."""
    sealed = bool(ask.office.control.settings.quarantine.of(message.held_as).sealed)
    if sealed and not ask.who.may("content:malware"):
        raise Refusal("forbidden", 403, "your role has no permission content:malware, and this may be a program")
    return sealed


def safe_name(name: str, otherwise: str) -> str:
    """A file name that means nothing to any program but its ending: letters, digits, dot, dash; at most 80."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() or letter in "._-" else "_" for letter in name)
    kept = kept.lstrip("._-")[-80:].lstrip("._-")
    return kept or otherwise
