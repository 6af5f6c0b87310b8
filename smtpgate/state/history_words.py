"""The words that a message is found by, and what a query looks for among them.

A word is a letter for what it is about, a colon, and the value in lower case (`f:alice@example.org`); the index splits
a text at blanks and knows no more. Both sides are here, so that they agree. Numbers that are asked for by bounds have a
word for their magnitude, which leaves few rows to look at.

What the words of a message are must never change for what is indexed already: words are taken out of the index by being
given again (`FORM`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from smtpgate.message.words import decode
from smtpgate.policy.found import NO_MESSAGE
from smtpgate.policy.query import Clause, Query, Value
from smtpgate.policy.record import FINDING_AT, MESSAGE_AT, RECIPIENT_AT, SESSION_AT
from smtpgate.smtp.address import canonical_domain
from smtpgate.state.tables import storable

#: Of the words below; another form would be another number.
FORM: Final = 1
#: Recipients of one message that a search finds.
SEARCHED: Final = 100
#: Words of a subject, and of what servers said, that are kept; and letters of one.
SUBJECT_WORDS: Final = 24
REPLY_WORDS: Final = 12
LETTERS: Final = 120
#: Each row has one of these: a message, or a session without one.
MESSAGE: Final = "k:m"
SESSION: Final = "k:s"

_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_WORD: Final = re.compile(r"\w+")
_SAID: Final = re.compile(r"[^\s<>\[\]();,=]+")
_REFERENCE: Final = re.compile(r"[0-9A-V]{26}(\.[0-9]{1,6})?")
#: Scores beyond these are of one magnitude.
_LEAST, _MOST = -10, 40
#: Magnitudes of a size: the length of its number in bits.
_BITS: Final = 48

_S: Final = SESSION_AT
_M: Final = MESSAGE_AT
_R: Final = RECIPIENT_AT
_F: Final = FINDING_AT
_M_OUTCOME: Final = _M["outcome"]
_M_SENDER: Final = _M["sender"]
_M_RECIPIENTS: Final = _M["recipients"]
_M_REPLY: Final = _M["reply"]
_M_BACKEND: Final = _M["backend"]
_M_SERVER: Final = _M["server"]
_M_ID: Final = _M["message_id"]
_M_VERDICT: Final = _M["verdict"]
_M_OCTETS: Final = _M["size_octets"]
_M_FINDINGS: Final = _M["findings"]
_R_ADDRESS: Final = _R["address"]
_R_BACKEND: Final = _R["backend"]
_R_SERVER: Final = _R["server"]
_R_FINAL: Final = _R["final"]
_R_REPLY: Final = _R["reply"]
#: Kinds of words of a query's texts that are kept whole.
_KINDS: Final = {
    "from": "f", "to": "t", "domain": "d", "subject": "s", "reason": "r", "rule": "e", "filter": "g", "backend": "b",
    "server": "h", "listener": "l", "user": "u", "tls": "y", "message-id": "m", "verdict": "v", "direction": "x",
}  # fmt: skip
#: What a word without a field is looked for in.
_ANYWHERE: Final = ("f", "t", "m", "w")
_RULES: Final = "rules"


def _clean(text: str) -> str:
    if not text.isascii():
        text = storable(text.casefold())
    else:
        text = text.lower()
    return _BLANK.sub("_", text[:LETTERS])


@lru_cache(4096)
def _above(domain: str) -> tuple[str, ...]:
    """The words of the domains above it but for the last label."""
    found: list[str] = []
    while domain.count(".") > 1 and len(found) < 8:
        domain = domain.partition(".")[2]
        found.append(f"d:{domain}")
    return tuple(found)


def _split(address: str) -> tuple[str, str]:
    """Local part and domain of an address."""
    local, _, domain = address.rpartition("@")
    return local, domain if domain.isascii() else canonical_domain(domain)


def _address(kind: str, bracketed: str, words: list[str], domains: dict[str, None]) -> None:
    """The words of an address in angle brackets, not clean yet."""
    local, _, domain = bracketed[1:-1].rpartition("@")
    if not domain.isascii():
        domain = canonical_domain(domain)
    if local:
        words += (f"{kind}:{local}@{domain}", f"{kind}:{local}", f"{kind}:{domain}")
        domains[domain] = None
    else:
        words.append(f"{kind}:{domain or '<>'}")


@lru_cache(4096)
def ip_word(ip: str) -> str:
    """The word of a client's address: its octets in hexadecimal digits, so that networks are beginnings."""
    try:
        made = ip_address(ip)
    except ValueError:
        return f"i:{_clean(ip)}"
    return f"i{made.version}:{made.packed.hex()}"


