"""Files for bodies that wait (`interfaces.ISpoolStore`)."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from zope.interface import implementer

from smtpgate.interfaces import ISpoolStore
from smtpgate.policy.event import Happened

#: So much room is left for everything else on the disk.
LEFT_OCTETS = 64 * 2**20
#: Room that must be there before it is said that there is enough again, as a multiple of that: a disk on the brink is
#: told of once.
_ENOUGH = 1.5


@implementer(ISpoolStore)
class SpoolStore:
    """Files without names: they vanish when closed, and when the process is killed."""

    def __init__(
        self,
        folder: Path,
        left_octets: int = LEFT_OCTETS,
        tell: Callable[[Happened], None] = lambda event: None,
    ) -> None:
        """
        :param tell: hears when room begins to lack and when there is some again; called in any thread
        """
        self._folder = folder / "spool"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._left = left_octets
        self._tell = tell
        self._is_full = False
        self._lock = threading.Lock()

    def open(self) -> BinaryIO:
        """A new file; raises OSError (ENOSPC) where the disk is nearly full."""
        if self.look() < self._left:
            raise OSError(errno.ENOSPC, "the disk is nearly full", str(self._folder))
        return tempfile.TemporaryFile(dir=self._folder)

    def look(self) -> int:
        """The room there is, octets; a change of it for bad or good is told, once."""
        room = os.statvfs(self._folder)
        free = room.f_bavail * room.f_frsize
        with self._lock:
            was_full = self._is_full
            self._is_full = free < self._left * (_ENOUGH if was_full else 1)
            is_full = self._is_full
        if is_full and not was_full:
            message = f"less than {self._left >> 20} MiB are free: mail that needs a spool file is deferred"
            self._tell(Happened("spool.full", "error", message, self._fields(free)))
        elif was_full and not is_full:
            message = "there is room again: mail that needs a spool file is taken"
            self._tell(Happened("spool.recovered", "info", message, self._fields(free)))
        return free

    def _fields(self, free: int) -> tuple[tuple[str, object], ...]:
        return ("folder", str(self._folder)), ("free", free)
