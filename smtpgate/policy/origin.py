"""Where a message comes from, as far as we can know: the client, or whom one of our own relays had it from.

Where relays of the site stand in front of the gateway, without PROXY or XCLIENT, every client is one of them. What the
checks of senders want to know then stands in the Received field that the relay wrote. `origin` walks these fields from
the top, as long as the host that each names is a relay of ours too: whatever stands below the first stranger, the
stranger may have written. Filters of the room `filters/sender` call it.

Promised: an address only where the field has the form of a program that we know (Postfix, Sendmail, OpenSMTPD, Exim,
Exchange, qmail, and this gateway), read whole and not by search, since names in it were chosen by strangers. Refused:
guessing; a field of another form, or mail that was born on a relay, makes the origin unknown. Time in proportion to
what is read, and that is bounded.

RFC 5321 section 4.4 (Received); RFC 3848 and RFC 6531 section 4.3 (the words behind `with`).
"""

from __future__ import annotations

import ipaddress
from typing import Final, Protocol

import attrs

from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Session

#: Relays of ours that a message may have passed; Sendmail refuses mail after 25 hops in all.
HOPS: Final = 25
#: What is read of one field; ours has some 300 octets, one with long names and TLS comments 1,000.
FIELD_OCTETS: Final = 2048

#: Words behind `with` that say that the sender logged in.
_LOGGED_IN: Final = frozenset({"ESMTPA", "ESMTPSA", "UTF8SMTPA", "UTF8SMTPSA", "LMTPA", "LMTPSA"})
#: What programs write for a host without a name.
_NAMELESS: Final = frozenset({"unknown", "unverified", "unresolved"})


class Relays(Protocol):
    """The relays of ours, as `config.patterns.NetworkList`."""

    def contains(self, address: str) -> bool:
        """Whether an address is one of them."""


@attrs.frozen
class Origin:
    """Where a message comes from.

    :ivar name: what the first of ours took for the host's name; "" where it knew none, or did not say
    :ivar is_known: False: there is nothing to check
    :ivar is_authenticated: the sender logged in at one of our relays
    :ivar is_relayed: it stands in the header section, and so is known no sooner than that
    :ivar unread: the field that could not be read, for the administrator
    """

    ip: str = ""
    name: str = ""
    helo: str = ""
    is_known: bool = False
    is_authenticated: bool = False
    is_relayed: bool = False
    unread: str = ""


@attrs.frozen
class Hop:
    """What one Received field says of the host that the message came from."""

    ip: str
    name: str
    helo: str
    is_authenticated: bool = False


def is_relayed(session: Session, relays: Relays) -> bool:
    """Whether the client is a relay of ours, so that the origin stands in the header section."""
    return bool(session.client_ip) and relays.contains(session.client_ip)


def origin(session: Session, section: HeaderSection | None, relays: Relays) -> Origin:
    """The origin of a message.

    :param section: its header section; without it, one that came by a relay has no known origin
    """
    if not is_relayed(session, relays):
        return Origin(session.client_ip, session.client_name, session.helo, bool(session.client_ip))
    if section is None:
        return Origin(is_relayed=True)
    is_fresh = True
    for value in section.all("received")[:HOPS]:
        text = value[:FIELD_OCTETS].decode("latin-1").replace("\t", " ")
        if _is_network_note(text):
            continue
        hop = read_received(text)
        if hop is None:
            shown = "".join(one if one.isprintable() else "?" for one in text[:200])
            return Origin(is_relayed=True, unread=shown)
        # A relay that hands mail to itself, as for a scanner, is still that relay. That it logs in says nothing.
        if not relays.contains(hop.ip) and not ipaddress.ip_address(hop.ip).is_loopback:
            return Origin(hop.ip, hop.name, hop.helo, True, hop.is_authenticated, True)
        is_fresh = False
    return Origin(is_relayed=True, unread="no Received field" if is_fresh else "only relays of ours")


def _is_network_note(text: str) -> bool:
    """The line that qmail puts above the one with the client: (qmail 12 invoked from network)."""
    words = text.split(maxsplit=5)
    return words[:1] == ["(qmail"] and words[2:5] == ["invoked", "from", "network);"]


