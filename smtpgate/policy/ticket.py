"""Refusals that their sender may do something about: a ticket for each, with which the same message passes once."""

from __future__ import annotations

from typing import Final

import attrs

#: What becomes of a ticket: nobody has used its link yet; its sender asks for approval; the message may pass; it may
#: not; it has passed.
STATES: Final = ("open", "asked", "granted", "denied", "used")
#: Who has granted it where a reason is enough.
SENDER: Final = "its sender"
#: So long a link can be used, and so long the message may be sent again once it may pass.
OPEN_S: Final = 7 * 86400.0
GRANTED_S: Final = 3 * 86400.0


@attrs.frozen
class Ticket:
    """One refusal.

    :ivar id: 22 letters of chance (128 bits): whoever has it may use it, so it is in the refusal and nowhere else
    :ivar key: keyed digest of rule, sender, recipients and content, by which the message is known when it comes again
    :ivar mode: reason or approval: what its sender is asked for
    :ivar message: reference id of the refusal
    :ivar expires: seconds since the epoch; after that it is as if it had never been
    :ivar reason: what its sender said
    :ivar decided_by: who granted or denied it
    """

    id: str
    key: str
    rule: str
    mode: str
    at: float
    expires: float
    message: str
    sender: str
    recipients: tuple[str, ...]
    subject: str = ""
    text: str = ""
    state: str = "open"
    reason: str = ""
    decided_by: str = ""
