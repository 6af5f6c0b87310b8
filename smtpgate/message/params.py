"""Structured header values: Content-Type, Content-Disposition, Content-Transfer-Encoding and their parameters.

`entity` calls `parse` with the unfolded octets of a field; whoever wants the name of an attachment calls `names`. Mail
programs disagree about almost everything here, so a parameter has no value but readings: what programs in the field
would take, in order, the likeliest first, without repeats, capped. The readings come from two ways to cut the value
into parameters (by the grammar, and at every semicolon, as simple programs do), from the ways to end a value that is
not quoted, from continuations and percent coding, from duplicates (first, last, joined), and from encoded words.

It takes linear time and never raises. What is malformed is named in `Value.oddities`, by kinds of `anomaly`. Control
characters stay in names: whoever judges a name wants to see them.

RFC 2045 section 5.1, RFC 2183, RFC 2231; RFC 2047 words in parameters, which it forbids and everybody reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from smtpgate.message.words import decode, raw_text, to_text

#: Parameters of one value that are looked at. Honest ones have under ten; RFC 2231 pieces of 78 octets make a name of
#: 64 KiB with as many, which is more than any file system keeps.
PARAMETERS: Final = 1000
#: Readings of one parameter.
READINGS: Final = 16
#: Octets of one reading. Of longer ones the middle is left out: the ending says what a file is.
VALUE_OCTETS: Final = 4096

#: Where none of these stands, both ways to cut a value give the same.
_TRICKY: Final = (b'"', b"'", b"\\", b"(")
_SKIP: Final = re.compile(rb"[;\s]*")
_BLANK: Final = re.compile(rb"\s*")
_NAME: Final = re.compile(rb"[^=;\"\s(]*")
_TOKEN: Final = re.compile(rb"[^;\s(]*")
_TAIL: Final = re.compile(rb"[^;\s=]{0,1000}")
_MARK: Final = re.compile(rb"[\"\\]")
_COMMENT_OR_END: Final = re.compile(rb"[(;]")
_BRACKET: Final = re.compile(rb"[()\\]")
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_SECTION: Final = re.compile(r"([^*]*)\*(\d{0,4})(\*?)\Z")
_EXTENDED: Final = re.compile(rb"[A-Za-z0-9_.:+-]{2,40}'[A-Za-z0-9-]{0,40}'")


@attrs.frozen
class Parameter:
    """One parameter where it stands.

    :ivar name: lower case, with what follows a star
    :ivar readings: of its value, undecoded: the first by the grammar
    """

    name: str
    readings: tuple[bytes, ...]
    is_quoted: bool = True

    @property
    def shown(self) -> tuple[bytes, ...]:
        """The same, the likeliest first: of what is not quoted and has blanks, most programs take the whole."""
        return self.readings if self.is_quoted else self.readings[::-1]


@attrs.frozen
class Value:
    """A structured value.

    :ivar main: what stands before the parameters, lower case, comments left out, as "text/html"
    :ivar parameters: by the grammar, in order
    :ivar oddities: kinds of `anomaly.ANOMALIES`
    """

    main: str
    parameters: tuple[Parameter, ...]
    oddities: tuple[str, ...]
    _octets: bytes = attrs.field(repr=False)

    def octets(self, name: str) -> tuple[bytes, ...]:
        """All readings of that parameter (lower case), by the grammar first; empty where it is not given."""
        found = [octets for parameter in self.parameters if parameter.name == name for octets in parameter.readings]
        return tuple(dict.fromkeys([*found, *(octets for octets, _ in self._read(name))]))[:READINGS]

    def texts(self, name: str) -> tuple[str, ...]:
        """The same as text, the likeliest first: encoded words decoded, and as they stand."""
        found: dict[str, None] = {}
        for octets, charset in self._read(name):
            plain = to_text(octets, charset) if charset else raw_text(octets)
            if b"=?" in octets:
                found[decode(octets)] = None
            found[plain] = None
            if b"%" in octets and not charset:
                found[raw_text(unquote_to_bytes(octets))] = None
            if _EXTENDED.match(octets) and not charset:
                found[_extended_text(octets)] = None
        return tuple(text for text in found if text)[:READINGS]

    def _read(self, name: str) -> list[tuple[bytes, str]]:
        if name.encode() not in self._octets.lower():
            return []
        found = _read(self.parameters, name)
        if any(mark in self._octets for mark in _TRICKY):
            found += _read(_cut_at_semicolons(self._octets), name)
        return found

    def text(self, name: str) -> str:
        """The likeliest reading; "" where it is not given."""
        return next(iter(self.texts(name)), "")


def parse(value: bytes) -> Value:
    """A field's unfolded value. Anything is one."""
    main, position = _main(value)
    odd: dict[str, None] = {}
    parameters: list[Parameter] = []
    for parameter in _cut_by_grammar(value, position, odd):
        if len(parameters) == PARAMETERS:
            odd["too-many-parameters"] = None
            break
        parameters.append(parameter)
    first: dict[str, bytes] = {}
    for parameter in parameters:
        if first.setdefault(parameter.name, parameter.readings[0]) != parameter.readings[0]:
            odd["duplicate-parameter"] = None
    if _has_gap(first):
        odd["broken-parameter"] = None
    return Value(main, tuple(parameters), tuple(odd), value)


