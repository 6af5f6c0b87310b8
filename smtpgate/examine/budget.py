"""What a look at files may cost, shared over a whole message, and what the look at one file gives back.

`files.look_at_file` hands one `Budget` to every reader of archives and documents; each asks it before it spends. So a
message cannot cost more by packing its content deeper or into more pieces. A reader that is refused ends its work and
says so with a flag; it never raises. `Member` and `Looked` are what all readers answer with, so that `files` can
treat a member of an archive, an object in a document and an attachment of a winmail.dat alike.

It refuses to know the time: the clock is a function that the caller gives.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import attrs

#: Octets that are unpacked for one message: half of what ClamAV scans by default (MaxScanSize 400M, 100M before 0.105),
#: four times what Proxmox Mail Gateway lets its scanner unpack (25 MB).
OCTETS: Final = 100 << 20
#: Files of one message: three times the limit of Proxmox Mail Gateway for members of archives, a third of ClamAV's.
MEMBERS: Final = 3000
#: Layers of packing: the limit of Proxmox Mail Gateway; an attached message counts as one.
DEPTH: Final = 5
#: Unpacked octets for one packed octet. Apache POI calls 100 a bomb, amavis 500; logs in xz reach 200.
RATIO: Final = 250
#: Below this nothing is a bomb, whatever its ratio: it costs less to look than to guess.
RATIO_FROM_OCTETS: Final = 10 << 20
#: Passwords tried on one file, and on all files of a message.
TRIES_A_FILE: Final = 20
TRIES: Final = 60
#: Macro projects of one message: olevba takes a hundredth of a second for the smallest.
PROJECTS: Final = 100
#: Pixels of all pictures that are unpacked for codes: five photographs of a telephone.
PIXELS: Final = 60_000_000
#: Notes of one file, and letters of one note.
NOTES: Final = 16
NOTE_LETTERS: Final = 200


@attrs.define
class Budget:
    """What is left for one message.

    :ivar clock: gives seconds that never go back
    :ivar ends: value of the clock at which all looking ends
    :ivar file_octets: of one member of an archive; what is longer is cut off there
    :ivar level: layers that are open now
    """

    clock: Callable[[], float]
    ends: float
    octets: int = OCTETS
    members: int = MEMBERS
    depth: int = DEPTH
    file_octets: int = OCTETS
    tries: int = TRIES
    projects: int = PROJECTS
    pixels: int = PIXELS
    level: int = 0
    _reached: dict[str, None] = attrs.field(factory=dict, init=False)

    @property
    def limits(self) -> tuple[str, ...]:
        """Names of the limits that were reached, as `Facts.limits` has them."""
        return tuple(self._reached)

    def reach(self, limit: str) -> None:
        """Note that a limit ended a look."""
        self._reached[limit] = None

    def is_late(self) -> bool:
        """True when no time is left."""
        if self.clock() < self.ends:
            return False
        self.reach("time")
        return True

    def spend(self, octets: int) -> bool:
        """Take octets that are unpacked; False when there are not so many left (and then none are left)."""
        self.octets -= octets
        if self.octets >= 0:
            return True
        self.octets = 0
        self.reach("octets")
        return False

    def take_member(self) -> bool:
        """Take one file; False when too many were taken."""
        if self.members <= 0:
            self.reach("files")
            return False
        self.members -= 1
        return True

    def take_project(self) -> bool:
        """Take one macro project; False when too many were taken."""
        self.projects -= 1
        return self.projects >= 0

    def spend_pixels(self, pixels: int) -> bool:
        """Take a picture; False when there are not so many pixels left, which hides nothing but a code."""
        if pixels > self.pixels:
            return False
        self.pixels -= pixels
        return True

    def take_try(self) -> bool:
        """Take one try of a password."""
        self.tries -= 1
        return self.tries >= 0 and not self.is_late()

    @contextmanager
    def deeper(self) -> Iterator[bool]:
        """Open one layer for the time of the block; False when that is too deep."""
        self.level += 1
        try:
            if self.level > self.depth:
                self.reach("depth")
            yield self.level <= self.depth
        finally:
            self.level -= 1

    def is_bomb(self, packed: int, unpacked: int) -> bool:
        """True where so many octets came out of so few that no honest archive has it."""
        if unpacked <= RATIO_FROM_OCTETS or unpacked <= RATIO * packed:
            return False
        self.reach("ratio")
        return True


@attrs.frozen
class Member:
    """A file inside a file.

    :ivar names: every name that some program would give it, with its folders; () for a nameless one
    :ivar content: None where it could not be read
    :ivar octets: of the content; what was declared where it could not be read
    """

    names: tuple[str, ...]
    content: bytes | None
    octets: int = 0
    flags: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


@attrs.frozen
class Looked:
    """What one reader saw in one file.

    :ivar links: (URL, text that is shown in its place or "")
    :ivar text: what a person would read, at most what the reader's limit allows
    :ivar markup: (HTML, name) that stands inside and is shown to a person
    """

    flags: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    text: str = ""
    markup: tuple[tuple[bytes, str], ...] = ()


def note(text: str) -> str:
    """A note cut to its length, without what would break a line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:NOTE_LETTERS])


def hush(*names: str) -> None:
    """Silence loggers of libraries: what they say of a file is its content, and content stays out of logs."""
    for name in names:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
