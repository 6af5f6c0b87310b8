"""A folder of certificates: for whom can be encrypted.

`sealing` asks it in a thread, for each message that a rule encrypts. A file that comes, goes or changes counts for the
next message; nothing needs a reload. Whatever is in the folder is trusted: who may write there says for whom mail is
encrypted. A file that is no certificate counts for nothing, since one bad file must not stop the mail of all others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509

from smtpgate.config.entry import normal_address
from smtpgate.config.unreadable import UNREADABLE
from smtpgate.signing.smime import addresses_of, why_not

_SUFFIXES: Final = (".pem", ".crt", ".cer", ".der")
#: A certificate has some 2,000 octets.
_FILE_OCTETS: Final = 1 << 16
#: Files that are looked at; of more the operator hears.
MOST_FILES: Final = 50_000


@attrs.frozen
class Found:
    """Certificates for all who were asked for, or why there are none for some.

    :ivar lacking: by address
    """

    certificates: tuple[Any, ...] = ()
    lacking: tuple[tuple[str, str], ...] = ()


class CertificateFolder:
    """One folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: Any = None
        self._by_address: dict[str, list[Any]] = {}

    def find(self, addresses: Iterable[str], now: datetime) -> Found:
        """For each address the certificate that holds the longest. Raises OSError where the folder cannot be read.

        :param addresses: in any case; letters of the local part count alike (RFC 5321 lets them differ, nobody does)
        """
        by_address = self._look()
        certificates: dict[Any, None] = {}
        lacking = []
        for address in dict.fromkeys(map(normal_address, addresses)):
            there = by_address.get(address, [])
            good = [one for one in there if not why_not(one, now)]
            if good:
                certificates[max(good, key=lambda one: one.not_valid_after_utc)] = None
            else:
                lacking.append((address, why_not(there[-1], now) if there else "no certificate"))
        return Found(tuple(certificates), tuple(lacking))

    def _look(self) -> dict[str, list[Any]]:
        files = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.lower().endswith(_SUFFIXES) and entry.is_file():
                    status = entry.stat()
                    # Who may read a file, and which file has the name, shows in the time of its inode alone.
                    files.append((entry.name, status.st_mtime_ns, status.st_size, status.st_ctime_ns))
                    if len(files) > MOST_FILES:
                        raise OSError(f"more than {MOST_FILES} certificates in {self.path}")
        stamp = tuple(sorted(files))
        if stamp != self._stamp:
            found: dict[str, list[Any]] = {}
            is_whole = True
            for name, _, octets, _ in stamp:
                read = self._read(name, octets)
                is_whole = is_whole and read is not None
                for address, certificate in read or ():
                    found.setdefault(address, []).append(certificate)
            # Other threads may look at the same time: each has a whole index.
            self._by_address = found
            self._stamp = stamp if is_whole else None
            return found
        return self._by_address

    def _read(self, name: str, octets: int) -> list[tuple[str, Any]] | None:
        """The first certificate of a file, under the address that names it, or else under those in it; None where it
        may be read the next time without a change of its own."""
        if octets > _FILE_OCTETS:
            return []
        try:
            content = (self.path / name).read_bytes()
            read = x509.load_pem_x509_certificate if b"-----BEGIN" in content else x509.load_der_x509_certificate
            certificate = read(content)
            stem = name.rpartition(".")[0]
            names = (stem,) if "@" in stem else addresses_of(certificate)
        except (PermissionError, *UNREADABLE):
            return []
        except OSError:
            return None
        return [(normal_address(address), certificate) for address in names]
