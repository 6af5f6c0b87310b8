"""Where the log leaves the process: a file, or standard output. Never waits, never raises.

A pipe whose reader has stopped must not stop the mail, so only what surely fits is written to one; a full
disk and a closed pipe cost lines, which are counted. What could not be written is kept up to a limit and
tried again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time
from collections.abc import Callable

#: Octets kept while nothing can be written.
HELD_OCTETS = 2**20
#: After a failure it is tried again so much later.
RETRY_S = 0.25
#: A pipe that is ready takes at least this much without waiting (POSIX: PIPE_BUF is at least 512, on Linux
#: 4096).
_PIECE = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
#: Nobody will ever read what is written to such a descriptor.
_DEAD = frozenset({errno.EPIPE, errno.EBADF, errno.ECONNRESET})


class Outlet:
    """One open file descriptor.

    :ivar dropped: lines lost up to now
    """

    __slots__ = ("dropped", "_file", "_fd", "_poll", "_held", "_held_octets", "_retry_at", "_now")

    def __init__(self, file: str, now: Callable[[], float] = time.monotonic) -> None:
        """
        :param file: "-" is file descriptor 1 itself, since `sys.stdout` is led back into the log by twistd
        :raise OSError: the file cannot be opened
        """
        self.dropped = 0
        self._file = file
        self._held: list[bytes] = []
        self._held_octets = 0
        self._retry_at = 0.0
        self._now = now
        self._fd = -1
        self._poll: select.poll | None = None
        self._take(1 if file == "-" else self._open())

    @property
    def is_standard(self) -> bool:
        """True for standard output, which cannot be opened anew."""
        return self._file == "-"

    @property
    def holds(self) -> bool:
        """True while something waits to be tried again."""
        return bool(self._held)

    def _open(self) -> int:
        return os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY, 0o640)

    def _take(self, fd: int) -> None:
        self._fd = fd
        self._poll = None
        with contextlib.suppress(OSError):
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                self._poll = select.poll()
                self._poll.register(fd, select.POLLOUT)

    def reopen(self) -> None:
        """Open the file anew, as after a rotation. Raises OSError, and then keeps the old one."""
        if self.is_standard:
            return
        fd = self._open()
        self._retry_at = 0.0
        self.write(b"")
        if self._fd >= 0:
            os.close(self._fd)
        self._take(fd)

    def close(self) -> None:
        """Write what is held if that can be, and close."""
        self._retry_at = 0.0
        self.write(b"")
        self._lose(self._held)
        self._held, self._held_octets = [], 0
        if not self.is_standard and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def write(self, octets: bytes) -> None:
        """Write whole lines, now or as soon as that is possible."""
        if self._held:
            self._hold(octets)
            if self._now() < self._retry_at:
                return
            octets = b"".join(self._held)
            self._held, self._held_octets = [], 0
        position = 0
        try:
            while position < len(octets):
                if self._poll is None:
                    position += os.write(self._fd, octets[position:] if position else octets)
                    continue
                if not self._poll.poll(0):
                    break
                position += os.write(self._fd, octets[position : position + _PIECE])
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _DEAD:
                self._lose([octets[position:]])
                return
        if position < len(octets):
            self._retry_at = self._now() + RETRY_S
            self._hold(octets[position:])

    def _hold(self, octets: bytes) -> None:
        room = HELD_OCTETS - self._held_octets
        if len(octets) > room:
            end = octets.rfind(b"\n", 0, max(room, 0)) + 1
            self._lose([octets[end:]])
            octets = octets[:end]
        if octets:
            self._held.append(octets)
            self._held_octets += len(octets)

    def _lose(self, lost: list[bytes]) -> None:
        self.dropped += sum(octets.count(b"\n") for octets in lost)
