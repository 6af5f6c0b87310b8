"""What a start begins with: the configuration file, the revision that rules, or the last one that was known to work.

Read before the state folder is locked, since it says where that is; `take` holds it against the folder once it is.
Where what should rule is broken the start ends (`ConfigErrors`), and says which revision worked last; with `--fallback`
it begins on that one, and says so in the log and on each page until another is put to work.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from smtpgate.config.loader import ConfigErrors, loads, read_text
from smtpgate.config.model import Settings
from smtpgate.config.problem import Problem
from smtpgate.policy.config_revision import ConfigRevision, Pointer, digest_of
from smtpgate.state.folder import StateError
from smtpgate.state.offline import DATABASE
from smtpgate.state.revision_store import Peeked, RevisionStore, add, find, find_pointer, mark, peek, point


@attrs.frozen
class Start:
    """What a start begins with.

    :ivar number: of the revision; 0 for the file
    :ivar fallback: why it is not what should rule; "" where it is
    """

    settings: Settings
    text: str = attrs.field(repr=False)
    number: int = 0
    pointer: Pointer = Pointer()
    fallback: str = ""


@attrs.frozen
class _Head:
    """What of a file can be read whatever else is wrong with it."""

    state_dir: Path
    mode: str


def _head(path: Path, text: str) -> _Head:
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        # The keys before the first table say where the state folder is.
        lines = text.split("\n")
        first = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
        try:
            tree = tomllib.loads("\n".join(lines[:first]))
        except (tomllib.TOMLDecodeError, RecursionError):
            tree = {}
        tree["admin"] = {"config": ""}
    named, admin = tree.get("state_dir", "var"), tree.get("admin", {})
    folder = os.path.normpath(path.absolute().parent / (named if isinstance(named, str) and named else "var"))
    mode = admin.get("config", "file") if isinstance(admin, dict) else "file"
    return _Head(Path(folder), mode if mode in ("file", "managed") else "")


def choose(path: Path, factories: Mapping[str, Any], failed: Mapping[str, str], is_fallback: bool = False) -> Start:
    """What to begin with. Raises ConfigErrors, and StateError where the state folder cannot be read.

    :param is_fallback: begin on the last revision that worked where what should rule does not
    """
    text, unread = "", None
    try:
        text = read_text(path)
    except ConfigErrors as errors:
        unread = errors
    head = _head(path, text)
    peeked = peek(head.state_dir, head.state_dir / DATABASE)
    mode = head.mode or (peeked.pointer.mode if peeked is not None else "file")
    pointer = peeked.pointer if peeked is not None else Pointer()

    def load(revision: ConfigRevision) -> Start:
        settings = loads(revision.text, path, factories, failed)
        return Start(
            _of_file(settings, text, path, mode, head, factories, failed), revision.text, revision.number, pointer
        )

    try:
        if mode == "managed" and pointer.mode == "managed" and peeked is not None:
            return _ruling(peeked, load)
        if unread is not None:
            raise unread
        return Start(loads(text, path, factories, failed), text, 0, pointer)
    except ConfigErrors as errors:
        known = _known_good(peeked, load, mode)
        if known is None:
            raise
        if not is_fallback:
            raise ConfigErrors([*errors.problems, _hint(path, peeked, known)]) from None
        first = next((problem for problem in errors.problems if problem.is_error), errors.problems[0])
        return attrs.evolve(known, fallback=f"what should rule is broken ({first})")


def _ruling(peeked: Peeked, load: Any) -> Start:
    number = peeked.pointer.at_start
    found = next((one for one in peeked.revisions if one.number == number), None)
    if found is None:
        raise StateError(f"revision {number} of the configuration should rule, and is not in the state folder")
    try:
        start: Start = load(found)
        return start
    except ConfigErrors as errors:
        raise ConfigErrors(attrs.evolve(one, path=f"revision {number}") for one in errors.problems) from None


def _of_file(
    settings: Settings, text: str, path: Path, mode: str, head: _Head, factories: Any, failed: Any
) -> Settings:
    """What the file says even where revisions rule. Where it has faults, of its own the state folder counts alone."""
    admin = attrs.evolve(settings.admin, config=mode)
    try:
        said = loads(text, path, factories, failed).admin
        admin = attrs.evolve(admin, listen=said.listen, health_listen=said.health_listen)
    except ConfigErrors:
        pass
    return attrs.evolve(settings, state_dir=head.state_dir, admin=admin)


def _known_good(peeked: Peeked | None, load: Any, mode: str) -> Start | None:
    """The newest revision that was at work and can be again."""
    for one in peeked.revisions if peeked is not None else ():
        if mode == "managed" and one.number == peeked.pointer.at_start:  # type: ignore[union-attr]
            continue
        try:
            start: Start = load(one)
        except ConfigErrors:
            continue
        return start
    return None


def _hint(path: Path, peeked: Peeked | None, known: Start) -> Problem:
    assert peeked is not None
    found = next(one for one in peeked.revisions if one.number == known.number)
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.at))
    return Problem(
        str(path),
        0,
        0,
        "",
        f"the last known good is revision {found.number} of {at}",
        "mend what is above, or start on that one: twistd smtpgate --config FILE --fallback",
        "warning",
    )


def take(store: RevisionStore, start: Start, wall: float) -> tuple[ConfigRevision, Pointer, str]:
    """Hold what was chosen against the locked folder, and write it down: the revision at work, which one rules, and
    what is to be told ("" for nothing). Raises StateError where it was changed meanwhile."""
    found: tuple[ConfigRevision, Pointer, str] = store.now(_take, start, wall)
    return found


def _take(connection: Any, start: Start, wall: float) -> tuple[ConfigRevision, Pointer, str]:
    before = find_pointer(connection)
    if before != start.pointer:
        raise StateError("the configuration was changed while this started; start again")
    mode, told = start.settings.admin.config, ""
    if start.fallback:
        # What should rule goes on doing so: a start without the option says again that it is broken.
        kept = find(connection, start.number)
        assert kept is not None
        return kept, before, ""
    if start.number:
        to = attrs.evolve(before, active=start.number, former=0, deadline=0.0, mode=mode)
        if before.former:
            mark(connection, before.active, "unconfirmed")
            told = f"nobody confirmed revision {before.active}: revision {start.number} rules again"
        if to != before:
            point(connection, to, ())
        kept = find(connection, start.number)
        assert kept is not None
        return kept, to, told
    digest = digest_of(start.text)
    ruling = find(connection, before.at_start) if before.at_start else None
    way = "seed" if mode == "managed" else "file"
    if before.former:
        mark(connection, before.active, "unconfirmed")
    if ruling is None or ruling.digest != digest:
        parent = ruling.number if ruling is not None else 0
        said = "where it begins" if way == "seed" else "read from the file"
        fresh = ConfigRevision(0, digest, start.text, parent, "system gateway", wall, said, way, "applied")
        ruling = attrs.evolve(fresh, number=add(connection, fresh))
    to = Pointer(ruling.number, 0, 0.0, digest, mode)
    if to != before:
        point(connection, to, ())
    return ruling, to, told
