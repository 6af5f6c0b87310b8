"""What messages are looked for by: a grammar of terms, read into values that whoever searches can judge.

    from:alice@example.org -verdict:delivered size:>1M last:7d "pay slip"

All clauses hold. Several terms of one field are alternatives, except bounds (`size:`, `score:`, `before:`, `after:`),
which all hold. Words without a field must all be there. `-` before a term takes away what fits. A value may end with
`*` (it begins so) or have one on both sides (it is somewhere inside). There are no regular expressions: a pattern must
not cost more than its length.

Pure, and linear in the length of the text. A mistake is refused with its place and with what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Final, Literal

import attrs

from smtpgate.policy.found import NO_MESSAGE
from smtpgate.policy.transaction import OUTCOMES

#: Longest query, and most terms of one: each is looked up.
LONGEST: Final = 2000
MOST: Final = 40
#: Fewest letters that are looked for inside of words: with fewer nearly all fits.
PART: Final = 2

Mode = Literal["is", "begins", "has", "above", "below"]

#: Fields whose values are texts, and what each is about.
TEXTS: Final[Mapping[str, str]] = {
    "from": "envelope sender: its address, local part or domain",
    "to": "a recipient: address, local part or domain",
    "domain": "domain of the sender or of a recipient, or one above it",
    "subject": "a word of the subject",
    "reason": "reason of a finding",
    "rule": "a rule that was true of it",
    "filter": "a filter that found something",
    "backend": "backend that it went to",
    "server": "server of a backend",
    "listener": "listener that it came in by",
    "user": "who was logged in",
    "tls": "TLS version of the client, or none",
    "message-id": "Message-ID field",
}
#: The others.
OTHERS: Final[Mapping[str, str]] = {
    "ip": "address of the client",
    "cidr": "network of the client",
    "verdict": f"what became of it: {', '.join(OUTCOMES)}; none for a session that named no sender",
    "direction": "in or out",
    "size": "octets of the message: size:>1M, size:<=20k",
    "score": "sum of its scores: score:>5",
    "id": "reference id of the message or its session",
    "before": "a time: 2026-11-27, 2026-11-27T10:30, 2026-11-27T10:30:00Z (UTC)",
    "after": "a time, as for before",
    "last": "how far back: last:30m, last:24h, last:7d",
}
FIELDS: Final = (*TEXTS, *OTHERS)
#: Fields whose values are looked into; others are found by whole values and by how they begin.
INSIDE: Final = frozenset({"", "from", "to", "domain", "subject", "message-id"})
#: For the people of which domains a message is: not typed, but added for whoever may see no other mail.
OWNER: Final = "owner"
#: Sessions without a message fit too: not typed, but added by whoever lists sessions. It has no value.
ANY: Final = "any"
#: What people type for a field.
_SAME: Final = {
    "sender": "from", "mail_from": "from", "rcpt": "to", "recipient": "to", "network": "cidr", "net": "cidr",
    "outcome": "verdict", "pool": "backend", "auth_user": "user", "time_from": "after", "time_to": "before",
    "msgid": "message-id", "client": "ip",
}  # fmt: skip
_VERDICTS: Final = {"accepted": "delivered", "rejected": "refused", "quarantined": "held", "greylisted": "deferred"}
_TERM: Final = re.compile(r"(?P<not>-?)(?:(?P<field>[A-Za-z_-]+):)?(?P<value>\"[^\"]*\"?|[^\s\"]+|(?=\s|$))")
_NUMBER: Final = re.compile(r"(?P<how>>=|<=|>|<|=)?(?P<number>-?[0-9]{1,12}(?:\.[0-9]{1,6})?)(?P<unit>[kKmMgG]?)")
_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_BACK: Final = re.compile(r"([0-9]{1,5})(s|m|h|d|w)")
_BACK_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_REFERENCE: Final = re.compile(r"[0-9A-Za-z]{26}(\.[0-9]{1,6})?")


class QueryError(ValueError):
    """A query that cannot be meant.

    :ivar at: where in the text, characters from its beginning; `length`: of what is wrong
    :ivar hint: what would be right
    """

    def __init__(self, message: str, hint: str, at: int = 0, length: int = 0) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint
        self.at = at
        self.length = length


@attrs.frozen
class Value:
    """One alternative.

    :ivar text: folded to lower case
    :ivar number: of a bound, a network's first address is in `text`; times are seconds since the epoch
    :ivar is_open: the bound itself does not fit
    """

    text: str
    mode: Mode = "is"
    number: float = 0.0
    is_open: bool = False


@attrs.frozen
class Clause:
    """One condition.

    :ivar field: of `FIELDS`; "" for a word anywhere
    :ivar values: one of them must fit; of a bound all
    :ivar said: as it was written, for people and links
    """

    field: str
    values: tuple[Value, ...]
    is_negated: bool = False
    said: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As it would be typed."""
        return " ".join(self.said)


