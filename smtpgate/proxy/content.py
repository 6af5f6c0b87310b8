"""The octets of a message: what is odd, all of them for filters (`interfaces.IContent`), and on their way out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from zope.interface import implementer

from smtpgate.config.model import Limits
from smtpgate.interfaces import IContent
from smtpgate.message.splice import Splice, Stream
from smtpgate.proxy.leg import Leg
from smtpgate.proxy.spool import Spool
from smtpgate.smtp import status
from smtpgate.smtp.framing import Content
from smtpgate.smtp.reply import Reply


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


def oddity(content: Content, limits: Limits, bare_newline: str) -> Reply | None:
    """What an odd message is refused with, if any; `bare_newline` as the listener has it."""
    if content.octets > limits.message_size_octets:
        return status.MESSAGE_TOO_BIG
    if content.is_long_line:
        return status.LINE_IN_CONTENT_TOO_LONG
    if content.has_bare_newline and bare_newline != "normalize":
        return status.BARE_NEWLINE if bare_newline == "reject" else status.BARE_NEWLINE_CLOSING
    return status.EIGHT_BIT if content.is_eight_bit else None


def minds_eight_bit(legs: Iterable[Leg]) -> bool:
    """Whether some server takes no 8-bit content, and is to get none."""
    return any(leg.pool.backend.eight_bit == "reject" and "8BITMIME" not in leg.link.capabilities.words for leg in legs)


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
