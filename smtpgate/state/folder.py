"""The state folder: made, locked by one process, and the secrets in it.

All that is in it belongs to the folder's owner, the user that the gateway runs as: `as_owner` is for those who
come as root.
"""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StateError(Exception):
    """The folder cannot be used; the text says why and what would be right."""


class StateLocked(StateError):
    """Another process holds it."""


#: Files of ours and of Python that whoever runs the gateway can read.
_PROGRAM = (__file__, os.__file__)


def _user(uid: int) -> str:
    """A user as people call it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Root becomes the user and group that a folder belongs to, until the end; everybody else stays who they are.

    What is made meanwhile is the owner's, SQLite's files beside the database too, and no link that the owner has put
    there leads root anywhere. Postfix does the same for `postmap`. A folder that is missing changes nothing.
    Raises StateError.
    """
    try:
        found = folder.stat()
    except OSError:
        found = None
    me = os.geteuid()
    may = os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    if found is not None and me not in (0, found.st_uid) and not may:
        raise StateError(f"state_dir {folder} belongs to {_user(found.st_uid)}; run this as that user, or as root")
    if found is None or me or not found.st_uid:
        yield
        return
    before = os.getegid(), os.getgroups()
    try:
        entry = pwd.getpwuid(found.st_uid)
        groups = os.getgrouplist(entry.pw_name, found.st_gid)
    except KeyError:
        groups = [found.st_gid]
    try:
        try:
            os.setgroups(groups)
            os.setegid(found.st_gid)
            os.seteuid(found.st_uid)
        except PermissionError as error:
            owner = _user(found.st_uid)
            raise StateError(f"state_dir {folder} belongs to {owner}; run this as that user") from error
        for place in _PROGRAM:
            # Modules are still to be loaded; and the gateway itself could not run.
            if not os.access(place, os.R_OK, effective_ids=True):
                raise StateError(
                    f"state_dir {folder} belongs to {_user(found.st_uid)}, who may not read {place}: install the "
                    "program where the gateway's user may read it"
                )
        yield
    finally:
        os.seteuid(0)
        if (os.getegid(), os.getgroups()) != before:
            os.setegid(before[0])
            os.setgroups(before[1])


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
            raise StateError(f"state_dir {self.path}: {error.strerror}; {self._remedy()}") from error
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

    def _remedy(self) -> str:
        """What to do where the folder or its lock cannot be opened."""
        me = os.geteuid()
        try:
            owner, lock = self.path.stat().st_uid, (self.path / "lock").stat().st_uid
        except OSError:
            owner = lock = me
        if owner == me != lock:
            return f"its files belong to {_user(lock)}: chown -R {_user(me).removeprefix('uid ')} {self.path}"
        whose = f"run this as {_user(owner)}, its owner, or " if owner != me else ""
        return f"{whose}give a folder that this user may write"

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
