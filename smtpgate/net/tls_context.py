"""What both sides of TLS share: how a context is made, how a key is loaded, and what can go wrong.

RFC 8996 (TLS 1.2 is the floor), RFC 9325 (ciphers, compression, renegotiation).
"""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL

#: Forward secrecy and authenticated encryption for TLS 1.2 (RFC 9325 section 4.2); TLS 1.3 has nothing else.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


class TLSFailed(Exception):
    """The handshake or the layer broke; the text says why, for the log.

    :ivar fault: what of the certificate it was, by the words of RFC 8460 section 4.3; "" where it was something else
    """

    def __init__(self, text: str, fault: str = "") -> None:
        super().__init__(text)
        self.fault = fault


class TLSConfigError(Exception):
    """A certificate or key cannot be used; the text says which and why."""


def context() -> SSL.Context:
    """A context for either side."""
    made = SSL.Context(SSL.TLS_METHOD)
    made.set_min_proto_version(SSL.TLS1_2_VERSION)
    made.set_cipher_list(CIPHERS)
    options = SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | SSL.OP_CIPHER_SERVER_PREFERENCE
    options |= getattr(SSL, "OP_NO_RENEGOTIATION", 0)
    made.set_options(options)
    # A ticket would let a session resumed here skip the checks of another listener.
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return made


def load_pem(context: SSL.Context, path: Path) -> None:
    """Take key and chain out of a file; raises TLSConfigError."""
    try:
        context.use_certificate_chain_file(str(path))
        context.use_privatekey_file(str(path))
        context.check_privatekey()
    except (SSL.Error, OSError) as error:
        raise TLSConfigError(f"{path}: {explain(error)}") from error


def explain(error: Exception) -> str:
    """The last reason of an OpenSSL error, or the error's own text."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list) and error.args[0]:
        reasons = [str(item[2]) for item in error.args[0] if len(item) > 2 and item[2]]
        if reasons:
            return reasons[-1]
    return str(error) or type(error).__name__


def note_verification(connection: SSL.Connection, certificate: object, errno: int, depth: int, ok: int) -> bool:
    """Go on whatever the certificate is, and keep what is wrong with it."""
    if not ok:
        data = connection.get_app_data() or {}
        data["bad"] = errno
        connection.set_app_data(data)
    return True
