"""A configuration as it was once written: its text, who wrote it and why, and what became of it."""

from __future__ import annotations

import hashlib
from typing import Final

import attrs

#: How a revision came to be: the first one of a gateway that keeps its configuration itself; read from the file;
#: written by somebody; an older text again; a file that somebody took over.
WAYS: Final = ("seed", "file", "apply", "rollback", "import")
#: What became of it: it is being put to work; it was; nobody confirmed it in time; it could not be put to work.
STATES: Final = ("trying", "applied", "unconfirmed", "failed")


def digest_of(text: str) -> str:
    """SHA-256 of a text, in hex: what `Settings.digest` is."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@attrs.frozen
class ConfigRevision:
    """One of them.

    :ivar number: from 1, in the order in which they were written; 0 where nothing is kept
    :ivar text: TOML as it was written, comments and secrets and all; "" in lists
    :ivar parent: number of the one that was at work when it was written; 0 for none
    :ivar author: who wrote it, "user ann"
    :ivar at: seconds since the epoch
    """

    number: int
    digest: str
    text: str = attrs.field(repr=False)
    parent: int
    author: str
    at: float
    message: str
    way: str
    state: str

    @property
    def id(self) -> str:
        """As log and pages name it."""
        return self.digest[:12]


@attrs.frozen
class Draft:
    """What somebody writes, before it is put to work.

    :ivar base: number of the revision that it began with
    """

    author: str
    base: int
    text: str = attrs.field(repr=False)
    at: float


@attrs.frozen
class Pointer:
    """Which revision rules.

    :ivar active: its number; 0 for none yet
    :ivar former: that which rules again where nobody confirms the active one; 0 where it is confirmed
    :ivar deadline: until then it can be confirmed, seconds since the epoch
    :ivar seed: digest of the file that was last taken over
    :ivar mode: who owned the configuration at the last start: file or managed
    """

    active: int = 0
    former: int = 0
    deadline: float = 0.0
    seed: str = ""
    mode: str = ""

    @property
    def at_start(self) -> int:
        """The number of the revision that a start begins with: one that nobody confirmed is none."""
        return self.former or self.active
