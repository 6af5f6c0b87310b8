"""An envelope that nobody has sent: what an administrator writes to ask which way it would go.

Read as a session would read it, but for the brackets, which people leave out. The command line and the API make a
`Question` of what they were given and hand it to `control`; what is no address is refused here, in words.
"""

from __future__ import annotations

from ipaddress import ip_address

import attrs

from smtpgate.smtp.address import Path, parse_path


@attrs.frozen
class Question:
    """A client, a sender and recipients at a listener."""

    listener: str
    client: str
    sender: Path
    recipients: tuple[Path, ...]
    user: str = ""
    sni: str = ""


def client_address(text: str) -> str:
    """The IP address of a client; raises ValueError where it is none."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"{text or 'nothing'} is no IP address") from None


def sender_path(text: str) -> Path:
    """An envelope sender, "" or "<>" for the null sender; raises ValueError where it is none."""
    path = _path(text)
    if not path.domain and not path.is_null:
        raise ValueError(f"{text} is no address of a sender: it has no domain")
    return path


def recipient_path(text: str) -> Path:
    """An envelope recipient; raises ValueError where it is none."""
    path = _path(text)
    if path.is_null:
        raise ValueError(f"{text or 'nothing'} is no address of a recipient")
    return path


def _path(text: str) -> Path:
    octets = text.encode("utf-8", "surrogatepass")
    path, rest = parse_path(octets if octets[:1] == b"<" else b"<%b>" % octets, utf8=True)
    if not isinstance(path, Path):
        raise ValueError(f"{text} is no address: {path.reason}")
    if rest:
        raise ValueError(f"{text} is no address: something stands behind it")
    return path
