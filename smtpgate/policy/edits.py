"""Edits: the ordered, attributed, reversible list of changes to a message.

Filters and the gateway itself append, by field; rules add what was planned for the body (`EditList.plan`), by place.
`EditList.splices` makes one list of both, which is applied once, while the message leaves for the backend. What no edit
names keeps its octets, so the signatures of others live.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from smtpgate.message.header import HeaderSection
from smtpgate.message.splice import Splice, apply, check

#: RFC 5322 section 2.2.
_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+:")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def check_field(raw: bytes) -> None:
    """Raises ValueError where `raw` is not exactly one well-formed field."""
    lines = raw.split(b"\r\n")
    if lines[-1] or len(lines) < 2 or b"\r" in b"".join(lines) or b"\n" in b"".join(lines):
        raise ValueError("a field is whole lines, each ended by CRLF")
    if _NAME.match(lines[0]) is None:
        raise ValueError("a field begins with its name and a colon")
    if _CONTROL.search(raw.replace(b"\r\n", b"")) is not None:
        raise ValueError("a field holds no control characters but tabs")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("a field is ASCII or UTF-8") from error
    if any(line[:1] not in (b" ", b"\t") for line in lines[1:-1]):
        raise ValueError("the further lines of a field begin with a blank")


@attrs.frozen
class AddField:
    """Put a field at the very top.

    :ivar raw: the whole field with its CRLF
    :ivar author: who wants it: a filter's name, or "gateway"
    """

    raw: bytes
    author: str = "gateway"


@attrs.frozen
class RemoveField:
    """Take a field out.

    :ivar name: lower case
    :ivar index: which of that name, from the top
    """

    name: str
    index: int
    author: str


@attrs.frozen
class ReplaceField:
    """Write a field anew in its place."""

    name: str
    index: int
    raw: bytes
    author: str = "gateway"


Edit = AddField | RemoveField | ReplaceField


class EditList:
    """Edits in the order in which they were asked for.

    :ivar planned: of the body, and of the fields that say what it is; about the message as it came
    """

    __slots__ = ("edits", "planned")

    def __init__(self) -> None:
        self.edits: list[Edit] = []
        self.planned: tuple[Splice, ...] = ()

    def append(self, edit: Edit) -> None:
        """Ask for one more. Raises ValueError where it would write something that is no field."""
        if not isinstance(edit, RemoveField):
            check_field(edit.raw)
        self.edits.append(edit)

    def plan(self, splices: Iterable[Splice], octets: int) -> None:
        """Ask for these of a message of so many octets. Raises ValueError where they do not fit, or there are some."""
        planned = tuple(splices)
        check(planned, octets)
        if self.planned:
            raise ValueError("what is to become of the body is planned once")
        for one in planned:
            if not one.put.count(b"\r\n") == one.put.count(b"\r") == one.put.count(b"\n"):
                raise ValueError("a line end of its own kind")
        self.planned = planned

    def seal(self, splices: Iterable[Splice], octets: int) -> None:
        """Ask for these in place of what was planned, which they were made of. Raises ValueError as `plan` does."""
        before, self.planned = self.planned, ()
        try:
            self.plan(splices, octets)
        except ValueError:
            self.planned = before
            raise

    @property
    def only_adds(self) -> bool:
        """True when nothing of the message itself is touched."""
        return not self.planned and all(type(edit) is AddField for edit in self.edits)

    def prefix(self) -> bytes:
        """The added fields, the last asked for on top (each is put above what was there)."""
        return b"".join(edit.raw for edit in reversed(self.edits) if type(edit) is AddField)

    def splices(self, section: HeaderSection) -> tuple[list[Splice], tuple[Edit, ...]]:
        """All edits as one list about the message as it came, and the edits that found no field to work on.

        Where a field says what the body is, and that was planned, an edit of that field finds none: it would not fit.
        """
        fields = {
            name: section.named(name) for name in {edit.name for edit in self.edits if not isinstance(edit, AddField)}
        }
        changes: dict[int, Splice] = {}
        missed: list[Edit] = []
        for edit in self.edits:
            if isinstance(edit, AddField):
                continue
            named = fields[edit.name]
            found = named[edit.index] if edit.index < len(named) else None
            # The last field of a message that is nothing else may lack its line end.
            end = min(found.start + len(found.raw), len(section.octets)) if found is not None else 0
            if found is None or self._is_planned(found.start, end):
                missed.append(edit)
                continue
            raw = edit.raw if isinstance(edit, ReplaceField) else b""
            changes[found.start] = Splice(found.start, end - found.start, raw, edit.author)
        made = sorted([*changes.values(), *self.planned], key=lambda one: (one.offset, one.end))
        authors = dict.fromkeys(edit.author for edit in self.edits if isinstance(edit, AddField))
        if authors:
            made.insert(0, Splice(0, 0, self.prefix(), ", ".join(authors)))
        return made, tuple(missed)

    def _is_planned(self, start: int, end: int) -> bool:
        return any(one.offset < end and start < one.end for one in self.planned)

    def apply(self, section: HeaderSection) -> tuple[bytes, tuple[Edit, ...]]:
        """The header section with all edits done, and the edits that found no field to work on."""
        if self.only_adds:
            return self.prefix() + section.octets, ()
        made, missed = self.splices(section)
        length = len(section.octets)
        return apply([one for one in made if one.end <= length], section.octets), missed
