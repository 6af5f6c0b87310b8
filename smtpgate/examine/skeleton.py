"""Names that look like others: letters of other alphabets, one letter changed, words and endings put around a name.

A skeleton is what is left when every letter is replaced by the plainest that looks the same (UTS 39 section 4, with the
table of confusable-homoglyphs); two names with one skeleton look the same to a person. `looks_like` compares a domain
with those that it may imitate: bounded work, no network.

UTS 39; RFC 3492 (A-labels are decoded before they are compared).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from smtpgate.examine.urls import registrable

#: Letters of one label that are compared: the longest label of the DNS.
LABEL_LETTERS: Final = 63
#: What is put around a name so that it seems to belong to it.
AROUND: Final = frozenset(
    {
        "account", "accounts", "alert", "alerts", "app", "auth", "bank", "billing", "card", "center", "cloud", "com",
        "confirm", "customer", "delivery", "help", "helpdesk", "id", "info", "invoice", "login", "mail", "my", "net",
        "notice", "notification", "office", "online", "pay", "payment", "portal", "recovery", "secure", "security",
        "service", "services", "shop", "signin", "support", "team", "track", "tracking", "update", "user", "validation",
        "verification", "verify", "web", "www",
    }
)  # fmt: skip
#: Pairs of Latin letters that look like one.
_PAIRS: Final = (("rn", "m"), ("vv", "w"), ("cl", "d"), ("nn", "m"))
_DIGITS: Final = str.maketrans(
    {"0": "o", "1": "l", "3": "e", "5": "s", "8": "b", "|": "l", "i": "l", "!": "l", "$": "s"}
)


@lru_cache(1)
def _table() -> dict[int, str]:
    """The plainest letter for each that looks like it; Latin letters stay."""
    from confusable_homoglyphs.confusables import confusables_data

    table: dict[int, str] = {}
    for letter, others in confusables_data.items():
        if len(letter) != 1 or letter.isascii():
            continue
        plain = [one["c"] for one in others if one["c"].isascii() and one["c"].isalnum()]
        if plain:
            table[ord(letter)] = plain[0].lower()
    return table


def plain_letters(word: str) -> str:
    """The word with the letters of other alphabets that look Latin replaced by those."""
    return word.translate(_table())


@lru_cache(8192)
def skeleton(text: str) -> str:
    """What a text looks like: case, accents, alphabets and look-alike pairs undone."""
    if text.isascii():
        # The most are; nothing of what stands below changes them.
        plain = text.lower().translate(_DIGITS)
    else:
        plain = unicodedata.normalize("NFKD", text.lower()).translate(_table())
        plain = "".join(letter for letter in plain if not unicodedata.combining(letter)).lower().translate(_DIGITS)
    for pair, letter in _PAIRS:
        plain = plain.replace(pair, letter)
    return plain


@lru_cache(4096)
def unicode_host(host: str) -> str:
    """A host name with its A-labels decoded; those that are none stay as they are."""
    if "xn--" not in host:
        return host
    labels = []
    for label in host.split("."):
        try:
            # Longer ones are no labels, and the codec is quadratic.
            is_coded = label[:4] == "xn--" and len(label) <= LABEL_LETTERS
            labels.append(label[4:].encode("ascii").decode("punycode") if is_coded else label)
        except (UnicodeError, ValueError):
            labels.append(label)
    return ".".join(labels)


def _alphabet(letter: str) -> str:
    return unicodedata.name(letter, "?").partition(" ")[0]


def is_mixed(label: str) -> bool:
    """True where letters of Cyrillic, Greek, Armenian or Cherokee stand beside Latin ones, or all look Latin."""
    if label.isascii():
        return False
    alphabets = {_alphabet(letter) for letter in label if letter.isalpha()}
    foreign = alphabets & {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"}
    if not foreign:
        return False
    return (
        "LATIN" in alphabets or len(label) > 2 and skeleton(label).isascii() and len(foreign) == 1 and "." not in label
    )


def looks_like(host: str, targets: Iterable[str]) -> tuple[str, str] | None:
    """The domain that a host imitates, and how; None where it imitates none, or belongs to one of them.

    :param targets: registrable domains
    """
    shown = unicode_host(host.lower())
    domain = registrable(shown)
    held = tuple(targets)
    if any(domain == target or host == target or host.endswith(f".{target}") for target in held):
        return None
    name = domain.partition(".")[0][:LABEL_LETTERS]
    looks = skeleton(name)
    words = [word for word in name.replace("_", "-").split("-") if word]
    below = shown.removesuffix(domain).rstrip(".").split(".")
    for target in held:
        wanted = target.partition(".")[0]
        if len(wanted) < 4:
            continue
        if name == wanted:
            # One name under several endings is mostly one house: the ending alone says little.
            continue
        if looks == skeleton(wanted):
            return target, "looks the same"
        if len(words) > 1 and any(skeleton(word) == skeleton(wanted) for word in words):
            rest = {word for word in words if skeleton(word) != skeleton(wanted)}
            if rest & AROUND or any(word.isdigit() for word in rest):
                return target, "the name with other words"
        if len(wanted) >= 6 and name != wanted and is_near(looks, skeleton(wanted)):
            return target, "one letter is different"
        if len(wanted) >= 5 and (
            wanted in below or target.replace(".", "-") in below or ".".join(below).endswith(target)
        ):
            return target, "the name stands before another domain"
    return None


def is_near(one: str, other: str) -> bool:
    """One letter changed, put in, left out, or two neighbours swapped."""
    if one == other or abs(len(one) - len(other)) > 1 or one[:1] != other[:1]:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    a, b = one[start:], other[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (len(a) > 1 and a[0] == b[1] and a[1] == b[0] and a[2:] == b[2:])
    return a[1:] == b if len(a) > len(b) else a == b[1:]
