"""What the fuzzer throws: valid dialogues, replies, content and headers, bent here and there, and how they are cut up.

Everything comes out of the `random.Random` that is given, so a seed gives the same input again.
"""

from __future__ import annotations

import random
import re

from smtpgate.smtp import proxyline

Turns = list[bytes]

OCTETS = (
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b".",
    b"\r\n.",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\xff",
    b"\xc3\xa9",
    b" ",
    b"\t",
)
PATHS = (
    b"<a@example.org>",
    b"<>",
    b"<b@example.net>",
    b'<"a b"@example.net>',
    b'<"a\\"@b"@example.net>',
    b"<@h1.example,@h2.example:u@example.net>",
    b"<u@[192.0.2.1]>",
    b"<u@[IPv6:2001:db8::1]>",
    b"<postmaster>",
    "<jöran@exämple.org>".encode(),
    b"<u%example.com@example.net>",
    b"<" + b"l" * 255 + b"@example.net>",
    b"<u@" + b".".join([b"d" * 60] * 4) + b">",
    b"a@example.org",
    b"<<a@example.org>>",
    b"<a..b@example.org>",
    b"<a@-example.org>",
)
PARAMETERS = (
    b" SIZE=10",
    b" SIZE=99999999999999999999",
    b" BODY=8BITMIME",
    b" BODY=BINARYMIME",
    b" SMTPUTF8",
    b" REQUIRETLS",
    b" RET=HDRS",
    b" ENVID=a+2Bb",
    b" AUTH=<>",
    b" NOTIFY=SUCCESS,DELAY",
    b" ORCPT=rfc822;b+40example.net",
    b" ORCPT=utf-8;\xc3\xa9",
    b" X=1",
    b" =",
)
LINES = (
    b"EHLO client.example\r\n",
    b"HELO c\r\n",
    b"LHLO c\r\n",
    b"EHLO [IPv6:::1]\r\n",
    b"DATA\r\n",
    b"RSET\r\n",
    b"NOOP x\r\n",
    b"NOOP\n",
    b"VRFY b\r\n",
    b"VRFY \xc3\xa9\r\n",
    b"HELP\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN AGEAYg==\r\n",
    b"AUTH PLAIN =\r\n",
    b"AUTH LOGIN\r\n",
    b"AUTH PLAIN\r\n",
    b"AGEAYg==\r\n",
    b"*\r\n",
    b"XCLIENT NAME=x ADDR=192.0.2.1\r\n",
    b"XFORWARD NAME=x+20y\r\n",
    b"EXPN x\r\n",
    b"GET / HTTP/1.1\r\n",
    b"Host: x\r\n",
    b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\r\n",
    b"BDAT x\r\n",
    b"BDAT 99999999999999999999 LAST\r\n",
    b"MAIL FROM:\r\n",
)
REPLIES = (
    b"220 mail.example.net ESMTP\r\n",
    b"250 2.1.0 Ok\r\n",
    b"250-mail.example.net\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-AUTH=LOGIN PLAIN\r\n250 LIMITS RCPTMAX=1 X=\r\n",
    b"354 go on\r\n",
    b"334 VXNlcm5hbWU6\r\n",
    b"235 2.7.0 ok\r\n",
    b"421 4.3.2 going\r\n",
    b"450 4.2.0 later\r\n",
    b"550-5.1.1 no\r\n550 5.1.1 such user\r\n",
    b"550 4.7.1 of another class\r\n",
    b"250\r\n",
    b"250 \r\n",
    b"250-\r\n250\r\n",
    b"550-a\n550 b\n",
    b"250-ok\r\n550 no\r\n",
    b"+OK\r\n",
    b"oops\r\n",
    b"250 a\rb\r\n",
    b"250 " + b"x" * 3000 + b"\r\n",
    b"599 \x1b[31m\xff\0\r\n",
)


