"""What the configuration says of policy, as values; see `model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from smtpgate.rules.asked import Asked
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
    :ivar action: note, accept, tag, defer or reject
    :ivar code: of the reply where it refuses; 0: the usual one; `enhanced`, `text`: "" alike
    :ivar on_error: tempfail, reject or continue
    :ivar asked: what `when` and `unless` ask for of what is found in texts
    :ivar table: rules, or packs for one that a pack stands for
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
    asked: Mapping[str, Asked] = attrs.field(factory=dict)
    table: str = "rules"
