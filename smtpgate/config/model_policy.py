"""What the configuration says of policy, as values; see `model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from smtpgate.config.patterns import NO_ADDRESSES, AddressList
from smtpgate.edits.wanted import Change
from smtpgate.rules.asked import Asked, Name
from smtpgate.rules.engine import Expression

#: The name under which rules stand in log and pages, as that of a filter.
RULES: Final = "rules"
#: Actions by which something of the message is kept or sent beside what becomes of it.
COPYING: Final = frozenset({"copy", "bcc", "journal"})
#: Actions with addresses of their own.
SENDING: Final = frozenset({"redirect", "bcc", "journal"})
#: Actions that make another message of the whole content, by S/MIME.
SEALING: Final = frozenset({"smime-sign", "smime-encrypt"})
#: Actions that are about a message as a whole: of one recipient's copy they make no sense.
WHOLE: Final = frozenset({"tag"}) | COPYING | SEALING


@attrs.frozen
class Rule:
    """One rule.

    :ivar condition: what must be true of the mail; `when`, `unless`: as it was written
    :ivar number: its place in the file
    :ivar listener: names of listeners; none: all
    :ivar direction: in, out, or "" for both
    :ivar action: as in the file; where it changes mail, `change` is what it does
    :ivar to: who gets it, or a copy; `backend`: where they are reached, or where it is routed to
    :ivar held_as: class in the quarantine; "": the usual one
    :ivar strict: mail whose copy cannot be kept is deferred
    :ivar code: of the reply where it refuses; 0: the usual one; `enhanced`, `text`: "" alike
    :ivar on_error: tempfail, reject or continue
    :ivar tls_level: of `require-tls`: encrypted, verified or dane; "" for all others
    :ivar leg: of `require-tls`: backend, client or both
    :ivar change: what it does to the message; None: nothing but what `subject_tag` and `headers` say
    :ivar parts: of `strip` and `replace`: holds for a message with the one attachment that is asked about
    :ivar self_service: reason, approval or ""
    :ivar on_missing: of `smime-sign` and `smime-encrypt`: refuse, defer or continue, without a certificate
    :ivar asked: what `when`, `unless` and `parts` ask for of what is found in texts
    :ivar sender: who must have sent it; `recipient`: for whom, and then it is about that recipient; empty: anybody
    :ivar groups: what `when`, `unless` and `parts` name of groups; `listeners`: of listeners
    :ivar table: rules, or packs for one that a pack stands for
    """

    name: str
    condition: Expression
    when: str = "true"
    unless: str = "false"
    number: int = 0
    listener: tuple[str, ...] = ()
    direction: str = ""
    action: str = "note"
    code: int = 0
    enhanced: str = ""
    text: str = ""
    subject_tag: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    to: tuple[str, ...] = ()
    backend: str = ""
    held_as: str = ""
    strict: bool = True
    mode: str = "enforce"
    on_error: str = "tempfail"
    owner: str = ""
    note: str = ""
    tls_level: str = ""
    leg: str = "backend"
    change: Change | None = None
    parts: Expression | None = None
    asked: Mapping[str, Asked] = attrs.field(factory=dict)
    table: str = "rules"
    self_service: str = ""
    sender: AddressList = NO_ADDRESSES
    recipient: AddressList = NO_ADDRESSES
    groups: Mapping[str, tuple[Name, ...]] = attrs.field(factory=dict)
    on_missing: str = "refuse"
    listeners: Mapping[str, tuple[Name, ...]] = attrs.field(factory=dict)


class Groups(dict[str, AddressList]):
    """The groups of the configuration, by name."""

    def of(self, local: str, domain: str) -> list[str]:
        """The names of those that an address is in; the null sender is two empty texts."""
        return [name for name, members in self.items() if members.matches(local, domain)]


@attrs.frozen
class TLSPolicy:
    """What is asked of the TLS of a leg. An empty field is not asked about; all others must match.

    :ivar number: its place in the file
    :ivar level: encrypted, verified or dane
    :ivar leg: backend, client or both
    :ivar names: the server's certificate must be for one of these; none: for the name of the server
    """

    number: int
    level: str
    leg: str = "backend"
    listener: tuple[str, ...] = ()
    sender: AddressList = NO_ADDRESSES
    recipient: AddressList = NO_ADDRESSES
    names: tuple[str, ...] = ()
