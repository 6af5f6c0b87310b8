"""A body that must wait for its verdict: in memory up to a limit, then in a file that nobody else can see.

All file work leaves the reactor thread. The file has no name, so nothing is left of it when the gateway is killed
(P-305).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred

from smtpgate.proxy.memory import Account

#: Read back in pieces of this size.
PIECE_OCTETS = 262144

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

InThread = Callable[..., Deferred[Any]]


class Spool:
    """One body. Append all of it, then read it as often as needed, then close."""

    __slots__ = ("octets", "_memory", "_memory_cap", "_file", "_open", "_in_thread", "_is_closed", "_copy", "_account")

    def __init__(
        self, memory_octets: int, open_file: Callable[[], BinaryIO], in_thread: InThread, account: Account | None = None
    ) -> None:
        """
        :param memory_octets: bodies up to this size never touch the disk
        :param open_file: `ISpoolStore.open`; raises OSError when there is no room
        :param in_thread: runs a blocking call elsewhere
        :param account: what its class may still hold in memory; None: enough
        """
        self.octets = 0
        self._memory: list[bytes] = []
        self._memory_cap = memory_octets
        self._file: BinaryIO | None = None
        self._open = open_file
        self._in_thread = in_thread
        self._is_closed = False
        self._copy = -1
        self._account = account

    async def append(self, content: bytes) -> None:
        """Take content in. Raises OSError when the disk is full."""
        self.octets += len(content)
        if self._file is None:
            self._memory.append(content)
            if self.octets <= self._memory_cap and (self._account is None or self._account.may_hold(self.octets)):
                return
            await self._in_thread(self._begin)
            content = b"".join(self._memory)
            self._forget()
        await self._in_thread(_write, self._file, content)

    def _forget(self) -> None:
        self._memory = []
        if self._account is not None:
            self._account.close()

    def _begin(self) -> None:
        """In a thread: open the file. It is closed again when the client left meanwhile and nobody waits for it."""
        self._file = self._open()
        if self._is_closed:
            self._file.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The whole body from its start. Raises OSError where it is forgotten already: an empty body is another."""
        self._check()
        if self._file is None:
            for content in self._memory:
                yield content
            return
        position = 0
        while position < self.octets:
            content = await self._in_thread(read_at, self._file, position)
            if not content:
                raise OSError("the spool file is shorter than what was written to it")
            position += len(content)
            yield content

    async def descriptor(self) -> int:
        """A descriptor of a nameless file with the whole body, for a child process; it is closed with the spool.

        What is in memory is written into a file in memory, once. Raises OSError where there is no room.
        """
        self._check()
        if self._file is not None:
            return self._file.fileno()
        if self._copy < 0:
            # Small, so that a thread would cost more than it spares.
            self._copy = os.memfd_create("smtpgate-body", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            for content in self._memory:
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(self._copy, rest) :]
            # A child that was taken over must not change what the next job reads.
            fcntl.fcntl(self._copy, fcntl.F_ADD_SEALS, _SEALS)
        return self._copy

    def _check(self) -> None:
        if self._is_closed:
            raise OSError("the body is forgotten: its transaction is over")

    def close(self) -> None:
        """Forget it."""
        self._is_closed = True
        self._forget()
        if self._copy >= 0:
            os.close(self._copy)
            self._copy = -1
        if self._file is not None:
            self._file.close()


def _write(file: BinaryIO, content: bytes) -> None:
    file.seek(0, 2)
    file.write(content)
    file.flush()


def read_at(file: BinaryIO, position: int) -> bytes:
    """In a thread: a piece of a file from there on."""
    file.seek(position)
    return file.read(PIECE_OCTETS)