@lru_cache(1024)
def _said(text: str, is_good: bool) -> tuple[str, ...]:
    """Words of a reply: of a good one those with a digit, which may be what its server calls the message."""
    found = []
    for word in _SAID.findall(text[:400]):
        word = word.rstrip(".:")
        if len(word) > 2 and not (is_good and word.isalpha()) and _REFERENCE.fullmatch(word) is None:
            found.append(f"w:{word}")
    return tuple(found)


def subject_of(raw: str) -> str:
    """A subject as it is shown and searched: raw as it came, or decoded already."""
    return decode(raw.encode("utf-8", "surrogatepass")) if "=?" in raw else raw


def of_session(session: list[Any]) -> list[str]:
    """What all its messages share, of a record as `policy.record.compact` makes it."""
    tls = session[_S["tls"]]
    role = "out" if session[_S["role"]] == "submission" else "in"
    words = [ip_word(session[_S["client_ip"]]), *_met(session[_S["listener"]], role, tls[0] if tls else "none")]
    if session[_S["user"]]:
        words.append(f"u:{session[_S['user']]}")
    for found in session[_S["findings"]]:
        words += _finding(found[_F["filter"]], found[_F["reason"]])
    return words


@lru_cache(256)
def _met(listener: str, direction: str, tls: str) -> tuple[str, ...]:
    return f"l:{listener}", f"x:{direction}", f"y:{tls}"


@lru_cache(4096)
def _finding(name: str, reason: str) -> tuple[str, str]:
    return f"g:{name}", f"e:{reason}" if name == _RULES else f"r:{reason}"


@lru_cache(4096)
def _went(backend: str, server: str) -> tuple[str, ...]:
    return (*((f"b:{backend}",) if backend else ()), *((f"h:{server}",) if server else ()))


def of_message(session: list[Any], message: list[Any], shared: list[str], subject: str) -> str:
    """All words of a message, joined by blanks.

    :param shared: those of its session
    """
    words = [MESSAGE, *shared, f"v:{message[_M_OUTCOME]}"]
    domains: dict[str, None] = {}
    _address("f", message[_M_SENDER], words, domains)
    said: dict[str, None] = {}
    for one in message[_M_RECIPIENTS][:SEARCHED]:
        _address("t", one[_R_ADDRESS], words, domains)
        words += _went(one[_R_BACKEND], one[_R_SERVER])
        reply = one[_R_FINAL] or one[_R_REPLY]
        if reply is not None and len(said) < REPLY_WORDS:
            said.update(dict.fromkeys(_said(reply[2], reply[0] < 300)))
    reply = message[_M_REPLY]
    if reply is not None and len(said) < REPLY_WORDS:
        said.update(dict.fromkeys(_said(reply[2], reply[0] < 300)))
    words += _went(message[_M_BACKEND], message[_M_SERVER])
    for domain in domains:
        if domain.count(".") > 1:
            words += _above(domain.lower())
    words += list(said)[:REPLY_WORDS]
    if message[_M_ID]:
        words.append(f"m:{message[_M_ID].strip().strip('<>')}")
    if subject:
        words += [f"s:{one}" for one in _WORD.findall(subject)[:SUBJECT_WORDS]]
    verdict = message[_M_VERDICT]
    score = _magnitude(verdict[1]) if verdict is not None else 0
    words += (f"z:{min(message[_M_OCTETS].bit_length(), _BITS)}", f"c:{score}")
    for found in message[_M_FINDINGS]:
        words += _finding(found[_F["filter"]], found[_F["reason"]])
    return _joined(words)


def of_silent(shared: list[str]) -> str:
    """All words of a session without a message."""
    return _joined([SESSION, *shared, f"v:{NO_MESSAGE}"])


def _joined(words: list[str]) -> str:
    """Clean, each once, as one text."""
    words = list(dict.fromkeys(words))
    text = " ".join(words)
    is_clean = text.isascii() and text.isprintable() and text.count(" ") == len(words) - 1
    if is_clean and max(map(len, words)) <= LETTERS:
        return text.lower()
    return " ".join(dict.fromkeys([_clean(word) for word in words]))


