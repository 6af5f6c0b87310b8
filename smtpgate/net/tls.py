"""TLS: contexts made once, certificates by SNI, and a layer between octets in clear and octets on the wire.

`ServerTLS` and `ClientTLS` hold contexts for a listener and for a backend; a reload makes new ones beside the old, and
connections that began with the old keep them. `TLSLayer` is a handshake and a cipher without a socket, so both edges
use it and tests need none.

RFC 3207, 8314, 8996 (TLS 1.2 is the floor), 9325, 9525 and 7817 (names).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from smtpgate.policy.transaction import TLSFacts

#: Forward secrecy and authenticated encryption for TLS 1.2 (RFC 9325 section 4.2); TLS 1.3 has nothing else.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
#: What one TLS record holds (RFC 8446 section 5.1), and with what is around it.
_RECORD_OCTETS = 16384
_WIRE_OCTETS = _RECORD_OCTETS + 512
#: Larger reads for larger answers: a buffer is made for each.
_BULK_OCTETS = 16 * _WIRE_OCTETS


class TLSFailed(Exception):
    """The handshake or the layer broke; the text says why, for the log."""


class TLSConfigError(Exception):
    """A certificate or key cannot be used; the text says which and why."""


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    options = SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | SSL.OP_CIPHER_SERVER_PREFERENCE
    options |= getattr(SSL, "OP_NO_RENEGOTIATION", 0)
    context.set_options(options)
    # A ticket would let a session resumed here skip the checks of another listener.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _load_pem(context: SSL.Context, path: Path) -> None:
    try:
        context.use_certificate_chain_file(str(path))
        context.use_privatekey_file(str(path))
        context.check_privatekey()
    except (SSL.Error, OSError) as error:
        raise TLSConfigError(f"{path}: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    """The last reason of an OpenSSL error, or the error's own text."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list) and error.args[0]:
        reasons = [str(item[2]) for item in error.args[0] if len(item) > 2 and item[2]]
        if reasons:
            return reasons[-1]
    return str(error) or type(error).__name__


def certificate_names(path: Path) -> list[str]:
    """The DNS names of the first certificate of a PEM file, lower case."""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return _names(certificate)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]


class ServerTLS:
    """The contexts of one listener: one for each certificate, the first for clients that name none that we have."""

    is_server = True

    def __init__(self, certificates: Sequence[Path], client_ca: Path | None = None) -> None:
        self._exact: dict[str, SSL.Context] = {}
        self._wildcards: dict[str, SSL.Context] = {}
        self.contexts: list[SSL.Context] = []
        for path in certificates:
            context = _context()
            _load_pem(context, path)
            if client_ca is not None:
                try:
                    context.load_verify_locations(str(client_ca))
                except SSL.Error as error:
                    raise TLSConfigError(f"{client_ca}: {_explain(error)}") from error
                context.set_client_ca_list(
                    SSL.load_client_ca_file(str(client_ca)) if hasattr(SSL, "load_client_ca_file") else []
                )
                # A client without a certificate is welcome: the certificate is a fact of the session, not a gate.
                context.set_verify(SSL.VERIFY_PEER, _note_verification)
                context.set_session_id(b"smtpgate")
            context.set_tlsext_servername_callback(self._pick)
            self.contexts.append(context)
            for name in certificate_names(path):
                if name.startswith("*."):
                    self._wildcards.setdefault(name[2:], context)
                else:
                    self._exact.setdefault(name, context)

    def _pick(self, connection: SSL.Connection) -> None:
        name = connection.get_servername()
        if name is None:
            return
        text = name.decode("ascii", "replace").lower().rstrip(".")
        context = self._exact.get(text) or self._wildcards.get(text.partition(".")[2])
        if context is not None and context is not connection.get_context():
            connection.set_context(context)

    def connection(self) -> SSL.Connection:
        """A new server side."""
        connection = SSL.Connection(self.contexts[0], None)
        connection.set_accept_state()
        return connection

    def check(self, connection: SSL.Connection) -> bool:
        """Whether the client proved who it is."""
        return connection.get_peer_certificate() is not None and bool(_verified(connection))


