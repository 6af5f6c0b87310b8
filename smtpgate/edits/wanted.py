"""What rules want to be changed, as values that travel to the child process and back as plain ones.

The configuration makes a `Change` of each rule that changes mail, `filters.rules` hands those that are due to the job
"edit" with what their placeholders stand for (`filled`), and gets a `plan.Plan` back.

Texts of an operator may hold placeholders in braces. What stands for them was mostly written by a stranger: control
characters and marks that turn letters round are taken out, and in HTML it is escaped.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

#: What a text may hold, each with what it stands for.
PLACEHOLDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sender": "address of the envelope",
        "sender_domain": "its domain",
        "author": "first address in From",
        "recipient_domain": "domains of the recipients, with commas",
        "date": "day in UTC, as 2026-01-31",
        "hostname": "name of the gateway",
        "rule": "name of the rule",
    }
)
#: What the text in place of something that was removed may hold besides.
OF_REMOVED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": "its name",
        "kind": "what it really is, as executable, archive",
        "media_type": "what the message says that it is",
        "octets": "its size",
    }
)
#: Why a change is not made, each with what a person needs to know of it.
REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no-text": "there is no text that people read",
        "ambiguous": "mail programs would not agree on the parts of this message",
        "signature": "a signature that is good would break",
        "signed": "the text is signed by S/MIME or OpenPGP",
        "encrypted": "the text is encrypted",
        "calendar": "it is an invitation",
        "there": "it stands in the thread already",
        "charset": "the character set of the text is not known, or the text is not in it",
        "encoding": "mail programs would not agree on the encoding of the text",
        "too-large": "the text is larger than is changed",
        "nothing": "there is nothing that it names",
        "whole": "what it names cannot be taken out by itself",
    }
)
#: Characters of a value that stands for a placeholder: an address has 320 at most.
_VALUE: Final = 320
_PLACE: Final = re.compile(r"\{([a-z_]+)\}")


@attrs.frozen
class Change:
    """What one rule wants.

    :ivar rule: its name
    :ivar action: banner, disclaimer, strip, replace or headers
    :ivar text: what people read: of a banner, or in place of what was removed; `html`: the same for HTML, "" where it
        is made of the text
    :ivar place: top or bottom
    :ivar wrap: a message without a text that may be changed gets a part of its own
    :ivar invitations: texts beside an invitation are changed too
    :ivar once: not where a message of the thread has it already
    :ivar on_signature: edit, skip or refuse
    :ivar keep: the message is to be kept as it came
    :ivar set: fields by name; `remove`: names of fields, in lower case
    :ivar parts: of `strip` and `replace`: numbers of parts with what was seen in them (`Target`)
    """

    rule: str
    action: str
    text: str = ""
    html: str = ""
    place: str = "top"
    wrap: bool = False
    invitations: bool = False
    once: bool = False
    on_signature: str = "skip"
    keep: bool = False
    set: Mapping[str, str] = attrs.field(factory=dict)
    remove: tuple[str, ...] = ()
    parts: tuple[Target, ...] = ()

    @property
    def author(self) -> str:
        """As it stands in the record."""
        return f"rules/{self.rule}"


@attrs.frozen
class Target:
    """A part that is to be taken out.

    :ivar number: as `message.mime` counts
    :ivar kind: what it, or what is in it, really is; `name`: what most programs show
    """

    number: str
    name: str = ""
    kind: str = ""
    media_type: str = ""
    octets: int = 0


def unknown(text: str, is_of_removed: bool = False) -> str:
    """The first placeholder of a text that stands for nothing; "" for none."""
    known = {*PLACEHOLDERS, *(OF_REMOVED if is_of_removed else ())}
    return next((found for found in _PLACE.findall(text) if found not in known), "")


def filled(text: str, values: Mapping[str, str], is_html: bool = False) -> str:
    """A text with what its placeholders stand for. One that stands for nothing stays as it is."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            return found[0]
        plain = safe(values[found[1]])
        return html.escape(plain) if is_html else plain

    return _PLACE.sub(value, text)


def literals(text: str) -> list[str]:
    """What stands between the placeholders of a text."""
    return _PLACE.split(text)[::2]


def safe(text: str) -> str:
    """A stranger's text in one line: no controls, no halves of letters, nothing that turns letters round."""
    kept = (" " if one.isspace() else one for one in text[:_VALUE] if unicodedata.category(one) not in _LEFT_OUT)
    return "".join(kept).strip()


_LEFT_OUT: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def to_plain(change: Change) -> dict[str, Any]:
    """As JSON takes it."""
    return attrs.asdict(change, filter=lambda field, value: value != field.default)


def from_plain(plain: Mapping[str, Any]) -> Change:
    """The other way; what comes from ourselves is not doubted."""
    given = dict(plain)
    given["parts"] = tuple(Target(**one) for one in given.get("parts", ()))
    given["remove"] = tuple(given.get("remove", ()))
    return Change(**given)
