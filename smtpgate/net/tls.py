"""TLS: contexts made once, certificates by SNI, and a layer between octets in clear and octets on the wire.

`ServerTLS` and `ClientTLS` hold contexts for a listener and for a backend; a reload makes new ones beside the old, and
connections that began with the old keep them. `TLSLayer` is a handshake and a cipher without a socket, so both edges
use it and tests need none.

RFC 3207, 8314, 8996 (TLS 1.2 is the floor), 9325, 9525 and 7817 (names).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from smtpgate.config.unreadable import UNREADABLE
from smtpgate.net.dane import fault_of
from smtpgate.net.tls_client import ClientSide, ClientTLS
from smtpgate.net.tls_context import TLSConfigError, TLSFailed, context, explain, load_pem, note_verification
from smtpgate.policy.transaction import TLSFacts

__all__ = ["ClientSide", "ClientTLS", "ServerTLS", "TLSConfigError", "TLSFailed", "TLSLayer", "certificate_names"]

#: What one TLS record holds (RFC 8446 section 5.1), and with what is around it.
_RECORD_OCTETS = 16384
_WIRE_OCTETS = _RECORD_OCTETS + 512
#: Larger reads for larger answers: a buffer is made for each.
_BULK_OCTETS = 16 * _WIRE_OCTETS


def certificate_names(path: Path) -> list[str]:
    """The DNS names of the first certificate of a PEM file, lower case."""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return _names(certificate)


def certificate_end(path: Path) -> float:
    """When the first certificate of a PEM file expires, seconds since the epoch."""
    return x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc.timestamp()


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]


class ServerTLS:
    """The contexts of one listener: one for each certificate, the first for clients that name none that we have.

    :ivar not_after: when the first of them expires, seconds since the epoch
    """

    is_server = True

    def __init__(self, certificates: Sequence[Path], client_ca: Path | None = None) -> None:
        self._exact: dict[str, SSL.Context] = {}
        self._wildcards: dict[str, SSL.Context] = {}
        self.contexts: list[SSL.Context] = []
        self.not_after = math.inf
        for path in certificates:
            made = context()
            load_pem(made, path)
            if client_ca is not None:
                try:
                    made.load_verify_locations(str(client_ca))
                except SSL.Error as error:
                    raise TLSConfigError(f"{client_ca}: {explain(error)}") from error
                made.set_client_ca_list(
                    SSL.load_client_ca_file(str(client_ca)) if hasattr(SSL, "load_client_ca_file") else []
                )
                # A client without a certificate is welcome: the certificate is a fact of the session, not a gate.
                made.set_verify(SSL.VERIFY_PEER, note_verification)
                made.set_session_id(b"smtpgate")
            made.set_tlsext_servername_callback(self._pick)
            self.contexts.append(made)
            self.not_after = min(self.not_after, certificate_end(path))
            for name in certificate_names(path):
                if name.startswith("*."):
                    self._wildcards.setdefault(name[2:], made)
                else:
                    self._exact.setdefault(name, made)

    def _pick(self, connection: SSL.Connection) -> None:
        name = connection.get_servername()
        if name is None:
            return
        text = name.decode("ascii", "replace").lower().rstrip(".")
        wanted = self._exact.get(text) or self._wildcards.get(text.partition(".")[2])
        if wanted is not None and wanted is not connection.get_context():
            connection.set_context(wanted)

    def connection(self) -> SSL.Connection:
        """A new server side."""
        connection = SSL.Connection(self.contexts[0], None)
        connection.set_accept_state()
        return connection

    def check(self, connection: SSL.Connection) -> tuple[str, str]:
        """Whether the client proved who it is."""
        data = connection.get_app_data()
        is_good = connection.get_peer_certificate() is not None and (data is None or not data.get("bad"))
        return "chain" if is_good else "", ""


class TLSLayer:
    """A handshake and a cipher without a socket.

    :ivar is_done: the handshake is over
    :ivar is_closed: the peer said close_notify
    """

    __slots__ = ("is_done", "is_closed", "facts", "_connection", "_tls", "_host")

    def __init__(self, tls: ServerTLS | ClientSide, host: str = "") -> None:
        self.is_done = False
        self.is_closed = False
        self.facts = TLSFacts()
        self._tls = tls
        self._host = host
        self._connection = tls.connection(host) if isinstance(tls, ClientSide) else tls.connection()

    def start(self) -> bytes:
        """The first octets to send: a ClientHello, or nothing."""
        self._shake()
        return self.outgoing()

    def receive(self, data: bytes) -> bytes:
        """Octets from the wire in; octets in clear out. Then ask `outgoing`. Raises TLSFailed."""
        self._connection.bio_write(data)
        if not self.is_done:
            self._shake()
            if not self.is_done:
                return b""
        clear = []
        while True:
            try:
                clear.append(self._connection.recv(_RECORD_OCTETS))
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self.is_closed = True
                break
            except SSL.Error as error:
                raise TLSFailed(explain(error)) from error
        return clear[0] if len(clear) == 1 else b"".join(clear)

    def _shake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            bad = (self._connection.get_app_data() or {}).get("bad") if isinstance(self._tls, ClientSide) else None
            raise TLSFailed(explain(error), fault_of(bad) if bad is not None else "") from error
        try:
            proof, doubt = (
                self._tls.check(self._connection, self._host)
                if isinstance(self._tls, ClientSide)
                else self._tls.check(self._connection)
            )
            self.facts = _facts(self._connection, proof, doubt)
        except UNREADABLE as error:
            # OpenSSL takes certificates that cryptography does not read. What cannot be read proves nothing.
            raise TLSFailed(f"a certificate cannot be read: {type(error).__name__}", "validation-failure") from error
        self.is_done = True

    def encrypt(self, data: bytes) -> bytes:
        """Octets in clear in; octets for the wire out."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise TLSFailed(explain(error)) from error
        return self.outgoing(_WIRE_OCTETS if len(data) <= _RECORD_OCTETS else _BULK_OCTETS)

    def outgoing(self, octets: int = _WIRE_OCTETS) -> bytes:
        """What waits to be sent.

        :param octets: most that is taken in one go; more is taken in several
        """
        out = []
        while True:
            try:
                piece = self._connection.bio_read(octets)
            except SSL.WantReadError:
                break
            out.append(piece)
            if len(piece) < octets:
                break
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> bytes:
        """Our close_notify."""
        if not self.is_done:
            return self.outgoing()
        try:
            self._connection.shutdown()
        except SSL.Error:
            return b""
        return self.outgoing()


@functools.lru_cache(maxsize=256)
def _describe(certificate: x509.Certificate) -> tuple[str, str, float]:
    """Name, SHA-256 and last second of a certificate; the same few come again and again."""
    try:
        names = _names(certificate)
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        name = names[0] if names else str(common[0].value) if common else ""
    except UNREADABLE:
        # Whoever asks for no proof needs no name.
        name = ""
    return name, certificate.fingerprint(hashes.SHA256()).hex(), certificate.not_valid_after_utc.timestamp()


def _facts(connection: SSL.Connection, proof: str, doubt: str) -> TLSFacts:
    certificate = connection.get_peer_certificate(as_cryptography=True)
    name, fingerprint, until = _describe(certificate) if certificate is not None else ("", "", 0.0)
    sni = connection.get_servername()
    return TLSFacts(
        connection.get_protocol_version_name(),
        connection.get_cipher_name() or "",
        connection.get_cipher_bits() or 0,
        sni.decode("ascii", "replace").lower() if sni else "",
        name,
        fingerprint,
        bool(proof),
        until,
        proof,
        doubt,
    )
