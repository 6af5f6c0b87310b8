"""Files that the options of engine filters name: secrets, and rules.

They are read when a configuration is loaded, by the validators of the options, so that `check-config` finds what is
wrong with them and nothing is read while a filter is built. `read_rules` is also what `yara` runs in a worker thread to
see whether rules have changed. Paths are relative to the folder of the configuration file.

Promised: a pipe or a device is refused unopened, nothing larger than a limit is read, no message repeats what is in a
file. Errors are `BadValue`.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import attrs

from smtpgate.config.problem import BadValue

#: A key of HMAC needs no more than the block of its hash (RFC 2104 section 3).
SECRET_OCTETS: Final = 4096
#: Shorter ones can be guessed (RFC 2104 section 3: the length of the digest).
SECRET_LEAST: Final = 16
#: Of all rules together: the full set of YARA Forge has some 12 MB.
RULES_OCTETS: Final = 32 << 20
RULES_FILES: Final = 5000
_ENDINGS: Final = (".yar", ".yara", ".rules")


def located(text: str, context: Any) -> Path:
    """The path that an operator wrote, from the folder that pydantic's validation context names."""
    if not text or "\0" in text:
        raise BadValue("this is not a path", "write the path of a file, absolute or relative to this file")
    base = context.get("base") if isinstance(context, dict) else None
    return Path(text) if base is None else Path(base) / text


def _unreadable(path: Path, error: OSError) -> BadValue:
    hint = "make it, or write another path; the user that the gateway runs as must be able to read it"
    return BadValue(f"cannot read {path}: {(error.strerror or str(error)).lower()}", hint)


def read_octets(path: Path, most: int) -> bytes:
    """What is in a file."""
    try:
        known = path.stat()
        if not stat.S_ISREG(known.st_mode):
            raise BadValue(f"{path} is no file", "write the path of a file")
        if known.st_size > most:
            raise BadValue(f"{path} is larger than {most} octets")
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def read_secret(path: Path) -> bytes:
    """A secret without the line end behind it. The file must be its owner's alone."""
    octets = read_octets(path, SECRET_OCTETS).strip(b"\r\n")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadValue(f"{path} can be read by others (mode {mode:04o})", f"make it 0600: chmod 600 {path}")
    if len(octets) < SECRET_LEAST:
        raise BadValue(f"{path} has a secret of {len(octets)} octets", "make one with: openssl rand -hex 32")
    return octets


@attrs.frozen
class RuleFiles:
    """Rules as they stand in files.

    :ivar sources: name of the file without its folder, and its text
    :ivar digest: of all of them
    :ivar stamp: changes when a file is written, comes or goes, as far as the disk tells without reading
    """

    sources: tuple[tuple[str, str], ...]
    digest: str
    stamp: tuple[tuple[str, int, int], ...]


def _files(paths: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        try:
            if path.is_dir():
                found += sorted(one for one in path.iterdir() if one.suffix in _ENDINGS and one.is_file())
            else:
                found.append(path)
        except OSError as error:
            raise _unreadable(path, error) from None
        if len(found) > RULES_FILES:
            raise BadValue(f"{path} has more than {RULES_FILES} files")
    return found


def stamp_of(paths: Iterable[str]) -> tuple[tuple[str, int, int], ...]:
    """When the files were written, and how large they are."""
    stamps = []
    for path in _files(paths):
        try:
            known = path.stat()
        except OSError as error:
            raise _unreadable(path, error) from None
        stamps.append((str(path), known.st_mtime_ns, known.st_size))
    return tuple(stamps)


def read_rules(paths: Iterable[str]) -> RuleFiles:
    """All rules of files, and of the files in folders."""
    paths = tuple(paths)
    stamp = stamp_of(paths)
    left = RULES_OCTETS
    sources = []
    digest = hashlib.sha256()
    for path in _files(paths):
        octets = read_octets(path, left)
        left -= len(octets)
        try:
            text = octets.decode("utf-8")
        except UnicodeDecodeError:
            raise BadValue(f"{path} is not UTF-8") from None
        sources.append((path.name, text))
        digest.update(len(octets).to_bytes(8, "big") + path.name.encode("utf-8", "surrogateescape") + b"\0" + octets)
    if not sources:
        raise BadValue(f"no rules in {', '.join(paths)}", f"name files, or folders with {', '.join(_ENDINGS)} files")
    return RuleFiles(tuple(sources), digest.hexdigest(), stamp)
