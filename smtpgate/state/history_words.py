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
from ipaddress import ip_network
from itertools import islice
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

from smtpgate.message.words import decode
from smtpgate.policy.found import NO_MESSAGE
from smtpgate.policy.query import ANY, Clause, Query, Value
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
#: Replies of one message whose words are kept: recipients often have the same one.
REPLIES: Final = 4
LETTERS: Final = 120
#: Each row has one of these: a message, or a session without one.
MESSAGE: Final = "k:m"
SESSION: Final = "k:s"

_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
_WORD: Final = re.compile(r"\w+")
#: What stands between the words of a reply, as blanks.
_MARKS: Final = "<>[]();,=.:"
_APART: Final = str.maketrans(dict.fromkeys(_MARKS[:-2], " "))
_REFERENCE: Final = re.compile(r"[0-9a-v]{26}(\.[0-9]{1,6})?")
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
_F_FILTER: Final = _F["filter"]
_F_REASON: Final = _F["reason"]
#: Kinds of words of a query's texts that are kept whole.
_KINDS: Final = {
    "from": "f", "to": "t", "domain": "d", "subject": "s", "reason": "r", "rule": "e", "filter": "g", "backend": "b",
    "server": "h", "listener": "l", "user": "u", "tls": "y", "message-id": "m", "verdict": "v", "direction": "x",
}  # fmt: skip
#: What a word without a field is looked for in.
_ANYWHERE: Final = ("f", "t", "m", "w")
_RULES: Final = "rules"


def _clean(text: str) -> str:
    text = text[:LETTERS]
    text = text.lower() if text.isascii() else storable(text.casefold())
    return text if text.isprintable() and " " not in text else _BLANK.sub("_", text)


@lru_cache(4096)
def _above(domain: str) -> str:
    """The words of the domains above it but for the last label, a blank before each."""
    found: list[str] = []
    while domain.count(".") > 1 and len(found) < 8:
        domain = domain.partition(".")[2]
        found.append(f" d:{domain}")
    return "".join(found)


def _split(address: str) -> tuple[str, str]:
    """Local part and domain of an address."""
    local, _, domain = address.rpartition("@")
    return local, domain if domain.isascii() else canonical_domain(domain)


@lru_cache(8192)
def _address(kind: str, bracketed: str) -> str:
    """The words of an address in angle brackets: itself, its local part, its domain and those above."""
    local, _, domain = bracketed[1:-1].rpartition("@")
    if not local.isascii() or not domain.isascii():
        if not domain.isascii():
            domain = canonical_domain(domain)
        local = storable(local.casefold())
    if len(bracketed) > LETTERS or not local.isprintable() or " " in bracketed or not domain.isprintable():
        whole, local, domain = _clean(f"{local}@{domain}"), _clean(local), _clean(domain)
    else:
        local, domain = local.lower(), domain.lower()
        whole = f"{local}@{domain}"
    if not local:
        return f"{kind}:{domain or '<>'}"
    return f"{kind}:{whole} {kind}:{local} {kind}:{domain}{_above(domain)}"


@lru_cache(4096)
def ip_word(ip: str) -> str:
    """The word of a client's address: its octets in hexadecimal digits, so that networks are beginnings."""
    is_six = ":" in ip
    try:
        return f"i{6 if is_six else 4}:{inet_pton(AF_INET6 if is_six else AF_INET, ip).hex()}"
    except (OSError, ValueError):
        return f"i:{_clean(ip)}"


def _said(text: str, is_good: bool) -> str:
    """Words of a reply: of a good one those with a digit, which may be what its server calls the message."""
    text = text[:400].lower() if text.isascii() else storable(text[:400].casefold())
    words = ""
    left = REPLY_WORDS
    for word in text.split():
        if is_good and word.isalpha():
            continue
        word = word.strip(_MARKS)
        if "=" in word or "<" in word or "(" in word or "," in word:
            found = word.translate(_APART).split()
        else:
            found = [word]
        for word in found:
            if len(word) > 2 and not (is_good and word.isalpha()) and _REFERENCE.fullmatch(word) is None:
                words += f" w:{_clean(word)}"
                left -= 1
                if not left:
                    return words
    return words


