"""What was done to a message, for people: who, what, where, and what is there now.

Rules tell it (`Transaction.changes`), the record keeps it, the page of the message shows it as a short list. Of what
was removed only kind, name and size are kept, of what was put the words of the operator, cut.
"""

from __future__ import annotations

from typing import Final

import attrs

#: What can be done: words put, a part taken out or replaced by a text, the message made a part of another, a field;
#: then what was not done, a signature that does not hold any more, and one of ours;
#: content that was encrypted.
WHATS: Final = (
    "banner",
    "disclaimer",
    "removed",
    "replaced",
    "wrapped",
    "field",
    "not done",
    "breaks",
    "signed",
    "encrypted",
)
#: Characters of a text that is kept; entries of one message.
LETTERS: Final = 400
MOST: Final = 100


@attrs.frozen
class Changed:
    """One entry.

    :ivar author: as `rules/no-programs`
    :ivar what: one of `WHATS`
    :ivar where: number and type of a part, name of a field or of a signature; "" for the message
    :ivar before: kind, name and size of what was there; "" for nothing
    :ivar after: what is there now, or why nothing was done
    """

    author: str
    what: str = attrs.field(validator=attrs.validators.in_(WHATS))
    where: str = ""
    before: str = ""
    after: str = ""
