"""Address fields: From, Sender, Reply-To, To and Cc as display names and addresses, and what is ambiguous about them.

Whoever judges the author of a message calls `read` for a header section, or `parse` for one value. Addresses are found
before encoded words are decoded, as the standard says; names are decoded for people. What breaks the grammar still
gives the mailboxes that most programs would show. Where programs would take different addresses, an anomaly says so,
and each of the addresses that are written as addresses is given.

It takes linear time, knows no recursion and never raises. It changes nothing: what is reported is not repaired.

RFC 5322 section 3.4 (mailboxes, groups), 4.4 (old forms); RFC 6854 (groups of authors); RFC 6532; RFC 2047 section 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from smtpgate.message.anomaly import Anomaly
from smtpgate.message.header import HeaderSection
from smtpgate.message.words import clean, decode, raw_text

#: Mailboxes of one field: as many as the gateway's own limit of recipients (RFC 5321 section 4.5.3.1.8 asks for 100).
MAILBOXES: Final = 1000
#: Pieces of one value that are looked at: the limit of Postfix (header_address_token_limit). A mailbox with a name of
#: two words has seven.
PIECES: Final = 10_240
#: Fields whose address is the author's, and that few programs expect a group in.
AUTHORS: Final = frozenset({"from", "sender", "reply-to"})
#: Letters of an anomaly's detail.
_DETAIL: Final = 200

_RUN: Final = re.compile(rb"[^\",<>():;\\\[\]\s]+")
_BLANK: Final = re.compile(rb"\s+")
_QUOTE: Final = re.compile(rb"[\"\\]")
_BRACKET: Final = re.compile(rb"[()\\]")
_ANGLE: Final = re.compile(rb"[<>\"]")
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


@attrs.frozen
class Mailbox:
    """One address with its name.

    :ivar name: display name, decoded and cleaned; of old mail the comment
    :ivar address: as it stands, quotes of a local part kept; "" where there is none
    """

    name: str = ""
    address: str = ""

    @property
    def domain(self) -> str:
        """Behind the last @, lower case; "" where there is none."""
        return self.address.rpartition("@")[2].lower() if "@" in self.address else ""


@attrs.frozen
class Addresses:
    """What a field, or all fields of a name, give.

    :ivar mailboxes: in order, those of groups too
    :ivar anomalies: of `anomaly.ANOMALIES`
    :ivar groups: names of groups
    """

    mailboxes: tuple[Mailbox, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    groups: tuple[str, ...] = ()


@attrs.frozen
class _Piece:
    """A stretch of a value.

    :ivar kind: text, quoted, literal, comment, blank; angle, unclosed (both without brackets); stray: a mark that
        opens or closes nothing
    """

    kind: str
    octets: bytes


def read(section: HeaderSection, *names: str) -> Addresses:
    """The mailboxes of every field of those names (lower case), top first; two fields of one name are an anomaly."""
    mailboxes: list[Mailbox] = []
    anomalies: dict[Anomaly, None] = {}
    groups: list[str] = []
    for name in names:
        values = section.all(name)
        if len(values) > 1:
            anomalies[Anomaly("duplicate-address-field", "", name)] = None
        for value in values[:MAILBOXES]:
            found = parse(value)
            mailboxes += found.mailboxes
            groups += found.groups
            anomalies.update(dict.fromkeys(found.anomalies))
            if found.groups and name in AUTHORS:
                anomalies[Anomaly("group-of-authors", "", found.groups[0][:_DETAIL])] = None
        if len(mailboxes) > MAILBOXES:
            anomalies[Anomaly("too-many-addresses", "", name)] = None
    return Addresses(tuple(mailboxes[:MAILBOXES]), tuple(anomalies), tuple(groups[:MAILBOXES]))


def parse(value: bytes) -> Addresses:
    """The mailboxes of one unfolded value. Anything is one."""
    field = _Field()
    pieces: list[_Piece] = []
    for number, (mark, piece) in enumerate(_pieces(value)):
        if number == PIECES or len(field.mailboxes) > MAILBOXES:
            field.note("too-many-addresses", b"")
            break
        if piece is not None:
            pieces.append(piece)
        elif mark == b":":
            field.groups.append(_words(pieces))
            pieces = []
        else:
            field.mailbox(pieces)
            pieces = []
    field.mailbox(pieces)
    return Addresses(tuple(field.mailboxes[:MAILBOXES]), tuple(field.anomalies), tuple(field.groups[:MAILBOXES]))


def _pieces(value: bytes) -> Iterable[tuple[bytes, _Piece | None]]:
    """Cut a value: pieces, and the marks between mailboxes (comma, semicolon, colon)."""
    position = 0
    # Openings whose end was once searched for in vain are plain from then on: searching again would be quadratic.
    has_end = {b'"': True, b"(": True, b"[": True}
    while position < len(value):
        matched = _RUN.match(value, position) or _BLANK.match(value, position)
        if matched:
            blank = matched.group()[:1].isspace()
            yield b"", _Piece("blank" if blank else "text", matched.group())
            position = matched.end()
            continue
        mark = value[position : position + 1]
        end = 0
        if mark in b",;:":
            yield mark, None
        elif mark == b"<":
            end, stop = _angle_end(value, position, has_end)
            if not end:
                comma = value.find(b",", position, stop)
                stop = comma if comma >= 0 else stop
            yield b"", _Piece("angle" if end else "unclosed", value[position + 1 : stop])
            # The closing bracket, or nothing where a comma or the end stands in its place.
            position = end + 1 if end else stop
            continue
        elif mark == b"\\":
            yield b"", _Piece("text", value[position : position + 2])
            position += 1
        else:
            if has_end.get(mark):
                end = _end(value, position, mark)
                has_end[mark] = bool(end)
            kind = {b'"': "quoted", b"(": "comment"}.get(mark, "literal") if end else "stray"
            yield b"", _Piece(kind, value[position : end or position + 1])
        position = end or position + 1


def _end(value: bytes, position: int, mark: bytes) -> int:
    """Behind the quoted string, comment or literal that opens there; 0 where it does not end."""
    if mark == b"[":
        return value.find(b"]", position) + 1
    pattern = _QUOTE if mark == b'"' else _BRACKET
    depth = 1
    position += 1
    while True:
        matched = pattern.search(value, position)
        if not matched:
            return 0
        position = matched.end()
        if matched.group() == b"\\":
            position += 1
            continue
        depth += 1 if matched.group() == b"(" else -1
        if depth == 0:
            return position


def _angle_end(value: bytes, position: int, has_end: dict[bytes, bool]) -> tuple[int, int]:
    """Where the bracket stands that closes the angle address, and how far was looked.

    It is 0 where another one opens before, or none closes.
    """
    position += 1
    has_text = False
    while True:
        matched = _ANGLE.search(value, position)
        if not matched:
            return 0, len(value)
        has_text = has_text or not value[position : matched.start()].isspace() and matched.start() > position
        if matched.group() == b">":
            return matched.start(), matched.start()
        if matched.group() == b"<":
            if has_text:
                return 0, matched.start()
            position = matched.end()
            continue
        end = _end(value, matched.start(), b'"') if has_end[b'"'] else 0
        has_end[b'"'] = bool(end)
        has_text = True
        position = end or matched.end()


def _words(pieces: Iterable[_Piece]) -> str:
    """A phrase as a person reads it."""
    octets = b"".join(
        _ESCAPE.sub(rb"\1", piece.octets[1:-1]) if piece.kind == "quoted" else piece.octets
        for piece in pieces
        if piece.kind != "comment"
    )
    return " ".join(decode(octets).split())


class _Field:
    """What one value has given so far."""

    def __init__(self) -> None:
        self.mailboxes: list[Mailbox] = []
        self.anomalies: dict[Anomaly, None] = {}
        self.groups: list[str] = []

    def note(self, kind: str, octets: bytes) -> None:
        """Report something, a few times at most."""
        if len(self.anomalies) < 20:
            self.anomalies[Anomaly(kind, "", clean(raw_text(octets[:_DETAIL])))] = None

    def mailbox(self, pieces: list[_Piece]) -> None:
        """Take what stands between two commas."""
        if any(piece.kind in ("stray", "unclosed") for piece in pieces):
            self.note("broken-address", b"".join(piece.octets for piece in pieces))
            pieces = [piece for piece in pieces if piece.kind != "stray"]
        angles = [index for index, piece in enumerate(pieces) if piece.kind in ("angle", "unclosed")]
        if angles:
            self._with_angle(pieces, angles)
        elif any(piece.kind != "blank" for piece in pieces):
            self._bare(pieces)

    def _with_angle(self, pieces: list[_Piece], angles: list[int]) -> None:
        before = pieces[: angles[0]]
        comments = [piece for piece in pieces if piece.kind == "comment"]
        name = _words(before) or (_words([_Piece("text", comments[0].octets[1:-1])]) if comments else "")
        address = self._address(pieces[angles[0]].octets)
        self.mailboxes.append(Mailbox(name, address))
        for index in angles[1:]:
            other = self._address(pieces[index].octets)
            if other.lower() != address.lower():
                self.note("two-addresses", pieces[index].octets)
                self.mailboxes.append(Mailbox("", other))
        shown = b"".join(piece.octets if piece.kind in ("text", "blank") else b" " for piece in before)
        for word in shown.split():
            word = word.strip(b"'")
            local, at, domain = word.partition(b"@")
            if local and at and domain and not word.lower().startswith(address.lower().encode() or b"@"):
                self.note("two-addresses", word)
        rest = pieces[angles[0] + 1 :]
        if any(piece.kind in ("text", "quoted", "literal") for piece in rest):
            self.note("broken-address", b"".join(piece.octets for piece in rest))

    def _bare(self, pieces: list[_Piece]) -> None:
        """Without angle brackets: an address, and what stands round it is a name."""
        groups: list[list[_Piece]] = [[]]
        for piece in pieces:
            if piece.kind == "blank":
                groups.append([])
            elif piece.kind != "comment":
                groups[-1].append(piece)
        words: list[list[_Piece]] = []
        for word in groups:
            octets = b"".join(piece.octets for piece in word)
            # Blanks round @ and dots are an old form.
            joins = words and (octets[:1] in (b"@", b".") or words[-1][-1].octets[-1:] in (b"@", b"."))
            if word and joins:
                words[-1].extend(word)
            elif word:
                words.append(word)
        addresses = [word for word in words if any(piece.kind == "text" and b"@" in piece.octets for piece in word)]
        comments = [piece for piece in pieces if piece.kind == "comment"]
        comment = _words([_Piece("text", comments[0].octets[1:-1])]) if comments else ""
        others = [_Piece("blank", b" ")]
        for word in words:
            if word not in addresses:
                others += [*word, _Piece("blank", b" ")]
        name = _words(others) or comment
        if not addresses:
            self._without_address(name, b"".join(piece.octets for piece in pieces))
            return
        if len(words) > len(addresses):
            self.note("broken-address", b" ".join(piece.octets for word in words for piece in word))
        for index, word in enumerate(addresses):
            octets = b"".join(piece.octets for piece in word)
            if index:
                self.note("two-addresses", octets)
            self.mailboxes.append(Mailbox("" if index else name, self._address(octets)))

    def _without_address(self, name: str, octets: bytes) -> None:
        """No address is seen. Programs that decode first may see one in an encoded word."""
        self.mailboxes.append(Mailbox(name))
        if b"=?" in octets and "@" in name:
            self.note("encoded-address", octets)
            bracketed = name.rpartition("<")[2].partition(">")[0].strip()
            address = bracketed if "<" in name else next(word for word in name.split() if "@" in word)
            self.mailboxes[-1] = Mailbox(name, address)

    def _address(self, octets: bytes) -> str:
        """An address as it stands, without a route, blanks and control characters; and what is odd about it."""
        octets = octets.strip().lstrip(b"<").strip()
        if octets.startswith(b"@") and b":" in octets:
            octets = octets.partition(b":")[2].strip()
        if b"=?" in octets:
            self.note("encoded-address", octets)
            octets = decode(octets).encode()
        text = raw_text(octets)
        if _CONTROL.search(text):
            self.note("control-in-address", octets)
            text = _CONTROL.sub("", text)
        if text.startswith('"') and text.endswith('"') and "@" in text and '"' not in text[1:-1]:
            # All of it in quotes. Nobody can write to it, and programs show it without them.
            self.note("broken-address", octets)
            text = text[1:-1]
        local, at, domain = text.rpartition("@")
        is_quoted = local.startswith('"') and local.endswith('"') and len(local) > 1
        if not is_quoted and "@" in local:
            self.note("several-at-signs", octets)
        is_broken = not (local and at and domain) or any(mark in domain for mark in ' <>()",;')
        if text and (is_broken or (not is_quoted and any(mark in local for mark in ' <>()",;:'))):
            self.note("broken-address", octets)
        return text
