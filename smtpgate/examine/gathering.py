"""What of a message was read, while it is gathered: pieces of text, and what could not be read and why.

`reading` makes one `Gathering` for a message and hands a `Draft` to each reader of a format. A reader writes what it
finds and thinks of no limit: a draft that has no room or no time left ends the reader with `Enough`, what was written
until then is kept, and the reason stands among the unread. So no reader gives up text that it had.

Words are never cut apart here: who writes says where a cell, a line or a paragraph ends, and nothing stands between
two writes. What interrupts a text without being part of its line (a note, a box, a comment) is written aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from smtpgate.examine.budget import Budget

#: Why something was not read. Each is for a person to act on.
WHYS: Final = {
    "encrypted": "locked by a password, or encrypted to its recipient",
    "unsupported": "of a format that is not read",
    "broken": "damaged, or not what it says that it is; what could be read of it was",
    "too-big": "it has more text than is read, or would unpack to more than any honest file",
    "too-deep": "packed in more layers than are opened",
    "too-many": "more files than are opened",
    "late": "no time was left",
    "empty-scan": "pages that are pictures only, as a scanner makes them",
    "image": "a picture, a recording or a font; told only where it is asked for",
}
#: Where a text stood.
SOURCES: Final = {
    "subject": "the subject, decoded",
    "header": "other fields of a header that people write in, decoded",
    "body": "a plain text of the mail",
    "html": "what is seen of a page",
    "hidden": "what is in a page or message and is not seen",
    "document": "the text of a file",
    "aside": "what stands beside it: notes, comments, properties, fields, deleted text",
    "name": "names of files",
}
#: Unread that are told of one message; more say nothing new.
MOST_UNREAD: Final = 1000
#: Letters of one path that is told.
_PATH_LETTERS: Final = 1000
#: Bits of text that are kept before they are joined.
_BITS: Final = 4096


@attrs.frozen
class Piece:
    """A text that stands together.

    :ivar path: names from the outermost in, joined by "/"; "part-1.2" for a nameless part, "" for the header
    :ivar source: one of `SOURCES`
    :ivar text: paragraphs and rows end with a line feed, cells with a tab
    """

    path: str
    source: str
    text: str


@attrs.frozen
class Unread:
    """What could not be read, whole or in part.

    :ivar why: one of `WHYS`
    """

    path: str
    why: str


class Enough(Exception):
    """A reader is to end; what it wrote is kept.

    :ivar why: one of `WHYS`
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Gathering:
    """All that is gathered of one message."""

    def __init__(self, budget: Budget, letters: int, file_letters: int, file_s: float) -> None:
        """
        :param letters: of all texts; `file_letters` of those of one file
        :param file_s: seconds that one file may take
        """
        self.budget = budget
        self.pieces: list[Piece] = []
        self.letters = letters
        self._file_letters = file_letters
        self._file_s = file_s
        self._unread: dict[Unread, None] = {}
        #: Why something is not told now.
        self._silent: frozenset[str] = frozenset()

    @contextmanager
    def silent(self, *whys: str) -> Iterator[None]:
        """What fails for one of these reasons is not told: it is no more than what some program might have made of
        octets that were read in the usual way too."""
        before, self._silent = self._silent, self._silent.union(whys)
        try:
            yield
        finally:
            self._silent = before

    @property
    def unread(self) -> tuple[Unread, ...]:
        """What was not read, in the order in which it came."""
        return tuple(self._unread)

    def miss(self, path: str, why: str) -> None:
        """Something was not read."""
        if why not in self._silent and len(self._unread) < MOST_UNREAD:
            self._unread[Unread(path[:_PATH_LETTERS], why)] = None

    def add(self, path: str, source: str, text: str) -> None:
        """A text in one piece; what has no room left is cut off and told."""
        if len(text) > self.letters:
            self.miss(path, "too-big")
            text = text[: self.letters]
        if text and not text.isspace():
            self.letters -= len(text)
            self.pieces.append(Piece(path[:_PATH_LETTERS], source, text))

    @contextmanager
    def draft(self, path: str, source: str = "document") -> Iterator[Draft]:
        """A text that is written bit by bit: kept however the block ends, and no reader's fault goes beyond it."""
        draft = Draft(self.budget, min(self.letters, self._file_letters), self._file_s)
        try:
            yield draft
        except Enough as enough:
            self.miss(path, enough.why)
        except MemoryError:
            self.miss(path, "too-big")
        except ImportError:
            # The library for it is not installed.
            self.miss(path, "unsupported")
        except Exception:
            # Libraries raise what they like for hostile octets; the reason is the same for all: it cannot be read.
            self.miss(path, "broken")
        try:
            self.add(path, source, draft.text())
            self.add(path, "aside", draft.margin())
        except MemoryError:
            self.miss(path, "too-big")


