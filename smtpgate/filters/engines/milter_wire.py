"""The milter protocol, version 6, from the side of the mail server: frames, negotiation, macros, answers.

Pure: `milter_session` moves the octets. The messages are those of the library kilter-protocol, which knows their
numbers, flags and shapes. What it packs too narrowly for a stranger's words (names that are no names, values that are
not ASCII) is packed here. What a milter says is unpacked by it and judged here: what may not be said, or not now, is a
`BadAnswer`.

libmilter's mfdef.h and mfapi.h (numbers, versions); Postfix MILTER_README (macros of each stage).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any, Final

import attrs
from kilter.protocol.buffer import SimpleBuffer
from kilter.protocol.exceptions import InsufficientSpace, NeedsMore
from kilter.protocol.messages import (
    Accept,
    ActionFlags,
    AddHeader,
    AddRecipient,
    AddRecipientPar,
    Body,
    ChangeHeader,
    ChangeSender,
    Connect,
    Continue,
    Data,
    Discard,
    EndOfHeaders,
    EndOfMessage,
    EnvelopeFrom,
    EnvelopeRecipient,
    Header,
    Helo,
    InsertHeader,
    Macro,
    Message,
    Negotiate,
    NoDataMessage,
    Progress,
    ProtocolFlags,
    Quarantine,
    Reject,
    RemoveRecipient,
    ReplaceBody,
    ReplyCode,
    Skip,
    Stage,
    TemporaryFailure,
)

from smtpgate.filters.engines.servers import BadAnswer

VERSION: Final = 6
#: Of one message, as libmilter has it (MILTER_CHUNK_SIZE); a value of a header field is cut to it.
CHUNK_OCTETS: Final = 65535
VALUE_OCTETS: Final = 65000
#: Of what a milter says at once; a body that is replaced comes in pieces (SMFIP_MDS_1M is the largest there is).
ANSWER_OCTETS: Final = 1 << 20
#: Bits that libmilter keeps for itself in the protocol flags (SMFI_INTERNAL).
_INTERNAL: Final = 0x70000000

_FRAME: Final = struct.Struct("!LB")
_REPLY: Final = re.compile(
    rb"([45][0-9]{2})([ -])(?:([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$))?([^\x00-\x08\x0a-\x1f\x7f]*)"
)
_KINDS: Final[dict[type[Message], str]] = {
    Continue: "continue",
    Accept: "accept",
    Reject: "reject",
    TemporaryFailure: "tempfail",
    Discard: "discard",
    Skip: "skip",
}


class ConnectionFailed(NoDataMessage, ident=b"f"):
    """The server shall end the connection, as if it had failed (SMFIR_CONN_FAIL)."""


class Shutdown(NoDataMessage, ident=b"4"):
    """The server shall say 421 and end the connection (SMFIR_SHUTDOWN)."""


@attrs.frozen
class Event:
    """One event of a session: its message, the flags with which a milter declines it or does not answer it."""

    message: type[Message]
    skip: ProtocolFlags = ProtocolFlags.NONE
    silent: ProtocolFlags = ProtocolFlags.NONE
    stage: Stage | None = None
    since: int = 2


EVENTS: Final = {
    "connect": Event(Connect, ProtocolFlags.NO_CONNECT, ProtocolFlags.NR_CONNECT, Stage.CONNECT),
    "helo": Event(Helo, ProtocolFlags.NO_HELO, ProtocolFlags.NR_HELO, Stage.HELO),
    "mail": Event(EnvelopeFrom, ProtocolFlags.NO_SENDER, ProtocolFlags.NR_SENDER, Stage.ENVELOPE_FROM),
    "rcpt": Event(EnvelopeRecipient, ProtocolFlags.NO_RECIPIENT, ProtocolFlags.NR_RECIPIENT, Stage.ENVELOPE_RECIPIENT),
    "data": Event(Data, ProtocolFlags.NO_DATA, ProtocolFlags.NR_DATA, Stage.DATA, since=4),
    "header": Event(Header, ProtocolFlags.NO_HEADERS, ProtocolFlags.NR_HEADER),
    "eoh": Event(EndOfHeaders, ProtocolFlags.NO_END_OF_HEADERS, ProtocolFlags.NR_END_OF_HEADERS, Stage.END_HEADERS),
    "body": Event(Body, ProtocolFlags.NO_BODY, ProtocolFlags.NR_BODY),
    "end": Event(EndOfMessage, stage=Stage.END_MESSAGE),
}
#: The action that a milter must have asked for, by what it wants to do.
_ACTIONS: Final = {
    AddHeader: ActionFlags.ADD_HEADERS,
    InsertHeader: ActionFlags.ADD_HEADERS,
    ChangeHeader: ActionFlags.CHANGE_HEADERS,
    ChangeSender: ActionFlags.CHANGE_FROM,
    AddRecipient: ActionFlags.ADD_RECIPIENT,
    AddRecipientPar: ActionFlags.ADD_RECIPIENT_PAR,
    RemoveRecipient: ActionFlags.DELETE_RECIPIENT,
    ReplaceBody: ActionFlags.CHANGE_BODY,
    Quarantine: ActionFlags.QUARANTINE,
}
OFFERED_ACTIONS: Final = ActionFlags.ALL
OFFERED_FLAGS: Final = ProtocolFlags(
    sum(event.skip | event.silent for event in EVENTS.values())
    | ProtocolFlags.NO_UNKNOWN
    | ProtocolFlags.NR_UNKNOWN
    | ProtocolFlags.SKIP
    | ProtocolFlags.HEADER_LEADING_SPACE
)


@attrs.frozen
class Terms:
    """What was agreed with a milter.

    :ivar macros: names that it wants at a stage; a stage that is not in it: the usual ones
    """

    version: int
    actions: int
    flags: int
    macros: Mapping[int, frozenset[str]] = attrs.field(factory=dict)

    def wants(self, event: str) -> bool:
        """Whether it wants to hear of an event."""
        known = EVENTS[event]
        return self.version >= known.since and not self.flags & known.skip

    def answers(self, event: str) -> bool:
        """Whether it answers it."""
        return not self.flags & EVENTS[event].silent

    @property
    def has_leading_space(self) -> bool:
        """Values of header fields come and go with the blank behind the colon."""
        return bool(self.flags & ProtocolFlags.HEADER_LEADING_SPACE)

    def chosen(self, event: str, macros: Mapping[str, str]) -> dict[str, str]:
        """Of the macros that there are at an event, those that it wants."""
        stage = EVENTS[event].stage
        names = self.macros.get(stage.value) if stage is not None else None
        # Names of one letter may stand with their braces or without.
        return {
            name: value
            for name, value in macros.items()
            if value and (names is None or name in names or name.strip("{}") in names)
        }


@attrs.frozen
class Verdict:
    """What a milter answers.

    :ivar kind: continue, accept, reject, tempfail, discard or skip
    :ivar code: of a reply of its own; 0 for none
    """

    kind: str
    code: int = 0
    enhanced: str = ""
    text: str = ""


CONTINUE: Final = Verdict("continue")


# To a milter


def frame(kind: type[Message], payload: bytes = b"") -> bytes:
    """One message out of its octets."""
    return _FRAME.pack(len(payload) + 1, kind.ident) + payload


def strings(*values: str | bytes) -> bytes:
    """Texts as the protocol has them: each ended by NUL, which none of them may hold."""
    return b"".join(
        (value.encode("utf-8", "backslashreplace") if isinstance(value, str) else value).replace(b"\0", b" ") + b"\0"
        for value in values
    )


def negotiate() -> bytes:
    """The first message: what we can, and may be spared."""
    buffer = SimpleBuffer(64)
    Negotiate(VERSION, OFFERED_ACTIONS, OFFERED_FLAGS).pack(buffer)
    return buffer[:].tobytes()


def macros(event: str, values: Mapping[str, str]) -> bytes:
    """Macros in front of an event; nothing for none."""
    if not values:
        return b""
    pairs = [text for name, value in values.items() for text in (name, value)]
    return frame(Macro, bytes([EVENTS[event].message.ident]) + strings(*pairs))


def connect(name: str, address: str, port: int) -> bytes:
    """A client: its name or its address in brackets, and the address."""
    try:
        known = ip_address(address)
    except ValueError:
        return frame(Connect, strings(name) + b"U")
    family = b"4" if isinstance(known, IPv4Address) else b"6"
    return frame(Connect, strings(name) + family + struct.pack("!H", port) + strings(str(known)))


def envelope(kind: type[Message], raw: bytes, params: Mapping[str, bytes | None]) -> bytes:
    """MAIL or RCPT: the address in angle brackets, then the parameters."""
    words = [name.encode() + (b"=" + value if value is not None else b"") for name, value in params.items()]
    return frame(kind, strings(b"<" + raw + b">", *words))


def header(raw: bytes, terms: Terms) -> bytes:
    """One header field, lines ended by LF."""
    name, _, value = raw.partition(b":")
    value = value.removesuffix(b"\r\n").replace(b"\r\n", b"\n")
    if not terms.has_leading_space:
        value = value.removeprefix(b" ")
    return frame(Header, strings(name.rstrip(b" \t"), value[:VALUE_OCTETS]))


# From a milter


def unpack(kind: int, payload: bytes) -> Message:
    """A message out of its octets. Raises BadAnswer."""
    buffer = SimpleBuffer(_FRAME.size + len(payload))
    buffer[:] = _FRAME.pack(len(payload) + 1, kind) + payload
    try:
        message, _ = Message.unpack(buffer)
        message.freeze()
    except (ValueError, AssertionError, IndexError, StopIteration, struct.error, NeedsMore, InsufficientSpace) as error:
        raise BadAnswer(f"not a message of a milter: {bytes([kind])!r} {payload[:40]!r}: {error!r}"[:200]) from None
    return message


def agree(message: Message) -> Terms:
    """What a milter answers to our offer. Raises BadAnswer where it is more than was offered."""
    if not isinstance(message, Negotiate):
        raise BadAnswer(f"{type(message).__name__} in place of a negotiation")
    flags = int(message.protocol_flags) & ~_INTERNAL
    if not 2 <= message.version <= VERSION:
        raise BadAnswer(f"version {message.version}, and we speak 2 to {VERSION}")
    # The inverse of a set of flags knows only those that have names.
    if flags & ~int(OFFERED_FLAGS) or int(message.action_flags) & ~int(OFFERED_ACTIONS):
        raise BadAnswer(f"it wants more than is offered: {message.action_flags!r}, {flags:#x}")
    asked = {stage.value: frozenset(name.strip("{}") for name in names) for stage, names in message.macros.items()}
    return Terms(message.version, int(message.action_flags), flags, asked)


def verdict(message: Message, event: str, terms: Terms) -> Verdict | None:
    """The answer in a message; None for one that is an edit or a sign of life. Raises BadAnswer."""
    if isinstance(message, Progress):
        return None
    kind = _KINDS.get(type(message))
    if kind == "skip" and (event != "body" or not terms.flags & ProtocolFlags.SKIP):
        kind = None
    if kind is not None:
        return Verdict(kind)
    if isinstance(message, ReplyCode):
        return parse_reply(bytes(message.content))
    if isinstance(message, Shutdown | ConnectionFailed):
        return Verdict("tempfail")
    action = _ACTIONS.get(type(message))
    if event != "end" or action is None:
        raise BadAnswer(f"{type(message).__name__} in answer to {event}")
    if not terms.actions & action:
        raise BadAnswer(f"{type(message).__name__}, which it has not asked for")
    return None


def parse_reply(content: bytes) -> Verdict:
    """A reply of a milter's own. Raises BadAnswer.

    Two percent signs stand for one, since other servers take the text for a format (smfi_setreply).
    """
    lines = content.removesuffix(b"\0").split(b"\r\n")
    read = [_REPLY.fullmatch(line) for line in lines]
    codes = {(match[1], match[3] or b"") for match in read if match is not None}
    marks = [match[2] for match in read if match is not None]
    if None in read or len(codes) != 1 or marks != [b"-"] * (len(lines) - 1) + [b" "]:
        raise BadAnswer(f"not a reply: {content[:80]!r}")
    code, enhanced = codes.pop()
    if enhanced and enhanced[:1] != code[:1]:
        raise BadAnswer(f"a reply of two minds: {content[:80]!r}")
    text = b" ".join(match[4].strip() for match in read if match is not None).replace(b"%%", b"%")
    kind = "reject" if code[:1] == b"5" else "tempfail"
    return Verdict(kind, int(code), enhanced.decode(), text.decode("utf-8", "replace"))


def is_edit(message: Any) -> bool:
    """Whether it asks for a change."""
    return type(message) in _ACTIONS
