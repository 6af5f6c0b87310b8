"""Files for bodies that wait (`interfaces.ISpoolStore`)."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from zope.interface import implementer

from smtpgate.interfaces import ISpoolStore

#: So much room is left for everything else on the disk.
LEFT_OCTETS = 64 * 2**20


@implementer(ISpoolStore)
class SpoolStore:
    """Files without names: they vanish when closed, and when the process is killed."""

    def __init__(self, folder: Path, left_octets: int = LEFT_OCTETS) -> None:
        self._folder = folder / "spool"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._left = left_octets

    def open(self) -> BinaryIO:
        """A new file; raises OSError (ENOSPC) where the disk is nearly full."""
        room = os.statvfs(self._folder)
        if room.f_bavail * room.f_frsize < self._left:
            raise OSError(errno.ENOSPC, "the disk is nearly full", str(self._folder))
        return tempfile.TemporaryFile(dir=self._folder)
