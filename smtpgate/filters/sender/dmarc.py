"""DMARC: whether the domain that people see as the author's stands behind a message, and what it asks for if not.

`dmarc` finds the result once for each message, for all who ask: this filter, and what writes Authentication-Results.
The walk up the DNS starts with the header section; SPF and the signatures are waited for at the end. DNS trouble is
temperror, and leads to nothing; a domain that is proved to be the author's own passes even then.

A published policy asks, the operator decides: `enforce` is the strongest action that it may lead to. Mail of a list
that proves its own domain is tagged at most, whatever the author's domain asks: lists change what was signed. A sealer
that is trusted (ARC) and saw it pass lifts the policy. Where the origin is unknown SPF is too, and nothing is applied.

RFC 9989; RFC 7960 (lists and forwarders); RFC 8617 (ARC); RFC 2919 and RFC 2369 (fields of lists).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Literal

import attrs
from pydantic import Field, field_validator
from twisted.internet.defer import Deferred

from smtpgate.config.entry import normal_domain
from smtpgate.config.patterns import DomainList
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.filters.sender.arc import trusted_claims
from smtpgate.filters.sender.authentication import spf
from smtpgate.filters.sender.base import BUDGET_S, host_name, in_time, is_exempt, known_origin
from smtpgate.filters.sender.dmarc_record import Record, Walk, is_aligned, is_below, read_results, walk, weaker
from smtpgate.filters.sender.signed import begin, signatures
from smtpgate.interfaces import ChildFailed
from smtpgate.message.header import HeaderSection
from smtpgate.message.mailbox import read
from smtpgate.policy.authentication import DMARCResult, Signatures, SPFResult
from smtpgate.policy.names import Answer
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: For the walk up from the author's domain, whose look-ups have 3 seconds each and mostly are in a cache.
TIME_S: Final = 4.0
#: Domains with a good signature that are looked at; dkimpy's milter looks at 10 signatures.
IDENTIFIERS: Final = 10
#: Ways in which the domain of several authors may be written; capitals make no other one.
SPELLINGS: Final = 10
#: From the mildest.
STRENGTH: Final = ("note", "tag", "quarantine", "reject")
_ASKS: Final = {"none": "note", "quarantine": "quarantine", "reject": "reject"}

Enforce = Literal["note", "tag", "quarantine", "reject"]


@attrs.frozen
class Policy:
    """What is published for an author, found before the content is there.

    :ivar author: the author's domain; "" with `problem` saying why there is none
    :ivar walk: None where it did not end in time
    :ivar is_missing: the author's domain does not exist
    :ivar trouble: why the policy is not known
    """

    author: str = ""
    problem: str = ""
    walk: Walk | None = None
    is_missing: bool = False
    trouble: str = ""


async def dmarc(transaction: Transaction, services: Any) -> DMARCResult:
    """The result for a message at stage `end`, found once."""
    result: DMARCResult = await services.once(transaction, ("dmarc", "result"), lambda: _judge(transaction, services))
    return result


def _uses_suffixes(transaction: Transaction, services: Any, wanted: bool) -> Deferred[bool]:
    """Whether the list of public suffixes is used, as the first who asks wants it: the filter asks at the header."""

    async def say() -> bool:
        return wanted

    chosen: Deferred[bool] = services.once(transaction, ("dmarc", "suffixes"), say)
    return chosen


def _policy(transaction: Transaction, services: Any) -> Deferred[Policy]:
    """What is published for the author, asked for once."""
    policy: Deferred[Policy] = services.once(
        transaction, ("dmarc", "policy"), lambda: _published(transaction.header, services)
    )
    return policy


def author_domain(section: HeaderSection | None) -> tuple[str, str]:
    """The one domain of all authors as A-labels, and ""; or "" and why there is none."""
    given = read(section, "from").mailboxes if section is not None else ()
    domains: set[str] = set()
    for number, domain in enumerate(dict.fromkeys(mailbox.domain for mailbox in given)):
        # What is no name counts too: programs might show its address.
        domains.add(host_name(normal_domain(domain)) or domain)
        if len(domains) > 1 or number == SPELLINGS:
            return "", "authors of several domains"
    domain = next(iter(domains), "")
    if not domain:
        return "", "no author with a domain"
    return (domain, "") if host_name(domain) else ("", "the author's domain is no name of a host")


class _Names:
    """Look-ups of one message; names above several domains are asked once."""

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver
        self._kept: dict[str, Answer] = {}

    async def __call__(self, name: str) -> Answer:
        answer = self._kept.get(name)
        if answer is None:
            answer = self._kept[name] = await self._resolver.lookup(name, "TXT")
        return answer


async def _published(section: HeaderSection | None, services: Any) -> Policy:
    author, problem = author_domain(section)
    if problem:
        return Policy(problem=problem)
    found: Policy | None = await in_time(services, _look_up(author, services.resolver), TIME_S)
    return found if found is not None else Policy(author, trouble="the policy could not be looked up in time")


async def _look_up(author: str, resolver: Any) -> Policy:
    seen = await walk(author, _Names(resolver))
    applicable = seen.applicable()
    if applicable is None or seen.has_own or applicable[1].missing == applicable[1].subdomains:
        return Policy(author, walk=seen)
    # A name that is answered NXDOMAIN does not exist, and nothing below it (RFC 8020).
    answer: Answer = await resolver.lookup(author, "A")
    trouble = f"{author} could not be looked up" if answer.is_temporary else ""
    return Policy(author, walk=seen, is_missing=answer.status == "nxdomain", trouble=trouble)


@attrs.frozen
class Identifier:
    """A domain that SPF or a signature is about.

    :ivar has_passed: False: it could not be checked for now
    """

    method: str
    domain: str
    has_passed: bool


def identifiers(transaction: Transaction, sent: SPFResult, signed: Signatures, body_octets: int) -> list[Identifier]:
    """The domains that passed, and behind them those of which that is not known.

    A signature counts that covers From and the whole body: behind the part that l= names anybody may have put another
    message (RFC 6376 section 8.2). Keys that are there for a test count, as their signatures are as good as others.
    """
    results = {"pass": True, "temperror": False}
    given = [
        ("dkim", one.domain, results[one.result])
        for one in signed.dkim
        if one.result in results and one.has_from and (one.length < 0 or one.length >= body_octets)
    ]
    # The greeting stands in for the sender where there is none, and only there (RFC 9989 section 4.4.2).
    is_sender = sent.identity == "mailfrom" or transaction.sender.is_null
    if sent.result in results and is_sender:
        given.insert(0, ("spf", sent.domain, results[sent.result]))
    unique = dict.fromkeys(Identifier(*one) for one in given if one[1])
    return sorted(unique, key=lambda one: not one.has_passed)[:IDENTIFIERS]


def _body_octets(transaction: Transaction, services: Any) -> int:
    header = transaction.header
    octets: int = services.content(transaction).octets
    return octets - (len(header.octets) if header is not None else 0)


async def _judge(transaction: Transaction, services: Any) -> DMARCResult:
    policy = await _policy(transaction, services)
    if policy.problem:
        return DMARCResult("permerror", reason=policy.problem)
    if policy.walk is None:
        return DMARCResult("temperror", policy.author, reason=policy.trouble)
    seen = policy.walk
    base = DMARCResult("none", policy.author, seen.organisation)
    if seen.failed and not seen.has_own:
        return attrs.evolve(base, result="temperror", reason=f"{seen.failed} could not be looked up")
    applicable = seen.applicable()
    if applicable is None:
        return base
    found, record = applicable
    if not record.is_usable:
        return attrs.evolve(base, found=found, reason="the record has a policy that is none")
    published = record.policy if seen.has_own else record.missing if policy.is_missing else record.subdomains
    applied = weaker(published) if record.is_test else published
    base = attrs.evolve(base, found=found, policy=applied, published=published, is_test=record.is_test)
    return await _against(policy, record, base, transaction, services)


async def _against(
    policy: Policy, record: Record, base: DMARCResult, transaction: Transaction, services: Any
) -> DMARCResult:
    """The result by what was proved about the message."""
    assert policy.walk is not None
    sent = await spf(transaction, services)
    doubts: list[str] = [policy.trouble] if policy.trouble else []
    try:
        signed = await signatures(transaction, services)
    except ChildFailed as error:
        signed = Signatures()
        doubts.append(f"the signatures could not be checked: {error}")
    registered = None
    if await _uses_suffixes(transaction, services, False):
        registered = await services.run_in_worker(_registered_domains)
    aligned: list[str] = []
    given = identifiers(transaction, sent, signed, _body_octets(transaction, services))
    work = _align(policy.walk, record, given, registered, services.resolver, aligned, doubts)
    if await in_time(services, work, TIME_S) is None:
        doubts.append("alignment could not be looked up in time")
    if aligned:
        return attrs.evolve(base, result="pass", aligned=tuple(aligned))
    if doubts:
        return attrs.evolve(base, result="temperror", reason=doubts[0])
    tried = [f"spf={sent.result} {sent.domain}", *(f"dkim={one.result} {one.domain}" for one in signed.dkim[:3])]
    return attrs.evolve(base, result="fail", reason=", ".join(one.strip() for one in tried))


async def _align(
    author: Walk,
    record: Record,
    given: list[Identifier],
    registered: Callable[[str], str] | None,
    resolver: Any,
    aligned: list[str],
    doubts: list[str],
) -> bool:
    """Put each domain that is aligned into `aligned`, and what could not be known into `doubts`; then True."""
    lookup = _Names(resolver)
    # Those that need no look-up come first, so that none of the others can keep them out.
    for one in sorted(given, key=lambda one: one.domain != author.domain):
        is_strict = record.is_strict_spf if one.method == "spf" else record.is_strict_dkim
        is_one = await is_aligned(author, one.domain, is_strict, lookup, registered)
        if is_one and one.has_passed:
            aligned.append(f"{one.method}={one.domain}")
        elif is_one is None or is_one:
            doubts.append(f"{one.method} of {one.domain} could not be checked")
    return True


@lru_cache(1)
def _registered_domains() -> Callable[[str], str]:
    """The list of public suffixes, which takes some 30 ms to read."""
    from publicsuffixlist import PublicSuffixList

    suffixes = PublicSuffixList()
    return lambda domain: suffixes.privatesuffix(domain) or ""


def list_domains(section: HeaderSection) -> set[str]:
    """The domains that a mailing list calls its own; none where the message is not of a list."""
    texts = [value.decode("latin-1") for name in ("list-id", "list-post") for value in section.all(name)[:2]]
    if not texts:
        return set()
    names = [text.rpartition("<")[2].partition(">")[0].partition("?")[0].rpartition("@")[2] for text in texts]
    names += [mailbox.domain for mailbox in read(section, "sender").mailboxes]
    return {name for name in map(host_name, map(str.strip, names)) if name}


class DMARCOptions(Options):
    """What a policy may lead to, and who may speak for a message that was changed on its way."""

    enforce: Enforce = Field("tag", description="The strongest action that a published policy may have.")
    trusted_sealers: list[str] = Field([], description="Domains whose seal (ARC) is believed, as *.example.org.")
    psl: bool = Field(False, description="Ask the list of public suffixes where the DNS has no record of a domain.")
    reject: float = Field(2.0, description="Score of a fail whose policy is reject.")
    quarantine: float = Field(1.5, description="Score of a fail whose policy is quarantine.")
    none: float = Field(0.3, description="Score of a fail whose policy is none, and of one by way of a list.")

    @field_validator("trusted_sealers")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        DomainList(value)
        return value


class DMARCFilter(Filter):
    """Applies the policy of the author's domain."""

    def __init__(self, options: DMARCOptions, services: Any) -> None:
        self.options = options
        self.services = services
        self.sealers = DomainList(options.trusted_sealers)

    def transaction(self, transaction: Transaction) -> _Visit | None:
        """One message; None of clients that logged in or are trusted."""
        return None if is_exempt(transaction.session) else _Visit(self, transaction)


