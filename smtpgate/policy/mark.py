"""What the gateway writes above a message about its own verdict, and takes away of what others claimed.

Mail programs and Sieve scripts know `X-Spam-Flag: YES` of SpamAssassin; the other fields say why. Fields of these names
that came with the message were written by a stranger, and are taken out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from smtpgate.message.header import HeaderSection
from smtpgate.policy.edits import AddField, Edit, RemoveField
from smtpgate.policy.verdict import Finding, Verdict

OURS: Final = (b"X-Spam-Flag", b"X-Spam-Score", b"X-Smtpgate-Verdict")
_NAMES: Final = tuple(name.decode().lower() for name in OURS)
#: Reasons named in the field; the explain page has all.
_REASONS: Final = 12


def marks(section: HeaderSection, verdict: Verdict, findings: Iterable[Finding]) -> list[Edit]:
    """The edits, in order; none for a message that has nothing and about which nothing was found."""
    edits: list[Edit] = []
    for name in _NAMES:
        edits += [RemoveField(name, index, "gateway") for index, _ in enumerate(section.named(name))]
    if verdict.action != "tag":
        return edits
    reasons = dict.fromkeys(
        f"{one.filter}/{one.reason}"
        for one in sorted(findings, key=lambda one: -one.score)
        if not one.is_shadow and (one.score > 0 or one.action not in ("note", "accept"))
    )
    named = "".join(f"\r\n\t{reason}" for reason in list(reasons)[:_REASONS])
    edits.append(AddField(f"X-Smtpgate-Verdict: {verdict.action};{named}\r\n".encode()))
    edits.append(AddField(f"X-Spam-Score: {verdict.score:.1f}\r\n".encode()))
    edits.append(AddField(b"X-Spam-Flag: YES\r\n"))
    return edits