#: Of a bad reply the same words come again and again, but for references.
_refused = lru_cache(1024)(_said)


def subject_of(raw: str) -> str:
    """A subject as it is shown and searched: raw as it came, or decoded already."""
    return decode(raw.encode("utf-8", "surrogatepass")) if "=?" in raw else raw


def of_session(session: list[Any]) -> str:
    """What all its messages share, of a record as `policy.record.compact` makes it."""
    tls = session[_S["tls"]]
    role = "out" if session[_S["role"]] == "submission" else "in"
    words = f"{ip_word(session[_S['client_ip']])} {_met(session[_S['listener']], role, tls[0] if tls else 'none')}"
    if session[_S["user"]]:
        words += f" u:{_clean(session[_S['user']])}"
    for found in session[_S["findings"]]:
        words += _finding(found[_F_FILTER], found[_F_REASON])
    return words


@lru_cache(256)
def _met(listener: str, direction: str, tls: str) -> str:
    return f"l:{_clean(listener)} x:{direction} y:{_clean(tls)}"


@lru_cache(4096)
def _finding(name: str, reason: str) -> str:
    return f" g:{_clean(name)} {'e' if name == _RULES else 'r'}:{_clean(reason)}"


@lru_cache(4096)
def _went(backend: str, server: str) -> str:
    return (f" b:{_clean(backend)}" if backend else "") + (f" h:{_clean(server)}" if server else "")


@lru_cache(4096)
def _measured(outcome: str, bits: int, score: int) -> str:
    return f" v:{outcome} z:{bits} c:{score}"


def of_message(session: list[Any], message: list[Any], shared: str, subject: str) -> str:
    """All words of a message, joined by blanks; one may be there twice.

    :param shared: those of its session
    """
    verdict = message[_M_VERDICT]
    words = [
        MESSAGE,
        " ",
        shared,
        _measured(
            message[_M_OUTCOME],
            min(message[_M_OCTETS].bit_length(), _BITS),
            _magnitude(verdict[1]) if verdict is not None else 0,
        ),
        " ",
        _address("f", message[_M_SENDER]),
    ]
    went = None
    reply = message[_M_REPLY]
    said: dict[Any, None] = {(reply[0], reply[2]): None} if reply is not None else {}
    for one in message[_M_RECIPIENTS][:SEARCHED]:
        words += (" ", _address("t", one[_R_ADDRESS]))
        here = one[_R_BACKEND], one[_R_SERVER]
        if here != went:
            went = here
            words.append(_went(*here))
        reply = one[_R_FINAL] or one[_R_REPLY]
        if reply is not None:
            said[reply[0], reply[2]] = None
    here = message[_M_BACKEND], message[_M_SERVER]
    if here != went:
        words.append(_went(*here))
    for code, text in islice(said, REPLIES):
        words.append(_said(text, True) if code < 300 else _refused(text, False))
    if message[_M_ID]:
        words.append(f" m:{_clean(message[_M_ID].strip().strip('<>'))}")
    if subject:
        found = _WORD.findall(subject.lower() if subject.isascii() else storable(subject.casefold()))
        words += [f" s:{one}" for one in found[:SUBJECT_WORDS]]
    for finding in message[_M_FINDINGS]:
        words.append(_finding(finding[_F_FILTER], finding[_F_REASON]))
    return "".join(words)


def of_silent(shared: str) -> str:
    """All words of a session without a message."""
    return f"{SESSION} {shared} v:{NO_MESSAGE}"


def _magnitude(score: float) -> int:
    return max(_LEAST, min(_MOST, int(score // 1)))


def words_of(address: str) -> list[str]:
    """By which all is found that names an address."""
    local, domain = _split(address)
    whole = _clean(f"{local}@{domain}")
    return [*(f"{kind}:{whole}" for kind in "ftuw"), f"u:{_clean(address)}", f"w:{_clean(address)}"]


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
    if field in ("before", "after", "id", ANY) or any(value.mode == "has" for value in values):
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
                yield from _network(str(ip_network(value.text.strip(), strict=False)))


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
