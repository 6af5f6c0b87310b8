"""A fuzzer that knows what the input looks like: valid dialogues are made, bent and cut up, and thrown at each parser,
at both wire machines and at a whole gateway.

    python -m tests.fuzz --seconds 600
    python -m tests.fuzz --target server --seed 12345
    SMTPGATE_FUZZ_SEED=12345:678 python -m tests.fuzz --target server      one case again

`make fuzz` runs it for ten minutes, `make test` for half a minute (test_fuzz). A target is a function from an input (a
list of turns: what a peer sends before it waits for an answer) and a salt (what decides how it is cut up and answered)
to nothing; it raises where a promise is broken. So a failure is two literals, which are made small and printed as a
call that can be pasted into a test.

What must hold: no input makes a parser or an engine raise anything; the same dialogue cut up differently gives the
same events and the same output; each command gets one reply, in order, however late the answers come; and what goes
on to a backend is what a plain and slow reading of the RFC makes of it.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from smtpgate.message.header import HeaderReader
from smtpgate.smtp import proxyline, status
from smtpgate.smtp.address import BadPath, Path, canonical_domain, parse_path
from smtpgate.smtp.capability import Capabilities, intersect, parse_capabilities, unite
from smtpgate.smtp.client import ClientConnection, Desync
from smtpgate.smtp.command import (
    BadCommand,
    Command,
    PathRules,
    check_mail_params,
    check_rcpt_params,
    decode_xtext,
    encode_xtext,
    mail_line,
    parse_command,
    rcpt_line,
)
from smtpgate.smtp.framing import Chunk, Content, DotDecoder, DotEncoder
from smtpgate.smtp.reply import BadReply, Reply, ReplyReader
from smtpgate.smtp.server import (
    NEED_DATA,
    PAUSED,
    AuthLine,
    EndOfData,
    ServerConnection,
    Violation,
    WireRules,
)
from tests.fuzz_input import Turns, contents, cut, headers, lines, noise, paths, replies, session, text

#: Time to make a failing input smaller.
SHRINK_S = 10.0


class Broken(AssertionError):
    """A promise that an input broke."""


def hold(condition: object, what: str, *details: object) -> None:
    """A promise."""
    if not condition:
        raise Broken(": ".join([what, *(repr(detail)[:2000] for detail in details)]))


# The server engine

OFFER = Capabilities(
    dict.fromkeys(("CHUNKING", "STARTTLS", "8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "REQUIRETLS"), "")
    | {"AUTH": "PLAIN LOGIN", "SIZE": "1000"}
)
RULES = (
    WireRules(),
    WireRules(),
    WireRules(takes_bare_lf=True),
    WireRules(needs_tls=True, has_starttls=True),
    WireRules(is_lmtp=True),
    WireRules(paths=PathRules(is_strict=True)),
    WireRules(paths=PathRules(needs_brackets=False), window=2),
)


@attrs.define
class Front:
    """A front wire and a session that decides by the octets alone.

    :ivar late: answers come as late as the engine lets them, in any order
    """

    rules: WireRules
    salt: int
    late: random.Random | None = None
    seen: list[Any] = attrs.Factory(list)
    out: bytes = b""
    is_over: bool = False
    open: list[tuple[Any, Any]] = attrs.Factory(list)
    replies: int = 0
    auth: Any = None
    wire: ServerConnection = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.wire = ServerConnection(self.rules)

    def one_of(self, word: object, most: int) -> int:
        """A number that the word decides, and the salt."""
        return zlib.crc32(f"{self.salt} {word}".encode()) % most

    def turn(self, parts: Iterable[bytes]) -> None:
        """What the client sends before it waits."""
        parts = list(parts)
        for number, part in enumerate(parts):
            if self.is_over:
                return
            self.wire.receive(part)
            self.pump(number < len(parts) - 1)

    def pump(self, more: bool) -> None:
        """Take events and answer them. `more`: segments of the same turn follow."""
        while not self.is_over:
            event = self.wire.next_event()
            if event is NEED_DATA or event is PAUSED:
                if not self.open:
                    hold(event is NEED_DATA, "paused, and everything was answered")
                    break
                self.answer(self.open.pop(self.which()))
            elif isinstance(event, Chunk):
                content = event.content
                hold(content, "an empty chunk")
                if self.seen and self.seen[-1][0] == "content":
                    self.seen[-1] = ("content", self.seen[-1][1] + content)
                else:
                    self.seen.append(("content", content))
            elif isinstance(event, AuthLine):
                self.seen.append(("auth line", event.octets))
                self.open.append((self.auth, ("auth line", event.octets)))
            else:
                self.take(event, more)
            while self.open and (self.late is None or self.late.randrange(3) == 0):
                self.answer(self.open.pop(0))
        self.out += self.wire.take_output()

    def which(self) -> int:
        """Which open slot is answered next. The answers to one end of data, of LMTP, have the order of recipients."""
        if self.late is None:
            return 0
        slot = self.open[self.late.randrange(len(self.open))][0]
        return next(number for number, (other, _) in enumerate(self.open) if other is slot)

    def take(self, event: Any, more: bool) -> None:
        """A command, a violation or an end of data."""
        if isinstance(event, Violation):
            if event.suggested is status.INPUT_BEHIND_STARTTLS:
                self.end("behind STARTTLS")
                return
            self.seen.append(("violation", event.verb, event.suggested.code, event.reason, event.is_fatal))
            self.open.append((event, None))
        elif isinstance(event, EndOfData):
            self.seen.append(("end", event.verb, event.is_last))
            self.open += [(event, number) for number in range(event.answers)]
        else:
            assert isinstance(event, Command)
            what = (event.verb, event.argument, event.path, tuple(event.params.items()), event.mechanism, event.size)
            self.seen.append(what)
            if event.verb == "STARTTLS" and more:
                # The same as input behind it: only how it was cut up differs.
                self.seen.pop()
                self.end("behind STARTTLS")
            elif event.verb == "AUTH":
                self.auth = event
                self.open.append((event, what))
            elif event.verb != "BDAT":
                self.open.append((event, what))

    def end(self, why: str) -> None:
        """Nothing after this can be compared."""
        self.seen.append((why,))
        self.is_over = True

    def answer(self, opened: tuple[Any, Any]) -> None:
        """Fill one slot."""
        slot, what = opened
        wire = self.wire
        if isinstance(slot, Violation):
            reply = slot.suggested
        elif isinstance(slot, EndOfData):
            refused = self.one_of(("end", what, len(self.seen)), 4) == 0 and self.late is None
            reply = status.ACCEPTED if not refused or slot.is_last else status.BACKEND_LOST
        else:
            reply = self.word(slot, what)
        wire.reply(slot, reply, "R" if self.one_of(what, 2) else "")
        if reply.code != 334:
            self.replies += 1
        if isinstance(slot, Command):
            if slot.verb == "STARTTLS" and reply.code == 220:
                self.out += wire.take_output()
                wire.tls_started()
            elif slot.verb == "DATA" and reply.code != 354:
                wire.discard()
            elif slot.verb == "QUIT":
                self.is_over = True
        if isinstance(slot, Violation) and slot.is_fatal:
            self.is_over = True

    def word(self, command: Command, what: Any) -> Reply:
        """What such a session says to a command."""
        verb = command.verb
        odds = self.one_of(what, 5)
        if verb in ("EHLO", "LHLO"):
            self.wire.offer(OFFER)
            return Reply(250, "", ("gate.example.com", "HELP"))
        if verb == "HELO":
            self.wire.offer(None)
            return Reply(250, "", ("gate.example.com",))
        if verb == "DATA":
            return status.START_DATA if odds else status.BACKEND_LOST
        if verb == "AUTH":
            if odds > 2 and what[0] != "auth line" or odds == 4:
                return Reply(334, "", ("x",))
            return status.AUTH_OK if odds else status.AUTH_FAILED
        if verb == "STARTTLS":
            return status.START_TLS if odds else status.TLS_UNAVAILABLE
        if verb == "RCPT":
            return Reply(250, "2.1.5", ("Recipient ok",)) if odds else status.RELAY_DENIED
        if verb == "MAIL":
            return status.SENDER_OK if odds else status.BACKEND_LOST
        if verb == "XCLIENT":
            return Reply(220, "", ("again",))
        return status.NOOP_OK


def is_reply_stream(out: bytes) -> int:
    """Octets for a client are whole replies of the grammar; how many finals."""
    finals = 0
    hold(not out or out.endswith(b"\r\n"), "half a reply", out[-100:])
    for one in out.split(b"\r\n")[:-1]:
        match = re.fullmatch(rb"([2-5]\d\d)([ -])[\x20-\x7e]*", one)
        hold(match is not None and len(one) <= 510, "no reply line", one)
        assert match is not None
        finals += match[2] == b" " and match[1] != b"334"
    return finals


def server(turns: Turns, salt: int) -> None:
    """`smtp.server`: one reply for each command, in order, for every segmentation and every delay."""
    chance = random.Random(salt)
    rules = chance.choice(RULES)
    whole = Front(rules, salt)
    for turn in turns:
        whole.turn([turn] if turn else [])
    hold(is_reply_stream(whole.out) == whole.replies, "replies do not equal commands", whole.seen, whole.out)
    if any(b"\x16\x03" in turn for turn in turns):
        # A TLS ClientHello is known only while its line has no end.
        Front(rules, salt).turn(cut(chance, b"".join(turns)))
        return
    parts = Front(rules, salt)
    for turn in turns:
        parts.turn(cut(chance, turn))
    hold(parts.seen == whole.seen, "other events when cut up", parts.seen, whole.seen)
    hold(parts.out == whole.out, "other output when cut up", parts.out, whole.out)
    late = Front(rules, salt, random.Random(salt + 1))
    for turn in turns:
        late.turn(cut(chance, turn))
    if not any(event[0] == "end" and not event[2] for event in whole.seen):
        hold(late.seen == whole.seen, "other events when answered late", late.seen, whole.seen)
        hold(late.out == whole.out, "other output when answered late", late.out, whole.out)


# The client engine


KINDS = ("EHLO", "HELO", "STARTTLS", "XCLIENT", "XFORWARD", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "QUIT")


def talk(turns: Turns, salt: int, segments: Callable[[bytes], list[bytes]]) -> list[Any]:
    """A back wire that is told this: what its owner heard, and what it wrote."""
    wire = ClientConnection()
    chance = random.Random(salt)
    heard: list[Any] = []
    in_data = False
    due = 1
    for turn in turns:
        answers = [answer for part in segments(turn) for answer in wire.receive(part)]
        for answer in answers:
            heard.append("desync" if isinstance(answer, Desync) else answer)
        hold(sum(isinstance(one, Reply) for one in heard) <= due, "more replies than commands", heard)
        hold(heard.count("desync") == (1 if "desync" in heard else 0), "read on when out of step", heard)
        if "desync" in heard:
            hold(heard[-1] == "desync", "replies after the end", heard)
            hold(wire.receive(b"250 later\r\n") == [], "replies after the end")
            break
        last = answers[-1] if answers else None
        if isinstance(last, Reply) and last.code == 354 and not wire.waiting:
            wire.start_data()
            in_data = True
        if in_data and chance.randrange(2):
            heard.append(wire.content(Chunk(text(chance).replace(b"\r", b""), None)))
        elif in_data:
            each = chance.choice((0, 0, 0, 3))
            heard.append(wire.end_data(each))
            in_data, due = False, due + (each + 2 if each else 1)
        else:
            for _ in range(chance.choice((0, 1, 1, 2, 4))):
                wire.send(chance.choice(KINDS), b"")
                due += 1
    heard.append((wire.is_idle, wire.waiting, wire.early))
    return heard


def client(turns: Turns, salt: int) -> None:
    """`smtp.client`: a reply for each command or out of step, the same for every segmentation."""
    whole = talk(turns, salt, lambda turn: [turn])
    chance = random.Random(salt + 1)
    parts = talk(turns, salt, lambda turn: cut(chance, turn))
    if "desync" in whole:
        whole.pop(), parts.pop()
    hold(parts == whole, "other replies when cut up", parts, whole)


# Framing

LINE_CAP = 1000


def unstuffed(octets: bytes) -> tuple[bytes, bytes]:
    """The content of a DATA phase and what follows it, by the letter of RFC 5321 section 4.5.2."""
    octets = b"\r\n" + octets
    end = octets.index(b"\r\n.\r\n")
    return octets[: end + 2].replace(b"\r\n.", b"\r\n")[2:], octets[end + 5 :]


def mended(octets: bytes) -> bytes:
    """Lone CR and LF as the newline policy has them."""
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")


def lax_ends(octets: bytes) -> int:
    """How many ends of data a server finds that takes CRLF, CR and LF all for line ends."""
    return re.split(rb"\r\n|\r|\n", octets).count(b".")


def framing(turns: Turns, salt: int) -> None:
    """`smtp.framing`: from the client's octets to the backend's, against a slow reading of the RFC."""
    chance = random.Random(salt)
    octets = b"".join(turns) + b"\r\n.\r\nNOOP\r\n"
    content, rest = unstuffed(octets)
    decoder = DotDecoder()
    chunks: list[Chunk] = []
    left = b""
    is_over = False
    for part in cut(chance, octets):
        if is_over:
            left += part
            continue
        chunk, follows = decoder.feed(part)
        if chunk is not None:
            hold(chunk.octets, "an empty chunk")
            chunks.append(chunk)
        if follows is not None:
            is_over, left = True, follows
    hold(is_over and left == rest, "the end of data is elsewhere", left, rest)
    passed_on(chunks, content)
    # The same content by BDAT, where no dot means anything.
    whole = b"".join(turns)
    passed_on([Chunk(part, None) for part in cut(chance, whole)], whole)


def passed_on(chunks: Sequence[Chunk], content: bytes) -> None:
    """Newline policy, caps and coding of a message that was decoded to these chunks."""
    watch = Content(LINE_CAP, watch_eight_bit=True)
    passed = [made for chunk in chunks if (made := watch.feed(chunk)) is not None]
    last = watch.finish()
    if last is not None:
        passed.append(last)
    expected = mended(content)
    encoder = DotEncoder()
    wire = b"".join([encoder.encode(chunk) for chunk in passed])
    wire += encoder.finish()
    hold(b"".join(chunk.content for chunk in chunks) == content, "other content", content)
    hold(b"".join(chunk.content for chunk in passed) == expected, "other content goes on", expected)
    hold(watch.octets == len(expected), "miscounted", watch.octets, len(expected))
    hold(watch.has_bare_newline == (expected != content), "lone newline", content)
    hold(watch.is_eight_bit == (not content.isascii()), "8-bit", content)
    longest = max(map(len, expected.split(b"\r\n")))
    if not LINE_CAP - 3 <= longest <= LINE_CAP + 1:
        hold(watch.is_long_line == (longest > LINE_CAP), "long line", longest)
    coded = (b"\r\n" + expected).replace(b"\r\n.", b"\r\n..")[2:]
    if expected and not expected.endswith(b"\r\n"):
        coded += b"\r\n"
    hold(wire == coded + b".\r\n", "coded otherwise", wire, coded)
    hold(lax_ends(wire) == 1 and wire.endswith(b".\r\n"), "an end of data inside", wire)


def header(turns: Turns, salt: int) -> None:
    """`message.header`: no octet is lost, and the section ends in the same place."""
    octets = b"".join(turns)
    cap = random.Random(salt).choice((40, 200, 10_000))

    def read(parts: Iterable[bytes]) -> tuple[bytes, bytes, bool]:
        reader = HeaderReader(cap)
        out = b""
        for part in parts:
            made = part if reader.section is not None else reader.feed(part)
            out += made or b""
        if reader.section is None:
            out += reader.finish()
        section = reader.section
        assert section is not None
        for field in section.fields:
            hold(section.octets[field.start :].startswith(field.raw[:-2]), "a field that is not there", field)
            hold(field.name and field.name.isascii(), "a field without a name", field)
            section.first(field.name), section.all(field.name), section.text(field.name)
        return out, section.octets, reader.is_too_big

    whole = read([octets] if octets else [])
    parts = read(cut(random.Random(salt + 1), octets))
    hold(whole[0] == parts[0] == octets, "octets were lost", whole[0], parts[0])
    hold(whole[2] == parts[2], "too big, or not", len(whole[1]), len(parts[1]))
    if not whole[2]:
        hold(whole[1] == parts[1], "another section when cut up", whole[1], parts[1])


# Parsers


def reply(turns: Turns, salt: int) -> None:
    """`smtp.reply` and `smtp.capability`: strict reading, exact writing."""
    octets = b"".join(turns)

    def read(parts: Iterable[bytes]) -> list[Any]:
        reader = ReplyReader()
        return [made for part in parts for made in reader.feed(part)]

    whole = read([octets])
    parts = read(cut(random.Random(salt), octets))
    hold(
        [one if isinstance(one, Reply) else BadReply for one in whole]
        == [one if isinstance(one, Reply) else BadReply for one in parts],
        "other replies when cut up",
        whole,
        parts,
    )
    offers = []
    for one in whole:
        if isinstance(one, BadReply):
            hold(one is whole[-1], "read on after a bad reply", whole)
            continue
        for reference in ("", "3" * 26, "R" * 40):
            for form in (one, one.completed()):
                out = form.octets(reference)
                is_reply_stream(out)
                hold(out.count(b"\r\n") == len(one.lines), "another number of lines", out)
                (again,) = read([out])
                hold(isinstance(again, Reply) and again.code == one.code, "read back as another", out)
        completed = one.completed()
        hold(not completed.enhanced or completed.enhanced[0] == str(one.code)[0], "a code of another class", completed)
        hold(completed.completed() == completed, "completed twice", completed)
        offers.append(parse_capabilities(one))
    for offer in offers:
        both = intersect([offer, *offers])
        hold(all(word in offer for word in both.words if word not in ("SIZE", "LIMITS")), "offered by nobody", both)
        unite(offers), offer.size, offer.limits, offer.xclient, offer.xforward, offer.mechanisms


def command(turns: Turns, salt: int) -> None:
    """`smtp.command`: a command or the reason why not, and what is written from it is read as the same."""
    offered = frozenset(("SIZE", "8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "AUTH", "REQUIRETLS"))
    for one in turns:
        for rules in (PathRules(), PathRules(is_strict=True), PathRules(needs_brackets=False)):
            made = parse_command(one, rules)
            if isinstance(made, BadCommand):
                hold(made.reply.code >= 400, "a refusal that is none", made)
                continue
            hold(made.verb.isascii() and made.verb == made.verb.upper(), "an odd verb", made.verb)
            if made.path is not None:
                write = mail_line if made.verb == "MAIL" else rcpt_line
                check = check_mail_params if made.verb == "MAIL" else check_rcpt_params
                written = write(made.path, made.params)
                hold(written.count(b"\n") == written.count(b"\r") == 1 and b"\0" not in written, "two lines", written)
                again = parse_command(written[:-2], PathRules(is_strict=True))
                hold(isinstance(again, Command), "not read back", written, again)
                assert isinstance(again, Command)
                hold((again.path, again.params) == (made.path, made.params), "read back as another", written)
                check(made.params, offered)
            for name, value in made.attributes.items():
                hold(name.isalnum() and decode_xtext(encode_xtext(value)) == value, "an attribute changed", name, value)
        hold(decode_xtext(encode_xtext(one)) == one, "xtext", one)
        decode_xtext(one)


def address(turns: Turns, salt: int) -> None:
    """`smtp.address`: what is taken has one reading."""
    for one in turns:
        for utf8 in (False, True):
            for brackets in (True, False):
                path, rest = parse_path(one, utf8=utf8, brackets=brackets)
                if isinstance(path, BadPath):
                    continue
                assert isinstance(path, Path)
                hold(one.endswith(rest), "a rest that is not there", one, rest)
                hold(not re.search(rb"[\x00-\x1f\x7f]", path.raw), "control octets", path)
                hold(utf8 or path.raw.isascii(), "UTF-8 without leave", path)
                hold(path.is_null or path.local or path.raw.startswith(b'""@'), "no local part", path)
                hold(canonical_domain(path.domain) == path.domain, "not canonical", path)
                again = parse_path(b"<" + path.raw + b">", utf8=True)
                hold(again == (path, b""), "read back as another", path, again)
                str(path)


def proxy(turns: Turns, salt: int) -> None:
    """`smtp.proxyline`: an answer at some octet, and no other one later."""
    octets = b"".join(turns)
    answer = None
    for end in range(len(octets) + 1):
        made = proxyline.parse(octets[:end])
        if answer is None and made is not None:
            answer = made
        elif answer is not None:
            hold(type(made) is type(answer), "another answer with more octets", octets[:end], made, answer)
            if isinstance(made, proxyline.Origin):
                hold(made == answer, "another origin with more octets", octets[:end], made, answer)
        if isinstance(made, proxyline.Origin):
            hold(0 < made.octets <= end, "a header longer than the octets", made)
        if end > 5000:
            break
    if len(octets) > proxyline.V2_OCTETS:
        hold(answer is not None, "never an answer", octets[:100])


# Running


@attrs.frozen
class Target:
    """What is fuzzed, and how its input is made."""

    name: str
    check: Callable[[Turns, int], None]
    make: Callable[[random.Random], Turns]


TARGETS = {
    target.name: target
    for target in (
        Target("server", server, session),
        Target("client", client, replies),
        Target("framing", framing, contents),
        Target("header", header, contents),
        Target("reply", reply, replies),
        Target("command", command, lines),
        Target("address", address, paths),
        Target("proxy", proxy, headers),
    )
}


def check(name: str, turns: Turns, salt: int) -> None:
    """One input again: what a failure prints calls this."""
    TARGETS[name].check(turns, salt)


def case(target: Target, seed: str) -> tuple[Turns, int]:
    """The input that a seed stands for."""
    chance = random.Random(f"{target.name} {seed}")
    turns = noise(chance) if not chance.randrange(12) else target.make(chance)
    return turns, chance.randrange(2**32)


def failure(target: Target, turns: Turns, salt: int) -> BaseException | None:
    """What an input breaks, if it does."""
    try:
        target.check(turns, salt)
    except Exception as error:
        return error
    return None


def _kind(error: BaseException) -> tuple[type, str]:
    return type(error), str(error).partition(":")[0] if isinstance(error, Broken) else ""


def shrunk(target: Target, turns: Turns, salt: int) -> Turns:
    """The same failure from less."""
    first = failure(target, turns, salt)
    assert first is not None
    kind = _kind(first)
    until = time.monotonic() + SHRINK_S

    def smaller() -> Iterator[Turns]:
        for number in range(len(turns)):
            yield turns[:number] + turns[number + 1 :]
        for number, turn in enumerate(turns):
            size = len(turn) // 2
            while size:
                for at in range(0, len(turn), size):
                    yield [*turns[:number], turn[:at] + turn[at + size :], *turns[number + 1 :]]
                size //= 2

    found = True
    while found:
        found = False
        for candidate in smaller():
            if time.monotonic() > until:
                return turns
            error = failure(target, candidate, salt)
            if error is not None and _kind(error) == kind:
                turns, found = candidate, True
                break
    return turns


def literal(target: Target, turns: Turns, salt: int) -> str:
    """A call that fails in the same way."""
    return f"fuzz.check({target.name!r}, [{', '.join(map(spelled, turns))}], {salt})"


def spelled(octets: bytes) -> str:
    """Octets as Python writes them, long runs of one octet cut short."""
    parts = []
    start = 0
    for run in re.finditer(rb"(.)\1{40,}", octets, re.DOTALL):
        if run.start() > start:
            parts.append(repr(octets[start : run.start()]))
        parts.append(f"{run[1]!r} * {len(run[0])}")
        start = run.end()
    if start < len(octets) or not parts:
        parts.append(repr(octets[start:]))
    return " + ".join(parts)


@attrs.define
class Run:
    """One run over some targets.

    :ivar counts: inputs by target
    """

    seed: str
    counts: dict[str, int] = attrs.Factory(dict)

    def one(self, target: Target, number: str) -> str:
        """One input; "" or the report of what it broke."""
        turns, salt = case(target, number)
        self.counts[target.name] = self.counts.get(target.name, 0) + 1
        error = failure(target, turns, salt)
        if error is None:
            return ""
        small = shrunk(target, turns, salt)
        again = failure(target, small, salt) or error
        told = "".join(traceback.format_exception(again)[-6:])
        return f"seed {number} of target {target.name}\n{told}\n{literal(target, small, salt)}\n"

    def over(self, targets: Sequence[Target], seconds: float) -> str:
        """All targets in turn until the time is up or something breaks; "" or the report."""
        until = time.monotonic() + seconds
        number = 0
        while time.monotonic() < until:
            for target in targets:
                for _ in range(10):
                    report = self.one(target, f"{self.seed}:{number}")
                    number += 1
                    if report:
                        return report
        return ""


def given_seed() -> str:
    """The seed of the environment, or a fresh one."""
    return os.environ.get("SMTPGATE_FUZZ_SEED") or str(random.SystemRandom().randrange(10**9))


def gateway(seed: str, seconds: float) -> str:
    """The whole gateway for so long; "" or the report."""
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.threads import deferToThread

    from tests.fuzz_gateway import GatewayFuzz

    reports: list[str] = []

    async def work() -> None:
        fuzz = GatewayFuzz(seed)
        await fuzz.start()
        try:
            reports.append(await deferToThread(fuzz.over, seconds))
        finally:
            await fuzz.stop()
            print(f"gateway    {fuzz.count:9} dialogues, {fuzz.delivered} messages delivered", flush=True)

    def done(failure: Any) -> None:
        if failure is not None:
            reports.append(str(failure))
        reactor.stop()  # type: ignore[attr-defined]

    def begin() -> None:
        ensureDeferred(work()).addBoth(done)

    reactor.callWhenRunning(begin)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
    return "".join(reports)


def main() -> int:
    """The command line. A third of the time goes to the whole gateway, where no target is named."""
    parser = argparse.ArgumentParser(description="fuzz the parsers, the wire machines and a whole gateway")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", default=given_seed())
    parser.add_argument("--target", choices=[*sorted(TARGETS), "gateway"], action="append")
    options = parser.parse_args()
    names = options.target or [*TARGETS, "gateway"]
    targets = [TARGETS[name] for name in names if name != "gateway"]
    run = Run(options.seed)
    print(f"seed {options.seed}", flush=True)
    report = ""
    if ":" in options.seed:
        report = "".join(run.one(target, options.seed) for target in targets)
    elif targets:
        report = run.over(targets, options.seconds * (2 / 3 if "gateway" in names else 1))
    for name, count in run.counts.items():
        print(f"{name:10} {count:9} inputs", flush=True)
    if not report and "gateway" in names and ":" not in options.seed:
        report = gateway(options.seed, options.seconds * (1 / 3 if targets else 1))
    print(report or "nothing broke")
    return 1 if report else 0


if __name__ == "__main__":
    sys.exit(main())