@attrs.frozen
class Query:
    """What is looked for; all clauses hold."""

    clauses: tuple[Clause, ...] = ()

    @property
    def text(self) -> str:
        """As it would be typed; another query has another text."""
        return " ".join(one.text for one in self.clauses)

    def without(self, clause: Clause) -> Query:
        """The same but for one clause."""
        return Query(tuple(one for one in self.clauses if one is not clause))

    def at_any_time(self) -> Query:
        """The same without bounds of time."""
        return Query(tuple(one for one in self.clauses if one.is_negated or one.field not in ("before", "after")))

    def with_all(self, clauses: Iterable[Clause]) -> Query:
        """Narrowed by more."""
        return Query((*self.clauses, *clauses))


#: Reads a value, at a time in seconds since the epoch.
Reader = Callable[[str, float], Value]

#: All values of such a field hold.
BOUNDS: Final = frozenset({"size", "score", "before", "after", "last"})


def parse(text: str, now: float) -> Query:
    """A query; raises QueryError.

    :param now: seconds since the epoch, for `last:`
    """
    if len(text) > LONGEST:
        raise QueryError("the query is too long", f"at most {LONGEST} characters", LONGEST, len(text) - LONGEST)
    terms: list[Clause] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = _TERM.match(text, at)
        if found is None or found.end() == at:
            raise QueryError("a quotation mark stands alone", 'quote a whole value: subject:"pay slip"', at, 1)
        value, place = found["value"], found.start("value")
        if value.startswith('"'):
            if len(value) < 2 or not value.endswith('"'):
                raise QueryError("a quotation mark is not closed", 'write "..." around the value', place, len(value))
            value = value[1:-1]
        try:
            terms.append(term(found["field"] or "", value, now, bool(found["not"])))
        except QueryError as error:
            raise QueryError(error.message, error.hint, at, max(1, found.end() - at)) from None
        at = found.end()
    return join(terms)


def join(terms: Iterable[Clause]) -> Query:
    """Terms of one field become one clause; words stay apart. Raises QueryError where there are too many."""
    joined: dict[object, Clause] = {}
    count = 0
    for number, one in enumerate(terms):
        count += 1
        key: object = (one.field, one.is_negated) if one.field else number
        there = joined.get(key)
        if there is not None:
            one = attrs.evolve(there, values=there.values + one.values, said=there.said + one.said)
        if 0 < sum(value.mode == "has" for value in one.values) < len(one.values):
            raise QueryError(
                f"{one.field}: is asked for whole values and for parts at once", "give all of them stars, or none"
            )
        joined[key] = one
    if count > MOST:
        raise QueryError("too many terms", f"at most {MOST}")
    return Query(tuple(joined.values()))


def term(name: str, value: str, now: float, is_negated: bool = False) -> Clause:
    """One term; raises QueryError, whose place is that of the term.

    :param name: a field, or "" for a word anywhere
    """
    field = name.lower()
    field = _SAME.get(field, field)
    if field and field not in FIELDS:
        if not is_negated and _looks_like_text(name, value):
            # An address of IPv6, a URL or a time of day is what was typed, not a field.
            return term("", f"{name}:{value}", now)
        near = _nearest(field)
        hint = f"did you mean {near}:?" if near else f"fields are {', '.join(FIELDS)}; quote a word that has a colon"
        raise QueryError(f"there is no field {_short(name)}", hint)
    value = value.strip()
    if '"' in value:
        raise QueryError(f"{_short(value)} has a quotation mark inside", "leave it out")
    if not value:
        raise QueryError(f"{field or 'a word'} has no value", f"write {field or 'word'}:VALUE" if field else "write it")
    read = _READERS.get(field)
    made = read(value, now) if read is not None else _text(value)
    if made.mode == "has" and field not in INSIDE:
        raise QueryError(f"{field}: is found by whole values and by how they begin", f"{field}:text or {field}:text*")
    written = f'"{value}"' if any(c.isspace() for c in value) or not field and ":" in value else value
    said = f"{'-' if is_negated else ''}{field}{':' if field else ''}{written}"
    if field == "last":
        field = "after"
    elif field == "ip" and made.mode == "begins":
        field = "cidr"
    return Clause(field, (made,), is_negated, (said.replace("\n", " "),))


