"""What is known of a message at each step, as conditions see it. See `vocabulary` for what each word means."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, Final

from smtpgate.examine.facts import Facts, File
from smtpgate.examine.registered import Registered
from smtpgate.message.header import HeaderSection
from smtpgate.message.mailbox import read
from smtpgate.message.words import decode
from smtpgate.policy.transaction import Recipient, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.rules.engine import record
from smtpgate.rules.searching import Searched
from smtpgate.smtp.address import Path

#: The names of the groups that an address is in, by its local part and domain.
GroupsOf = Callable[[str, str], list[str]]


#: The domains that our users write to and that a domain looks like.
LooksLike = Callable[[str], list[str]]
#: Whether a domain is ours.
IsLocal = Callable[[str], bool]


def no_groups(local: str, domain: str) -> list[str]:
    """Where no rule asks."""
    return []


#: Domains of recipients that are held against those that our users write to: one that is not among
#: them takes 1 ms, at DATA.
LOOKED_AT: Final = 20
AT_HEADER: Final = frozenset({"subject", "authors", "author_domains", "visible_recipients"})
#: Fields and records that conditions see; what is more is left out, and `is_inspected` says so.
MOST: Final = 1000


def at_mail(transaction: Transaction, groups: GroupsOf = no_groups) -> dict[str, Any]:
    """At MAIL."""
    session, sender = transaction.session, transaction.sender
    name, _, domain = session.user.rpartition("@") if "@" in session.user else (session.user, "", "")
    return {
        "direction": "in" if session.role == "mx" else "out",
        "listener": session.listener,
        "client_ip": session.client_ip,
        "helo": text(session.helo),
        "tls": session.tls.version if session.tls is not None else "",
        "tls_cipher": session.tls.cipher if session.tls is not None else "",
        "tls_client_name": text(session.tls.peer_name) if session.tls is not None and session.tls.is_verified else "",
        "user": text(session.user),
        "traffic_class": session.traffic_class,
        "sender": _address(sender),
        "sender_domain": sender.domain.lower(),
        "sender_groups": groups(sender.local, sender.domain),
        "user_groups": groups(name, domain) if session.user else [],
    }


def at_rcpt(path: Path, groups: GroupsOf = no_groups) -> dict[str, Any]:
    """Of one recipient."""
    return {
        "recipient": _address(path),
        "recipient_domain": path.domain.lower(),
        "recipient_groups": groups(path.local, path.domain),
    }


def like_none(domain: str) -> list[str]:
    """Where no rule asks."""
    return []


def none_local(domain: str) -> bool:
    """Where nobody said which domains are ours."""
    return False


def at_data(
    recipients: Iterable[Recipient],
    groups: GroupsOf = no_groups,
    is_local: IsLocal = none_local,
    looks_like: LooksLike = like_none,
) -> dict[str, Any]:
    """Of all that were accepted."""
    paths = [one.path for one in recipients if one.state in ("accepted", "delivered", "known")]
    domains = dict.fromkeys(path.domain.lower() for path in paths)
    outside = [domain for domain in domains if not is_local(domain)]
    names = dict.fromkeys(name for path in paths for name in groups(path.local, path.domain))
    return {
        "recipients": [_address(path) for path in paths],
        "recipient_domains": list(domains),
        "outside_domains": outside,
        "is_mixed": 0 < len(outside) < len(domains),
        "lookalike_of": list(dict.fromkeys(one for domain in outside[:LOOKED_AT] for one in looks_like(domain))),
        "groups_of_recipients": list(names),
    }


def fields_of(section: HeaderSection) -> dict[str, list[str]]:
    """The values of its fields, by name in lower case."""
    fields: dict[str, list[str]] = {}
    for field in section.fields[:MOST]:
        fields.setdefault(field.name, []).append(field.value.decode("utf-8", "replace"))
    return fields


def at_header(section: HeaderSection, wanted: Container[str] = AT_HEADER) -> dict[str, Any]:
    """Once the header section is there: those that are wanted, for each takes as long as all others of its step."""
    found: dict[str, Any] = {}
    if "subject" in wanted:
        found["subject"] = text(decode(section.first("subject")))
    if "authors" in wanted or "author_domains" in wanted:
        authors = [text(one.address.lower()) for one in read(section, "from").mailboxes if one.address]
        found["authors"] = authors
        found["author_domains"] = list(dict.fromkeys(one.rpartition("@")[2] for one in authors))
    if "visible_recipients" in wanted:
        visible = {one.address.lower() for name in ("to", "cc") for one in read(section, name).mailboxes if one.address}
        found["visible_recipients"] = len(visible)
    return found


def attachment(one: File) -> Any:
    """One file."""
    return record("Attachment")(
        name=text(one.names[0].lower() if one.names else ""),
        kind=one.kind,
        detail=text(one.detail),
        media_type=text(one.claimed),
        flags=sorted(one.flags),
        octets=one.octets,
        digest=one.digest,
        depth=one.depth,
        is_inline=one.is_inline,
    )


def at_end(
    facts: Facts | None,
    octets: int,
    findings: Iterable[Finding],
    registered: Registered | None = None,
    searched: Searched | None = None,
) -> dict[str, Any]:
    """Once all of it is there.

    :param facts: None where no condition asks for them; `registered` too
    :param searched: what was found in its texts, None likewise
    """
    known = registered or Registered()
    found = list(findings)
    files = facts.files[:MOST] if facts is not None else ()
    links = facts.links[:MOST] if facts is not None else ()
    is_whole = facts is not None and facts.is_complete and not any("encrypted" in one.flags for one in files)
    return {
        "size": octets,
        "attachments": [attachment(one) for one in files],
        "links": [
            record("Link")(
                url=text(one.url),
                scheme=text(one.scheme),
                host=text(one.host),
                domain=text(one.domain),
                shown=text(one.shown),
                source=one.source,
            )
            for one in links
        ],
        "fingerprints": [
            record("Fingerprint")(name=one.name, share=one.share, longest=one.longest) for one in known.fingerprints
        ],
        "rows": [
            record("RowMatch")(table=one.table, rows=one.rows, columns=[text(name) for name in one.columns])
            for one in known.rows
        ],
        "findings": [
            record("Finding")(
                filter=one.filter, reason=one.reason, action=one.action, category=one.category, score=one.score
            )
            for one in found
        ],
        "score": float(sum(one.score for one in found)),
        "is_inspected": is_whole,
        **_searched(searched),
    }


def _searched(searched: Searched | None) -> dict[str, Any]:
    matches = searched.matches if searched is not None else ()
    unread = searched.unread[:MOST] if searched is not None else ()
    return {
        "matches": [
            record("Match")(
                detector=one.detector,
                group=one.group,
                country=one.country,
                confidence=one.confidence,
                count=one.count,
                distinct=one.distinct,
                score=one.score,
                paths=[text(path) for path in one.paths],
                samples=[text(sample) for sample in one.samples],
            )
            for one in matches
        ],
        "unread": [record("Unread")(path=text(path), why=why) for path, why in unread],
        "is_read": searched is not None and not searched.unread,
    }


def _address(path: Path) -> str:
    return text(str(path).lower())


def text(said: str) -> str:
    """As the engine takes it: half a surrogate pair is no text to it."""
    return said if said.isascii() else said.encode("utf-8", "replace").decode()
