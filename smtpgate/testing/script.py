"""Golden sessions: what a script for `smtpgate plugin test` says.

A script is a text file: a head in TOML with the filters and the world around them, a line `---`, and one step on each
line, a mark and what belongs to it. `read_script` gives the values that `rehearsal` plays; docs/plugins.md explains the
format to authors of filters. Everything that is wrong with a script is found before it is played, each with its line.

The author of a script is trusted as the author of a test is: patterns are Python's, and files are read where they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from smtpgate.config.position import Document
from smtpgate.config.problem import BadValue, quoted
from smtpgate.config.units import parse_duration
from smtpgate.policy.verdict import ACTIONS
from smtpgate.testing.head import Complaint, Head, address, read_head, read_zones

#: How the name of a script ends.
SUFFIX: Final = ".session"
#: What `V:` may name; "none" is a message that was not judged.
VERDICTS: Final = ("none", *(action for action in ACTIONS if action != "note"))
_STEP: Final = re.compile(r"(!?[A-Za-z]#?):(?: (.*))?")
_ESCAPE: Final = re.compile(r"\\(r|n|t|0|\\|x[0-9A-Fa-f]{2}|.?)", re.DOTALL)
_PLAIN: Final = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


class BadScript(Exception):
    """A script that cannot be played, with all that is wrong with it."""

    def __init__(self, complaints: list[Complaint]) -> None:
        super().__init__("\n".join(map(str, complaints)))
        self.complaints = complaints


@attrs.frozen
class Wanted:
    """A finding as `F:` describes it; "*" and None stand for any."""

    filter: str
    reason: str = "*"
    action: str = "*"
    score: float | None = None
    is_shadow: bool | None = None


@attrs.frozen
class Step:
    """One step.

    :ivar text: what stands behind the mark
    :ivar value: the same as the mark wants it: a pattern, octets, seconds, a `Wanted`...
    """

    line: int
    mark: str
    text: str
    value: Any


@attrs.frozen
class Script:
    """A script that can be played.

    :ivar document: its head with the places of its keys
    :ivar zones: what `FakeResolver` takes
    """

    path: Path
    head: Head
    document: Document
    zones: Any
    steps: tuple[Step, ...]


def read_script(path: Path) -> Script:
    """Read a script; raises BadScript."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadScript([Complaint(path, 0, f"cannot be read: {error}")]) from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if "---" not in lines:
        raise BadScript([Complaint(path, len(lines), "no line --- between the head, in TOML, and the steps")])
    end = lines.index("---")
    wrong: list[Complaint] = []
    head, document = read_head(path, "\n".join(lines[:end]), wrong)
    zones = read_zones(path, head, document, wrong) if head is not None else ()
    reader = _Steps(path, lines, end + 1, wrong)
    steps = tuple(reader.steps())
    if not steps and not any(one.line > end for one in wrong):
        wrong.append(Complaint(path, len(lines), "there are no steps below the line ---"))
    if wrong or head is None or document is None:
        raise BadScript(wrong)
    return Script(path, head, document, zones, steps)