def _magnitude(score: float) -> int:
    return max(_LEAST, min(_MOST, int(score // 1)))


# What a query looks for


def expression(query: Query, universe: str) -> str:
    """What the index is asked (FTS5 query syntax); "" where nothing of a query is for it.

    What it finds may be too much, never too little; `state.history_rows` looks at the rest.

    :param universe: MESSAGE, SESSION, or "" for both
    """
    wanted = [f'"{universe}"'] if universe and any(one.is_negated for one in query.clauses) else []
    unwanted: list[str] = []
    for clause in query.clauses:
        if clause.is_negated and not _is_exact(clause):
            continue
        asked = _clause(clause)
        if asked:
            (unwanted if clause.is_negated else wanted).append(asked)
    if unwanted and not wanted:
        wanted.append(f'("{MESSAGE}" OR "{SESSION}")')
    if not wanted:
        return ""
    return f"({' AND '.join(wanted)}) NOT ({' OR '.join(unwanted)})" if unwanted else " AND ".join(wanted)


def _is_exact(clause: Clause) -> bool:
    """The index alone knows what fits, so that it may take away what does."""
    if clause.field in ("size", "score", "before", "after", "id"):
        return False
    return not any(value.mode == "has" or " " in value.text for value in clause.values)


def _clause(clause: Clause) -> str:
    field, values = clause.field, clause.values
    if field in ("before", "after", "id") or any(value.mode == "has" for value in values):
        return ""
    if field in ("size", "score"):
        return _bounds(field, values)
    asked = [one for value in values for one in _value(field, value)]
    return f"({' OR '.join(asked)})"


def _quoted(word: str, begins: bool = False) -> str:
    return '"' + word.replace('"', '""') + ('"*' if begins else '"')


def _value(field: str, value: Value) -> Iterator[str]:
    begins = value.mode == "begins"
    if field in ("ip", "cidr"):
        yield from _network(value.text)
    elif field == "subject":
        yield _subject(value.text, begins)
    elif field == "domain":
        text = _typed(field, value.text)
        yield from (_quoted(f"{kind}:{text}", begins) for kind in "dft")
    elif field == "owner":
        # Anybody may write a sender; it is theirs where our own users sent it (`policy.reach`).
        text = _clean(value.text)
        yield f'({_quoted(f"t:{text}")} OR ({_quoted(f"f:{text}")} AND "x:out"))'
    elif field:
        yield _quoted(f"{_KINDS[field]}:{_typed(field, value.text)}", begins)
    else:
        text = _clean(value.text.strip().strip("<>"))
        for kind in _ANYWHERE:
            yield _quoted(f"{kind}:{_typed('from', text) if kind in 'ft' else text}", begins)
        if _WORD.search(value.text):
            yield _subject(value.text, begins)
        if not begins:
            with suppress(ValueError):
                yield _quoted(ip_word(str(ip_address(value.text))))


def _typed(field: str, text: str) -> str:
    """As the word has it that is meant."""
    text = text.strip()
    if field == "message-id" or field in ("from", "to") and text != "<>":
        text = text.strip("<>")
    if field in ("from", "to", "domain"):
        if field == "domain":
            text = text.removeprefix("@").removeprefix("*.").rstrip(".")
        if text.startswith("@"):
            text = text[1:]
        if "@" in text:
            local, domain = _split(text)
            return _clean(f"{local}@{domain}")
        if not text.isascii() and "." in text:
            text = canonical_domain(text)
    return _clean(text)


def _subject(text: str, begins: bool) -> str:
    """All its words; the last may be the beginning of one."""
    words = _WORD.findall(text)[:SUBJECT_WORDS]
    if not words:
        return _quoted("s:")
    last = len(words) - 1
    asked = [_quoted(f"s:{_clean(word)}", begins and number == last) for number, word in enumerate(words)]
    return f"({' AND '.join(asked)})" if len(asked) > 1 else asked[0]


def _network(text: str) -> Iterator[str]:
    """Beginnings of the words of all its addresses, at most eight: a digit has four bits."""
    net = ip_network(text)
    kind, digits = f"i{net.version}:", net.network_address.packed.hex()
    if net.prefixlen == net.max_prefixlen:
        yield _quoted(kind + digits)
        return
    whole, bits = divmod(net.prefixlen, 4)
    if not bits:
        yield _quoted(kind + digits[:whole], True)
        return
    first = int(digits[whole], 16)
    for digit in range(first, first + 2 ** (4 - bits)):
        yield _quoted(f"{kind}{digits[:whole]}{digit:x}", True)


def _bounds(field: str, values: Iterable[Value]) -> str:
    """Magnitudes that a number within all bounds may have."""
    least, most = (0, _BITS) if field == "size" else (_LEAST, _MOST)
    for value in values:
        if field == "size":
            at = min(int(max(0.0, value.number)).bit_length(), _BITS)
        else:
            at = _magnitude(value.number)
        if value.mode != "below":
            least = max(least, at)
        if value.mode != "above":
            most = min(most, at)
    kind = "z" if field == "size" else "c"
    # Nothing is of no magnitude.
    return f"({' OR '.join(_quoted(f'{kind}:{at}') for at in range(least, most + 1)) or _quoted('k:')})"