class _Visit:
    __slots__ = ("_filter", "_transaction")

    def __init__(self, parent: DMARCFilter, transaction: Transaction) -> None:
        self._filter = parent
        self._transaction = transaction

    def header(self, section: HeaderSection) -> None:
        """The look-ups start; what becomes of them is heard at the end, if the client comes so far."""
        transaction, services = self._transaction, self._filter.services
        _uses_suffixes(transaction, services, self._filter.options.psl)
        sent = services.once(transaction, ("dmarc", "spf"), lambda: spf(transaction, services))
        begin(transaction, services)
        for started in (_policy(transaction, services), sent):
            started.addErrback(lambda failure: None)

    async def end(self) -> list[Finding]:
        """At most one finding."""
        services, transaction = self._filter.services, self._transaction
        origin = (await known_origin(services, transaction)).origin
        if origin.is_authenticated:
            return []
        result = await dmarc(transaction, services)
        if result.result in ("temperror", "permerror"):
            return [Finding(f"dmarc-{result.result}", detail=f"{result.author} {result.reason}".strip())]
        if result.result == "pass":
            return [Finding("dmarc-pass", detail=f"{result.author}, by {' and '.join(result.aligned)}")]
        if result.result != "fail":
            return []
        detail = f"{result.author} asks for {result.published} at {result.found}"
        detail += f", to be tested; {result.reason}" if result.is_test else f"; {result.reason}"
        if not origin.is_known:
            return [Finding("dmarc-fail-unknown-origin", detail=detail)]
        return [await self._fail(result, detail)]

    async def _fail(self, result: DMARCResult, detail: str) -> Finding:
        """What becomes of a message that fails."""
        services, transaction, options = self._filter.services, self._transaction, self._filter.options
        signed = await signatures(transaction, services)
        if self._is_vouched_for(signed, result.author):
            return Finding("dmarc-fail-sealed", detail=f"{detail}; it passed for a trusted sealer")
        asked = _ASKS[result.policy]
        action = min(asked, options.enforce, key=STRENGTH.index)
        octets = _body_octets(transaction, services)
        proved = identifiers(transaction, await spf(transaction, services), signed, octets)
        owner = _owner_of_list(transaction.header, [one.domain for one in proved if one.has_passed])
        if owner:
            action = min(action, "tag", key=STRENGTH.index)
            return Finding("dmarc-fail-list", action, detail=f"{detail}; a list of {owner}", score=options.none)
        score: float = getattr(options, result.policy)
        if action != "reject":
            return Finding("dmarc-fail", action, detail=detail, score=score)
        public = f"The DMARC policy of {result.author} is not met by this message"
        return Finding("dmarc-fail", action, public, detail, score, 550, "5.7.26")

    def _is_vouched_for(self, signed: Signatures, author: str) -> bool:
        if not self._filter.sealers or signed.arc.result != "pass":
            return False
        return any(
            one.method == "dmarc"
            and one.result == "pass"
            and host_name(one.properties.get("header.from", "")) == author
            for one in read_results(trusted_claims(signed, self._filter.sealers))
        )


def _owner_of_list(section: HeaderSection | None, proved: list[str]) -> str:
    """The domain that was proved and has the list; "" for none. Who holds a domain holds the names below it."""
    names = list_domains(section) if section is not None else set()
    return next((one for one in proved if "." in one and any(is_below(name, one) for name in names)), "")


factory = Factory(
    "dmarc",
    DMARCOptions,
    frozenset({"header", "end"}),
    DMARCFilter,
    roles=frozenset({"mx"}),
    on_error="continue",
    budget_s=BUDGET_S,
    needs_content=True,
    category="sender",
)
