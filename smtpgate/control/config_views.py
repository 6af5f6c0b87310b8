"""What those who change the configuration see and say: plans, drafts that were overtaken, what waits, what differs."""

from __future__ import annotations

import attrs

from smtpgate.config.model import Settings
from smtpgate.config.problem import Problem
from smtpgate.config.texts import ChangedKey, Merged
from smtpgate.control.views import Actor, Refused
from smtpgate.policy.config_revision import ConfigRevision


class Moved(Refused):
    """Somebody put another revision to work meanwhile.

    :ivar merged: the changes of both
    """

    def __init__(self, message: str, base: ConfigRevision, mine: str, theirs: ConfigRevision, merged: Merged) -> None:
        super().__init__(message)
        self.base = base
        self.mine = mine
        self.theirs = theirs
        self.merged = merged


@attrs.frozen
class Pending:
    """A revision that is at work and waits for its confirmation.

    :ivar deadline: seconds since the epoch; then the former one rules again
    """

    number: int
    former: ConfigRevision
    settings: Settings = attrs.field(repr=False)
    deadline: float


@attrs.frozen
class Applied:
    """A moment at which a revision was put to work, for the charts."""

    at: float
    id: str
    number: int
    author: str


@attrs.frozen
class Plan:
    """A revision that can be put to work: all checks were passed.

    :ivar minutes: within which it is to be confirmed; 0: it holds at once
    """

    text: str = attrs.field(repr=False)
    settings: Settings = attrs.field(repr=False)
    message: str
    way: str
    minutes: int
    base: int


@attrs.frozen
class Drift:
    """How the file and what is at work differ.

    :ivar problem: why the file cannot be read; "" where it can
    """

    is_drifted: bool
    text: str = attrs.field(default="", repr=False)
    problem: str = ""


@attrs.frozen
class Checked:
    """What a text would be, if it was put to work.

    :ivar settings: None where it has errors
    :ivar problems: errors and warnings
    :ivar diff: from what is at work, secrets hidden
    :ivar keys: those that are others; none where the text is no TOML
    :ivar restart: keys that would hold only after a start
    """

    settings: Settings | None = attrs.field(repr=False)
    problems: tuple[Problem, ...]
    diff: str = attrs.field(repr=False)
    keys: tuple[ChangedKey, ...]
    restart: tuple[str, ...]

    @property
    def is_valid(self) -> bool:
        """It can be put to work."""
        return self.settings is not None


@attrs.frozen
class Signs:
    """What everybody who looks at a page is to know of the configuration.

    :ivar pending: number of the revision that waits to be confirmed, 0 for none; `former`: the one before it
    :ivar fallback: why it began on something else; "" where it did not
    :ivar is_drifted: the file is another, where revisions rule
    """

    pending: int = 0
    former: int = 0
    deadline: float = 0.0
    seconds_left: float = 0.0
    fallback: str = ""
    is_drifted: bool = False


def author_of(actor: Actor) -> str:
    """By what the revisions and the draft of somebody are known."""
    return f"{actor.kind} {actor.name}"
