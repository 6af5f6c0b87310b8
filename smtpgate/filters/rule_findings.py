"""What a rule says where it is true: a finding with the rule's name, and why it is there.

What was found in texts is told with it, masked, so that a person sees what the rule has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from smtpgate.config.model_policy import Rule
from smtpgate.filters.search import told
from smtpgate.policy.held import TAKING
from smtpgate.policy.protection import level_of
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.rules.searching import Match

_DECIDES: Final = frozenset({"reject", "defer", *TAKING})
#: What is done without a verdict, for whoever reads the record.
_DOES: Final = {
    "tag": " tags it",
    "accept": " ends the rules behind it",
    "route": " sends it elsewhere",
    "copy": " has a copy held",
    "bcc": " sends a copy",
    "journal": " reports it to a journal",
    "smime-sign": " has it signed",
    "smime-encrypt": " has it encrypted",
}


def tls_finding(rule: Rule, transaction: Transaction, step: str) -> Finding:
    """What the leg to the backend must have; a refusal where the client's has too little.

    530 asks for STARTTLS where the client may still begin anew (RFC 3207 section 4).
    """
    detail = f"rule {rule.name}{_owner(rule)} asks for TLS, {rule.tls_level}, to the {rule.leg}{_note(rule)}"[:1000]
    protects = rule.tls_level if rule.leg != "client" else ""
    tls = transaction.session.tls
    if rule.leg == "backend" or tls is not None and (rule.tls_level == "encrypted" or level_of(tls) == "verified"):
        return Finding(rule.name, "note", detail=detail, protects=protects)
    text = "Encryption is required" if tls is None else "A client certificate that can be verified is required"
    code = 530 if tls is None and step not in ("header", "end") else 550
    return Finding(rule.name, "reject", text, detail, code=code, enhanced="5.7.10")


def _owner(rule: Rule) -> str:
    return f", of {rule.owner}" if rule.owner else ""


def _note(rule: Rule) -> str:
    return f": {rule.note}" if rule.note else ""


def finding(rule: Rule, matches: Sequence[Match]) -> Finding:
    """What a rule says that is true."""
    does = f" changes it ({rule.action})" if rule.change is not None else _DOES.get(rule.action, "")
    detail = f"rule {rule.name}{_owner(rule)}{does}{_note(rule)}"
    if rule.condition.needs_search:
        detail = "; ".join([detail, *_evidence(rule, matches)])
    return Finding(
        rule.name,
        rule.action if rule.action in _DECIDES else "note",
        rule.text,
        detail[:1000],
        code=rule.code,
        enhanced=rule.enhanced,
    )


def _evidence(rule: Rule, matches: Sequence[Match]) -> list[str]:
    """What was found of what a rule asks for, masked; each detector as sure as it is."""
    names = {name.name for part in rule.asked.values() for name in part.names}
    is_all = any(part.is_all for part in rule.asked.values())
    surest: dict[str, Match] = {}
    for match in matches:
        if is_all or match.detector in names or match.group in names:
            surest.setdefault(match.detector, match)
    return [told(match) for match in surest.values()]
