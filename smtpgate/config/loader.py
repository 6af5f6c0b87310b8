"""From a configuration file to the settings, or to everything that is wrong with it.

`load` is what start-up, reload and `smtpgate check-config` call; `loads` takes the text, for the admin page
and for tests. Both return a finished `Settings` with its warnings, or raise one `ConfigErrors` with all
problems, each with its line, sorted. They never change what runs: the caller swaps the tree in or throws it
away.

This is the only module of the room that opens files, and it opens only what the configuration names.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import attrs

from smtpgate.config import build, checks, hiding
from smtpgate.config.build_filters import FilterFactory, Plugins
from smtpgate.config.model import Settings
from smtpgate.config.position import BadSyntax, Document, read
from smtpgate.config.problem import ConfigErrors, Fault, Problem, dotted, in_order
from smtpgate.config.surroundings import Folder, ReadFile, Surroundings
from smtpgate.config.validation import validate
from smtpgate.rules.searching import NO_OWN, Own

__all__ = ["ConfigErrors", "Problem", "load", "loads", "read_text"]

#: Largest file that is read; a configuration of 100,000 domains has 3 MB.
FILE_OCTETS = 16 * 2**20

_NONE: Mapping[str, object] = MappingProxyType({})


def load(
    path: Path | str,
    factories: Mapping[str, FilterFactory] = _NONE,  # type: ignore[assignment]
    failed_plugins: Mapping[str, str] = _NONE,  # type: ignore[assignment]
) -> Settings:
    """The settings in a file; raises `ConfigErrors`.

    :param factories: the filters found, by name
    :param failed_plugins: plugin modules that could not be imported, with reasons
    """
    return loads(read_text(path), path, factories, failed_plugins)


def read_text(path: Path | str) -> str:
    """The text of a configuration file; raises `ConfigErrors`."""
    path = Path(path)
    file = _read_file(path)
    if file.reason:
        raise ConfigErrors([_whole_file(path, f"cannot be read: {file.reason}", "give the path of a TOML file")])
    try:
        return file.octets.decode("utf-8")
    except UnicodeDecodeError as error:
        line = file.octets.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8: octet 0x{file.octets[error.start]:02x} in line {line}"
        raise ConfigErrors([_whole_file(path, message, "save the file as UTF-8")]) from None


def loads(
    text: str,
    path: Path | str | None = None,
    factories: Mapping[str, FilterFactory] = _NONE,  # type: ignore[assignment]
    failed_plugins: Mapping[str, str] = _NONE,  # type: ignore[assignment]
    beside: Own = NO_OWN,
) -> Settings:
    """The settings in a text. `path` is where it belongs: relative paths start at its folder.

    :param beside: detectors and dictionaries that rules may name besides those of the text
    """
    shown = str(path) if path is not None else "<text>"
    try:
        document = read(text)
    except BadSyntax as error:
        raise ConfigErrors([Problem(shown, error.line, error.column, "", error.reason, error.hint)]) from None
    place = Path(path).absolute() if path is not None else None
    settings, faults = _judge(document, place, Plugins(factories, failed_plugins), beside)
    problems = in_order(hiding.without(_problem(fault, document, shown), document.tree) for fault in faults)
    if settings is None or any(problem.is_error for problem in problems):
        raise ConfigErrors(problems)
    return attrs.evolve(
        settings,
        path=place,
        digest=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        warnings=problems,
    )


def _judge(
    document: Document, place: Path | None, plugins: Plugins, beside: Own = NO_OWN
) -> tuple[Settings | None, Iterable[Fault]]:
    validated = validate(document.tree)
    if validated.file is None:
        return None, validated.faults
    base = place.parent if place is not None else Path.cwd()
    files = {path: _read_file(path) for path in build.paths_in(validated.file, base)}
    settings, built = build.settings(validated.file, document, base, socket.gethostname(), files, plugins, beside)
    folder, log = _look_at_folder(settings.state_dir), _look_at_log(settings.log.file)
    around = Surroundings(
        datetime.now(UTC), files, folder, log, place, _look_at_certificates(settings.smime_certificates)
    )
    found = [*built, *checks.run(settings, around)]
    return settings, [*validated.faults, *checks.untainted(found, validated.tainted)]


def _problem(fault: Fault, document: Document, path: str) -> Problem:
    if fault.within is not None:
        line, column = document.within(fault.where, *fault.within)
    else:
        line, column = document.place(fault.where, fault.is_key)
    key = dotted(document.as_written(fault.where))
    return Problem(path, line, column, key, fault.message, fault.hint, fault.severity)


def _whole_file(path: Path, message: str, hint: str) -> Problem:
    return Problem(str(path), 0, 0, "", message, hint)


def _read_file(path: Path) -> ReadFile:
    """A file's octets, or why they cannot be had. Never waits: a pipe or a device is refused unopened."""
    try:
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            return ReadFile(path, mode=mode, reason="it is not a regular file")
        if status.st_size > FILE_OCTETS:
            return ReadFile(path, mode=mode, reason=f"it is larger than {FILE_OCTETS} octets")
        return ReadFile(path, path.read_bytes(), mode)
    except OSError as error:
        return ReadFile(path, reason=(error.strerror or str(error)).lower())
    except ValueError as error:
        return ReadFile(path, reason=str(error))


def _look_at_certificates(path: Path | None) -> Folder:
    """Can the folder of certificates be read?"""
    if path is None:
        return Folder()
    if not os.path.isdir(path):
        return Folder(False, f"there is no folder {path}")
    return Folder(True, "" if os.access(path, os.R_OK | os.X_OK) else f"this user may not read {path}")


def _look_at_log(file: str) -> Folder:
    """Can the log be written, by the user who runs this?"""
    if file == "-":
        return Folder()
    folder = os.path.dirname(file)
    if not os.path.isdir(folder):
        return Folder(False, f"there is no folder {folder}")
    if os.path.isdir(file):
        return Folder(True, f"{file} is a folder")
    exists = os.path.exists(file)
    if not os.access(file if exists else folder, os.W_OK):
        return Folder(exists, f"this user may not write {file}")
    return Folder(exists)


def _look_at_folder(path: Path) -> Folder:
    """Can the state folder be used, or made, by the user who runs this?"""
    exists = os.path.exists(path)
    nearest = path
    # os.path says no where pathlib would raise: behind a folder that this user may not enter.
    while not os.path.exists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not os.path.isdir(nearest):
        return Folder(exists, f"{nearest} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Folder(exists, f"this user may not write in {nearest}")
    return Folder(exists)
