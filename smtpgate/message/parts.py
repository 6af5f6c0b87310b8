"""What `mime.walk` gives: parts, and the message that holds them; and the limits that it keeps to.

Whoever looks at a message reads these values. A part holds no octets of its own, only where they stand; what is
decoded is made when it is asked for and kept by nobody. All readings of a name, and all parts of all readings, are
there: who looks at everything in `Message.parts` has seen what any program shows.

RFC 2045, RFC 2183; RFC 3501 section 6.4.5 (numbers).
"""

from __future__ import annotations

import attrs

from smtpgate.message import transfer
from smtpgate.message.anomaly import Anomaly
from smtpgate.message.header import HeaderSection


@attrs.frozen
class MimeLimits:
    """What is looked at.

    :ivar depth: levels of multiparts and messages. Exchange Online takes 30 embedded messages, curl 40 levels, rspamd
        64, Postfix and Dovecot 100; honest mail has under ten
    :ivar parts: of the usual reading; the others may have `overlap` times as many as it has, and a hundred. Exchange
        Online takes 250, Go's mime/multipart 1,000, Dovecot 10,000
    :ivar lines: that begin as an open boundary does, over all readings; each takes a step of the interpreter. Honest
        mail has one for each part. There is no precedent
    :ivar header_octets: of one part: the limit of Exim (header_maxsize) and of our own for a message. Postfix looks at
        100 KiB of one field, sendmail at 32 KiB of all
    :ivar decoded_octets: of encoded messages and texts, which are decoded to see what is in them: a quarter of what
        ClamAV scans of one message (MaxScanSize 400M, 100M before 0.105)
    :ivar readings: imagined programs besides the usual one. There is no precedent
    :ivar overlap: how many times the size of the content other readings may walk in all: enough for NUL, CR and LF
        in every mixture, and for one thing more
    """

    depth: int = 30
    parts: int = 1000
    lines: int = 200_000
    header_octets: int = 1 << 20
    decoded_octets: int = 100 << 20
    readings: int = 32
    overlap: int = 6


@attrs.frozen(eq=False)
class Part:
    """One entity in one reading.

    :ivar number: as IMAP counts; a multipart that is a message itself is "", or "2.TEXT" inside part 2
    :ivar parent: index in `Message.parts` of what it is in, or of the nearest above that is in the list; -1 for the
        message itself
    :ivar depth: 0 for the message itself
    :ivar reading: 0 for the usual one; `Message.profiles` says whose the others are
    :ivar encodings: all that are declared, the usual one first
    :ivar names: every name that some program would give it, the one that most would show first
    :ivar is_container: its body was walked, and its parts are in the list
    :ivar start: where the body begins in `source`, and `end` where it ends
    """

    number: str
    parent: int
    depth: int
    reading: int
    header: HeaderSection = attrs.field(repr=False)
    media_type: str
    charset: str
    disposition: str
    encodings: tuple[str, ...]
    names: tuple[str, ...]
    is_container: bool
    source: bytes = attrs.field(repr=False)
    start: int
    end: int

    @property
    def body(self) -> memoryview:
        """The octets as they stand, not copied."""
        return memoryview(self.source)[self.start : self.end]

    @property
    def octets(self) -> int:
        """Size of the body as it stands."""
        return self.end - self.start

    @property
    def encoding(self) -> str:
        """The transfer encoding that most programs go by; "" where none is declared."""
        return self.encodings[0] if self.encodings else ""

    def decoded(self, cap: int | None = None) -> bytes:
        """The body as most programs decode it, at most `cap` octets and never more than the body has."""
        return transfer.decode(self.body, self.encoding, cap)

    def readings(self, cap: int | None = None) -> tuple[bytes, ...]:
        """What other programs decode it to, each at most `cap` octets; mostly none, at most `transfer.READINGS`."""
        return transfer.readings(self.body, self.encodings, cap)


@attrs.frozen(eq=False)
class Message:
    """All that was found.

    :ivar parts: the usual reading in pre-order, the message itself first; then the parts that only other readings have
    :ivar limits: names of the limits that were reached: depth, parts, lines, header, octets, readings
    :ivar profiles: for each number of a reading, in words, what such a program does
    """

    parts: tuple[Part, ...]
    anomalies: tuple[Anomaly, ...]
    limits: tuple[str, ...]
    profiles: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """False where something was not looked at."""
        return not self.limits
