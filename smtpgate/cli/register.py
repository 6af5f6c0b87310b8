"""Commands that register documents and rows of tables: only hashes are kept, and rules ask for them.

What is added is read and hashed here, as the owner of the state folder, whether a gateway runs or not; a running one
finds it within seconds, and is told of it for its audit. Lists and removals are the gateway's where one runs.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smtpgate.cli.gateway import Gateway, Unreachable, state_dir
from smtpgate.cli.terminal import Failed, say, say_json, say_list, tell_unaudited
from smtpgate.interfaces import StoreFailed
from smtpgate.state.register_store import REGISTERED, RegisterStore, check_name

#: Octets of all files of one document.
_OCTETS = 200 << 20
_DOCUMENTS = (("NAME", "name"), ("FILES", "files"), ("HASHES", "hashes"), ("OCTETS", "octets"), ("SINCE", "since"))
_TABLES = (
    ("NAME", "name"),
    ("ROWS", "rows"),
    ("COLUMNS", "columns"),
    ("LEAST", "least"),
    ("WINDOW", "window"),
    ("OCTETS", "octets"),
    ("SINCE", "since"),
)


def fingerprint_add(args: argparse.Namespace) -> None:
    """Register a document, in place of the one of that name: mail that holds parts of it is found."""
    from smtpgate.examine.apart import Died, apart
    from smtpgate.examine.known import fingerprint_of

    files, without = _contents(args.file), _contents(args.without)

    def made(key: bytes) -> bytes:
        try:
            return apart(lambda: fingerprint_of(args.name, files, key, without))
        except Died as error:
            raise Failed(f"{args.name}: the files could not be read: {error}") from None

    _add(args, "fingerprint", made)


def _contents(paths: Sequence[Path]) -> list[tuple[str, bytes]]:
    """Name and content of each file. Raises Failed."""
    files = []
    for path in paths:
        try:
            files.append((path.name, path.read_bytes()))
        except OSError as error:
            raise Failed(f"{path}: cannot be read: {error.strerror}") from None
        if sum(len(content) for _, content in files) > _OCTETS:
            raise Failed(f"more than {_OCTETS >> 20} MiB; register it in parts, each under a name of its own")
    return files


def table_add(args: argparse.Namespace) -> None:
    """Register the rows of a CSV file, in place of the table of that name: mail that holds values of a row is found."""
    from smtpgate.examine.known import table_of

    if len(args.delimiter) != 1:
        raise Failed("--delimiter takes one sign, as ;")
    columns = [name.strip() for name in args.columns.split(",") if name.strip()]
    try:
        with args.file.open(encoding="utf-8-sig", newline="") as file:
            rows = _rows(csv.reader(file, delimiter=args.delimiter), columns, args.file)
            _add(
                args,
                "table",
                lambda key: table_of(args.name, columns, rows, key, args.least, args.window),
                len(columns),
            )
    except OSError as error:
        raise Failed(f"{args.file}: cannot be read: {error.strerror}") from None
    except UnicodeError:
        raise Failed(f"{args.file}: it is not in UTF-8; convert it first (iconv -f WINDOWS-1252 -t UTF-8)") from None
    except csv.Error as error:
        raise Failed(f"{args.file}: no CSV: {error}") from None


def _rows(reader: Any, columns: Sequence[str], file: Path) -> Iterator[Sequence[str]]:
    """The chosen cells of each row. Raises Failed where the file has no such column."""
    head = [name.strip() for name in next(reader, [])]
    missing = [name for name in columns if name not in head]
    if missing:
        raise Failed(f"{file}: no column {missing[0]!r} in its first line; there are {', '.join(head)[:500]}")
    places = [head.index(name) for name in columns]
    for row in reader:
        yield [row[place] if place < len(row) else "" for place in places]


def _add(args: argparse.Namespace, kind: str, made: Callable[[bytes], bytes], columns: int = 1) -> None:
    from smtpgate.state.folder import StateError, StateFolder, as_owner

    try:
        check_name(args.name)
    except ValueError as error:
        raise Failed(str(error)) from None
    if not columns:
        raise Failed("name the columns that are looked for: --columns last_name,account")
    folder = state_dir(args.config)
    if not folder.is_dir():
        raise Failed(f"there is no folder {folder} yet: start the gateway first")
    try:
        with as_owner(folder):
            key = StateFolder(folder).secret(REGISTERED)
            content = made(key)
            RegisterStore(folder, key).put(kind, args.name, content)
    except UnicodeError:
        # A fault of the file that is read meanwhile; whoever reads it says so.
        raise
    except (StateError, StoreFailed, OSError, ValueError) as error:
        raise Failed(str(error)) from None
    try:
        told = Gateway(args.config).ask("POST", f"/registered/{kind}/{quote(args.name, safe='')}", {})
    except Unreachable:
        # No gateway runs, and none has an audit to write it in.
        told = {"is_audited": True}
    if args.json:
        say_json({"done": True, "kind": kind, "name": args.name, "octets": len(content)})
    else:
        say(f"{kind} {args.name} registered, {len(content)} octets; rules that ask for it find it within seconds")
    tell_unaudited(told)


def listing(args: argparse.Namespace) -> None:
    """List what is registered."""
    try:
        found = Gateway(args.config).ask("GET", "/registered")
    except Unreachable as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        found = {"items": [_shown(one) for one in _store(args, lambda store: store.listed())]}
    items = [one for one in found["items"] if one["kind"] == args.kind]
    say_list({"items": items}, _DOCUMENTS if args.kind == "fingerprint" else _TABLES, args.json)


def remove(args: argparse.Namespace) -> None:
    """Forget one: it is looked for no more."""
    try:
        place = f"/registered/{args.kind}/{quote(args.name, safe='')}"
        found = Gateway(args.config).ask("DELETE", place)
    except Unreachable as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        if not _store(args, lambda store: store.remove(args.kind, args.name)):
            raise Failed(f"no {args.kind} {args.name} is registered") from None
        found = {"done": True}
    if args.json:
        say_json(found)
    else:
        say(f"{args.kind} {args.name} removed")
    tell_unaudited(found)


def _store(args: argparse.Namespace, work: Callable[[RegisterStore], Any]) -> Any:
    """Ask the folder itself, where no gateway runs."""
    from smtpgate.state.folder import StateError, StateFolder, as_owner

    folder = state_dir(args.config)
    try:
        with as_owner(folder):
            return work(RegisterStore(folder, StateFolder(folder).secret(REGISTERED) if folder.is_dir() else b""))
    except (StateError, StoreFailed, OSError) as error:
        raise Failed(str(error)) from None


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    since = datetime.fromtimestamp(one["changed"], UTC).isoformat(timespec="seconds")
    return {**one, "since": since, "columns": one["columns"] or []}


def options(verbs: Any, verb: Any, group: Any, whole: Any) -> None:
    """Those of `fingerprint` and `table`."""
    words = "Documents whose parts are found in mail, by hashes alone: add, list, remove."
    documents = group(verbs, "fingerprint", words)
    one = verb("add", fingerprint_add, documents)
    one.add_argument("name", metavar="NAME", help="what rules call it")
    one.add_argument("file", type=Path, nargs="+", metavar="FILE", help="its files, in any format that is read in mail")
    one.add_argument(
        "--without", type=Path, action="append", default=[], metavar="FILE",
        help="a file with words that do not count, as a footer that all letters have; may be given again",
    )  # fmt: skip
    words = "Tables whose rows are found in mail, by hashes alone: add, list, remove."
    tables = group(verbs, "table", words)
    one = verb("add", table_add, tables)
    one.add_argument("name", metavar="NAME", help="what rules call it")
    one.add_argument("file", type=Path, metavar="FILE", help="a CSV file in UTF-8 whose first line names its columns")
    one.add_argument("--columns", required=True, metavar="A,B", help="the columns that are looked for, at most 16")
    one.add_argument(
        "--least", type=whole(16), default=2, metavar="N", help="how many of them must stand together; without it 2"
    )
    one.add_argument(
        "--window", type=whole(100_000), default=300, metavar="N", help="letters within which; without it 300"
    )
    one.add_argument("--delimiter", default=",", metavar="SIGN", help="what stands between cells; without it a comma")
    for one_of, kind in ((documents, "fingerprint"), (tables, "table")):
        verb("list", listing, one_of).set_defaults(kind=kind)
        one = verb("remove", remove, one_of)
        one.add_argument("name", metavar="NAME")
        one.set_defaults(kind=kind)
