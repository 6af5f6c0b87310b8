"""Who the client says that it speaks for: XCLIENT and XFORWARD.

Postfix XCLIENT_README and XFORWARD_README. Trust is judged by the session, on who is connected.
"""

from __future__ import annotations

from collections.abc import Mapping

from smtpgate.policy.transaction import Session as Facts
from smtpgate.smtp.address import literal_address, plain_ip
from smtpgate.smtp.command import Command


def read_attributes(command: Command) -> tuple[dict[str, str], str]:
    """The attributes of the command, "" where one is declared unknown; and the name of a wrong one, or ""."""
    values: dict[str, str] = {}
    for name, octets in command.attributes.items():
        value = _attribute(name, octets, command.verb)
        if value is None:
            return {}, name
        values[name] = value
    return values, ""


def note_forward(facts: Facts, values: Mapping[str, str]) -> None:
    """XFORWARD: kept for the log, without effect on any decision."""
    facts.xclient.update({f"forward_{name.lower()}": value for name, value in values.items()})


def take_client(facts: Facts, values: Mapping[str, str]) -> None:
    """XCLIENT: the session is that client's from now on."""
    if values.get("ADDR"):
        facts.client_ip = values["ADDR"]
    facts.client_port = int(values["PORT"] or 0) if "PORT" in values else facts.client_port
    facts.client_name = values.get("NAME", facts.client_name)
    facts.local_ip = values.get("DESTADDR", facts.local_ip) or facts.local_ip
    facts.local_port = int(values["DESTPORT"] or 0) if "DESTPORT" in values else facts.local_port
    if "HELO" in values:
        facts.xclient["helo"] = values["HELO"]
    if "LOGIN" in values:
        facts.user, facts.mechanism = values["LOGIN"], "XCLIENT" if values["LOGIN"] else ""


def _attribute(name: str, octets: bytes, verb: str) -> str | None:
    """One attribute's value; "" where it is declared unknown, None where it is wrong."""
    text = octets.decode("utf-8", "replace")
    if not text.isprintable() or " " in text and name != "HELO":
        return None
    if text.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
        return ""
    if name in ("ADDR", "DESTADDR"):
        literal = f"[{text}]" if not text.startswith("[") else ""
        address = literal_address(literal) if literal else None
        return plain_ip(str(address)) if address is not None else None
    if name in ("PORT", "DESTPORT"):
        return text if text.isascii() and text.isdigit() and int(text) <= 65535 else None
    if name == "PROTO":
        return text.upper() if text.upper() in ("SMTP", "ESMTP") else None
    if name in ("NAME", "HELO", "LOGIN") or verb == "XFORWARD" and name in ("IDENT", "SOURCE"):
        return text
    return None
