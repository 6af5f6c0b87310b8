"""A certificate with its key that somebody gives in place of the file that a listener has; and a handshake with a
listener as a client would begin one.

What is given is looked at before anything is written: the key must be of the first certificate, each certificate behind
it must have signed the one before, and all must be good now. The file is written beside the old one and put in its
place in one step; where the configuration cannot be put to work with it, the old one is back before anybody hears of
it. For threads: they read, write and compute.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from OpenSSL import SSL

from smtpgate.config.unreadable import UNREADABLE
from smtpgate.control import chains
from smtpgate.control.views import Invalid, Refused

#: Octets of what is given, and certificates of a chain: usual ones have three.
OCTETS: Final = 200_000
LONGEST: Final = 10
#: Shorter RSA keys are no more believed (CA/Browser Forum, Baseline Requirements 6.1.5).
RSA_BITS: Final = 2048
VERSIONS: Final = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
#: Turns of a handshake in memory: four are usual.
_TURNS: Final = 20


@attrs.frozen
class Given:
    """What somebody gave, good to be used. The key is in `octets` and nowhere else.

    :ivar octets: key and certificates, nothing beside them
    :ivar doubt: why a client of the world would not believe it; "" where it would
    """

    octets: bytes = attrs.field(repr=False)
    names: tuple[str, ...]
    not_after: float
    fingerprint: str
    doubt: str


def look(octets: bytes, now: float, authorities: Any = None) -> Given:
    """Look at what was given; raises Invalid with what is wrong.

    :param authorities: as `chains.read`
    """
    if len(octets) > OCTETS:
        raise Invalid("it is too large for a key and its certificates")
    try:
        return _look(octets, now, authorities)
    except UNREADABLE:
        # Their own words are those of a parser.
        raise Invalid("a certificate in it is not as it should be, or has a key of a kind that is not known") from None


def _look(octets: bytes, now: float, authorities: Any) -> Given:
    """The same; raises `UNREADABLE` too."""
    try:
        key = serialization.load_pem_private_key(octets, None)
    except TypeError:
        raise Invalid("the key is locked with a password: give it without one") from None
    except UnsupportedAlgorithm:
        raise Invalid("the key is of a kind that is not known: RSA, or EC with P-256 or P-384, is usual") from None
    except ValueError:
        raise Invalid("there is no private key in it that can be read (PEM: BEGIN PRIVATE KEY)") from None
    try:
        found = x509.load_pem_x509_certificates(octets)
    except ValueError:
        raise Invalid("there is no certificate in it that can be read (PEM: BEGIN CERTIFICATE)") from None
    if len(found) > LONGEST:
        raise Invalid(f"{len(found)} certificates: give the chain of one, {LONGEST} at the most")
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        kind = {dsa.DSAPrivateKey: "DSA", ed25519.Ed25519PrivateKey: "Ed25519", ed448.Ed448PrivateKey: "Ed448"}
        name = next((word for one, word in kind.items() if isinstance(key, one)), "this kind")
        raise Invalid(f"keys of {name} are not for mail servers: RSA or EC is")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS:
        raise Invalid(f"an RSA key of {key.key_size} bits is too short: {RSA_BITS} at least")
    first = found[0]
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != first.public_key().public_bytes(*form):
        raise Invalid("the key is not that of the first certificate")
    for place, (one, above) in enumerate(zip(found, found[1:]), 2):
        try:
            one.verify_directly_issued_by(above)
        except (InvalidSignature, ValueError, TypeError):
            raise Invalid(f"certificate {place} has not signed the one before it: give them in order") from None
    at = datetime.fromtimestamp(now, UTC)
    for place, one in enumerate(found, 1):
        if at >= one.not_valid_after_utc:
            raise Invalid(f"certificate {place} has expired")
        if at < one.not_valid_before_utc:
            raise Invalid(f"certificate {place} is not valid yet")
    names = chains.names_of(first)
    if not names:
        raise Invalid("the first certificate names no host (subjectAltName)")
    packed = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)
    doubt = chains.doubt_of(found, names, now, authorities)
    return Given(packed, names, first.not_valid_after_utc.timestamp(), first.fingerprint(hashes.SHA256()).hex(), doubt)


def check_place(path: Path) -> None:
    """Raises Refused where a file cannot be taken the place of."""
    if path.is_symlink():
        raise Refused(f"{path} is a link: whoever renews certificates writes what it leads to")
    if not path.is_file():
        raise Refused(f"{path} is not there")
    if not os.access(path.parent, os.W_OK):
        raise Refused(f"the gateway may not write into {path.parent}")


def put(path: Path, octets: bytes) -> bytes:
    """Put a file in the place of one, readable for its owner only; what was there. Raises Refused."""
    check_place(path)
    try:
        before = path.read_bytes()
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror or error}") from error
    return before


# A handshake


@attrs.frozen
class Shaken:
    """What a client saw.

    :ivar problem: why there is no TLS; "" where there is, and all else says something only then
    :ivar doubt: why it would not believe that this is the host that it asked for; "" where it would
    """

    problem: str = ""
    version: str = ""
    cipher: str = ""
    names: tuple[str, ...] = ()
    not_after: float = 0.0
    fingerprint: str = ""
    doubt: str = ""


def shake(server: Any, name: str, version: str, now: float, authorities: Any = None) -> Shaken:
    """A handshake in memory.

    :param server: the `net.tls.ServerTLS` of a listener
    :param name: the host that is asked for; "" for none
    :param version: the only version that the client has, as TLSv1.2; "" for all that it may have
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version:
        context.set_min_proto_version(VERSIONS[version])
        context.set_max_proto_version(VERSIONS[version])
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if name:
        client.set_tlsext_host_name(name.encode("idna"))
    other = server.connection()
    for _ in range(_TURNS):
        try:
            is_done = _turn(client) & _turn(other)
        except SSL.Error as error:
            return Shaken(_words(error))
        moved = _move(client, other) + _move(other, client)
        if is_done and not moved:
            break
    else:
        return Shaken("the handshake does not come to its end")
    found = [one.to_cryptography() for one in client.get_peer_cert_chain() or []]
    try:
        names = chains.names_of(found[0])
        doubt = chains.doubt_of(found, names, now, authorities, name)
    except UNREADABLE:
        return Shaken("its certificate is not as it should be, and cannot be read")
    return Shaken(
        "",
        client.get_protocol_version_name(),
        client.get_cipher_name() or "",
        names,
        found[0].not_valid_after_utc.timestamp(),
        found[0].fingerprint(hashes.SHA256()).hex(),
        doubt,
    )


def _turn(one: SSL.Connection) -> bool:
    try:
        one.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def _move(of: SSL.Connection, to: SSL.Connection) -> int:
    try:
        octets = of.bio_read(65536)
    except SSL.WantReadError:
        return 0
    to.bio_write(octets)
    return len(octets)


def _words(error: SSL.Error) -> str:
    reasons = [reason for *_, reason in error.args[0]] if error.args else []
    return "; ".join(filter(None, reasons))[:200] or "the handshake failed"
