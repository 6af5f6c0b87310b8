"""What a milter wants to be changed, as edits of the header section and as words about the rest.

Milters count header fields as they are while they change them, edits of ours name the fields of the message as it came:
`plan` keeps a list of what there is and counts as Postfix and Sendmail do. Added fields go to the very top, inserted
ones above them, whatever place was asked for: nothing below a trace field is moved, and signatures of others live.

What the gateway cannot change (sender, recipients, body) is told, never passed over.

libmilter: smfi_addheader, smfi_insheader, smfi_chgheader.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from kilter.protocol.messages import (
    AddHeader,
    AddRecipient,
    AddRecipientPar,
    ChangeHeader,
    ChangeSender,
    InsertHeader,
    Message,
    Quarantine,
    RemoveRecipient,
    ReplaceBody,
)

from smtpgate.filters.engines.base import shown
from smtpgate.filters.engines.servers import BadAnswer
from smtpgate.message.header import HeaderSection
from smtpgate.policy.edits import AddField, Edit, RemoveField, ReplaceField, check_field


@attrs.define
class _Field:
    """A field as it is now.

    :ivar index: which of its name it was in the message; -1 for one that was added
    :ivar raw: what is written; b"" for as it was
    """

    name: str
    index: int = -1
    raw: bytes = b""


@attrs.frozen
class Plan:
    """What is to be done.

    :ivar undone: what cannot be done, in words
    :ivar quarantine: why the milter wants the message to be kept back; "" where it does not
    """

    edits: tuple[Edit, ...] = ()
    undone: tuple[str, ...] = ()
    quarantine: str = ""


def plan(wanted: Iterable[Message], section: HeaderSection, author: str, has_leading_space: bool) -> Plan:
    """The changes that a milter wants, in its order. Raises BadAnswer for what is no field."""
    counts: dict[str, int] = {}
    now: list[_Field] = []
    for field in section.fields:
        now.append(_Field(field.name, counts.get(field.name, 0)))
        counts[field.name] = counts.get(field.name, 0) + 1
    gone: list[_Field] = []
    undone: list[str] = []
    quarantine = ""
    for message in wanted:
        # Those that insert are a kind of those that change.
        if isinstance(message, InsertHeader):
            now.insert(0, _added(message.name, bytes(message.value), has_leading_space))
        elif isinstance(message, ChangeHeader):
            _change(message, now, gone, has_leading_space)
        elif isinstance(message, AddHeader):
            now.append(_added(message.name, bytes(message.value), has_leading_space))
        elif isinstance(message, Quarantine):
            quarantine = shown(message.reason) or "no reason was given"
        else:
            undone.append(_words(message))
    edits: list[Edit] = [RemoveField(one.name, one.index, author) for one in gone]
    edits += [ReplaceField(one.name, one.index, one.raw, author) for one in now if one.index >= 0 and one.raw]
    # The last one that is added stands on top.
    edits += [AddField(one.raw, author) for one in reversed(now) if one.index < 0]
    # A body comes in pieces.
    return Plan(tuple(edits), tuple(dict.fromkeys(undone)), quarantine)


def _change(message: ChangeHeader, now: list[_Field], gone: list[_Field], has_leading_space: bool) -> None:
    name = message.name.lower()
    same = [one for one in now if one.name == name]
    number = max(message.index, 1)
    found = same[number - 1] if number <= len(same) else None
    value = bytes(message.value)
    if not value:
        if found is not None:
            now.remove(found)
            if found.index >= 0:
                gone.append(found)
    elif found is None:
        now.append(_added(message.name, value, has_leading_space))
    else:
        found.raw = _raw(message.name, value, has_leading_space)


def _added(name: str, value: bytes, has_leading_space: bool) -> _Field:
    return _Field(name.lower(), -1, _raw(name, value, has_leading_space))


def _raw(name: str, value: bytes, has_leading_space: bool) -> bytes:
    """A field octet for octet, since its own signature may be in it."""
    lines = value.replace(b"\r\n", b"\n").rstrip(b"\n").replace(b"\n", b"\r\n")
    blank = b"" if has_leading_space and lines[:1] in (b" ", b"\t") else b" "
    raw = name.encode("ascii", "replace") + b":" + blank + lines + b"\r\n"
    try:
        if ":" in name:
            raise ValueError("a colon in its name")
        check_field(raw)
    except ValueError as error:
        raise BadAnswer(f"not a header field: {raw[:80]!r}: {error}") from None
    return raw


def _words(message: Message) -> str:
    if isinstance(message, ReplaceBody):
        return "replace the body"
    if isinstance(message, ChangeSender):
        return f"change the sender to {shown(message.address)}"
    if isinstance(message, AddRecipient | AddRecipientPar):
        return f"add the recipient {shown(message.address)}"
    if isinstance(message, RemoveRecipient):
        return f"remove the recipient {shown(message.address)}"
    return type(message).__name__
