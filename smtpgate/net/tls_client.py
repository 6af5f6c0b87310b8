"""Our side of TLS with servers: whom a certificate must be of, and by what that is proved.

`ClientTLS` holds the contexts of one backend. What one connection asks for beyond that, a `ClientSide`, is made for it:
a chain that is right and a name (`verified`), what the DNS says (`dane`), or a look only (`looked_at`).

RFC 9525 and 7817 (names), RFC 7469 section 2.4 (pins), RFC 7672 (DANE).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from smtpgate.config.unreadable import UNREADABLE
from smtpgate.interfaces import Unavailable
from smtpgate.net.dane import fault_of, proves
from smtpgate.net.tls_context import TLSConfigError, TLSFailed, context, explain, load_pem, note_verification
from smtpgate.policy.tlsa import TLSA

#: Ways to look at certificates: strict refuses those that are wrong, looks notes what is wrong, any takes all.
_KINDS: Final = ("strict", "looks", "any")


class ClientSide:
    """How we begin TLS with a server, and what its certificate is held against."""

    is_server = False

    def connection(self, host: str) -> SSL.Connection:
        """A new client side.

        :param host: the name that is asked for
        """
        raise NotImplementedError

    def check(self, connection: SSL.Connection, host: str) -> tuple[str, str]:
        """Hold the certificate against what was asked for; raises TLSFailed.

        :return: by what it was proved, and what is wrong with it where that was only looked at (`TLSFacts`)
        """
        raise NotImplementedError


class ClientTLS(ClientSide):
    """The context for one backend.

    :ivar verifies: False takes any certificate, and only notes what it saw
    """

    def __init__(
        self,
        *,
        verifies: bool,
        name: str | None = None,
        ca: Path | None = None,
        pins: Sequence[bytes] = (),
        certificate: Path | None = None,
        looks: bool = False,
    ) -> None:
        """
        :param looks: certificates are looked at, and none is refused
        """
        self.verifies = verifies
        self.name = name
        self._pins = tuple(pins)
        self._context = context()
        self._given = (ca, certificate)
        self._variants: dict[str, ClientTLS] = {}
        if certificate is not None:
            load_pem(self._context, certificate)
        if looks or verifies and (not pins or ca is not None):
            if ca is not None:
                try:
                    self._context.load_verify_locations(str(ca))
                except SSL.Error as error:
                    raise TLSConfigError(f"{ca}: {explain(error)}") from error
            else:
                self._context.set_default_verify_paths()
            self._context.set_verify(SSL.VERIFY_PEER, note_verification if looks else _strict_verification)

    def prepare(self, kinds: Iterable[str] = _KINDS) -> None:
        """Read now what connections that ask for more will need. Raises TLSConfigError."""
        for kind in kinds:
            if kind not in self._variants and not (kind == "strict" and self.verifies):
                ca, certificate = self._given
                self._variants[kind] = ClientTLS(
                    verifies=kind == "strict",
                    name=self.name,
                    ca=ca,
                    pins=self._pins if kind == "strict" else (),
                    certificate=certificate,
                    looks=kind == "looks",
                )

    def _variant(self, kind: str) -> ClientTLS:
        """The same with another way to look at certificates. Raises Unavailable where its files cannot be read now."""
        if kind == "strict" and self.verifies:
            return self
        try:
            self.prepare((kind,))
        except TLSConfigError as error:
            raise Unavailable(str(error)) from error
        return self._variants[kind]

    def verified(self, names: Iterable[Iterable[str]] = (), hosts: Sequence[str] = ()) -> ClientSide:
        """For a message that needs a certificate that is right.

        Raises Unavailable, as do the others.

        :param names: it must be for one of each of these
        :param hosts: where there are no `names`: for one of these; none: that of the backend, or of the server
        """
        return _Verified(self._variant("strict"), [tuple(one) for one in names] or [tuple(hosts)])

    def looked_at(self, hosts: Sequence[str], proofs: Sequence[str]) -> ClientSide:
        """Any certificate is taken, and what is wrong with it is noted.

        :param hosts: it should be for one of these
        :param proofs: for one of these it proves who the server is
        """
        return _LookedAt(self._variant("looks"), hosts, proofs)

    def dane(self, records: Sequence[TLSA], hosts: Sequence[str]) -> ClientSide:
        """The certificate must be one of those that the DNS names; `hosts` as in `verified`."""
        return DANE(self._variant("any"), records, hosts)

    def connection(self, host: str) -> SSL.Connection:
        """A new client side.

        :param host: the name that is asked for where the backend has no `tls_name`
        """
        connection = SSL.Connection(self._context, None)
        connection.set_app_data({})
        connection.set_connect_state()
        name = self.name or host
        if name and not _is_address(name):
            connection.set_tlsext_host_name(name.encode("idna" if not name.isascii() else "ascii"))
        return connection

    def check(self, connection: SSL.Connection, host: str) -> tuple[str, str]:
        """Hold the certificate against what was asked for; raises TLSFailed."""
        return self.prove(connection, host, [()]) if self.verifies else ("", "")

    def prove(self, connection: SSL.Connection, host: str, names: Sequence[Sequence[str]]) -> tuple[str, str]:
        """The same, its names one of each of these; where there are none, that of the backend, or of the server."""
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise TLSFailed("the server gave no certificate", "validation-failure")
        if self._pins:
            try:
                key = certificate.public_key().public_bytes(
                    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
                )
            except UNREADABLE:
                raise TLSFailed("the server's key cannot be read", "certificate-not-trusted") from None
            if hashlib.sha256(key).digest() not in self._pins:
                raise TLSFailed("the server's key is none of tls_pins", "certificate-not-trusted")
            if self.name is None and not any(names):
                return "pin", ""
        for one in names:
            wanted = tuple(one) or (self.name or host,)
            if not _has_name(connection, wanted):
                raise TLSFailed(f"the certificate is not for {' or '.join(wanted)}", "certificate-host-mismatch")
        return "pin" if self._pins else "chain", ""


class _Verified(ClientSide):
    """One connection whose certificate must be right, whatever the backend asks for else."""

    def __init__(self, strict: ClientTLS, names: Sequence[Sequence[str]]) -> None:
        self._strict = strict
        self._names = names

    def connection(self, host: str) -> SSL.Connection:
        """A new client side."""
        return self._strict.connection(host)

    def check(self, connection: SSL.Connection, host: str) -> tuple[str, str]:
        """Hold the certificate against the names."""
        return self._strict.prove(connection, host, self._names)


class _LookedAt(ClientSide):
    """One connection whose certificate is looked at."""

    def __init__(self, base: ClientTLS, hosts: Sequence[str], proofs: Sequence[str]) -> None:
        self._base = base
        self._hosts = tuple(hosts)
        self._proofs = tuple(proofs)

    def connection(self, host: str) -> SSL.Connection:
        """A new client side."""
        return self._base.connection(host)

    def check(self, connection: SSL.Connection, host: str) -> tuple[str, str]:
        """Note what is wrong."""
        bad = (connection.get_app_data() or {}).get("bad")
        if bad is not None:
            return "", fault_of(bad)
        doubt = "" if _has_name(connection, self._hosts or (host,)) else "certificate-host-mismatch"
        return "chain" if _has_name(connection, self._proofs) else "", doubt


class DANE(ClientSide):
    """One connection whose certificate is held against TLSA records (RFC 7672)."""

    def __init__(self, base: ClientTLS, records: Sequence[TLSA], hosts: Sequence[str]) -> None:
        self._base = base
        self._records = tuple(records)
        self._hosts = tuple(hosts)

    def connection(self, host: str) -> SSL.Connection:
        """A new client side. The name that is asked for is that of the records (RFC 7672 section 8.1)."""
        return self._base.connection(self._hosts[0] if self._hosts else host)

    def check(self, connection: SSL.Connection, host: str) -> tuple[str, str]:
        """Hold the certificate against the records; raises TLSFailed."""
        chain = connection.get_peer_cert_chain(as_cryptography=True) or []
        wrong = proves(chain, self._records, lambda: _has_name(connection, self._hosts or (host,)))
        if wrong:
            raise TLSFailed(f"the certificate is none that the DNS names: {wrong}", wrong)
        return "dane", ""


def _has_name(connection: SSL.Connection, names: Iterable[str]) -> bool:
    """Whether the certificate is for one of these (RFC 9525)."""
    for name in names:
        try:
            if not name:
                continue
            if _is_address(name):
                verify_ip_address(connection, name)
            else:
                verify_hostname(connection, name)
            return True
        except (VerificationError, CertificateError):
            continue
    return False


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def _strict_verification(connection: SSL.Connection, certificate: object, errno: int, depth: int, ok: int) -> bool:
    if not ok:
        note_verification(connection, certificate, errno, depth, ok)
    return bool(ok)
