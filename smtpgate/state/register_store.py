"""Registered documents and tables as files of the state folder: hashes that child processes map, one file for each.

What is in a file only `examine.known` knows, but for its first line, which says in JSON what it is. They are no rows of
the database, since a child maps a table of a million rows where it lies and never holds it. A file comes by renaming
and is never written in place, so a child that looks into the old one is not disturbed. The key stands in a file of
its own (`StateFolder.secret`); a copy of these files without it is worth nothing.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final

from zope.interface import implementer

from smtpgate.interfaces import IRegister, StoreFailed

#: Name of the folder, and of its key.
REGISTERED: Final = "registered"
KINDS: Final = ("fingerprint", "table")
#: Files of one gateway; a child opens each for each message that a rule asks about.
FILES: Final = 1000
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LINE_OCTETS: Final = 65_536


def check_name(name: str) -> str:
    """A name that one may have: it is a file's, and is written in rules. Raises ValueError."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name[:80]!r} is no name: lower-case letters, digits, dots and dashes, at most 64")
    return name


@implementer(IRegister)
class RegisterStore:
    """The folder of one gateway."""

    def __init__(self, state_dir: Path, key: bytes) -> None:
        """
        :param key: 32 octets
        """
        self._folder = state_dir / REGISTERED
        self._key = key

    def listed(self) -> list[dict[str, Any]]:
        """What there is, by kind and name."""
        found = []
        for path in self._paths():
            try:
                with path.open("rb") as file:
                    about = json.loads(file.readline(_LINE_OCTETS))
                    known = os.fstat(file.fileno())
            except FileNotFoundError:
                continue  # It was removed meanwhile.
            except (OSError, ValueError) as error:
                raise StoreFailed(f"{path} cannot be read: {error}") from error
            kept = {key: about.get(key) for key in ("hashes", "files", "columns", "least", "window", "rows", "cells")}
            name, _, kind = path.name.rpartition(".")
            found.append({"kind": kind, "name": name, "octets": known.st_size, "changed": known.st_mtime, **kept})
        return found

    def _paths(self) -> list[Path]:
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreFailed(f"{self._folder} cannot be read: {error.strerror}") from error
        paths = [self._folder / name for name in names if name.rpartition(".")[2] in KINDS]
        return sorted(paths, key=lambda path: (path.suffix, path.name))

    def put(self, kind: str, name: str, content: bytes) -> None:
        """Keep a file."""
        place = self._place(kind, name)
        fresh = place.with_name(f"{place.name}.new")
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if not place.exists() and len(self._paths()) >= FILES:
                raise StoreFailed(f"there are {FILES} registered already, and no more are looked for")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(place)
            self._sync()
        except OSError as error:
            raise StoreFailed(f"{place} cannot be written: {error.strerror}") from error

    def remove(self, kind: str, name: str) -> bool:
        """Forget one."""
        place = self._place(kind, name)
        try:
            place.unlink()
            self._sync()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreFailed(f"{place} cannot be removed: {error.strerror}") from error
        return True

    def request(self) -> dict[str, Any]:
        """What a child is told."""
        paths = self._paths()
        of = {kind: [str(path) for path in paths if path.suffix == f".{kind}"] for kind in KINDS}
        return {"key": self._key.hex(), "fingerprints": of["fingerprint"], "tables": of["table"]}

    def _place(self, kind: str, name: str) -> Path:
        if kind not in KINDS:
            raise StoreFailed(f"nothing of kind {kind!r} is registered")
        try:
            return self._folder / f"{check_name(name)}.{kind}"
        except ValueError as error:
            raise StoreFailed(str(error)) from None

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