def _verified(connection: SSL.Connection) -> bool:
    data = connection.get_app_data()
    return data is None or not data.get("bad")


def _note_verification(connection: SSL.Connection, certificate: object, errno: int, depth: int, ok: int) -> bool:
    if not ok:
        data = connection.get_app_data() or {}
        data["bad"] = errno
        connection.set_app_data(data)
    return True


class ClientTLS:
    """The context for one backend.

    :ivar verifies: False takes any certificate, and only notes what it saw
    """

    is_server = False

    def __init__(
        self,
        *,
        verifies: bool,
        name: str | None = None,
        ca: Path | None = None,
        pins: Sequence[bytes] = (),
        certificate: Path | None = None,
    ) -> None:
        self.verifies = verifies
        self.name = name
        self._pins = tuple(pins)
        self._context = _context()
        self._checks_chain = verifies and (not pins or ca is not None)
        if certificate is not None:
            _load_pem(self._context, certificate)
        if self._checks_chain:
            if ca is not None:
                try:
                    self._context.load_verify_locations(str(ca))
                except SSL.Error as error:
                    raise TLSConfigError(f"{ca}: {_explain(error)}") from error
            else:
                self._context.set_default_verify_paths()
            self._context.set_verify(SSL.VERIFY_PEER, _strict_verification)

    def connection(self, host: str) -> SSL.Connection:
        """A new client side.

        :param host: the name that is asked for where the backend has no `tls_name`
        """
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        name = self.name or host
        if name and not _is_address(name):
            connection.set_tlsext_host_name(name.encode("idna" if not name.isascii() else "ascii"))
        return connection

    def check(self, connection: SSL.Connection, host: str) -> bool:
        """Hold the certificate against what was asked for; raises TLSFailed. False where nothing was asked."""
        if not self.verifies:
            return False
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise TLSFailed("the server gave no certificate")
        if self._pins:
            key = certificate.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            if hashlib.sha256(key).digest() not in self._pins:
                raise TLSFailed("the server's key is none of tls_pins")
            if self.name is None:
                return True
        name = self.name or host
        try:
            if _is_address(name):
                verify_ip_address(connection, name)
            else:
                verify_hostname(connection, name)
        except (VerificationError, CertificateError) as error:
            raise TLSFailed(f"the certificate is not for {name}") from error
        return True


def _is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def _strict_verification(connection: SSL.Connection, certificate: object, errno: int, depth: int, ok: int) -> bool:
    return bool(ok)


class TLSLayer:
    """A handshake and a cipher without a socket.

    :ivar is_done: the handshake is over
    :ivar is_closed: the peer said close_notify
    """

    __slots__ = ("is_done", "is_closed", "facts", "_connection", "_tls", "_host")

    def __init__(self, tls: ServerTLS | ClientTLS, host: str = "") -> None:
        self.is_done = False
        self.is_closed = False
        self.facts = TLSFacts()
        self._tls = tls
        self._host = host
        self._connection = tls.connection(host) if isinstance(tls, ClientTLS) else tls.connection()

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
                raise TLSFailed(_explain(error)) from error
        return clear[0] if len(clear) == 1 else b"".join(clear)

    def _shake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise TLSFailed(_explain(error)) from error
        verified = (
            self._tls.check(self._connection, self._host)
            if isinstance(self._tls, ClientTLS)
            else self._tls.check(self._connection)
        )
        self.facts = _facts(self._connection, verified)
        self.is_done = True

    def encrypt(self, data: bytes) -> bytes:
        """Octets in clear in; octets for the wire out."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise TLSFailed(_explain(error)) from error
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
    names = _names(certificate)
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = names[0] if names else str(common[0].value) if common else ""
    return name, certificate.fingerprint(hashes.SHA256()).hex(), certificate.not_valid_after_utc.timestamp()


def _facts(connection: SSL.Connection, verified: bool) -> TLSFacts:
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
        verified,
        until,
    )