class Draft:
    """The text of one file while a reader writes it."""

    def __init__(self, budget: Budget, letters: int, seconds: float) -> None:
        self.budget = budget
        self._ends = min(budget.ends, budget.clock() + seconds)
        self._most = self._left = letters
        self._kept_letters = 0
        #: What was written last, bit by bit, and what before, joined: a bit takes ten times the memory of its letters.
        self._out: list[str] = []
        self._done: list[str] = []
        self._margin: list[str] = []
        self._kept: list[tuple[list[str], list[str]]] = []

    def write(self, text: str) -> None:
        """What follows at once on what was written before. Raises Enough."""
        self._left -= len(text)
        if self._left < 0:
            self._out.append(text[: self._left])
            self._left = 0
            raise Enough("too-big")
        self._out.append(text)
        if len(self._out) > _BITS:
            last = self._out.pop()
            self._done.append("".join(self._out))
            self._out = [last]

    def aside(self, text: str) -> None:
        """A text of its own, beside the rest. Raises Enough."""
        self._left -= len(text) + 1
        if self._left < 0:
            self._left = 0
            raise Enough("too-big")
        if text and not text.isspace():
            self._margin.append(text)

    def end_cell(self) -> None:
        """A cell ends here, and the paragraph in it."""
        if self._out and self._out[-1] == "\n":
            self._out[-1] = "\t"
        else:
            self.write("\t")

    def end_line(self) -> None:
        """A paragraph or a row ends here."""
        if not self._out or self._out[-1] == "\n":
            return
        if self._out[-1] == "\t":
            self._out[-1] = "\n"
        else:
            self.write("\n")

    def go_on(self) -> None:
        """The paragraph that was ended goes on."""
        if self._out and self._out[-1] == "\n":
            self._out[-1] = " "

    def begin_aside(self) -> None:
        """What follows interrupts the line and is none of it, up to `end_aside`."""
        if len(self._kept) > 1000:
            raise Enough("broken")
        self._kept.append((self._done, self._out))
        self._done, self._out = [], []

    def end_aside(self) -> None:
        """The line goes on."""
        if self._kept:
            self._margin.append("".join((*self._done, *self._out)))
            self._done, self._out = self._kept.pop()

    def keep(self, letters: int) -> bool:
        """Whether a reader may keep so many letters more, to write them later."""
        self._kept_letters += letters
        return self._kept_letters <= self._most

    def check(self) -> None:
        """To be asked every now and then by what takes time. Raises Enough."""
        if self.budget.clock() >= self._ends:
            raise Enough("late")

    def spend(self, octets: int) -> None:
        """Take octets that are unpacked. Raises Enough."""
        if not self.budget.spend(octets):
            raise Enough("too-big")

    def text(self) -> str:
        """What was written, and it is gone from here."""
        while self._kept:
            self.end_aside()
        text = "".join((*self._done, *self._out))
        self._done, self._out = [], []
        return text

    def margin(self) -> str:
        """What was written aside, and it is gone from here."""
        text = "\n".join(one.rstrip("\n") for one in self._margin)
        self._margin = []
        return text
