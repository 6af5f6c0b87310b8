"""The certificates of the listeners as their files are on the disk, and when they expire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509

from smtpgate.config.model import Settings
from smtpgate.config.unreadable import UNREADABLE
from smtpgate.control import certificate_files, chains
from smtpgate.control.certificate_files import Given, Shaken
from smtpgate.control.chains import Chain
from smtpgate.control.views import Actor, Invalid, Refused, Unknown

#: The files are read again after so long, or when another revision is at work.
AGAIN_S: Final = 600.0


@attrs.frozen
class Certificate:
    """One file.

    :ivar not_after: seconds since the epoch
    :ivar problem: why it cannot be read; "" where it can
    """

    path: str
    listeners: tuple[str, ...]
    not_after: float = 0.0
    problem: str = ""


def read(files: Collection[tuple[Path, tuple[str, ...]]]) -> tuple[Certificate, ...]:
    """What the first certificate of each file says; the soonest to expire first."""
    out = []
    for path, listeners in files:
        try:
            certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        except (OSError, *UNREADABLE) as error:
            out.append(Certificate(str(path), listeners, problem=str(error)[:200]))
        else:
            out.append(Certificate(str(path), listeners, certificate.not_valid_after_utc.timestamp()))
    return tuple(sorted(out, key=lambda one: (bool(one.problem), one.not_after)))


def files_of(settings: Settings, own: Path | None = None) -> list[tuple[Path, tuple[str, ...]]]:
    """Files with the listeners that use them.

    :param own: what a listener without a certificate has
    """
    files: dict[Path, list[str]] = {}
    for listener in settings.listeners.values():
        usual = (own,) if own is not None else ()
        for path in (listener.certificates or usual) if listener.tls != "off" else ():
            files.setdefault(path, []).append(listener.name)
    return [(path, tuple(names)) for path, names in files.items()]


class Certificates:
    """What is known of them.

    :ivar known: as they were read last; empty before the first time, and where no listener has one
    """

    def __init__(
        self, wall: Callable[[], float], in_thread: Callable[..., Any], settings: Callable[[], Settings]
    ) -> None:
        self.known: tuple[Certificate, ...] = ()
        #: Tells what somebody did (`Control`).
        self.did: Callable[[Actor, str, str, str], None] = lambda *_: None
        #: The file of the certificate that listeners without one have; None where none was made.
        self.own: Path | None = None
        self._wall = wall
        self._in_thread = in_thread
        self._settings = settings
        self._digest, self._at = "", 0.0

    async def look(self) -> tuple[Certificate, ...]:
        """Read them where that is due."""
        settings, now = self._settings(), self._wall()
        if settings.digest != self._digest or not 0 <= now - self._at < AGAIN_S:
            self._digest, self._at = settings.digest, now
            named = files_of(settings)
            self.known = await self._in_thread(read, named) if named else ()
        return self.known

    async def chains(self) -> tuple[Chain, ...]:
        """All that is used, read now: the certificate of our own too where a listener has no other."""
        now = self._wall()
        found: tuple[Chain, ...] = await self._in_thread(chains.read, files_of(self._settings(), self.own), now)
        return found

    # Give another one

    def place(self, listener: str) -> Path:
        """The file that a listener's certificate is in; raises Unknown, Refused."""
        found = self._settings().listeners.get(listener)
        if found is None:
            raise Unknown(f"no listener {listener}")
        if found.tls == "off":
            raise Refused(f"listener {listener} has no TLS")
        if not found.certificates:
            raise Refused(
                f"listener {listener} has a certificate of the gateway's own making: name a file for it first"
            )
        if len(found.certificates) > 1:
            raise Refused(f"listener {listener} has {len(found.certificates)} files: put them in their places by hand")
        return found.certificates[0]

    async def look_at(self, octets: bytes) -> Given:
        """Look at a key with its certificates. Raises Invalid."""
        given: Given = await self._in_thread(certificate_files.look, octets, self._wall())
        return given

    async def replace(self, listener: str, path: Path, given: Given, renew: Callable[..., Awaitable[None]]) -> None:
        """Put them in the place of a listener's file and to work; where that fails the old file is back.
        Raises Refused.

        :param path: as `place` said
        :param renew: puts a file in its place, reads all files again, and gives it back where they cannot be put to
            work, in one work that no other change is beside (`Configuration.renew`); raises Refused
        """
        before: list[bytes] = []

        async def first() -> None:
            # The configuration may be another than the one that was looked at.
            if self.place(listener) != path:
                raise Refused(f"listener {listener} has another file by now")
            before.append(await self._in_thread(certificate_files.put, path, given.octets))

        async def back() -> None:
            await self._in_thread(certificate_files.put, path, before[0])

        await renew(first, back)

    # Try

    async def shake(self, server: Any, name: str, version: str) -> Shaken:
        """A handshake with a listener, in memory. Raises Invalid.

        :param server: its `net.tls.ServerTLS`
        """
        try:
            name.encode("idna")
        except UnicodeError:
            raise Invalid("name: no name of a host") from None
        found: Shaken = await self._in_thread(certificate_files.shake, server, name, version, self._wall())
        return found

    @property
    def soonest(self) -> Certificate | None:
        """The one that expires first."""
        return next((one for one in self.known if not one.problem), None)
