"""What of registered documents and tables is in a message: the job "known" of a child process.

The request names the files that `state.register_store` keeps and brings the key; the child maps one after the other.
Answered are names and numbers, never a word of the message. A file that cannot be read fails the job: what is
registered and cannot be looked for must not pass for not found.

A file is one line of JSON about it, filled up with blanks to a multiple of 8 octets, and arrays behind it in the order
of octets of the machine that made it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import mmap
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from smtpgate.examine.mapped import whole
from smtpgate.examine.reading import Limits, Reading, read, read_file
from smtpgate.examine.rowmatch import COLUMNS, Table, build
from smtpgate.examine.winnow import HASH_OCTETS, PLACE_OCTETS, Marks, sketch

#: Octets of the line about a file.
_LINE_OCTETS: Final = 65_536
#: Shares that are told; smaller ones are chance and boilerplate.
LEAST_SHARE: Final = 0.01
FINGERPRINT, TABLE = "fingerprint", "table"


class Damaged(Exception):
    """A registered file cannot be used; the text says which."""


def find(content: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """The job.

    :param request: `key` (hex), `fingerprints` and `tables` (paths), `limits` as `reading.Limits` has them
    :return: `fingerprints`: name, share, longest; `rows`: table, rows, columns; `is_complete`
    """
    limits = Limits.of(request)
    # Some of the time is for the look, and the rest for the child to answer in.
    ends = time.monotonic() + limits.time_s * 0.85
    reading = read(whole(content), attrs.evolve(limits, time_s=limits.time_s * 0.5))

    def check() -> None:
        if time.monotonic() > ends:
            raise TimeoutError("no time was left to look for what is registered")

    return search(reading, request, check) | {"is_complete": not reading.unread}


def search(reading: Reading, request: Mapping[str, Any], check: Callable[[], None]) -> dict[str, Any]:
    """What of the registered is in a reading. Raises Damaged, and what `check` raises.

    :param request: as for `find`
    """
    key = bytes.fromhex(request["key"])
    texts = list(dict.fromkeys(piece.text for piece in reading.pieces))
    fingerprints: list[dict[str, Any]] = []
    if request.get("fingerprints"):
        marks = Marks(texts, _key(key, FINGERPRINT, ""), check)
        for path in request["fingerprints"]:
            check()
            kept = _mapped(path, FINGERPRINT)
            if kept is None:
                continue
            about, body = kept
            if len(body) != about["hashes"] * (HASH_OCTETS + PLACE_OCTETS):
                raise Damaged(f"{Path(path).name} is damaged")
            found = marks.share(about["hashes"], body)
            if found.share >= LEAST_SHARE:
                fingerprints.append({"name": about["name"], "share": found.share, "longest": found.longest})
    rows: list[dict[str, Any]] = []
    for path in request.get("tables", ()):
        kept = _mapped(path, TABLE)
        if kept is None:
            continue
        about, body = kept
        try:
            table = Table(about, body, _key(key, TABLE, about["name"]))
        except (ValueError, KeyError, TypeError):
            raise Damaged(f"{Path(path).name} is damaged") from None
        matched = table.search(texts, check)
        if matched.count:
            rows.append({"table": about["name"], "rows": matched.count, "columns": list(matched.columns)})
    return {"fingerprints": fingerprints, "rows": rows}


def fingerprint_of(
    name: str, files: Sequence[tuple[str, bytes]], key: bytes, without: Sequence[tuple[str, bytes]] = ()
) -> bytes:
    """The file of a registered document. Raises ValueError where one of its files has no text, or all have too little.

    :param files: name and content of each
    :param without: the same of files with what other documents have too, which does not count
    """
    own = _key(key, FINGERPRINT, "")
    count, body = sketch(_texts_of(files), own, _texts_of(without))
    return _file({"kind": FINGERPRINT, "name": name, "hashes": count, "files": len(files)}, body)


def _texts_of(files: Sequence[tuple[str, bytes]]) -> list[str]:
    texts: list[str] = []
    for label, content in files:
        reading = read_file(content, label, Limits(time_s=60.0, file_s=60.0))
        found = [piece.text for piece in reading.pieces if piece.source not in ("name", "aside", "header")]
        if not found:
            why = reading.unread[0].why if reading.unread else "empty"
            raise ValueError(f"{label}: there is no text in it ({why})")
        texts += found
    return texts


def table_of(
    name: str, columns: Sequence[str], rows: Iterator[Sequence[str]], key: bytes, least: int, window: int
) -> bytes:
    """The file of a registered table. Raises ValueError.

    :param columns: names of the cells of each row
    :param least: columns that must stand together; `window`: letters within which, 0 for anywhere in one text
    """
    if not 1 <= len(columns) <= COLUMNS:
        raise ValueError(f"a table has 1 to {COLUMNS} columns")
    if not 1 <= least <= len(columns):
        raise ValueError(f"{least} columns are to stand together, and there are {len(columns)}")
    about, body = build(rows, _key(key, TABLE, name), len(columns))
    return _file(
        {"kind": TABLE, "name": name, "columns": list(columns), "least": least, "window": window, **about}, body
    )


def _key(key: bytes, kind: str, name: str) -> bytes:
    """A key of its own for each table, so that two which share customers do not show it."""
    return hmac.digest(key, f"{kind}:{name}".encode(), hashlib.sha256)


def _file(about: Mapping[str, Any], body: bytes) -> bytes:
    line = json.dumps({**about, "order": sys.byteorder}, ensure_ascii=True).encode("ascii")
    return line + b" " * (-(len(line) + 1) % 8) + b"\n" + body


def _mapped(path: str, kind: str) -> tuple[dict[str, Any], memoryview] | None:
    """What stands about a file, and its arrays; they go with who looks into them. None for one that was removed since
    it was listed. Raises Damaged."""
    name = Path(path).name
    try:
        with Path(path).open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = mapped.find(b"\n", 0, _LINE_OCTETS)
        about = json.loads(mapped[: max(end, 0)])
        if about["kind"] != kind or about["order"] != sys.byteorder:
            raise Damaged(f"{name} is of another kind, or of another machine")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"{name}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise Damaged(f"{name} is damaged") from None
    return about, memoryview(mapped)[end + 1 :]


__all__ = ["FINGERPRINT", "TABLE", "Damaged", "find", "fingerprint_of", "search", "table_of"]
