"""A message whose octets are in a file of the vault (`interfaces.IContent`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpgate.interfaces import IContent
from smtpgate.message.header import HeaderReader, HeaderSection
from smtpgate.proxy.spool import read_at


def section_of(octets: bytes, cap: int) -> HeaderSection:
    """The header section of a message that is there whole.

    :param cap: octets; of a larger one the beginning
    """
    reader = HeaderReader(cap)
    reader.feed(octets)
    if reader.section is None:
        reader.finish()
    assert reader.section is not None
    return reader.section


@implementer(IContent)
class Filed:
    """One message; whoever opened it closes it.

    :ivar digest: SHA-256 in hex, of the message as it came: our trace field is not in it
    """

    __slots__ = ("octets", "digest", "_file", "_in_thread")

    def __init__(self, file: BinaryIO, octets: int, digest: str, in_thread: Callable[..., Deferred[Any]]) -> None:
        self.octets = octets
        self.digest = digest
        self._file = file
        self._in_thread = in_thread

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it. Raises OSError where the file is shorter than it was."""
        position = 0
        while position < self.octets:
            content = await self._in_thread(read_at, self._file, position)
            if not content:
                raise OSError("the file is shorter than what was written to it")
            position += len(content)
            yield content

    async def read(self) -> bytes:
        """All of it at once."""
        return b"".join([piece async for piece in self.pieces()])

    async def descriptor(self) -> int:
        """Of the file."""
        return self._file.fileno()

    async def header(self, cap: int) -> HeaderSection:
        """Its header section. Raises OSError as `pieces` does.

        :param cap: octets; of a larger one the beginning
        """
        reader = HeaderReader(cap)
        async for piece in self.pieces():
            reader.feed(piece)
            if reader.section is not None:
                return reader.section
        reader.finish()
        assert reader.section is not None
        return reader.section

    def close(self) -> None:
        """It is not needed any more."""
        self._file.close()
