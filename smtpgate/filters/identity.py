"""Identity: who logged in sends as themselves only, in the envelope and in the fields that people see as the author.

It is for listeners of role submission, and looks at those who logged in; whoever may send without a login
(`relay_from`) is not its matter. An address is somebody's own where the login is that address, or where the table
`users` gives it to the login. The null sender is everybody's: receipts and automatic replies use it.

Refused with the sender at MAIL, and at the end of the message where a field names somebody else: From with each of its
addresses, and Sender. A From that two programs could read differently is nobody's own. A login whose name the gateway
could not learn owns what is given to "*".

RFC 6409 section 6.1 (submission may check who sends as whom); RFC 5322 section 3.6.2 (From and Sender); RFC 4954.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from smtpgate.config.entry import normal_domain, normal_local
from smtpgate.config.patterns import AddressList, PatternList
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.message.header import HeaderSection
from smtpgate.message.mailbox import Mailbox, read
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: What in an author's field lets programs show different addresses.
AMBIGUOUS: Final = frozenset({"two-addresses", "several-at-signs", "encoded-address", "control-in-address"})
#: Octets of an address in a reply, under the 512 of a line (RFC 5321 section 4.5.3.1.5).
_SHOWN: Final = 100
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class IdentityOptions(Options):
    """Whose each address is, and what becomes of mail of others."""

    users: dict[str, list[str]] = Field(
        {},
        description="Addresses by login, which may have * in it: user@example.net, user@, example.net, *.example.org.",
    )
    own_address: bool = Field(True, description="A login that is an address owns it.")
    own_domain: bool = Field(False, description="A login that is an address owns all addresses of its domain.")
    separator: str = Field("", description='What begins the detail in a local part, as "+"; bob owns bob+x then.')
    fields: bool = Field(True, description="From and Sender are checked, not the envelope only.")
    on_behalf: bool = Field(False, description="From may name somebody else where Sender names the login.")
    action: Literal["note", "tag", "reject"] = Field("reject", description="What becomes of mail as somebody else.")

    @field_validator("users")
    @classmethod
    def _users(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        PatternList(value)
        for addresses in value.values():
            AddressList(addresses)
        return value

    @field_validator("separator")
    @classmethod
    def _separator(cls, value: str) -> str:
        if len(value) > 1 or value.isalnum() or value in tuple('@". '):
            raise ValueError(f"{value!r} separates nothing; write one mark, as +")
        return value


class IdentityFilter(Filter):
    """Knows whose each address is."""

    def __init__(self, options: IdentityOptions, services: Any) -> None:
        self.options = options
        self._exact: dict[str, list[AddressList]] = {}
        self._patterns: list[tuple[PatternList, AddressList]] = []
        for user, addresses in options.users.items():
            given = AddressList(addresses)
            if "*" in user:
                self._patterns.append((PatternList([user]), given))
            else:
                self._exact.setdefault(normal_local(user.strip()), []).append(given)

    def transaction(self, transaction: Transaction) -> _Message | None:
        """One message of somebody who logged in."""
        session = transaction.session
        return _Message(self, transaction) if session.user or session.mechanism else None

    def owner(self, user: str) -> Callable[[str, str], bool]:
        """A function that says whether a local part and a domain are an address of that login."""
        lists = [*self._exact.get(normal_local(user), ()), *(own for who, own in self._patterns if who.matches(user))]
        local, at, domain = user.rpartition("@")
        own = (normal_local(local), normal_domain(domain)) if at and local and normal_domain(domain) else ("", "")
        options = self.options

        def owns(local: str, domain: str) -> bool:
            domain = normal_domain(domain)
            if not local or not domain:
                return False
            if own[1] and own[1] == domain and options.own_domain:
                return True
            names = [local]
            if options.separator and local.partition(options.separator)[0] not in ("", local):
                names.append(local.partition(options.separator)[0])
            for name in names:
                if options.own_address and own == (normal_local(name), domain):
                    return True
                if any(one.matches(name, domain) for one in lists):
                    return True
            return False

        return owns


class _Message:
    __slots__ = ("_filter", "_owns", "_transaction")

    def __init__(self, parent: IdentityFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction
        self._owns = parent.owner(transaction.session.user)

    def mail(self) -> Finding | None:
        """The sender of the envelope."""
        sender = self._transaction.sender
        if sender.is_null or self._owns(sender.local, sender.domain):
            return None
        return self._found("identity-sender", str(sender))

    def header(self, section: HeaderSection) -> list[Finding] | None:
        """The fields that people see."""
        options = self._filter.options
        if not options.fields:
            return None
        sender = read(section, "sender")
        other = next((one for one in sender.mailboxes if not self._is_own(one)), None)
        found = [self._found("identity-sender-field", other.address, "in Sender")] if other is not None else []
        author = read(section, "from")
        ambiguous = next((one for one in author.anomalies if one.kind in AMBIGUOUS), None)
        is_there = bool(section.all("from"))
        if ambiguous is not None or (is_there and not author.mailboxes):
            detail = f"{ambiguous.kind}: {ambiguous.detail}" if ambiguous is not None else "no address"
            return [*found, self._ambiguous(detail)]
        if options.on_behalf and sender.mailboxes and not found:
            return None
        other = next((one for one in author.mailboxes if not self._is_own(one)), None)
        if other is not None:
            found.append(self._found("identity-author", other.address, "in From"))
        return found or None

    def _is_own(self, mailbox: Mailbox) -> bool:
        local, _, domain = mailbox.address.rpartition("@")
        if len(local) > 1 and local.startswith('"') and local.endswith('"'):
            local = _ESCAPE.sub(r"\1", local[1:-1])
        return self._owns(local, domain)

    def _found(self, reason: str, address: str, where: str = "") -> Finding:
        user = self._transaction.session.user
        shown = address[:_SHOWN] or "nobody"
        public = f"{user[:_SHOWN] or 'This login'} may not send as {shown} {where}".strip()
        return self._finding(reason, public, f"{user} as {address}")

    def _ambiguous(self, detail: str) -> Finding:
        user = self._transaction.session.user
        public = f"{user[:_SHOWN] or 'This login'} may not send as more than one could read in From"
        return self._finding("identity-ambiguous", public, f"{user}: {detail}")

    def _finding(self, reason: str, public: str, detail: str) -> Finding:
        action = self._filter.options.action
        if action != "reject":
            return Finding(reason, action, detail=detail)
        return Finding(reason, action, public, detail, code=550, enhanced="5.7.1")


factory = Factory(
    "identity",
    IdentityOptions,
    frozenset({"mail", "header"}),
    IdentityFilter,
    roles=frozenset({"submission"}),
    on_error="tempfail",
    category="policy",
)
