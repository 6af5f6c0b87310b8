"""A first look at a mail server that the configuration does not have: what it says, whether it takes a recipient.

It is a client that stops before DATA: greeting, EHLO, STARTTLS and whether its certificate holds, MAIL, RCPT, QUIT. It
blocks, so it runs in a thread, and is over within `WAIT_S` for each reply.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl

import attrs

from smtpgate.config.endpoint import parse_server
from smtpgate.control.sendtest import _Heard

#: Longest wait for one reply. The greeting of a busy server may take as long (RFC 5321 gives 5 minutes, a page cannot).
WAIT_S = 10.0
#: Lines of the dialogue that are kept.
_LINES = 100


@attrs.frozen
class Acquaintance:
    """What was seen.

    :ivar tls: what `tls` of the backend could be: verify, required, off
    :ivar certificate: why its certificate does not hold; "" where it does, or there is no TLS
    :ivar recipient_code: its reply to RCPT; 0 where it did not come so far
    :ivar trouble: why it could not be looked at to the end; ""
    """

    banner: str = ""
    capabilities: tuple[str, ...] = ()
    tls: str = "off"
    tls_version: str = ""
    certificate: str = ""
    recipient_code: int = 0
    recipient_reply: str = ""
    trouble: str = ""
    dialogue: tuple[str, ...] = ()


class _Here(_Heard):
    """To a place that `parse_server` read."""

    path: str | None = None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        if self.path is None:
            return socket.create_connection((host, port), timeout)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(self.path)
        return sock


def look(address: str, hostname: str, sender: str, recipient: str) -> Acquaintance:
    """Look at it. Raises BadValue where the address is none."""
    place = parse_server(address)
    lines: list[str] = []

    def say(*words: object) -> None:
        if len(lines) < _LINES:
            lines.append(" ".join(map(str, words))[:500])

    seen = Acquaintance()
    for is_verified in (True, False):
        lines.clear()
        kind = type("Dialogue", (_Here,), {"say": staticmethod(say), "path": place.path})
        client: smtplib.SMTP = kind(timeout=WAIT_S, local_hostname=hostname)
        try:
            seen = _look(client, place.host, place.port or 25, is_verified, sender, recipient, seen.certificate)
        except ssl.SSLError as error:
            if is_verified:
                # Once more: what else it says is worth knowing, and mail may go there without a proof of who it is.
                seen = attrs.evolve(seen, certificate=getattr(error, "verify_message", "") or str(error.reason))
                continue
            seen = attrs.evolve(seen, trouble=f"TLS: {error}")
        except (OSError, smtplib.SMTPException, ValueError) as error:
            seen = attrs.evolve(seen, trouble=str(error) or type(error).__name__)
        finally:
            client.close()
        break
    return attrs.evolve(seen, dialogue=tuple(lines))


def _look(
    client: smtplib.SMTP, host: str, port: int, is_verified: bool, sender: str, recipient: str, certificate: str
) -> Acquaintance:
    code, text = client.connect(host or "localhost", port)
    if code != 220:
        raise smtplib.SMTPException(f"it greets with {code}")
    seen = Acquaintance(banner=_text(text), certificate=certificate)
    client._host = host or "localhost"  # type: ignore[attr-defined]
    client.ehlo()
    if client.has_extn("starttls"):
        context = ssl.create_default_context()
        if not is_verified:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client.starttls(context=context)
        version = (client.sock.version() or "") if isinstance(client.sock, ssl.SSLSocket) else ""
        seen = attrs.evolve(seen, tls="verify" if is_verified else "required", tls_version=version)
        client.ehlo()
    seen = attrs.evolve(seen, capabilities=tuple(sorted(name.upper() for name in client.esmtp_features)))
    if recipient:
        code, text = client.mail(sender)
        if code < 300:
            code, text = client.rcpt(recipient)
        seen = attrs.evolve(seen, recipient_code=code, recipient_reply=_text(text))
    with contextlib.suppress(OSError, smtplib.SMTPException):
        client.quit()
    return seen


def _text(text: bytes) -> str:
    return text.decode("utf-8", "replace")[:500]


__all__ = ["Acquaintance", "look"]
