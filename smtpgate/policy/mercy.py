"""Whom guesses must not keep mail from.

Who runs a domain must be reachable at `postmaster` (RFC 5321 section 4.5.1) and `abuse` (RFC 2142), by those too whose
mail looks bad: they write to say that they were wrongly refused. Malware, size and policy hold there as anywhere.
"""

from __future__ import annotations

from typing import Final

import attrs

from smtpgate.policy.verdict import MERCIFUL, Finding
from smtpgate.smtp.address import Path

SPARED: Final = frozenset({"postmaster", "abuse"})


def is_spared(path: Path) -> bool:
    """True for a mailbox that is exempt; whether its domain is one of ours was asked before."""
    return path.local.lower() in SPARED


def later(finding: Finding) -> Finding:
    """A finding of the session as it counts for a message: a refusal was heard when it was made.

    One that waited for the recipients (`MERCIFUL`) has met all but those who are spared; them it marks.
    """
    if finding.action not in ("reject", "defer"):
        return finding
    action = "tag" if finding.category in MERCIFUL else "note"
    return attrs.evolve(finding, action=action, code=0, enhanced="")
