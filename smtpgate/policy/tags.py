"""Marks that an operator's rules put on a message: words before its subject, and fields of one's own.

A field that a rule may add is taken out of what comes from outside, whether the rule is true of that message or not:
who reads it must be able to believe it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from email.header import Header

from smtpgate.message.header import Field, HeaderSection
from smtpgate.message.words import decode
from smtpgate.policy.edits import AddField, Edit, RemoveField, ReplaceField, check_field

#: Where a line with a tag would be longer, what was there goes on in the next (RFC 5322 section 2.1.1).
_LINE = 78
#: Letters of a subject that are in front: a list of mail shows some fifty beside the sender.
_FRONT = 40


def strip(section: HeaderSection, names: Iterable[str], author: str) -> list[Edit]:
    """Take out all fields of these names (lower case)."""
    return [RemoveField(name, index, author) for name in names for index, _ in enumerate(section.named(name))]


def fields(given: Mapping[str, str], author: str) -> list[Edit]:
    """Add these fields, the first on top."""
    return [AddField(f"{name}: {value}\r\n".encode(), author) for name, value in reversed(list(given.items()))]


def subject(section: HeaderSection, tags: Iterable[str], author: str) -> list[Edit]:
    """Put these words before the subject, those left out that stand in front already, as in the subject of an answer.

    What stands further behind nobody sees in a list of mail, and a sender may have put it there. Of several subjects a
    program shows the one or the other, so each gets them.
    """
    wanted = list(dict.fromkeys(tags))
    there = section.named("subject")
    if not there and wanted:
        return [AddField(b"Subject: " + _words(wanted) + b"\r\n", author)]
    front = _FRONT + sum(len(tag) + 1 for tag in wanted)
    edits: list[Edit] = []
    for index, field in enumerate(there):
        said = decode(field.value)
        new = [tag for tag in wanted if tag not in said[:front]]
        if new:
            edits.append(ReplaceField("subject", index, _tagged(field, new, said), author))
    return edits


def _tagged(field: Field, tags: list[str], said: str) -> bytes:
    name, _, rest = field.raw.partition(b":")
    # Blanks before the colon are an old form (RFC 5322 section 4.5).
    name, rest = name.rstrip(b" \t"), rest.lstrip(b" \t")
    words, line = _words(tags), rest.partition(b"\r\n")[0]
    gap = b" " if len(name) + len(words) + len(line) + 3 <= _LINE or rest[:2] == b"\r\n" else b"\r\n "
    raw = name + b": " + words + gap + rest
    try:
        check_field(raw)
    except ValueError:
        # Octets that may not stand in a header: what a person reads of them is written in the form that may.
        written = Header(f"{' '.join(tags)} {said}", "utf-8", 70, "Subject").encode(linesep="\r\n")
        raw = name + b": " + written.encode("ascii") + b"\r\n"
    return raw


def _words(tags: list[str]) -> bytes:
    return " ".join(map(_word, tags)).encode()


def _word(tag: str) -> str:
    """As it stands in a header (RFC 2047)."""
    return tag if tag.isascii() else f"=?utf-8?b?{base64.b64encode(tag.encode()).decode()}?="
