"""What rules say of mail that they are tried on: nothing comes of it."""

from __future__ import annotations

from typing import Final

import attrs

#: What a rule may say. `unknown`: what it speaks of is not known here; `not-reached`: the message ended before;
#: `not-about`: it is about other listeners or the other direction.
ANSWERS: Final = ("true", "false", "failed", "unknown", "not-reached", "not-about")


@attrs.frozen
class Said:
    """What one rule says of one message.

    :ivar step: at which it is judged; `action`, `mode`: as they are written
    :ivar answer: one of ANSWERS
    :ivar why: of failed and unknown
    :ivar recipients: of a rule that is judged at RCPT, those that it is true of
    :ivar does: what it would do, with what was found in texts, masked
    :ivar ended_by: an accepting rule that stands before it and is true: it would not be asked
    """

    rule: str
    step: str
    action: str
    mode: str
    answer: str
    why: str = ""
    recipients: tuple[str, ...] = ()
    does: str = ""
    ended_by: str = ""


@attrs.frozen
class Tally:
    """What one rule says of many messages.

    :ivar why: it cannot be judged on what is known of them; then nothing is counted
    :ivar counts: of each answer
    :ivar delivered: of those that it is true of, what was delivered: mail that somebody wanted
    :ivar examples: ids of the first of these
    """

    rule: str
    step: str
    action: str
    mode: str
    why: str = ""
    counts: dict[str, int] = attrs.field(factory=dict)
    delivered: int = 0
    examples: tuple[str, ...] = ()


@attrs.frozen
class Past:
    """What rules say of the newest messages of the history.

    :ivar since, until: of these, seconds since the epoch; 0.0 where there are none
    """

    messages: int
    since: float
    until: float
    tallies: tuple[Tally, ...]
