"""What the configuration says of policy, as values; see `model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from smtpgate.edits.wanted import Change
from smtpgate.rules.engine import Expression

#: The name under which rules stand in log and pages, as that of a filter.
RULES: Final = "rules"


@attrs.frozen
class Rule:
    """One rule.

    :ivar condition: what must be true of the mail; `when`, `unless`: as it was written
    :ivar number: its place in the file
    :ivar listener: names of listeners; none: all
    :ivar direction: in, out, or "" for both
    :ivar action: note, accept, tag, defer or reject; or one that changes mail: then `change` is what it does
    :ivar code: of the reply where it refuses; 0: the usual one; `enhanced`, `text`: "" alike
    :ivar on_error: tempfail, reject or continue
    :ivar change: what it does to the message; None: nothing but what `subject_tag` and `headers` say
    :ivar parts: of `strip` and `replace`: holds for a message with the one attachment that is asked about
    """

    name: str
    condition: Expression
    when: str = "true"
    unless: str = "false"
    number: int = 0
    listener: tuple[str, ...] = ()
    direction: str = ""
    action: str = "note"
    code: int = 0
    enhanced: str = ""
    text: str = ""
    subject_tag: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    mode: str = "enforce"
    on_error: str = "tempfail"
    owner: str = ""
    note: str = ""
    change: Change | None = None
    parts: Expression | None = None
