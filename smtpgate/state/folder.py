"""The state folder: made, locked by one process, and the secrets in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class StateError(Exception):
    """The folder cannot be used; the text says why and what would be right."""


class StateLocked(StateError):
    """Another process holds it."""


#: How the folder is laid out. A program refuses a folder whose number is higher than its own.
LAYOUT = 1


class StateFolder:
    """One folder of one gateway.

    :ivar path: absolute
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def lock(self) -> None:
        """Make the folder where it is missing, and hold it. Raises StateError, StateLocked."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(
                f"state_dir {self.path}: {error.strerror}; give a folder that this user may write"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StateLocked(
                f"state_dir {self.path} is in use by another process; stop it, or give another folder"
            ) from error
        try:
            self._check_layout()
            os.ftruncate(lock, 0)
            os.write(lock, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(lock)
            raise StateError(f"state_dir {self.path}: {error.strerror}") from error
        except StateError:
            os.close(lock)
            raise
        self._lock = lock

    def _check_layout(self) -> None:
        path = self.path / "layout"
        try:
            text = path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            self._put("layout", f"{LAYOUT}\n".encode())
            return
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise StateError(f"{path} is damaged: it should be the number {LAYOUT}")
        if int(text) > LAYOUT:
            raise StateError(
                f"state_dir {self.path} was written by a newer version of smtpgate (layout {text}); "
                "start that version, or give this one a folder of its own"
            )

    def _put(self, name: str, octets: bytes) -> None:
        """A file that is there whole or not at all, also after a loss of power."""
        fresh = self.path / f"{name}.new"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path / name)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def unlock(self) -> None:
        """Let go."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self, name: str) -> bytes:
        """32 octets of chance that stay the same over restarts, in a file that only this user reads."""
        path = self.path / f"{name}.key"
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            found = os.urandom(32)
            self._put(path.name, found)
        if len(found) != 32:
            raise StateError(f"{path} is damaged: it has {len(found)} octets in place of 32")
        return found
