"""Commands about what is found in texts: which detectors there are, and what they find in a file.

A file is read as the gateway reads mail: by a child process with limits, which gives everything up before it looks.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from smtpgate.cli.gateway import settings_of
from smtpgate.cli.terminal import Failed, say, say_json, say_list, table

#: Largest file that is looked at: a message of that size is refused by most.
FILE_OCTETS: Final = 100 << 20
_MEMORY_OCTETS: Final = 768 << 20
_TIME_S: Final = 60.0
_ANSWER_OCTETS: Final = 8 << 20
_HEAD: Final = struct.Struct("!I")
_FIELD: Final = re.compile(rb"[!-9;-~]{1,100}:[ \t]")
_COLUMNS: Final = (
    ("NAME", "name"),
    ("GROUP", "group"),
    ("COUNTRY", "country"),
    ("ALONE", "alone"),
    ("WITH_EVIDENCE", "with_evidence"),
    ("FINDS", "about"),
)


def detectors(args: argparse.Namespace) -> None:
    """The detectors that there are: what each finds, and how sure; with --json their test vectors too."""
    from smtpgate.filters.detectors import catalogue

    say_list({"items": catalogue()}, _COLUMNS, args.json)


def detect(args: argparse.Namespace) -> None:
    """What detectors and dictionaries find in a message or another file, masked; no gateway is needed."""
    from smtpgate.filters.detectors import catalogue

    search = settings_of(args.config).search if args.config is not None else None
    names = [row["name"] for row in catalogue()]
    request: dict[str, Any] = {"names": names}
    if search is not None:
        # Those of the file too, where some rule of it asks for them.
        own = [one["name"] for key in ("detectors", "dictionaries") for one in search.own.get(key, ())]
        request |= {"names": [*names, *own], "digest": search.digest, "own": dict(search.own)}
    answer = _asked(_message(args.file), request)
    if args.json:
        say_json({"matches": answer["matches"], "unread": answer["unread"]})
        return
    # Of each the surest match.
    surest: dict[str, dict[str, Any]] = {}
    for match in answer["matches"]:
        surest.setdefault(match["detector"], match)
    if surest:
        rows = [[one[key] for key in ("detector", "confidence", "distinct", "count", "score")]
                + [", ".join(one["samples"]), ", ".join(one["paths"])] for one in surest.values()]  # fmt: skip
        table(("DETECTOR", "CONFIDENCE", "DISTINCT", "COUNT", "SCORE", "SAMPLES", "IN"), rows)
    else:
        say("nothing is found")
    for path, why in answer["unread"]:
        say(f"not read: {path or 'some of it'} ({why})")


def _message(path: Path) -> bytes:
    """A file as a message: as it is, or as the one part of one."""
    try:
        if not path.is_file() or path.stat().st_size > FILE_OCTETS:
            raise Failed(f"{path} is no file of at most {FILE_OCTETS >> 20} MiB")
        octets = path.read_bytes()
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}") from None
    if _FIELD.match(octets) is not None and path.suffix.lower() in (".eml", ".msg", ""):
        return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    name = re.sub(r"[^\w. -]", "_", path.name, flags=re.ASCII)
    head = f'Content-Type: application/octet-stream; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    return head.encode("ascii") + base64.encodebytes(octets).replace(b"\n", b"\r\n")


def _asked(content: bytes, request: dict[str, Any]) -> dict[str, Any]:
    """The answer of a child to the job "search"."""
    settings: dict[str, Any] = {
        "memory_octets": _MEMORY_OCTETS,
        "cpu_s": _TIME_S,
        "answer_octets": _ANSWER_OCTETS,
        "jobs": None,
        "warm": [],
    }
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-P", "-s", "-B", "-m", "smtpgate.examine.child", json.dumps(settings)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        try:
            ours.settimeout(_TIME_S)
            _read(ours)
            asked = json.dumps({"id": 1, "job": "search", "has_content": True, "request": request}).encode("ascii")
            frame = _HEAD.pack(len(asked)) + asked
            sent = socket.send_fds(ours, [frame], [file.fileno()])
            ours.sendall(frame[sent:])
            said = _read(ours)
        except (OSError, EOFError, ValueError):
            raise Failed(
                "the process that reads the file has ended before its time: too large, or not to be read"
            ) from None
        finally:
            child.kill()
            child.wait()
    if "answer" not in said:
        raise Failed(f"the file could not be searched: {said.get('error')}: {said.get('text')}")
    answer: dict[str, Any] = said["answer"]
    return answer


def _read(channel: socket.socket) -> dict[str, Any]:
    octets = bytearray()
    wanted = _HEAD.size
    while len(octets) < wanted:
        more = channel.recv(65536)
        if not more:
            raise EOFError
        octets += more
        if len(octets) >= _HEAD.size:
            (length,) = _HEAD.unpack_from(octets)
            if length > _ANSWER_OCTETS:
                raise ValueError("too long")
            wanted = _HEAD.size + length
    found: dict[str, Any] = json.loads(bytes(octets[_HEAD.size : wanted]))
    return found
