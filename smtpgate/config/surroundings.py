"""What the loader found outside the configuration file: the files that it names, and the time.

Only the loader opens files. It hands them to the checks as values, so that each check is a pure function and
a test needs no disk, no clock and no other user.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import attrs


@attrs.frozen
class ReadFile:
    """One file that the configuration names. `reason` says why it could not be read; '' when it was.

    :ivar mode: permission bits
    """

    path: Path
    octets: bytes = attrs.field(default=b"", repr=False)
    mode: int = 0o600
    reason: str = ""

    @property
    def is_open_to_group(self) -> bool:
        """True when anyone but the owner has some right to it."""
        return bool(self.mode & (stat.S_IRWXG | stat.S_IRWXO))

    @property
    def is_open_to_all(self) -> bool:
        """True when every user of the machine has some right to it."""
        return bool(self.mode & stat.S_IRWXO)


@attrs.frozen
class Folder:
    """The state folder, or the nearest folder above it that exists.

    :ivar exists: the state folder itself is there
    :ivar reason: why it cannot be used, '' when it can
    """

    exists: bool = True
    reason: str = ""


@attrs.frozen
class Surroundings:
    """Everything outside the file that the checks may know.

    :ivar certificates: the folder of certificates, where one is named
    :ivar path: the configuration file itself; None for a text that belongs nowhere
    """

    now: datetime
    files: Mapping[Path, ReadFile] = attrs.field(factory=dict)
    state_dir: Folder = Folder()
    log_file: Folder = Folder()
    path: Path | None = None
    certificates: Folder = Folder()
