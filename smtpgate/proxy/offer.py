"""What EHLO offers: our own work, and what every backend has that this session's mail may go to.

Nothing is offered that could not be kept (promise 5): an extension that a backend lacks is left out, unless the
listener says `capability_mode = "union"`.
"""

from __future__ import annotations

from collections.abc import Sequence

from smtpgate.policy.transaction import Session as Facts
from smtpgate.proxy.revision import Door, Revision
from smtpgate.smtp.capability import Capabilities, intersect, unite
from smtpgate.smtp.reply import Reply

#: The mechanisms that a password file can check.
LOCAL_MECHANISMS = ("PLAIN", "LOGIN")
#: Replies kept for each door; a session's state has few forms, and backends change rarely.
_MADE = 64


def offer(door: Door, revision: Revision, facts: Facts, known: Sequence[Capabilities]) -> tuple[Capabilities, Reply]:
    """What this session can honour, and the EHLO reply that says so.

    :param known: of each backend that is known; empty where none is
    """
    listener = door.listener
    trusted = bool(listener.xclient_from) and listener.xclient_from.contains(facts.peer_ip)
    key = (tuple(known), facts.tls is not None, bool(facts.mechanism), trusted)
    made = door.offers.get(key)
    if made is None:
        capabilities = Capabilities(_words(door, revision, facts, known, trusted))
        lines = [revision.settings.hostname]
        for keyword, value in capabilities.words.items():
            lines.append(f"{keyword} {value}" if value else keyword)
        made = (capabilities, Reply(250, "", tuple(lines)))
        if len(door.offers) > _MADE:
            door.offers.clear()
        door.offers[key] = made
    return made


def _words(
    door: Door, revision: Revision, facts: Facts, known: Sequence[Capabilities], trusted: bool
) -> dict[str, str]:
    listener, limits = door.listener, revision.settings.limits
    behind = (unite if listener.capability_mode == "union" else intersect)(known)
    words = {"PIPELINING": ""}
    sizes = [limits.message_size_octets] + ([behind.size] if behind.size is not None else [])
    words["SIZE"] = str(min(sizes))
    for keyword in ("8BITMIME", "SMTPUTF8", "DSN"):
        if keyword in behind:
            words[keyword] = ""
    if "SMTPUTF8" in words and "8BITMIME" not in words:
        del words["SMTPUTF8"]
    words["ENHANCEDSTATUSCODES"] = ""
    if listener.chunking:
        words["CHUNKING"] = ""
        if "BINARYMIME" in behind and _is_binary_safe(door) and not revision.signers.of(listener):
            words["BINARYMIME"] = ""
    if listener.prdr and not door.rules.is_lmtp:
        words["PRDR"] = ""
    if facts.tls is None and door.tls is not None and listener.tls in ("optional", "required"):
        words["STARTTLS"] = ""
    mechanisms = _mechanisms(door, facts, behind)
    if mechanisms:
        words["AUTH"] = " ".join(mechanisms)
    if facts.tls is not None and "REQUIRETLS" in behind:
        words["REQUIRETLS"] = ""
    words["LIMITS"] = _limits(door, revision, behind)
    if trusted:
        words["XCLIENT"] = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
        words["XFORWARD"] = "NAME ADDR PORT PROTO HELO IDENT SOURCE"
    words["HELP"] = ""
    return words


def _is_binary_safe(door: Door) -> bool:
    """BINARYMIME passes only where nothing needs lines: no filter, no edit, no newline rule (DESIGN 5)."""
    return not door.chain.has_body and not door.chain.edits_body and door.listener.bare_newline == "normalize"


def _mechanisms(door: Door, facts: Facts, behind: Capabilities) -> tuple[str, ...]:
    listener = door.listener
    if listener.auth == "off" or facts.mechanism or listener.auth_requires_tls and facts.tls is None:
        return ()
    return behind.mechanisms if listener.auth == "relay" else LOCAL_MECHANISMS


def _limits(door: Door, revision: Revision, behind: Capabilities) -> str:
    """RFC 9422."""
    limits = revision.settings.limits
    known = behind.limits
    out = [f"RCPTMAX={min(limits.recipients, known.get('RCPTMAX', limits.recipients))}"]
    messages = [most for most in (limits.messages_per_session, known.get("MAILMAX", 0)) if most]
    if messages:
        out.insert(0, f"MAILMAX={min(messages)}")
    if door.listener.role == "mx" and revision.router.differs_by_recipient(door.listener.name):
        out.append("RCPTDOMAINMAX=1")
    return " ".join(out)
