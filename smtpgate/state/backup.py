"""A backup of a state folder: one file, made while the gateway runs, that shows by itself whether it is whole.

The file is a gzipped tar. Its last member, `MANIFEST.json`, has the version, the time, and the octets and SHA-256 of
every other one, so a file that was cut off has none and is refused. The database is copied by SQLite's own online
backup, which gives the state of one moment. Bodies of held messages are never changed, only made and deleted: they are
linked before that moment and after it, so each that the copy knows is there; one that it does not know is cleared up
by the gateway.

Not in it: the lock, sockets, spool files, and what the built-in sink keeps.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from smtpgate.state.folder import LAYOUT, StateError, as_owner
from smtpgate.state.offline import DATABASE

MANIFEST = "MANIFEST.json"
#: What was written last, for pages and metrics.
MARK = "backup.json"
CONFIG = "smtpgate.toml"
_FORM = 1
_STATE = "state/"
#: Where those are that were ordered on a page, and how many are kept.
FOLDER = "backups"
KEPT = 3
#: Parts of the folder that are made anew by each start, or are somebody else's.
_LEFT = {"lock", "spool", "Maildir", FOLDER, MARK, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}
_TEMPORARY = "backup-"
_CHUNK = 2**20
#: A manifest of a million files has some hundred MB; more is none of ours.
_MANIFEST_OCTETS = 2**28


class BadBackup(Exception):
    """The file is no backup, or is damaged; the text says how."""


@attrs.frozen
class Backup:
    """What is in one.

    :ivar at: when it was made, seconds since the epoch
    :ivar octets: of its parts, unpacked
    """

    at: float
    version: str
    files: int
    octets: int


def create(folder: Path, config: Path, target: Path, version: str) -> Backup:
    """Write a backup; the file is there whole or not at all. Raises StateError.

    :param config: the configuration file, which goes with it
    """
    if target.exists():
        raise StateError(f"{target} is there already; nothing is written over")
    with as_owner(folder):
        if not (folder / DATABASE).exists():
            raise StateError(f"{folder} holds no state: is this the folder of a gateway?")
    fresh = target.with_name(f".{target.name}.new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            found = _written(folder, config, file, version)
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, target)
    except (OSError, sqlite3.Error) as error:
        raise StateError(f"{target} cannot be written: {error}") from error
    finally:
        with suppress(OSError):
            fresh.unlink()
    with as_owner(folder), suppress(OSError):
        # Only for those who look how old the last one is.
        said = json.dumps({"at": found.at, "octets": target.stat().st_size})
        with open(os.open(folder / MARK, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as mark:
            os.fchmod(mark.fileno(), 0o600)
            mark.write(said)
    return found


def keep(folder: Path, config: Path, version: str) -> Path:
    """Write a backup into the folder of backups, and delete all but the newest `KEPT`. Raises StateError.

    It is on the same disk as what it backs up: somebody is to fetch it from there.
    """
    place = folder / FOLDER
    with as_owner(folder):
        place.mkdir(mode=0o700, exist_ok=True)
    target = place / time.strftime("smtpgate-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime())
    create(folder, config, target, version)
    with as_owner(folder), suppress(OSError):
        # By when they were written: a clock that was set back gives names of the past.
        others = sorted((path for path in place.glob("smtpgate-*.tar.gz") if path != target), key=_written_at)
        for path in others[: max(len(others) + 1 - KEPT, 0)]:
            path.unlink()
    return target


def _written_at(path: Path) -> float:
    return path.stat().st_mtime


def clear(folder: Path) -> None:
    """Delete what backups left that were killed: links to mail that may be deleted since, and a copy of the database.

    To be called by who holds the folder; what a process that lives is at is left to it.
    """
    with as_owner(folder):
        for path in folder.glob(f"{_TEMPORARY}*"):
            maker = path.name.removeprefix(_TEMPORARY).partition("-")[0]
            if not (maker.isdigit() and int(maker) != os.getpid() and Path(f"/proc/{maker}").exists()):
                shutil.rmtree(path, ignore_errors=True)
        for path in (folder / FOLDER).glob(".smtpgate-*.new"):
            path.unlink(missing_ok=True)


def _written(folder: Path, config: Path, file: BinaryIO, version: str) -> Backup:
    known: dict[str, dict[str, Any]] = {}
    at = time.time()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        text = config.read_bytes()
        _add(archive, known, CONFIG, io.BytesIO(text), len(text))
        with as_owner(folder):
            temporary = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=folder))
        try:
            with as_owner(folder):
                _link(folder, temporary / "files")
                _copy_database(folder / DATABASE, temporary / DATABASE)
                _link(folder, temporary / "files")
            _add_file(archive, known, _STATE + DATABASE, temporary / DATABASE)
            for path in sorted((temporary / "files").rglob("*")):
                if path.is_file():
                    _add_file(archive, known, _STATE + str(path.relative_to(temporary / "files")), path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        manifest = {"form": _FORM, "layout": LAYOUT, "version": version, "at": at, "files": known}
        octets = json.dumps(manifest, indent=1).encode()
        archive.addfile(_info(MANIFEST, len(octets)), io.BytesIO(octets))
    return Backup(at, version, len(known), sum(one["octets"] for one in known.values()))


def _link(folder: Path, into: Path) -> None:
    """Every file of the folder under its name; the gateway may delete its own meanwhile."""
    for path in _files(folder):
        place = into / path.relative_to(folder)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError, FileNotFoundError):
            os.link(path, place)


def _files(folder: Path) -> Iterator[Path]:
    for top in sorted(folder.iterdir()):
        if top.name in _LEFT or top.name.startswith(_TEMPORARY):
            continue
        for path in (top, *top.rglob("*")) if top.is_dir() and not top.is_symlink() else (top,):
            with suppress(FileNotFoundError):
                if stat.S_ISREG(path.lstat().st_mode) and not path.name.endswith(".new"):
                    yield path


def _copy_database(source: Path, target: Path) -> None:
    there = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)
    with closing(there), closing(sqlite3.connect(target)) as copy:
        there.backup(copy)
        # A file of its own, with nothing beside it.
        copy.execute("PRAGMA journal_mode=DELETE")


def _info(name: str, octets: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.mode, made.mtime = octets, 0o600, int(time.time())
    return made


def _add_file(archive: tarfile.TarFile, known: dict[str, Any], name: str, path: Path) -> None:
    with path.open("rb") as file:
        _add(archive, known, name, file, os.fstat(file.fileno()).st_size)


def _add(archive: tarfile.TarFile, known: dict[str, Any], name: str, file: BinaryIO, octets: int) -> None:
    reader = _Reader(file, octets)
    archive.addfile(_info(name, octets), reader)  # type: ignore[arg-type]
    known[name] = {"octets": octets, "sha256": reader.digest.hexdigest()}


class _Reader:
    """Reads so many octets, and has their digest."""

    def __init__(self, file: BinaryIO, octets: int) -> None:
        self.digest = hashlib.sha256()
        self._file, self._left = file, octets

    def read(self, most: int) -> bytes:
        """Octets."""
        found = self._file.read(min(most, self._left))
        self._left -= len(found)
        self.digest.update(found)
        return found


def verify(file: Path, into: Path | None = None) -> Backup:
    """Read a whole backup, hold each part against the manifest, and look into its database. Raises BadBackup.

    :param into: an empty folder that the parts are written to as they are read
    """
    found: dict[str, dict[str, Any]] = {}
    manifest: Any = None
    with tempfile.TemporaryDirectory(prefix="smtpgate-") as scratch:
        root = into if into is not None else Path(scratch)
        try:
            with tarfile.open(file, "r|gz") as archive:
                for member in archive:
                    if manifest is not None:
                        raise BadBackup(f"{file}: there is something behind its end")
                    parts = Path(member.name).parts
                    if not member.isreg() or member.name.startswith("/") or ".." in parts or member.name in found:
                        raise BadBackup(f"{file}: {member.name!r} is no part of a backup")
                    source = archive.extractfile(member)
                    assert source is not None
                    if member.name == MANIFEST:
                        manifest = json.loads(source.read(_MANIFEST_OCTETS))
                        continue
                    is_wanted = into is not None or member.name == _STATE + DATABASE
                    found[member.name] = _unpacked(source, root / member.name if is_wanted else None)
        except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
            raise BadBackup(f"{file}: {error}") from error
        _hold(file, manifest, found)
        _examine(file, root / _STATE / DATABASE)
    return Backup(manifest["at"], manifest["version"], len(found), sum(one["octets"] for one in found.values()))


def _unpacked(source: Any, place: Path | None) -> dict[str, Any]:
    digest, octets = hashlib.sha256(), 0
    if place is not None:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) if place is not None else -1
    try:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            octets += len(chunk)
            while place is not None and chunk:
                chunk = chunk[os.write(number, chunk) :]
        if place is not None:
            os.fsync(number)
    finally:
        if place is not None:
            os.close(number)
    return {"octets": octets, "sha256": digest.hexdigest()}


def _hold(file: Path, manifest: Any, found: dict[str, dict[str, Any]]) -> None:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise BadBackup(f"{file}: it is cut off, or no backup: it has no {MANIFEST}")
    if manifest.get("form") != _FORM or not isinstance(manifest.get("layout"), int) or manifest["layout"] > LAYOUT:
        raise BadBackup(f"{file} was written by a newer version of smtpgate ({manifest.get('version')})")
    wrong = sorted(name for name in {*found, *manifest["files"]} if found.get(name) != manifest["files"].get(name))
    if wrong:
        raise BadBackup(f"{file} is damaged: {', '.join(wrong[:5])}{' and more' if len(wrong) > 5 else ''}")
    if _STATE + DATABASE not in found or CONFIG not in found:
        raise BadBackup(f"{file} lacks the database or the configuration")


def _examine(file: Path, database: Path) -> None:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            (said,) = connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        raise BadBackup(f"{file}: its database cannot be read: {error}") from error
    if said != "ok":
        raise BadBackup(f"{file}: its database is damaged: {said}")


def restore(file: Path, into: Path) -> Backup:
    """Unpack a backup into a folder that is empty or not there: `state/` and the configuration beside it. Raises
    BadBackup, and StateError where the folder holds something. Nothing is left of one that is damaged.
    """
    try:
        if into.exists() and any(into.iterdir()):
            raise StateError(f"{into} is not empty; give a folder of its own")
        fresh = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.absolute().parent))
    except OSError as error:
        raise StateError(f"{into}: {error.strerror}") from error
    try:
        found = verify(file, fresh)
        if into.exists():
            into.rmdir()
        fresh.rename(into)
    except OSError as error:
        raise StateError(f"{into} cannot be written: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return found


def last(folder: Path) -> tuple[float, int] | None:
    """When the last backup of a folder was made, and its octets; None where none was."""
    try:
        found = json.loads((folder / MARK).read_text("utf-8"))
        return float(found["at"]), int(found["octets"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


__all__ = ["BadBackup", "Backup", "clear", "create", "keep", "last", "restore", "verify"]
