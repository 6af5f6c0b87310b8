"""What makes two messages the same to a person, whatever program sent them: the job "sameness" of a child process.

A mail program that sends a message again writes another Date, Message-ID and boundary, and may fold lines and choose
encodings otherwise. So the digest is over what the parts hold: of texts the words, of files the name and the
octets, in any order. The subject is not in it: whoever keys it has that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from smtpgate.examine.mapped import whole
from smtpgate.message.mime import walk
from smtpgate.message.words import to_text


def digest(content: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """The job: `digest`, SHA-256 in hex over all parts; `is_whole` false where a limit left some of them out."""
    message = walk(whole(content))
    found = []
    for part in message.parts:
        if part.is_container or part.reading:
            continue
        octets = part.decoded()
        if part.media_type.startswith("text/"):
            octets = " ".join(to_text(octets, part.charset).split()).encode("utf-8", "replace")
        name = part.names[0].encode("utf-8", "replace") if part.names else b""
        found.append(hashlib.sha256(len(name).to_bytes(4, "big") + name + octets).digest())
    return {"digest": hashlib.sha256(b"".join(sorted(found))).hexdigest(), "is_whole": not message.limits}
