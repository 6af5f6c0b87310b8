"""The state folder: made, locked by one process, and the secrets in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class StateError(Exception):
    """The folder cannot be used; the text says why and what would be right."""


class StateFolder:
    """One folder of one gateway.

    :ivar path: absolute
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def lock(self) -> None:
        """Make the folder where it is missing, and hold it for this process. Raises StateError."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"state_dir {self.path}: {error.strerror}; give a folder that this user may write") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StateError(f"state_dir {self.path} is in use by another process; stop it, or give this gateway a "
                             "folder of its own") from error
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def unlock(self) -> None:
        """Let go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self, name: str) -> bytes:
        """32 octets of chance that stay the same over restarts."""
        path = self.path / f"{name}.key"
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            found = os.urandom(32)
            fresh = path.with_suffix(".new")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(found)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        if len(found) != 32:
            raise StateError(f"{path} is damaged: it has {len(found)} octets in place of 32")
        return found