def read_received(text: str) -> Hop | None:
    """What a Received field says, unfolded; None where it has no form that we know."""
    tokens = _tokens(text)
    if len(tokens) < 3 or tokens[0].lower() != "from":
        return None
    # All words before the first comment are what the client called itself, `by` too: Postfix lets blanks pass.
    start = next((at for at, token in enumerate(tokens) if token[0] == "("), len(tokens))
    end = start
    while end < len(tokens) and tokens[end][0] == "(":
        end += 1
    if end == len(tokens) or tokens[end].lower() != "by":
        # No comment before `by`: one form of Exim.
        start = end = 2
        if tokens[end].lower() != "by":
            return None
    said, comments, rest = " ".join(tokens[1:start]), [token[1:-1].strip() for token in tokens[start:end]], tokens[end:]
    hop = _read_from(said, comments, rest) if said else None
    return attrs.evolve(hop, is_authenticated=_is_logged_in(comments, rest)) if hop is not None else None


def _tokens(text: str) -> list[str]:
    """Words and whole comments up to the date; nothing where a comment does not end."""
    tokens: list[str] = []
    depth = start = 0
    word = ""
    for at, character in enumerate(text):
        if depth:
            depth += (character == "(") - (character == ")")
            if not depth:
                tokens.append(text[start : at + 1])
        elif character == "(":
            if word:
                tokens.append(word)
                word = ""
            depth, start = 1, at
        elif character in " ;":
            if word:
                tokens.append(word)
                word = ""
            if character == ";":
                break
        elif character == ")":
            return []
        else:
            word += character
    if depth:
        return []
    return [*tokens, word] if word else tokens


def _is_logged_in(comments: list[str], rest: list[str]) -> bool:
    words = [token for token in rest if not token.startswith("(")]
    protocol = next((words[at + 1] for at, word in enumerate(words[:-1]) if word.lower() == "with"), "")
    return protocol.upper() in _LOGGED_IN or any(
        comment.lower().startswith(("authenticated sender:", "authenticated bits=", "authenticated user=", "auth:"))
        for comment in comments
    )


def _read_from(said: str, comments: list[str], rest: list[str]) -> Hop | None:
    notes = [token[1:-1].strip().lower() for token in rest if token.startswith("(")]
    by_exim = any(note.startswith("exim") for note in notes)
    by_microsoft = "Microsoft" in rest
    first = comments[0] if comments else ""
    if by_exim:
        return _read_exim(said, first)
    if first[:5].upper() in ("HELO ", "EHLO "):
        return _read_qmail(said, first[5:].strip(), comments[1:])
    bare = _address(first)
    if bare:
        # Exchange, and qmail where name and HELO are the same: whether it is a name we do not know.
        return Hop(bare, "", said)
    words = first.removesuffix("(may be forged)").split()
    if not words or len(words) > 2 or by_microsoft:
        return None
    ip = _bracketed(words[-1])
    if not ip:
        return None
    # Sendmail: a name that does not lead back to the address is none.
    is_forged = first.endswith("(may be forged)")
    name = words[0].rpartition("@")[2] if len(words) == 2 and not is_forged else ""
    return Hop(ip, _name(name), said)


def _read_exim(said: str, first: str) -> Hop | None:
    """Three forms: `name ([ip] helo=x)`, `[ip] (helo=x)`, and without `helo` where it is the same as the name."""
    words = first.split()
    ip = _bracketed(said)
    if not ip:
        ip = _bracketed(words[0]) if words else ""
        if not ip:
            return None
        words = words[1:]
    keys: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in ("helo", "port", "ident"):
            return None
        keys.setdefault(key, value)
    name = "" if _bracketed(said) else said
    return Hop(ip, _name(name), keys.get("helo", said))


def _read_qmail(said: str, helo: str, comments: list[str]) -> Hop | None:
    """`name (HELO x) (ident@ip)`; the ident is the client's own word, and so the last @ counts."""
    ip = _address(comments[0].rpartition("@")[2]) if comments else ""
    return Hop(ip, _name(said), helo) if ip else None


def _name(text: str) -> str:
    text = text.lower().removesuffix(".")
    return "" if text in _NAMELESS or text.startswith("[") else text


def _bracketed(text: str) -> str:
    """The address in `[192.0.2.1]`, `[IPv6:2001:db8::1]`, `[2001:db8::1]` or `[192.0.2.1]:25`; "" where it is none."""
    inner, bracket, port = text.rpartition("]")
    if not bracket or not inner.startswith("[") or port and not (port[0] == ":" and port[1:].isdigit()):
        return ""
    inner = inner[1:]
    return _address(inner[5:] if inner[:5].lower() == "ipv6:" else inner)


def _address(text: str) -> str:
    text = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