def text(chance: random.Random, most: int = 12) -> bytes:
    """Message content, with all that can go wrong in it."""
    out = b""
    for _ in range(chance.randrange(most)):
        kind = chance.randrange(10)
        if kind < 4:
            out += b"a line of text %d\r\n" % chance.randrange(1000)
        elif kind < 8:
            out += chance.choice(OCTETS)
        elif kind == 8:
            out += bytes(chance.choices(b"ab.\r\n \x80", k=chance.randrange(30)))
        else:
            # More than the few dot lines that are counted one by one; longer than the cap on lines.
            what, most = chance.choice(((b"x", 3000), (b".", 1500), (b"\x80", 1500), (b"..\r\n", 70), (b"\r\n", 9)))
            out += what * chance.choice((1, most // 2, most))
    return out


def line(chance: random.Random) -> bytes:
    """A command line, or something like it."""
    kind = chance.randrange(10)
    if kind < 3:
        return b"MAIL FROM:" + chance.choice(PATHS) + parameters(chance) + b"\r\n"
    if kind < 6:
        return b"RCPT TO:" + chance.choice(PATHS) + parameters(chance) + b"\r\n"
    if kind == 9 and not chance.randrange(3):
        return (
            chance.choice((b"", b"AUTH ", b"EHLO ", b"MAIL FROM:<"))
            + b"X" * chance.choice((500, 510, 511, 1000, 2045, 2046, 2047, 2048, 12350, 12400, 70_000))
            + chance.choice((b"\r\n", b"\n", b""))
        )
    return chance.choice(LINES)


def parameters(chance: random.Random) -> bytes:
    """Parameters of MAIL or RCPT, mostly none."""
    return b"".join(chance.choices(PARAMETERS, k=chance.choice((0, 0, 0, 1, 1, 2, 4))))


def bent(chance: random.Random, octets: bytes) -> bytes:
    """A few things changed."""
    for _ in range(chance.choice((0, 0, 1, 1, 2, 4, 8))):
        at = chance.randrange(len(octets) + 1)
        to = min(len(octets), at + chance.choice((1, 1, 2, 8, 40)))
        kind = chance.randrange(7)
        if kind == 0:
            octets = octets[:at] + chance.choice(OCTETS) + octets[at:]
        elif kind == 1:
            octets = octets[:at] + octets[to:]
        elif kind == 2:
            octets = octets[:to] + octets[at:]
        elif kind == 3:
            octets = octets[:at] + bytes([chance.randrange(256)]) + octets[to:]
        elif kind == 4:
            octets = octets[:at] + octets[at:to].swapcase() + octets[to:]
        elif kind == 5:
            octets = octets[:at] + chance.choice((*LINES, *PARAMETERS, *PATHS)) + octets[at:]
        else:
            octets = octets[:at] + chance.randbytes(chance.randrange(20)) + octets[to:]
    return octets


def cut(chance: random.Random, octets: bytes) -> list[bytes]:
    """Segments of it: one, a few, or single octets."""
    kind = chance.randrange(8)
    if kind == 0 or len(octets) < 2:
        return [octets] if octets else []
    if kind == 1 and len(octets) < 400:
        return [octets[at : at + 1] for at in range(len(octets))]
    cuts = sorted({chance.randrange(1, len(octets)) for _ in range(chance.choice((1, 1, 2, 3, 8)))})
    # Where one thing ends and the next begins most of the mistakes are.
    for match in list(re.finditer(rb"\r\n", octets))[: chance.choice((0, 1, 4))]:
        cuts.append(min(len(octets), match.start() + chance.randrange(1, 4)))
    return [octets[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(octets)]) if a < b]


def session(chance: random.Random) -> Turns:
    """What a client sends: a session that would be right, bent here and there."""
    turns = [b"EHLO client.example\r\n"] if chance.randrange(8) else []
    for _ in range(chance.randrange(6)):
        kind = chance.randrange(6)
        if kind == 0:
            turns.append(b"".join(line(chance) for _ in range(chance.randrange(1, 6))))
            continue
        if not chance.randrange(12):
            # A line without end: what comes next is its tail, and no command.
            turns.append(
                chance.choice((b"", b"AUTH PLAIN ", b"NOOP ")) + b"X" * chance.choice((600, 2046, 2049, 13_000))
            )
        envelope = [b"MAIL FROM:" + chance.choice(PATHS[:3]) + parameters(chance) + b"\r\n"]
        envelope += [b"RCPT TO:" + chance.choice(PATHS) + b"\r\n" for _ in range(chance.randrange(1, 5))]
        body = text(chance)
        if kind < 4:
            envelope.append(b"DATA\r\n")
            body = body.replace(b"\r\n.", b"\r\n..") if chance.randrange(4) else body
            content = [body + (b"" if body.endswith(b"\r\n") or not body else b"\r\n") + b".\r\n"]
        else:
            middle = chance.randrange(len(body) + 1)
            content = [b"BDAT %d\r\n" % middle + body[:middle]] if chance.randrange(2) else []
            rest = body[middle:] if content else body
            content.append(b"BDAT %d LAST\r\n" % len(rest) + rest)
        if chance.randrange(3):
            turns.append(b"".join(envelope))
        else:
            turns += envelope
        turns += content if chance.randrange(3) else [b"".join(content)]
        if chance.randrange(2):
            # A client that does not wait at all.
            turns[-2:] = [b"".join(turns[-2:])]
    if not chance.randrange(3):
        turns.append(b"QUIT\r\n")
    return [bent(chance, turn) if not chance.randrange(4) else turn for turn in turns]


def replies(chance: random.Random) -> Turns:
    """What a server says: the replies that commands wait for, or others."""
    turns = [chance.choice(REPLIES[:1] * 8 + REPLIES)]
    for _ in range(chance.randrange(8)):
        said = b"".join(chance.choices(REPLIES, k=chance.choice((0, 1, 1, 1, 2, 3))))
        turns.append(bent(chance, said) if not chance.randrange(3) else said)
    return turns


def contents(chance: random.Random) -> Turns:
    """Content, raw or as it is on the wire, with an end or without."""
    body = bent(chance, text(chance, 20)) if chance.randrange(2) else text(chance, 20)
    if chance.randrange(2):
        body = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
    return [body]


def lines(chance: random.Random) -> Turns:
    """Single lines."""
    return [bent(chance, line(chance)).rstrip(b"\r\n") for _ in range(4)]


def paths(chance: random.Random) -> Turns:
    """Addresses with something behind them."""
    return [bent(chance, chance.choice(PATHS) + parameters(chance)) for _ in range(4)]


def headers(chance: random.Random) -> Turns:
    """PROXY headers of both versions."""
    addresses = ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "x", "")
    write = chance.choice((proxyline.version1, proxyline.version2))
    made = write(chance.choice(addresses), chance.randrange(65536), chance.choice(addresses), chance.randrange(65536))
    if write is proxyline.version2 and chance.randrange(2):
        tlvs = b"".join(
            bytes([chance.choice((1, 2, 3, 4, 5, 0x20, 0xEE))]) + size.to_bytes(2, "big") + chance.randbytes(size)
            for size in chance.choices((0, 1, 4, 128, 4000), k=chance.randrange(3))
        )
        made = made[:14] + (len(made) - 16 + len(tlvs)).to_bytes(2, "big") + made[16:] + tlvs
    return [bent(chance, made) if chance.randrange(2) else made, b"EHLO x\r\n"]


def noise(chance: random.Random) -> Turns:
    """Random octets, sparse or dense."""
    kind = chance.randrange(3)
    if kind == 0:
        return [chance.randbytes(chance.randrange(200))]
    if kind == 1:
        return [bytes(chance.choices(b"\r\n.\0 AHMRT<>@:\x80\xff250-", k=chance.randrange(400)))]
    return [b"".join(chance.choices((*LINES, *REPLIES, *OCTETS, *PATHS), k=chance.randrange(20)))]
