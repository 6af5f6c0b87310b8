"""The octets of a message for the filters that must see all of it (`interfaces.IContent`), and on their way out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from zope.interface import implementer

from smtpgate.interfaces import IContent
from smtpgate.message.splice import Splice, Stream
from smtpgate.proxy.spool import Spool


@implementer(IContent)
class Whole:
    """A whole message in its spool, which `proxy.body` closes.

    :ivar digest: SHA-256 in hex
    """

    __slots__ = ("octets", "digest", "_spool")

    def __init__(self, spool: Spool, digest: str) -> None:
        self.octets = spool.octets
        self.digest = digest
        self._spool = spool

    def pieces(self) -> AsyncIterator[bytes]:
        """All of it, from the start. Raises OSError where the disk fails."""
        return self._spool.pieces()

    async def read(self) -> bytes:
        """All of it at once. Raises OSError where the disk fails."""
        return b"".join([piece async for piece in self._spool.pieces()])

    async def descriptor(self) -> int:
        """A descriptor of a nameless file that holds all of it. Raises OSError where there is no room."""
        return await self._spool.descriptor()


async def edited(pieces: AsyncIterator[bytes], splices: Iterable[Splice]) -> AsyncIterator[bytes]:
    """Content with its edits, piece by piece. Raises ValueError where they do not fit it."""
    stream = Stream(splices)
    async for piece in pieces:
        octets = stream.feed(piece)
        if octets:
            yield octets
    octets = stream.finish()
    if octets:
        yield octets
