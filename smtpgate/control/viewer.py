"""The content of held mail for those who judge it: read in the limited child, shown without effect, sealed where it is
dangerous.

Whoever calls this has written into the audit who reads what; here is no way around that, and none into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from smtpgate.control.quarantine import Quarantine
from smtpgate.control.views import Unavailable, Unknown
from smtpgate.interfaces import ServiceFailed
from smtpgate.policy.held import Held
from smtpgate.proxy import viewing
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.viewing import ANOMALIES, FLAGS, Shown, View

__all__ = ["ANOMALIES", "FLAGS", "PASSWORD", "Shown", "View", "Viewer"]

#: Of archives with malware: the custom of those who exchange samples. It is no secret: it keeps programs from opening
#: what a person has not decided to open.
PASSWORD: Final = "infected"


class Viewer:
    """Shows held mail."""

    def __init__(self, engine: Engine, revision: Callable[[], Revision], quarantine: Quarantine) -> None:
        self._engine = engine
        self._revision = revision
        self._quarantine = quarantine

    async def view(self, message: Held) -> View:
        """What is to be said of a message. Raises Unavailable while content cannot be looked at."""
        own = sorted({entry.lower().removeprefix("*.") for entry in self._revision().settings.local_domains})
        return await self._apart(
            message, lambda services, content: viewing.view(services, content, own, self._engine.in_thread)
        )

    async def page(self, message: Held, number: str) -> Shown:
        """A part of HTML as it may be shown. Raises Unknown where there is none, and Unavailable."""
        found: Shown | None = await self._apart(
            message, lambda services, content: viewing.page(services, content, number)
        )
        if found is None:
            raise Unknown(f"no part {number} of HTML")
        return found

    async def part(self, message: Held, number: str) -> tuple[bytes, str]:
        """What a part is decoded to, and its name, which is a stranger's. Raises Unknown, and Refused for a message
        that is larger than what is read at once."""
        octets = await self._quarantine.content(message.id)
        found: tuple[bytes, str] | None = await self._engine.in_thread(viewing.part, octets, number)
        if found is None:
            raise Unknown(f"no part {number}")
        return found

    async def sealed(self, octets: bytes, name: str) -> bytes:
        """An archive with a password (PASSWORD) that holds a file of that name. Raises Unavailable."""
        try:
            archive: bytes = await self._engine.in_thread(_seal, octets, name)
        except OSError as error:
            raise Unavailable(f"the archive cannot be made here: {error}") from error
        return archive

    async def _apart(self, message: Held, work: Callable[[Any, Any], Any]) -> Any:
        services = self._revision().services
        if services is None:
            raise Unavailable("content cannot be looked at here")
        content = await self._quarantine.opened(message)
        try:
            return await work(services, content)
        except ServiceFailed as error:
            raise Unavailable(f"the message cannot be shown now: {error}") from error
        finally:
            content.close()


def _seal(octets: bytes, name: str) -> bytes:
    """A zip with the old cipher of PKZIP, which every program opens; AES would be opened by few, and hide nothing
    more, since everybody knows the password. It is written by libarchive: the standard library writes none.

    PKWARE APPNOTE 6.3.10 section 6.1. Raises OSError.
    """
    try:
        import libarchive
    except (ImportError, TypeError, AttributeError) as error:
        raise OSError(f"libarchive is not there: {error}") from None
    out: list[bytes] = []

    def write(piece: bytes) -> int:
        out.append(bytes(piece))
        return len(piece)

    options = "zip:encryption=zipcrypt"
    try:
        with libarchive.custom_writer(write, "zip", options=options, passphrase=PASSWORD) as archive:
            archive.add_file_from_memory(name, len(octets), octets)
    except libarchive.ArchiveError as error:
        raise OSError(str(error)) from None
    return b"".join(out)