def names(dispositions: Iterable[Value], types: Iterable[Value]) -> tuple[str, ...]:
    """Every name that some program would give an attachment, the one that most would show first.

    :param dispositions: the Content-Disposition fields of the part, in order
    :param types: its Content-Type fields
    """
    dispositions, types = list(dispositions), list(types)
    wanted = ((dispositions, "filename"), (types, "name"), (dispositions, "name"), (types, "filename"))
    found = [text for values, name in wanted for value in values for text in value.texts(name)]
    return tuple(dict.fromkeys(found))[:READINGS]


def _has_gap(given: Iterable[str]) -> bool:
    """Whether a piece of a continued value is missing."""
    numbers: dict[str, set[int]] = {}
    for name in given:
        matched = _SECTION.match(name) if "*" in name else None
        if matched and matched.group(2):
            numbers.setdefault(matched.group(1), set()).add(int(matched.group(2)))
    return any(max(one) >= len(one) for one in numbers.values())


def _main(value: bytes) -> tuple[str, int]:
    """What stands before the parameters, and where they begin."""
    plain, position = b"", 0
    while True:
        matched = _COMMENT_OR_END.search(value, position)
        end = matched.start() if matched else len(value)
        plain += value[position : min(end, position + VALUE_OCTETS)]
        after = _comment_end(value, end) if matched and matched.group() == b"(" else 0
        if not after or len(plain) >= VALUE_OCTETS:
            break
        position = after
    if b"=" in plain or len(plain) >= VALUE_OCTETS:
        # A semicolon is missing: the parameters begin at the first blank.
        words = plain.split(None, 1)
        plain = words[0] if words and b"=" not in words[0] else b""
        end = value.find(plain) + len(plain)
    return plain.strip().lower().decode("ascii", "replace"), end


def _cut_by_grammar(value: bytes, position: int, odd: dict[str, None]) -> Iterator[Parameter]:
    """Parameters with quoted strings and comments as the standards have them, and a missing semicolon forgiven."""
    semicolon = -1
    # What once had no end is not searched for again: that would take quadratic time.
    may_comment = may_quote = True
    while True:
        position = _SKIP.match(value, position).end()  # type: ignore[union-attr]
        if position >= len(value):
            return
        if value[position] == 0x28:
            after = _comment_end(value, position) if may_comment else 0
            may_comment = bool(after)
            position = after or position + 1
            continue
        matched = _NAME.match(value, position)
        name = matched.group() if matched else b""
        position += len(name)
        position = _BLANK.match(value, position).end()  # type: ignore[union-attr]
        if value[position : position + 1] != b"=":
            if value[position : position + 1] == b'"':
                odd["broken-parameter"] = None
                end = _quote_end(value, position + 1) if may_quote else -1
                may_quote = end >= 0
                position = end + 1 if end >= 0 else position + 1
            elif name and b"*" in name:
                odd["broken-parameter"] = None
            continue
        position = _BLANK.match(value, position + 1).end()  # type: ignore[union-attr]
        if semicolon < position:
            semicolon = value.find(b";", position)
            semicolon = semicolon if semicolon >= 0 else len(value)
        if value[position : position + 1] == b'"':
            end = _quote_end(value, position + 1)
            if end < 0:
                odd["broken-parameter"] = None
                whole = _short(value[position + 1 :].rstrip())
                yield _parameter(name, [_short(value[position + 1 : semicolon].rstrip()), _unescaped(whole)])
                return
            inner = _unescaped(_short(value[position + 1 : end]))
            position = end + 1
            tail = _TAIL.match(value, position).group()  # type: ignore[union-attr]
            readings = [inner]
            # Behind the quote may stand a comment, or the next parameter without a semicolon.
            if tail and tail[:1] != b"(" and value[position + len(tail) : position + len(tail) + 1] != b"=":
                odd["broken-parameter"] = None
                readings.append(_short(inner + tail.replace(b'"', b"")))
                position += len(tail)
            yield _parameter(name, readings)
        else:
            token = _TOKEN.match(value, position).group()  # type: ignore[union-attr]
            whole = _short(value[position:semicolon].rstrip())
            position += len(token)
            readings = [_short(token.rstrip(b'"'))]
            if whole != token:
                readings.append(whole if b"=" not in whole[len(token) :] else readings[0])
            yield _parameter(name, readings, is_quoted=False)


