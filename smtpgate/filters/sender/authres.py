"""Authentication-Results: what was found about who sent a message, in one field for the servers and readers behind us.

What it says is what the checks know: SPF, each DKIM signature, ARC and DMARC, and the names of the client's address
where that is wanted. A field of a stranger that claims to be ours is removed, as it would be believed; those of others
stay, and so do the fields of ARC, which have a name of their own.

Promised: whatever strangers chose stands in a form in which it can be nothing else than the value of its own property:
atoms as they are, everything else in quotes, without marks, comments or line ends, and capped. A check that fails is
left out, and the field tells of the others. Clients that logged in or are trusted get no field.

RFC 8601 (the field; section 5 on those that claim to be ours); RFC 7208 section 9.2; RFC 8617; RFC 9989.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import Field, field_validator
from twisted.internet.defer import DeferredList, ensureDeferred

from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.filters.sender.authentication import spf
from smtpgate.filters.sender.base import BUDGET_S, in_time, is_exempt, known_origin
from smtpgate.filters.sender.dmarc import dmarc
from smtpgate.filters.sender.dmarc_record import CLAIMS_OCTETS, tokens
from smtpgate.filters.sender.iprev import Iprev, iprev
from smtpgate.filters.sender.signed import begin, signatures
from smtpgate.message.header import HeaderSection
from smtpgate.policy.authentication import ARCResult, DKIMResult, DMARCResult, Signatures, SPFResult
from smtpgate.policy.edits import AddField, RemoveField
from smtpgate.policy.transaction import Transaction

NAME: Final = "authentication-results"
#: Octets of a value: a domain has 253, and no local part that is shown is longer than the 64 of RFC 5321.
VALUE_OCTETS: Final = 253
REASON_OCTETS: Final = 120
#: Octets of foreign fields with our name in them that are read; what has more of them loses those behind it. One has
#: some 1,000, and a message with ten is rare.
ALL_OCTETS: Final = 65_536
#: Signatures that are told of; more than the job reads do not come.
SIGNATURES: Final = 20
#: Length of a line that is folded (RFC 5322 section 2.1.1).
LINE: Final = 78
#: Under the budget, so that what is known is told though a check is late.
TIME_S: Final = BUDGET_S - 0.5

#: A token of RFC 2045 section 5.1 without the marks that some readers take for comments or versions.
_ATOM: Final = re.compile(r"[A-Za-z0-9._+-]+")
#: The domain name of RFC 8601 section 2.2 has no empty label; other readers stop at one.
_DOMAIN: Final = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
_ADDRESS: Final = re.compile(r"[A-Za-z0-9._+=-]{1,64}@" + _DOMAIN)
_AT_DOMAIN: Final = re.compile("@" + _DOMAIN)
#: The words of the results, by RFC 8601 section 2.7.
WORDS: Final = frozenset(
    {"none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"}
)  # fmt: skip


def quoted(text: str, cap: int) -> str:
    """A text as a quoted string that no reader can leave early."""
    plain = "".join(one if one.isprintable() and one.isascii() and one not in '"\\();' else "?" for one in text[:cap])
    return f'"{plain}"'


def value(text: str) -> str:
    """A value of a property: as it is where that is safe, else in quotes."""
    text = text[:VALUE_OCTETS]
    is_plain = _ATOM.fullmatch(text) or _ADDRESS.fullmatch(text) or _AT_DOMAIN.fullmatch(text)
    return text if is_plain else quoted(text, VALUE_OCTETS)


def _result(method: str, result: str, reason: str = "", **properties: str) -> list[str]:
    """The words of one result. Of a property the name is written with a double underline for the dot."""
    words = [f"{method}={result if result in WORDS else 'permerror'}"]
    if reason and result != "pass":
        words.append(f"reason={quoted(reason, REASON_OCTETS)}")
    names = ((name.replace("__", ".").replace("_", "-"), text) for name, text in properties.items())
    return words + [f"{name}={value(text)}" for name, text in names if text]


def tell_iprev(fact: Iprev) -> list[str]:
    """The names of the address; nothing where nothing was asked."""
    return _result("iprev", fact.result, policy__iprev=fact.ip) if fact.result else []


def tell_spf(result: SPFResult, sender: str, helo: str) -> list[str]:
    """SPF; of a null sender the greeting was checked."""
    if result.identity == "helo":
        return _result("spf", result.result, _trouble(result), smtp__helo=result.domain or helo)
    shown = sender if _ADDRESS.fullmatch(sender) else result.domain or sender.rpartition("@")[2]
    return _result("spf", result.result, _trouble(result), smtp__mailfrom=shown)


def _trouble(result: SPFResult) -> str:
    return result.reason if result.result in ("temperror", "permerror") else ""


def tell_dkim(result: DKIMResult) -> list[str]:
    """One signature."""
    is_useful = result.identity.lower() not in ("", f"@{result.domain}")
    return _result(
        "dkim",
        result.result,
        result.reason,
        header__d=result.domain,
        header__s=result.selector,
        header__i=result.identity if is_useful else "",
    )


def tell_arc(result: ARCResult) -> list[str]:
    """The chain; nothing where there is none."""
    return _result("arc", result.result, result.reason) if result.result != "none" else []


def tell_dmarc(result: DMARCResult) -> list[str]:
    """DMARC, with the policy as it applies."""
    policy = result.policy if result.found else ""
    reason = result.reason if result.result in ("temperror", "permerror") else ""
    return _result("dmarc", result.result, reason, header__from=result.author, policy__dmarc=policy)


def field(server: str, results: list[list[str]]) -> bytes:
    """The whole field, folded."""
    lines = [f"Authentication-Results: {server}"]
    told = [words for words in results if words]
    for words in told or [["none"]]:
        lines[-1] += ";"
        lines.append(f"\t{words[0]}")
        for word in words[1:]:
            if len(lines[-1]) + len(word) < LINE - 1:
                lines[-1] += f" {word}"
            else:
                lines.append(f"\t {word}")
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


def names_us(raw: bytes, servers: frozenset[str]) -> bool:
    """Whether one of these names stands anywhere in a value; most fields of others are done with by that."""
    text = raw.lower().replace(b"\\", b"")
    return any(server.encode("ascii", "replace") in text for server in servers)


def claims(raw: bytes, servers: frozenset[str]) -> bool:
    """Whether a field says that it is of one of these servers, in whatever disguise.

    One that breaks off in a comment or a quoted string, or is longer than is read, counts where the name stands
    anywhere in it, since programs read those differently.

    :param raw: what follows the colon
    :param servers: in lower case
    """
    if not names_us(raw, servers):
        return False
    text = "".join(one if one >= " " and one != "\x7f" else " " for one in raw[:CLAIMS_OCTETS].decode("latin-1"))
    found = tokens(text) if len(raw) <= CLAIMS_OCTETS else None
    if found is None:
        return True
    first = next((one for one in found if one not in "=;"), "").removeprefix('"').strip().lower()
    return any(one.rstrip(".") in servers for one in (first, first.partition("/")[0], first.partition(" ")[0]))


class AuthresOptions(Options):
    """Under which name, and what beyond the results of SPF, DKIM, ARC and DMARC."""

    server: str = Field("", description="The name in the field (authserv-id); the gateway's hostname where empty.")
    iprev: bool = Field(False, description="Tell of the names of the client's address.")

    @field_validator("server")
    @classmethod
    def _name(cls, value: str) -> str:
        if value and (_ATOM.fullmatch(value) is None or len(value) > VALUE_OCTETS):
            raise ValueError(f"{value!r} is no name for the field; write one as gate.example.com")
        return value


class AuthresFilter(Filter):
    """Removes what claims to be ours, and writes what is."""

    def __init__(self, options: AuthresOptions, services: Any) -> None:
        self.options = options
        self.services = services
        hostname = services.settings.hostname
        self.server = options.server or (hostname if _ATOM.fullmatch(hostname) else "localhost")
        self.ours = frozenset(one.lower().rstrip(".") for one in (self.server, hostname) if one)

    def transaction(self, transaction: Transaction) -> _Message:
        """Every message: those of friends must not bring forged fields either."""
        return _Message(self, transaction)


class _Message:
    __slots__ = ("_filter", "_transaction")

    def __init__(self, parent: AuthresFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction

    def header(self, section: HeaderSection) -> None:
        """Take out what claims to be ours, without waiting for anything, so that no failure of a check leaves it in."""
        services, ours = self._filter.services, self._filter.ours
        edits = services.edits(self._transaction)
        left = ALL_OCTETS
        for index, one in enumerate(section.named(NAME)):
            value = one.value
            if not names_us(value, ours):
                continue
            left -= len(value)
            if left < 0 or claims(value, ours):
                edits.append(RemoveField(NAME, index, "authres"))
        if not is_exempt(self._transaction.session):
            begin(self._transaction, services)

    async def end(self) -> None:
        """Write the field."""
        services, transaction = self._filter.services, self._transaction
        if is_exempt(transaction.session):
            return
        origin = (await known_origin(services, transaction)).origin
        if origin.is_authenticated:
            return
        results: list[list[list[str]]] = [[], [], [], []]
        failed = await in_time(services, self._gather(results, origin.helo), TIME_S)
        told = [words for one in results for words in one]
        services.edits(transaction).append(AddField(field(self._filter.server, told), "authres"))
        if failed is not None:
            # What is known is told; that a check failed is recorded all the same.
            raise failed

    async def _gather(self, results: list[list[list[str]]], helo: str) -> Exception | None:
        """Put the words of each check into its place, as they come; the first failure, or None."""
        services, transaction = self._filter.services, self._transaction
        sender = str(transaction.sender)

        async def put(place: int, asked: Awaitable[Any], tell: Callable[[Any], list[list[str]]]) -> None:
            results[place] = tell(await asked)

        def signed(found: Signatures) -> list[list[str]]:
            each = [tell_dkim(one) for one in found.dkim[:SIGNATURES]] or [["dkim=none"]]
            return [*each, tell_arc(found.arc)]

        works = [
            put(1, spf(transaction, services), lambda found: [tell_spf(found, sender, helo)]),
            put(2, signatures(transaction, services), signed),
            put(3, dmarc(transaction, services), lambda found: [tell_dmarc(found)]),
        ]
        if self._filter.options.iprev:
            works.append(put(0, iprev(services, transaction), lambda found: [tell_iprev(found)]))
        outcomes: Any = await DeferredList([ensureDeferred(work) for work in works], consumeErrors=True)
        return next((result.value for is_good, result in outcomes if not is_good), None)


factory = Factory(
    "authres",
    AuthresOptions,
    frozenset({"header", "end"}),
    AuthresFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    needs_message=True,
    budget_s=BUDGET_S,
    needs_content=True,
    category="protocol",
)
