"""Holds a server's certificate against TLSA records; `net.tls.DANE` calls it when the handshake is done.

DANE-EE: the certificate, or its key, is one of them; names and dates mean nothing then (RFC 7671 section 5.1). DANE-TA:
an authority in the chain that the server sent, or in the record itself, is one of them, the certificate comes from it,
is in date, and has a name that was asked for (RFC 7671 section 5.2, RFC 7672 section 3.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import crypto

from smtpgate.config.unreadable import UNREADABLE
from smtpgate.policy.tlsa import DANE_EE, DANE_TA, DIGESTS, TLSA


def matches(certificate: x509.Certificate, record: TLSA) -> bool:
    """Whether a record is about this certificate (RFC 6698 section 2.1)."""
    if record.selector == 0:
        octets = certificate.public_bytes(serialization.Encoding.DER)
    else:
        try:
            key = certificate.public_key()
        except UNREADABLE:
            # Of a kind that nobody here can check a signature of.
            return False
        octets = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if record.matching in DIGESTS:
        octets = hashlib.new(DIGESTS[record.matching][0], octets).digest()
    return octets == record.data


def proves(chain: Sequence[x509.Certificate], records: Iterable[TLSA], is_named: Callable[[], bool]) -> str:
    """Hold a chain, the server's own certificate first, against records that are usable.

    :param is_named: whether the certificate has a name that was asked for
    :return: "" where it is proved; else what is wrong, by the words of RFC 8460 section 4.3
    """
    records = tuple(records)
    if not chain:
        return "validation-failure"
    if any(matches(chain[0], one) for one in records if one.usage == DANE_EE):
        return ""
    authorities = [one for one in records if one.usage == DANE_TA]
    anchors = [certificate for certificate in chain if any(matches(certificate, one) for one in authorities)]
    anchors += [made for made in map(_whole, authorities) if made is not None and made not in anchors]
    if not anchors:
        return "validation-failure"
    wrong = _chains(chain, anchors)
    if wrong:
        return wrong
    return "" if is_named() else "certificate-host-mismatch"


def _whole(record: TLSA) -> x509.Certificate | None:
    """The certificate that a record holds itself, so that the server need not send it."""
    if record.selector != 0 or record.matching != 0:
        return None
    try:
        return x509.load_der_x509_certificate(record.data)
    except UNREADABLE:
        return None


def _chains(chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> str:
    store = crypto.X509Store()
    # An authority need not be a root: the DNS vouches for it.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for anchor in anchors:
        store.add_cert(crypto.X509.from_cryptography(anchor))
    leaf, *others = (crypto.X509.from_cryptography(one) for one in chain)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        return fault_of(error.errors[0])
    return ""


def fault_of(number: int) -> str:
    """What OpenSSL found wrong with a chain (X509_V_ERR_*), by the words of RFC 8460 section 4.3."""
    if number in (9, 10):
        return "certificate-expired"
    if number in (62, 63, 64):
        return "certificate-host-mismatch"
    return "certificate-not-trusted"