def _cut_at_semicolons(value: bytes) -> list[Parameter]:
    """Parameters as programs see them that know no quotes: cut at each semicolon, at the first equals sign."""
    found: list[Parameter] = []
    position = value.find(b";")
    while 0 <= position < len(value) and len(found) < PARAMETERS:
        position = _SKIP.match(value, position).end()  # type: ignore[union-attr]
        end = value.find(b";", position)
        end = end if end >= 0 else len(value)
        equals = value.find(b"=", position, end)
        if equals >= 0:
            plain = _short(value[equals + 1 : end].strip().strip(b"\"'"))
            found.append(_parameter(value[position:equals].strip(), [plain]))
        position = end
    return found


def _parameter(name: bytes, readings: list[bytes], is_quoted: bool = True) -> Parameter:
    label = name[:200].lower().decode("ascii", "replace")
    return Parameter(label, tuple(dict.fromkeys(readings)), is_quoted)


def _read(parameters: Iterable[Parameter], name: str) -> list[tuple[bytes, str]]:
    """All readings of one name with the charset that each says ("" where none), from one way to cut the value."""
    plain: list[Parameter] = []
    extended: list[bytes] = []
    pieces: dict[int, list[tuple[bytes, bool]]] = {}
    for parameter in parameters:
        if parameter.name == name:
            plain.append(parameter)
            continue
        if not parameter.name.startswith(name + "*"):
            continue
        matched = _SECTION.match(parameter.name)
        if not matched or matched.group(1) != name:
            continue
        if matched.group(2):
            pieces.setdefault(int(matched.group(2)), []).append((parameter.readings[0], bool(matched.group(3))))
        elif parameter.readings[0]:
            extended.append(parameter.readings[0])
    found: list[tuple[bytes, str]] = []
    if pieces:
        found += _joined(pieces)
    found += [_extended(octets) for octets in extended]
    found += [(octets, "") for parameter in plain for octets in parameter.shown]
    if len(plain) > 1:
        found.append((_short(b"".join(parameter.readings[0] for parameter in plain)), ""))
    return [(octets, charset) for octets, charset in dict.fromkeys(found) if octets][: 2 * READINGS]


def _joined(pieces: dict[int, list[tuple[bytes, bool]]]) -> list[tuple[bytes, str]]:
    """Continuations put together: as the standard says up to the first gap, over gaps, with the last of duplicates."""
    whole = 0
    while whole in pieces:
        whole += 1
    found = []
    for numbers in (range(whole), sorted(pieces)):
        for which in (0, -1):
            parts = [pieces[number][which] for number in numbers]
            if not parts:
                continue
            charset, octets = "", []
            for index, (piece, is_extended) in enumerate(parts):
                if index == 0 and is_extended:
                    charset, piece = _charset(piece)
                octets.append(unquote_to_bytes(piece) if is_extended else piece)
            found.append((_short(b"".join(octets)), charset))
            if any(b"%" in piece and not is_extended for piece, is_extended in parts):
                found.append((_short(unquote_to_bytes(b"".join(octets))), charset))
    return found


def _charset(octets: bytes) -> tuple[str, bytes]:
    """An extended value's charset and the rest; all is rest where the two apostrophes are missing."""
    head, mark, rest = octets.partition(b"'")
    _, second, text = rest.partition(b"'")
    if not (mark and second):
        return "", octets
    return head.decode("ascii", "replace"), text


def _extended(octets: bytes) -> tuple[bytes, str]:
    charset, rest = _charset(octets)
    return unquote_to_bytes(rest), charset


def _extended_text(octets: bytes) -> str:
    text, charset = _extended(octets)
    return to_text(text, charset)


def _unescaped(octets: bytes) -> bytes:
    return _ESCAPE.sub(rb"\1", octets) if b"\\" in octets else octets


def _short(octets: bytes) -> bytes:
    half = VALUE_OCTETS // 2
    return octets if len(octets) <= VALUE_OCTETS else octets[:half] + octets[-half:]


def _quote_end(value: bytes, position: int) -> int:
    """Where the quote stands that ends the string; -1 where it is missing."""
    while True:
        matched = _MARK.search(value, position)
        if not matched:
            return -1
        if matched.group() == b'"':
            return matched.start()
        position = matched.end() + 1


def _comment_end(value: bytes, position: int) -> int:
    """Behind the comment that opens there, with those inside it; 0 where it does not end."""
    depth = 0
    while True:
        matched = _BRACKET.search(value, position)
        if not matched:
            return 0
        position = matched.end()
        mark = matched.group()
        if mark == b"\\":
            position += 1
            continue
        depth += 1 if mark == b"(" else -1
        if depth == 0:
            return position
