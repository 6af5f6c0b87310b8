"""What is said behind MAIL FROM to one server, of what the client said."""

from __future__ import annotations

from collections.abc import Mapping

from smtpgate.policy.transaction import Transaction
from smtpgate.proxy.leg import EnvelopeRefused
from smtpgate.proxy.link import Link
from smtpgate.smtp import status


def mail_params(
    transaction: Transaction, link: Link, prefix_octets: int, *, is_lmtp: bool, is_union: bool
) -> Mapping[str, bytes | None]:
    """MAIL parameters for a server. Nothing that was promised is dropped (P-187, P-279): raises EnvelopeRefused.

    :param prefix_octets: how much larger the message will leave than it came
    :param is_union: what was offered may not hold for this server
    """
    given = transaction.params
    offered = link.capabilities
    each = transaction.hears_each and "PRDR" in offered.words and not is_lmtp
    if not given and not each:
        return given
    params: dict[str, bytes | None] = {"PRDR": None} if each else {}
    for name, value in given.items():
        if name == "PRDR":
            # What it says is done here too, whatever the server can.
            continue
        if name == "SIZE":
            # Covers what we add; 0 means unknown and stays so.
            if "SIZE" in offered and value is not None:
                size = int(value)
                params[name] = b"%d" % (size + prefix_octets if size else 0)
        elif name == "BODY":
            word = (value or b"").upper().decode("ascii")
            if word == "7BIT" and "8BITMIME" not in offered:
                continue
            if word != "7BIT" and word not in offered or word == "BINARYMIME" and "CHUNKING" not in offered:
                # Of servers that the DNS names nothing is known before they are asked.
                raise EnvelopeRefused(status.EIGHT_BIT if link.backend.kind == "mx" else status.BACKEND_CHANGED)
            params[name] = value
        elif name == "AUTH":
            # Whom the client claims to relay for is believed of nobody (RFC 4954 section 5).
            if "AUTH" in offered:
                params[name] = b"<>"
        elif name == "REQUIRETLS":
            if "REQUIRETLS" not in offered or link.tls is None or not link.tls.is_verified:
                raise EnvelopeRefused(status.REQUIRETLS_LOST)
            params[name] = value
        elif name == "SMTPUTF8":
            if name not in offered:
                # Known beforehand under `union`; otherwise a change of the server's mind.
                raise EnvelopeRefused(status.NO_SMTPUTF8_RECIPIENT if is_union else status.BACKEND_CHANGED)
            params[name] = value
        else:
            if "DSN" not in offered:
                raise EnvelopeRefused(status.BACKEND_CHANGED)
            params[name] = value
    return params
