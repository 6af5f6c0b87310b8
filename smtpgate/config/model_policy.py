"""What the configuration says of policy, as values; see `model`."""

from __future__ import annotations

import attrs

from smtpgate.rules.engine import Expression


@attrs.frozen
class Rule:
    """One rule.

    :ivar condition: what must be true of the mail
    :ivar number: its place in the file
    :ivar listener: names of listeners; none: all
    :ivar direction: in, out, or "" for both
    :ivar action: note, accept, defer or reject
    :ivar code: of the reply where it refuses; 0: the usual one; `enhanced`, `text`: "" alike
    :ivar on_error: tempfail, reject or continue
    """

    name: str
    condition: Expression
    number: int = 0
    listener: tuple[str, ...] = ()
    direction: str = ""
    action: str = "note"
    code: int = 0
    enhanced: str = ""
    text: str = ""
    mode: str = "enforce"
    on_error: str = "tempfail"
    owner: str = ""
    note: str = ""
