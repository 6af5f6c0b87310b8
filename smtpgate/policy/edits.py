"""Edits: the ordered, attributed, reversible list of changes to a message.

Filters and the gateway itself append; `EditList.apply` writes the header section anew once, while the message leaves
for the backend. Fields that no edit names keep their octets, so the signatures of others live.
"""

from __future__ import annotations

import re

import attrs

from smtpgate.message.header import HeaderSection

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
    """Edits in the order in which they were asked for."""

    __slots__ = ("edits",)

    def __init__(self) -> None:
        self.edits: list[Edit] = []

    def append(self, edit: Edit) -> None:
        """Ask for one more. Raises ValueError where it would write something that is no field."""
        if not isinstance(edit, RemoveField):
            check_field(edit.raw)
        self.edits.append(edit)

    @property
    def only_adds(self) -> bool:
        """True when nothing of the message itself is touched."""
        return all(type(edit) is AddField for edit in self.edits)

    def prefix(self) -> bytes:
        """The added fields, the last asked for on top (each is put above what was there)."""
        return b"".join(edit.raw for edit in reversed(self.edits) if type(edit) is AddField)

    def apply(self, section: HeaderSection) -> tuple[bytes, tuple[Edit, ...]]:
        """The header section with all edits done, and the edits that found no field to work on."""
        if self.only_adds:
            return self.prefix() + section.octets, ()
        fields = {
            name: section.named(name) for name in {edit.name for edit in self.edits if not isinstance(edit, AddField)}
        }
        changes: dict[int, tuple[int, bytes]] = {}
        missed: list[Edit] = []
        for edit in self.edits:
            if type(edit) is AddField:
                continue
            assert not isinstance(edit, AddField)
            if edit.index >= len(fields[edit.name]):
                missed.append(edit)
            else:
                found = fields[edit.name][edit.index]
                changes[found.start] = (len(found.raw), edit.raw if isinstance(edit, ReplaceField) else b"")
        out = [self.prefix()]
        position = 0
        for start in sorted(changes):
            length, raw = changes[start]
            out += (section.octets[position:start], raw)
            position = start + length
        out.append(section.octets[position:])
        return b"".join(out), tuple(missed)