class _Steps:
    """Reads the steps."""

    def __init__(self, path: Path, lines: list[str], first: int, wrong: list[Complaint]) -> None:
        self._path = path
        self._lines = lines
        self._at = first
        self._wrong = wrong
        self._names: set[str] = set()
        self._readers: dict[str, Callable[[str], Any]] = {
            "C": str,
            "c": _octets,
            "D": self._message,
            "L": _some("the user who logs in"),
            "W": _seconds,
            "N": self._connection,
            "U": self._known,
            "X": _close,
            "S": _pattern,
            "F": _finding,
            "!F": _no_finding,
            "V": _verdict,
            "E": _failure,
            "B": _pattern,
            "!B": _pattern,
            "B#": _number,
            "H": _pattern,
        }

    def steps(self) -> Iterator[Step]:
        """All that make sense; what does not is a complaint."""
        while self._at < len(self._lines):
            line, number = self._lines[self._at], self._at + 1
            self._at += 1
            if not line.strip() or line.startswith("#"):
                continue
            found = _STEP.fullmatch(line)
            try:
                if found is None:
                    raise ValueError(f'{quoted(line)} is no step; write a mark, a colon and a blank, as in "C: NOOP"')
                mark, text = found[1], found[2] or ""
                if mark not in self._readers:
                    raise ValueError(f"{mark}: is none of the marks {', '.join(self._readers)}")
                yield Step(number, mark, text, self._readers[mark](text))
            except (ValueError, OSError) as error:
                self._wrong.append(Complaint(self._path, number, str(error)))

    def _message(self, text: str) -> bytes:
        if text:
            return (self._path.parent / text).read_bytes()
        first = self._at
        while self._at < len(self._lines):
            self._at += 1
            if self._lines[self._at - 1] == ".":
                return "".join(f"{line}\n" for line in self._lines[first : self._at - 1]).encode()
        self._at = first
        raise ValueError("the message that begins here has no end; a line with nothing but a dot ends it")

    def _connection(self, text: str) -> tuple[str, str]:
        name, _, where = text.partition(" ")
        if not name or name in self._names:
            raise ValueError(f'N: wants a name that no connection has yet, came "{name}"')
        self._names.add(name)
        return name, address(where) if where else ""

    def _known(self, text: str) -> str:
        if text not in self._names:
            raise ValueError(f'no connection "{text}" was opened above with N:')
        return text


def _some(what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not text:
            raise ValueError(f"what is missing: {what}")
        return text

    return check


def _octets(text: str) -> bytes:
    def plain(found: re.Match[str]) -> str:
        escape = found[1]
        if escape[:1] == "x" and len(escape) == 3:
            # A lone surrogate is how Python keeps an octet that is no text.
            number = int(escape[1:], 16)
            return chr(number) if number < 128 else chr(0xDC00 + number)
        if escape not in _PLAIN:
            raise ValueError(f"\\{escape} is none of the escapes \\r \\n \\t \\0 \\\\ \\xHH")
        return _PLAIN[escape]

    return _ESCAPE.sub(plain, text).encode("utf-8", "surrogateescape")


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except BadValue as error:
        raise ValueError(str(error)) from None
    return seconds


def _close(text: str) -> str:
    if text != "close":
        raise ValueError(f'X: wants the word close, came "{text}"')
    return text


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(_some("a pattern")(text), re.DOTALL)
    except re.error as error:
        raise ValueError(f"{quoted(text)} is no pattern: {error}") from None


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f'B#: wants the number of messages, came "{text}"')
    return int(text)


def _score(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'"{text}" is no score; write a number') from None


def _finding(text: str) -> Wanted:
    words = text.split()
    is_shadow = words[-1:] == ["shadow"]
    words = words[:-1] if is_shadow else words
    if not 2 <= len(words) <= 4:
        raise ValueError(f'F: wants FILTER REASON [ACTION [SCORE]] [shadow], came "{text}"')
    action = words[2] if len(words) > 2 else "*"
    if action not in ("*", *ACTIONS):
        raise ValueError(f'"{action}" is none of the actions {", ".join(ACTIONS)}')
    return Wanted(words[0], words[1], action, _score(words[3]) if len(words) > 3 else None, is_shadow)


def _no_finding(text: str) -> Wanted:
    words = text.split()
    if not 1 <= len(words) <= 2:
        raise ValueError(f'!F: wants FILTER [REASON], "*" for any, came "{text}"')
    return Wanted(words[0], words[1] if len(words) > 1 else "*")


def _verdict(text: str) -> tuple[str, float | None, str]:
    words = text.split()
    would = ""
    if len(words) > 2 and words[-2] == "would":
        would, words = words[-1], words[:-2]
    if not 1 <= len(words) <= 2:
        raise ValueError(f'V: wants ACTION [SCORE] [would ACTION], came "{text}"')
    for action in (words[0], would or words[0]):
        if action not in VERDICTS:
            raise ValueError(f'"{action}" is none of the verdicts {", ".join(VERDICTS)}')
    return words[0], _score(words[1]) if len(words) > 1 else None, would


def _failure(text: str) -> tuple[str, str, str]:
    words = text.split(None, 2)
    if len(words) != 3:
        raise ValueError(f'E: wants FILTER STAGE KIND, as in "my-filter rcpt timeout", came "{text}"')
    return words[0], words[1], words[2]
