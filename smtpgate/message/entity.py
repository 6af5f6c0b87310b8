"""One header section read for what it says about the body below it, by one program's habits or another's.

`tree` calls `read_entity` with the octets where a part's header stands. Programs have habits where a header is broken
or says things twice; each habit that this room knows is a *quirk* with a name, a set of quirks is one imagined
program, and the empty set is the usual program. `Entity.needs` names the quirks by which another program would read
this header otherwise; `tree` then reads the part again with them. That keeps every choice in one place, and the work
bounded by the number of sets.

It looks for the four fields of MIME only, in C, so that a header of a megabyte costs milliseconds. It never raises.

RFC 2045 sections 3 to 6; RFC 2046 section 5.1.5 (digest); RFC 5322 section 2.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from smtpgate.message import params
from smtpgate.message.header import HeaderSection
from smtpgate.message.transfer import CODED, IDENTITY, normal

Quirks = frozenset[str]

#: Every quirk, with what such a program does.
QUIRKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "joins-lines": "joins a header line that is no field to the line above",
        "stops-at-line": "ends a header at a line that is no field",
        "stops-at-blanks": "ends a header at a line of blanks",
        "needs-empty-line": "takes a part without an empty line for text",
        "type-2": "follows the second Content-Type",
        "type-3": "follows the third Content-Type",
        "type-4": "follows the last Content-Type",
        "boundary-2": "reads the boundary in the second way",
        "boundary-3": "reads the boundary in the third way",
        "boundary-4": "reads the boundary in the last way",
        "strict-type": "takes a malformed type for plain text",
        "begins-with": "begins a part at each line that begins with the boundary",
        "goes-on": "goes on after the closing line of a multipart",
        "inner-first": "gives a boundary that is used twice to the inner multipart",
        "guesses": "guesses a boundary that does not occur",
        "other-decoding": "decodes multiparts, and leaves attached messages encoded",
        "any-message": "takes a report for a message",
        "cr-ends": "ends lines at a lone CR",
        "lf-does-not-end": "does not end lines at a lone LF",
        "drops-nul": "leaves NUL octets out",
        "shows-outside": "shows what stands before the first part and after the last",
        "finds-files": "finds files in texts",
    }
)
#: Octets of a boundary that is followed: the limit of Postfix (mime_boundary_length_limit). The standard says 70.
BOUNDARY_OCTETS: Final = 2048
_BOUNDARY_REGULAR: Final = 70
#: Fields of one name that are looked at, half of them from the end.
_FIELDS: Final = 16
_READINGS: Final = 4

_NAME: Final = rb"[!#-'*+\-./0-9A-Z^_`a-z|~]+"
_NO_FIELD: Final = re.compile(rb"^(?!\r?$|[ \t]|" + _NAME + rb":)", re.MULTILINE)
_NO_LINE: Final = re.compile(rb"^(?!\r?$|[ \t]|" + _NAME + rb"[ \t]*:)", re.MULTILINE)
_BLANKS: Final = re.compile(rb"^[ \t]+\r?$", re.MULTILINE)
_TOKEN: Final = r"[!#-'*+\-.0-9^_`a-z{|}~]+"
_TYPE: Final = re.compile(_TOKEN + "/" + _TOKEN)
_WHOLE: Final = {"multipart": "multipart/mixed", "message": "message/rfc822", "text": "text/plain"}


@attrs.frozen
class Entity:
    """What a header section says.

    :ivar section: as HeaderSection has it; line ends are CRLF in it whatever they were
    :ivar octets: of the section with the empty line, as it stands; the body begins there
    :ivar boundary: None where none is given
    :ivar other_boundaries: what other programs would take
    :ivar encodings: all that are declared, as `transfer.normal` gives them, the usual one first
    :ivar needs: quirks by which another program reads it otherwise
    :ivar anomalies: kind and detail
    """

    section: HeaderSection
    octets: int
    media_type: str = "text/plain"
    boundary: bytes | None = None
    other_boundaries: tuple[bytes, ...] = ()
    charset: str = ""
    encodings: tuple[str, ...] = ()
    disposition: str = ""
    names: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    anomalies: tuple[tuple[str, str], ...] = ()

    @property
    def encoding(self) -> str:
        """The usual transfer encoding; "" where none is declared."""
        return self.encodings[0] if self.encodings else ""

    @property
    def is_coded(self) -> bool:
        """Whether the body is to be decoded before it means anything."""
        return self.encoding in CODED


class _Notes:
    """What turns up while one header is read."""

    def __init__(self) -> None:
        self.needs: dict[str, None] = {}
        self.anomalies: dict[tuple[str, str], None] = {}

    def note(self, kind: str, octets: bytes | str = "", *needs: str) -> None:
        """An anomaly, and the quirks of programs that read it otherwise."""
        detail = octets if isinstance(octets, str) else octets.decode("utf-8", "backslashreplace")
        self.anomalies[(kind, "".join(one if one.isprintable() else " " for one in detail[:200]))] = None
        self.needs.update(dict.fromkeys(needs))


def read_entity(octets: bytes, quirks: Quirks, default: str = "text/plain", *, is_ended: bool, is_top: bool) -> Entity:
    """Read the octets of a header section, with the empty line that ends it where there is one.

    :param default: media type where none is given
    :param is_ended: whether the empty line is there
    :param is_top: whether it is the header of a message and not of a part
    """
    notes = _Notes()
    length = len(octets)
    if octets in (b"", b"\r\n", b"\n"):
        return Entity(HeaderSection(octets), length, default)
    if not is_ended and not is_top:
        notes.note("no-header-end", octets[:200], "needs-empty-line")
        if "needs-empty-line" in quirks:
            return Entity(HeaderSection(b""), 0, default)
    head, length = _lines(octets, quirks, notes)
    fields = _fields(head)
    if b"\n" in head and head.count(b"\n") != head.count(b"\r\n"):
        head = head.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    types = [params.parse(value) for value in fields["content-type"]]
    dispositions = [params.parse(value) for value in fields["content-disposition"]]
    chosen = _chosen_type(types, quirks, notes)
    media_type = _media_type(chosen, default, quirks, notes)
    boundary, others = _boundaries(chosen, media_type, quirks, notes)
    encodings = tuple(dict.fromkeys(map(_encoding, fields["content-transfer-encoding"])))
    if len(dispositions) > 1 and len({one.main for one in dispositions}) > 1:
        notes.note("duplicate-disposition", ", ".join(one.main for one in dispositions[:_READINGS]))
    for value in (*types, *dispositions):
        for kind in value.oddities:
            notes.note(kind)
    if is_top and media_type.startswith("multipart/") and b"\nmime-version" not in b"\n" + head.lower():
        notes.note("no-mime-version")
    return Entity(
        HeaderSection(head),
        length,
        media_type,
        boundary,
        others,
        chosen.text("charset").lower()[:60] if chosen else "",
        tuple(one for one in encodings if one),
        dispositions[0].main.split(" ")[0][:60] if dispositions else "",
        params.names(dispositions, types) if types or dispositions else (),
        tuple(need for need in notes.needs if need not in quirks),
        tuple(notes.anomalies),
    )


def _lines(octets: bytes, quirks: Quirks, notes: _Notes) -> tuple[bytes, int]:
    """The octets that count as header by these quirks, and how far they reach."""
    # The line that mailbox files and some servers put above a message is read over by all.
    first = octets.find(b"\n") + 1 if octets.startswith((b"From ", b">From ")) else 0
    end = len(octets)
    broken = _NO_FIELD.search(octets, first)
    if broken:
        end = broken.start()
        # A program does one of the two.
        habits = () if quirks & {"stops-at-line", "joins-lines"} else ("stops-at-line", "joins-lines")
        notes.note("broken-header-line", octets[end : end + 200].partition(b"\n")[0], *habits)
        if "stops-at-line" not in quirks:
            end = len(octets)
    blank = _BLANKS.search(octets, first, end)
    if blank:
        notes.note("blank-header-line", "", "stops-at-blanks")
        if "stops-at-blanks" in quirks:
            return octets[: blank.start()], octets.find(b"\n", blank.start()) + 1 or end
    head = octets[:end]
    if broken and "joins-lines" in quirks:
        head = head[:first] + _NO_LINE.sub(b" ", head[first:])
    return head, end


def _fields(head: bytes) -> dict[str, list[bytes]]:
    """The unfolded values of the fields of MIME, in order."""
    found: dict[str, list[bytes]] = {
        "content-type": [],
        "content-disposition": [],
        "content-transfer-encoding": [],
    }
    lower = b"\n" + head.lower()
    at = lower.find(b"\ncontent-")
    while at >= 0:
        colon = lower.find(b":", at, at + 60)
        values = found.get(lower[at + 1 : colon].rstrip(b" \t").decode("ascii", "replace")) if colon >= 0 else None
        end = lower.find(b"\n", at + 1)
        if values is not None:
            while end >= 0 and lower[end + 1 : end + 2] in (b" ", b"\t"):
                end = lower.find(b"\n", end + 1)
            end = end if end >= 0 else len(lower)
            # `lower` has one octet more in front.
            values.append(head[colon : max(colon, end - 1)].replace(b"\r\n", b"").replace(b"\n", b"").strip())
            if len(values) > _FIELDS:
                del values[_FIELDS // 2]
        at = lower.find(b"\ncontent-", end) if end >= 0 else -1
    return found


def _pick(quirks: Quirks, name: str, count: int) -> int:
    """Which of so many such a program takes."""
    for number in range(2, _READINGS + 1):
        if f"{name}-{number}" in quirks:
            return min(number, count) - 1
    return 0


def _ways(quirks: Quirks, name: str, count: int) -> list[str]:
    """The quirks that take another one, where none is chosen yet."""
    numbers = range(2, min(count, _READINGS) + 1)
    return [] if any(one.startswith(name + "-") for one in quirks) else [f"{name}-{number}" for number in numbers]


def _chosen_type(types: list[params.Value], quirks: Quirks, notes: _Notes) -> params.Value | None:
    if len(types) == 1:
        return types[0]
    distinct = list({(one.main, one.octets("boundary"), one.text("charset")): one for one in reversed(types)}.values())
    distinct.reverse()
    if not distinct:
        return None
    if len(distinct) > _READINGS:
        distinct = [*distinct[: _READINGS - 1], distinct[-1]]
    if len(distinct) > 1:
        detail = ", ".join(one.main for one in distinct)
        notes.note("duplicate-content-type", detail, *_ways(quirks, "type", len(distinct)))
    return distinct[_pick(quirks, "type", len(distinct))]


def _media_type(value: params.Value | None, default: str, quirks: Quirks, notes: _Notes) -> str:
    if value is None:
        return default
    main = value.main
    if _TYPE.fullmatch(main):
        return main
    # What is mended: quotes, blanks round the slash, a comma or more behind the type, a missing subtype.
    family, slash, _ = main.strip(" \t\"'<").partition("/")
    matched = _TYPE.match(main.strip(" \t\"'<").replace(" ", ""))
    mended = matched.group() if matched else _WHOLE.get(family.strip(" ,"), "text/plain")
    is_container = mended.startswith(("multipart/", "message/"))
    notes.note("bad-content-type", main, *(["strict-type"] if is_container else []))
    return "text/plain" if "strict-type" in quirks else mended


def _boundaries(
    value: params.Value | None, media_type: str, quirks: Quirks, notes: _Notes
) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The boundary, and those that other programs would take."""
    if value is None or not media_type.startswith("multipart/"):
        return None, ()
    given = list(dict.fromkeys(octets.rstrip(b" \t\r\n") for octets in value.octets("boundary")))
    given = [octets for octets in given if len(octets) <= BOUNDARY_OCTETS]
    if len(given) > _READINGS:
        given = [*given[: _READINGS - 1], given[-1]]
    if not given:
        notes.note("no-boundary")
        return None, ()
    chosen = given[_pick(quirks, "boundary", len(given))]
    if len(chosen) > _BOUNDARY_REGULAR:
        notes.note("long-boundary", f"{len(chosen)} octets")
    others = given[1:] if _ways(quirks, "boundary", len(given)) else []
    return chosen, tuple(others)


def _encoding(value: bytes) -> str:
    plain = value.lower().decode("ascii", "replace")
    if plain in CODED or plain in IDENTITY:
        return plain
    main = params.parse(value).main
    word = normal(main)
    if word in CODED:
        return word
    # Programs look at the beginning where more stands behind.
    first = normal(main.replace("\t", " ").split(" ")[0])
    return first if first in CODED else word[:60]
