"""The octets of messages that the gateway has taken on itself: a file each, on the disk before anybody is told.

A file is written under another name, synced, renamed and its folder synced: it is there whole or not at all, also after
a loss of power. The index (`state.vault`) names the files. What it does not name is left of a gateway that was killed
before it answered, or an index was lost: it is put aside for a month, since of the latter somebody will ask.

All of it blocks, and runs in threads.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

#: So much room is left for everything else on the disk, as for bodies that wait for their verdict.
LEFT_OCTETS = 64 * 2**20
#: What no index names is kept so long.
ASIDE_S = 30 * 86400.0
_NEW, _ASIDE = "new", "orphans"


class Bodies:
    """The files of one state folder."""

    def __init__(self, folder: Path, left_octets: int = LEFT_OCTETS) -> None:
        self._folder = folder / "held"
        self._left = left_octets
        for path in (self._folder, self._folder / _NEW, self._folder / _ASIDE):
            path.mkdir(mode=0o700, exist_ok=True)
        _sync(folder)

    def begin(self, name: str) -> Body:
        """A file to be written. Raises OSError (ENOSPC) where the disk is nearly full.

        :param name: letters and digits; of the message, never used before
        """
        if shutil.disk_usage(self._folder).free < self._left:
            raise OSError(errno.ENOSPC, "the disk is nearly full", str(self._folder))
        return Body(self._folder / _NEW / name, self._path(name))

    def _path(self, name: str) -> Path:
        # The last letters are chance: files are spread evenly, some thousands in a folder at a million.
        return self._folder / name[-2:] / name

    def open(self, name: str) -> BinaryIO:
        """A file to be read. Raises OSError where it is gone."""
        return self._path(name).open("rb")

    def remove(self, names: Collection[str]) -> None:
        """Take files away; one that is gone is no fault. Raises the first OSError, once all were tried."""
        failed: OSError | None = None
        for name in names:
            try:
                self._path(name).unlink(missing_ok=True)
            except OSError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def names(self) -> Iterator[str]:
        """All that are there."""
        for folder in os.scandir(self._folder):
            if folder.is_dir() and folder.name not in (_NEW, _ASIDE):
                yield from os.listdir(folder.path)

    def sweep(self, is_known: Callable[[str], bool], started: float) -> int:
        """Put aside what is not known, and forget what lies there long enough; how many files were put aside.

        :param is_known: whether the index names a file, or this process has begun it
        :param started: seconds since the epoch: what came later may be about to be named
        """
        for entry in list(os.scandir(self._folder / _NEW)):
            if _is_older(entry, started) and not is_known(entry.name):
                os.unlink(entry.path)
        for entry in list(os.scandir(self._folder / _ASIDE)):
            if _is_older(entry, started - ASIDE_S):
                os.unlink(entry.path)
        aside = 0
        for folder in list(os.scandir(self._folder)):
            if not folder.is_dir() or folder.name in (_NEW, _ASIDE):
                continue
            for entry in list(os.scandir(folder.path)):
                if _is_older(entry, started) and not is_known(entry.name):
                    os.rename(entry.path, self._folder / _ASIDE / entry.name)
                    # Its month begins now.
                    os.utime(self._folder / _ASIDE / entry.name, (started, started))
                    aside += 1
        return aside


class Body:
    """One file on its way to the disk."""

    def __init__(self, fresh: Path, final: Path) -> None:
        self._fresh = fresh
        self._final = final
        self._file: BinaryIO | None = os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self.octets = 0

    def write(self, octets: bytes) -> None:
        """Add to it. Raises OSError."""
        assert self._file is not None
        self._file.write(octets)
        self.octets += len(octets)

    def finish(self) -> None:
        """It is whole: on the disk under its name when this returns. Raises OSError."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        folder = self._final.parent
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync(folder.parent)
        self._fresh.rename(self._final)
        _sync(folder)

    def abandon(self) -> None:
        """It will not be needed."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for path in (self._fresh, self._final):
            path.unlink(missing_ok=True)


def _is_older(entry: os.DirEntry[str], before: float) -> bool:
    try:
        return entry.stat().st_mtime < before
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
