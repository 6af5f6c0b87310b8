"""S/MIME: a message becomes a signed or an encrypted one, as octets in memory.

`filters.sealing` calls it in a thread: private keys and what strangers wrote meet here, so nothing of the content is
read but its header fields; the body goes through as it is. What was made is told as splices of the message as it came.

Signed: multipart/signed with a detached signature, SHA-256. Where the content has 8-bit octets, or lines or line ends
that mail does not carry, servers on the way could change it (RFC 1847 section 2.1 wants 7 bits); then the signature has
the content in it, in base64. Encrypted: AES-256 in CBC mode, the key for each recipient by RSA (PKCS #1 v1.5): what all
mail programs read. RFC 8551 prefers AES-GCM, and cryptography makes none.

RFC 8551 sections 2.7, 3.1, 3.3 and 3.5; RFC 5652.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import (
    PKCS7EnvelopeBuilder,
    PKCS7Options,
    PKCS7SignatureBuilder,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smtpgate.examine.canonical import body_start
from smtpgate.message import params
from smtpgate.message.header import Field, HeaderSection
from smtpgate.message.splice import Splice

#: RFC 8551 section 4.2: keys of less are not to be used.
LEAST_BITS: Final = 2048
#: RFC 5322 section 2.1.1.
_LINE: Final = 998
#: Found by its beginning, or each octet would be looked at as often as a line is long.
_LONG: Final = re.compile(rb"\n[^\n]{%d}" % (_LINE + 2))
#: SmtpUTF8Mailbox (RFC 9598 section 3): addresses that are not ASCII stand there.
_UTF8_MAILBOX: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")
#: What comes of a key of a kind that is not known, and of a certificate that is not as it should be.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_PKCS7: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")
#: Object identifiers in DER: envelopedData (RFC 5652 section 6.1), authEnvelopedData (RFC 5083 section 2.1).
_ENVELOPES: Final = (
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03",
    b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17",
)
_ARMOUR: Final = b"-----BEGIN PGP MESSAGE-----"


@attrs.frozen(eq=False)
class Signer:
    """Who signs.

    :ivar certificate: of cryptography; `chain`: those that issued it
    """

    certificate: Any
    chain: Sequence[Any] = ()
    _key: Any = attrs.field(default=None, repr=False)

    def signature(self, content: bytes, *, is_detached: bool) -> bytes:
        """A signature in DER."""
        builder = PKCS7SignatureBuilder().set_data(content).add_signer(self.certificate, self._key, SHA256())
        for one in self.chain:
            builder = builder.add_certificate(one)
        options = [PKCS7Options.Binary] + ([PKCS7Options.DetachedSignature] if is_detached else [])
        made: bytes = builder.sign(Encoding.DER, options)
        return made


@attrs.frozen
class Entity:
    """A message as its MIME entity: the fields that say what it is, and its body.

    :ivar octets: fields, empty line and body, as they are signed or encrypted
    :ivar seal: signed, encrypted, or "" where S/MIME and OpenPGP have not closed it
    """

    octets: bytes
    seal: str = ""


@attrs.frozen
class Sealed:
    """What came of an entity: its new fields and its new body."""

    fields: bytes
    body: bytes

    def as_entity(self) -> Entity:
        """To be closed once more."""
        head = self.fields.removeprefix(_VERSION)
        return Entity(head + b"\r\n" + self.body)


_VERSION: Final = b"MIME-Version: 1.0\r\n"


def is_of_mime(field: Field) -> bool:
    """Whether a field says what the body is."""
    return field.name.startswith("content-") or field.name == "mime-version"


def entity_of(content: bytes) -> Entity:
    """The entity that a message is."""
    start = body_start(content)
    section = HeaderSection(content[:start])
    fields = [one for one in section.fields if one.name.startswith("content-")]
    head = b"".join(one.raw for one in fields)
    if not any(one.name == "content-type" for one in fields):
        # RFC 2045 section 5.2; some programs want to see it.
        head = b"Content-Type: text/plain; charset=us-ascii\r\n" + head
    return Entity(head + b"\r\n" + content[start:], _seal_of(section, content, start))


def _seal_of(section: HeaderSection, content: bytes, start: int) -> str:
    """What is said to be encrypted must look so, or mail would go in clear by a word in its header."""
    value = params.parse(section.first("content-type"))
    media_type = value.main.lower()
    if media_type == "multipart/signed":
        return "signed"
    if media_type == "multipart/encrypted":
        return "encrypted" if _ARMOUR in content[start:] else ""
    if media_type not in _PKCS7:
        return ""
    if value.text("smime-type").lower() == "signed-data":
        return "signed"
    # As it stands, and in base64: octets that are none may look like it, since what is no letter of it is passed over.
    openings = [content[start : start + 64]]
    with contextlib.suppress(binascii.Error):
        openings.append(binascii.a2b_base64(b"".join(content[start : start + 256].split())[:128])[:64])
    return "encrypted" if any(one in opening for one in _ENVELOPES for opening in openings) else ""


def sign(entity: Entity, signer: Signer) -> Sealed:
    """The entity with a signature. Raises ValueError where the library does not take the key."""
    octets = entity.octets
    if not octets.isascii() or b"\0" in octets or _is_long(octets) or not _has_whole_lines(octets):
        made = signer.signature(octets, is_detached=False)
        return _blob("signed-data", made)
    boundary = _boundary(octets)
    made = signer.signature(octets, is_detached=True)
    fields = (
        _VERSION + b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
        b'\tmicalg=sha-256; boundary="' + boundary + b'"\r\n'
    )
    line = b"--" + boundary
    body = (
        line + b"\r\n" + octets + b"\r\n" + line + b"\r\n"
        b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\nContent-Transfer-Encoding: base64\r\n'
        b'Content-Disposition: attachment; filename="smime.p7s"\r\n\r\n' + _base64(made) + line + b"--\r\n"
    )
    return Sealed(fields, body)


def _has_whole_lines(octets: bytes) -> bool:
    """Whether each CR and LF is in a CRLF: verifiers take all others for one (RFC 8551 section 3.1.1)."""
    return octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")


def _is_long(octets: bytes) -> bool:
    """Whether a line is longer than mail carries."""
    return octets.find(b"\n", 0, _LINE + 2) < 0 or _LONG.search(octets) is not None


def encrypt(entity: Entity, certificates: Sequence[Any]) -> Sealed:
    """The entity so that the owners of these certificates can read it. Raises ValueError."""
    builder = PKCS7EnvelopeBuilder().set_data(entity.octets).set_content_encryption_algorithm(AES256)
    for one in certificates:
        builder = builder.add_recipient(one)
    return _blob("enveloped-data", builder.encrypt(Encoding.DER, [PKCS7Options.Binary]))


def _blob(kind: str, octets: bytes) -> Sealed:
    fields = (
        f'Content-Type: application/pkcs7-mime; smime-type={kind}; name="smime.p7m"\r\n'
        'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="smime.p7m"\r\n'
    )
    return Sealed(_VERSION + fields.encode("ascii"), _base64(octets))


def _base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


def _boundary(octets: bytes) -> bytes:
    while True:
        made = b"=_" + secrets.token_hex(16).encode("ascii")
        if made not in octets:
            return made


def splices(section: HeaderSection, octets: int, sealed: Sealed, author: str) -> list[Splice]:
    """What makes a message, with this header and of so many octets as it came, the sealed one."""
    head = section.octets
    length = len(head)
    at = length - 2 if head.endswith(b"\r\n\r\n") or head == b"\r\n" else length
    gone = [one for one in section.fields if is_of_mime(one)]
    made = [Splice(one.start, min(one.start + len(one.raw), length) - one.start, b"", author) for one in gone]
    # The last line of a message that is nothing but a header may lack its end.
    is_open = bool(head[:at]) and not head[:at].endswith(b"\r\n") and not (made and made[-1].end == at)
    put = (b"\r\n" if is_open else b"") + sealed.fields + b"\r\n" + sealed.body
    return [*made, Splice(at, octets - at, put, author)]


def why_not(certificate: Any, now: datetime) -> str:
    """Why nothing can be encrypted for whoever owns a certificate; "" where it can."""
    why = _out_of_date(certificate, now)
    if why:
        return why
    try:
        key = certificate.public_key()
        usage, is_for_mail = _extension(certificate, x509.KeyUsage), _is_for_mail(certificate)
    except _UNREADABLE as error:
        return f"cannot be read: {type(error).__name__}"
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < LEAST_BITS:
        return f"its key is not RSA of {LEAST_BITS} bits or more"
    if usage is not None and not usage.key_encipherment:
        return "it is not for encryption"
    return "" if is_for_mail else "it is not for mail"


def why_not_signed(certificate: Any, address: str, normal: Callable[[str], str], now: datetime) -> str:
    """Why whoever gets it would not take a signature for that of the author; "" where they would.

    RFC 8550 sections 3 (the address must be in the certificate) and 4.4 (what its key is for).

    :param normal: writes an address as it is compared
    """
    why = _out_of_date(certificate, now)
    if why:
        return why
    try:
        usage, is_for_mail = _extension(certificate, x509.KeyUsage), _is_for_mail(certificate)
        addresses = addresses_of(certificate)
    except _UNREADABLE as error:
        return f"cannot be read: {type(error).__name__}"
    if normal(address) not in map(normal, addresses):
        return "it is not for this address"
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        return "it is not for signatures"
    return "" if is_for_mail else "it is not for mail"


def _out_of_date(certificate: Any, now: datetime) -> str:
    if certificate.not_valid_after_utc < now:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        return f"not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    return ""


def _is_for_mail(certificate: Any) -> bool:
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    mail = {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    return purposes is None or bool(mail & set(purposes))


def _extension(certificate: Any, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def addresses_of(certificate: Any) -> tuple[str, ...]:
    """The addresses that a certificate is for, as they stand there. Raises ValueError where it cannot be read."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    found = list(names.get_values_for_type(x509.RFC822Name)) if names is not None else []
    others = names.get_values_for_type(x509.OtherName) if names is not None else []
    found += [_utf8(one.value) for one in others if one.type_id == _UTF8_MAILBOX]
    found += [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)]
    return tuple(dict.fromkeys(found))


def _utf8(der: bytes) -> str:
    """A UTF8String of fewer than 256 octets; an address has no more (RFC 5321 section 4.5.3.1.3)."""
    start = 3 if der[1:2] == b"\x81" else 2
    text = der[start:]
    if der[:1] != b"\x0c" or len(text) > 255 or der[start - 1 : start] != bytes([len(text)]):
        raise ValueError("no address in UTF-8")
    return text.decode("utf-8")
