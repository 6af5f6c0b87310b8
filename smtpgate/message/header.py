"""The header section of a message: found, counted, and looked at without touching an octet.

`HeaderReader` collects it from chunks while they pass; `HeaderSection` answers questions about it. Malformed lines are
kept as they are and belong to no field: a proxy does not repair mail.

RFC 5322 section 2.2; RFC 5321 section 6.3 (loops).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs


@attrs.frozen
class Field:
    """One field, raw.

    :ivar name: lower case
    :ivar raw: all its lines with their CRLFs
    :ivar start: offset in the section
    """

    name: str
    raw: bytes
    start: int

    @property
    def value(self) -> bytes:
        """What follows the colon, unfolded, without outer blanks."""
        return self.raw.partition(b":")[2].replace(b"\r\n", b"").strip()


#: Names as most programs spell them, at the beginning of a line.
_USUAL: Final = {
    "message-id": (b"\r\nMessage-ID:", b"\r\nMessage-Id:"),
    "subject": (b"\r\nSubject:",),
}


class HeaderSection:
    """A whole header section.

    :ivar octets: with the empty line that ends it, where there is one
    """

    __slots__ = ("octets", "_fields", "_texts", "_lower")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self._fields: list[Field] | None = None
        self._texts: dict[str, str] | None = None
        self._lower: bytes | None = None

    @property
    def fields(self) -> list[Field]:
        """All fields in order."""
        if self._fields is None:
            self._fields = list(self._parse())
        return self._fields

    def _parse(self) -> Iterator[Field]:
        lines = self.octets.split(b"\r\n")
        position = start = 0
        name = ""
        raw: list[bytes] = []
        for line in lines:
            if line[:1] in (b" ", b"\t") and raw:
                raw.append(line)
            else:
                if raw:
                    yield Field(name, b"\r\n".join(raw) + b"\r\n", start)
                    raw = []
                head, colon, _ = line.partition(b":")
                head = head.rstrip(b" \t")
                if colon and head and head.isascii() and b" " not in head and b"\t" not in head:
                    name, raw, start = head.lower().decode("ascii"), [line], position
            position += len(line) + 2
        if raw:
            yield Field(name, b"\r\n".join(raw) + b"\r\n", start)

    def text(self, name: str) -> str:
        """The first line of the topmost field of that name (lower case), found without parsing the others."""
        texts = self._texts
        if texts is None:
            texts = self._texts = {}
        text = texts.get(name)
        if text is None:
            text = texts[name] = self._find(name)
        return text

    def _find(self, name: str) -> str:
        octets = self.octets
        mark = name.encode("ascii") + b":"
        found = -1
        for usual in _USUAL.get(name, ()):
            found = octets.find(usual)
            if found >= 0:
                break
        # One that is spelt otherwise may stand above it.
        above = (octets[:found] if found >= 0 else octets).lower()
        if above.startswith(mark):
            start = len(mark)
        else:
            start = above.find(b"\r\n" + mark)
            if start < 0:
                start = found
            if start < 0:
                return ""
            start += 2 + len(mark)
        end = octets.find(b"\r\n", start)
        value = octets[start : end if end >= 0 else None].strip()
        if not value and end >= 0 and octets[end + 2 : end + 3] in (b" ", b"\t"):
            # Long ones stand on a line of their own.
            value = octets[end + 2 :].partition(b"\r\n")[0].strip()
        return value.decode("utf-8", "backslashreplace")

    def all(self, name: str) -> list[bytes]:
        """The values of every field of that name (lower case), top first."""
        return [field.value for field in self._named(name)]

    def first(self, name: str) -> bytes:
        """The value of the topmost field of that name; b"" where there is none."""
        return next((field.value for field in self._named(name)), b"")

    def named(self, name: str) -> list[Field]:
        """Every field of that name (lower case), top first."""
        return list(self._named(name))

    def _named(self, name: str) -> Iterator[Field]:
        """Found without making a `Field` of every other: a header may have some ten thousand."""
        octets, mark = self.octets, name.encode("ascii")
        lower = self._lower
        if lower is None:
            lower = self._lower = octets.lower()
        position = 0 if lower.startswith(mark) else lower.find(b"\r\n" + mark) + 2
        while position > 1 or position == 0 and lower.startswith(mark):
            colon = position + len(mark)
            while lower[colon : colon + 1] in (b" ", b"\t"):
                colon += 1
            if lower[colon : colon + 1] == b":":
                end = octets.find(b"\r\n", colon)
                while end >= 0 and octets[end + 2 : end + 3] in (b" ", b"\t"):
                    end = octets.find(b"\r\n", end + 2)
                yield Field(name, octets[position : end if end >= 0 else None] + b"\r\n", position)
            position = lower.find(b"\r\n" + mark, colon) + 2


class HeaderReader:
    """Finds the end of the header section in content that comes by chunks.

    :ivar section: set once the end was found, or the content ended, or `cap` was passed
    :ivar is_too_big: the section is larger than the cap
    """

    __slots__ = ("section", "is_too_big", "_cap", "_held")

    def __init__(self, cap: int) -> None:
        self.section: HeaderSection | None = None
        self.is_too_big = False
        self._cap = cap
        self._held = bytearray()

    @property
    def holds(self) -> bool:
        """True while part of a section is held."""
        return bool(self._held)

    def feed(self, content: bytes) -> bytes | None:
        """Take content in until the section is there.

        :return: all content so far, section included, once it is complete; None before that
        """
        held = self._held
        searched = max(0, len(held) - 3)
        buffer: bytes | bytearray = content
        if held:
            held += content
            buffer = held
        if buffer[:2] == b"\r\n":
            end = 2
        else:
            end = buffer.find(b"\r\n\r\n", searched)
            if end >= 0:
                end += 4
        if end < 0:
            if len(buffer) <= self._cap:
                if not held:
                    held += content
                return None
            end = len(buffer)
            self.is_too_big = True
        elif end > self._cap:
            self.is_too_big = True
        whole = buffer if buffer is content else bytes(buffer)
        self.section = HeaderSection(whole[:end])
        self._held = bytearray()
        return whole

    def finish(self) -> bytes:
        """The content has ended: what was held is the section, all of it."""
        held, self._held = bytes(self._held), bytearray()
        self.section = HeaderSection(held)
        return held
