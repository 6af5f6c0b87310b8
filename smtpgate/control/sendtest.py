"""A test message through one of the gateway's own listeners, with the whole dialogue printed.

It is a client like any other: greeting, STARTTLS where offered, one recipient, one message. The certificate
is not verified, since a fresh gateway has made its own; nothing secret is sent.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import attrs

from smtpgate.config.endpoint import parse_listen
from smtpgate.config.model import Listener, Settings

TIMEOUT_S = 60.0
_REFERENCE = re.compile(r"([0-9A-V]{26}(?:\.[0-9]+)?)$")


@attrs.frozen
class Sent:
    """What became of it.

    :ivar code: the last reply, 0 where the connection broke; `reference`: the id in it, "" for none
    """

    code: int
    reference: str


class _Heard(smtplib.SMTP):
    """Prints what both sides say."""

    say: Callable[..., None] = print

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Say a command."""
        self.say(f"C: {cmd} {args}".rstrip())
        super().putcmd(cmd, args)

    def getreply(self) -> tuple[int, bytes]:
        """Hear a reply."""
        code, text = super().getreply()
        for line in text.decode("ascii", "replace").split("\n"):
            self.say(f"S: {code} {line}")
        return code, text


class _HeardTLS(_Heard, smtplib.SMTP_SSL):
    """The same, with TLS from the start."""


def choose(settings: Settings, name: str) -> tuple[Listener, str, int]:
    """The listener to be used, with host and port; raises ValueError where none will do."""
    listeners = [one for one in settings.listeners.values() if (one.name == name if name else one.role == "mx")]
    if not listeners:
        raise ValueError(f"no listener {name}" if name else "no listener of role mx; name one with --listener")
    for listener in listeners:
        for text in listener.listen:
            endpoint = parse_listen(text)
            if endpoint.kind == "tcp" and endpoint.port:
                host = "127.0.0.1" if endpoint.interface in ("", "0.0.0.0") else endpoint.interface
                return listener, "::1" if host == "::" else host, endpoint.port
    raise ValueError("the listener has no tcp: endpoint with a port of its own")


def run(settings: Settings, to: str, sender: str, name: str, say: Callable[..., None]) -> Sent:
    """Send. Raises OSError without a connection, ValueError where no listener will do."""
    listener, host, port = choose(settings, name)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    say(f"connecting to {host} port {port}, listener {listener.name}")
    kind = type("Dialogue", (_HeardTLS if listener.tls == "implicit" else _Heard,), {"say": staticmethod(say)})
    more = {"context": context} if listener.tls == "implicit" else {}
    client: smtplib.SMTP = kind(timeout=TIMEOUT_S, local_hostname="localhost", **more)
    try:
        client.connect(host, port)
        # `connect` leaves it to the constructor, and `starttls` wants it.
        client._host = host  # type: ignore[attr-defined]
        client.ehlo()
        if listener.tls != "implicit" and client.has_extn("starttls"):
            client.starttls(context=context)
            say(f"(TLS: {client.sock.version()})" if isinstance(client.sock, ssl.SSLSocket) else "(no TLS)")
            client.ehlo()
        code, text = _dialogue(client, to, sender, settings.hostname)
        client.quit()
    except smtplib.SMTPException as error:
        say(f"({error})")
        return Sent(0, "")
    finally:
        client.close()
    found = _REFERENCE.search(text.decode("ascii", "replace").strip())
    return Sent(code, found[1] if found else "")


def _dialogue(client: smtplib.SMTP, to: str, sender: str, hostname: str) -> tuple[int, bytes]:
    code, text = client.mail(sender)
    if code < 300:
        code, text = client.rcpt(to)
    if code < 300:
        code, text = client.data(_message(to, sender, hostname).as_bytes())
    return code, text


def _message(to: str, sender: str, hostname: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = to
    message["Subject"] = "Test message of smtpgate"
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=hostname)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("This message was sent by `smtpgate send-test` through the gateway.\n")
    return message