def _looks_like_text(name: str, value: str) -> bool:
    try:
        ip_address(f"{name}:{value}")
    except ValueError:
        return value.startswith("//")
    return True


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:40])


def _nearest(field: str) -> str:
    """A field that begins alike."""
    return next((one for one in FIELDS if len(field) > 1 and (one.startswith(field) or field.startswith(one))), "")


def _text(value: str) -> Value:
    folded = value.casefold()
    if folded.startswith("*"):
        inner = folded.strip("*")
        if len(inner) < PART or "*" in inner:
            raise QueryError(
                f"{_short(value)} fits nearly all", f"*text* with at least {PART} letters between the stars"
            )
        return Value(inner, "has")
    if folded.endswith("*"):
        begin = folded.rstrip("*")
        if not begin or "*" in begin:
            raise QueryError(f"{_short(value)} has stars where none can be", "text* or *text*")
        return Value(begin, "begins")
    if "*" in folded:
        raise QueryError(f"{_short(value)} has a star inside", "text* or *text*")
    return Value(folded)


def _ip(value: str, now: float) -> Value:
    if "/" in value:
        return _cidr(value, now)
    try:
        return Value(str(ip_address(value)))
    except ValueError:
        raise QueryError(f"{_short(value)} is no address", "ip:192.0.2.7, or cidr:192.0.2.0/24") from None


def _cidr(value: str, now: float) -> Value:
    try:
        net = ip_network(value, strict=False)
    except ValueError:
        raise QueryError(f"{_short(value)} is no network", "cidr:192.0.2.0/24 or cidr:2001:db8::/48") from None
    return Value(str(net), "begins")


def _one_of(field: str, words: Iterable[str], same: Mapping[str, str]) -> Reader:
    known = tuple(words)

    def read(value: str, now: float) -> Value:
        word = same.get(value.lower(), value.lower())
        if word not in known:
            raise QueryError(f"{_short(value)} is no {field}", f"one of {', '.join(known)}")
        return Value(word)

    return read


def _number(field: str, unit: str) -> Reader:
    def read(value: str, now: float) -> Value:
        found = _NUMBER.fullmatch(value)
        if found is None or (found["unit"] and not unit):
            raise QueryError(f"{_short(value)} is no bound", f"{field}:>5{unit}, {field}:<=5{unit}")
        how, number = found["how"] or "=", float(found["number"]) * _UNITS[found["unit"].lower()]
        if how == "=":
            return Value(value, "is", number)
        return Value(value, "above" if how[0] == ">" else "below", number, len(how) == 1)

    return read


def moment_of(text: str) -> float:
    """A time of day in UTC, or with its offset, as seconds since the epoch; raises ValueError."""
    made = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    return (made if made.tzinfo is not None else made.replace(tzinfo=UTC)).timestamp()


def _time(mode: Mode, field: str) -> Reader:
    def read(value: str, now: float) -> Value:
        try:
            at = moment_of(value)
        except (ValueError, OverflowError):
            hint = f"{field}:2026-11-27, {field}:2026-11-27T10:30, in UTC"
            raise QueryError(f"{_short(value)} is no time", hint) from None
        return Value(value, mode, at, mode == "below")

    return read


def _last(value: str, now: float) -> Value:
    found = _BACK.fullmatch(value.lower())
    if found is None:
        raise QueryError(f"{_short(value)} is no stretch of time", "last:30m, last:24h, last:7d")
    return Value(value, "above", now - int(found[1]) * _BACK_S[found[2]])


def _id(value: str, now: float) -> Value:
    if _REFERENCE.fullmatch(value) is None:
        raise QueryError(f"{_short(value)} is no reference id", "26 letters and digits, perhaps a dot and a number")
    return Value(value.upper())


_READERS: Final[Mapping[str, Reader]] = {
    "ip": _ip,
    "cidr": _cidr,
    "verdict": _one_of("verdict", (*OUTCOMES, NO_MESSAGE), _VERDICTS),
    "direction": _one_of("direction", ("in", "out"), {"inbound": "in", "outbound": "out"}),
    "size": _number("size", "M"),
    "score": _number("score", ""),
    "before": _time("below", "before"),
    "after": _time("above", "after"),
    "last": _last,
    "id": _id,
}
