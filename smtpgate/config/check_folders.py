"""Checks of where things lie: the state folder, the log, sockets, and that none of them is in another's place.

Paths are compared as they are written, without the disk: a link that leads from one to another is not seen. Each
check is a function from the finished tree and its surroundings to faults; `checks` runs them all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from smtpgate.config.endpoint import parse_listen
from smtpgate.config.model import Settings
from smtpgate.config.paths import CONTROL_SOCKET, kept_by_us
from smtpgate.config.problem import Fault, Where, warning
from smtpgate.config.surroundings import Surroundings

#: Folders of the Filesystem Hierarchy Standard 3.0 that programs share; in /tmp anybody could put our files first.
SYSTEM_FOLDERS = frozenset(
    ("/", "/bin", "/boot", "/dev", "/dev/shm", "/etc", "/home", "/lib", "/proc", "/run", "/sbin", "/sys", "/tmp")
    + ("/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/share", "/var", "/var/cache", "/var/lib", "/var/log")
    + ("/var/mail", "/var/run", "/var/spool", "/var/tmp")
)
#: Folders that are emptied by a restart of the machine or by its daily cleaning.
PASSING_FOLDERS = ("/tmp", "/var/tmp", "/run", "/var/run", "/dev/shm")

_STATE_DIR: Where = ("state_dir",)


def _plain(path: Path | str) -> str:
    return os.path.normpath(path)


def _lies_in(path: str, folder: str) -> bool:
    """True for the folder itself and all below it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def state_dir_is_our_own(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """The gateway makes files of plain names there, such as lock and spool, and takes what it finds as its own."""
    folder = _plain(tree.state_dir)
    if folder in SYSTEM_FOLDERS:
        yield Fault(
            _STATE_DIR,
            f"{folder} is a folder that the whole system shares",
            'give the gateway one of its own, such as "/var/lib/smtpgate"',
        )


def state_dir_lasts(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """What is lost with it: the ledger, so that retries arrive twice, and the users. A trial lies there as a whole."""
    folder = _plain(tree.state_dir)
    passing = next((one for one in PASSING_FOLDERS if _lies_in(folder, one)), "")
    is_trial = around.path is None or any(_lies_in(str(around.path), one) for one in PASSING_FOLDERS)
    if passing and folder not in SYSTEM_FOLDERS and not is_trial:
        yield warning(
            _STATE_DIR,
            f"what is in {passing} does not last: the ledger against double delivery, the users and the history"
            " would be gone",
            'use a folder that stays, such as "/var/lib/smtpgate"',
        )


def state_dir_is_beside_the_configuration(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """The gateway's user must be able to write in the one, and has no business to in the other."""
    folder = _plain(tree.state_dir)
    if around.path is not None and folder not in SYSTEM_FOLDERS and _lies_in(_plain(around.path), folder):
        yield warning(
            _STATE_DIR,
            f"{folder} holds this configuration too: the gateway's user could replace it",
            'use a folder of its own, such as "var"',
        )


def paths_have_one_use(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """The log is written to, and a socket's path is cleared before it is bound: neither may be anything else."""
    state = _plain(tree.state_dir)
    taken = {_plain(path): "is named by another key too" for path in around.files}
    if around.path is not None:
        taken[_plain(around.path)] = "is this configuration"
    for where, path in _written(tree):
        ours = kept_by_us(path, state)
        if _lies_in(state, path):
            yield Fault(
                where,
                f"{path} is where the state folder {'is' if path == state else 'lies'}",
                "give each a path of its own",
                rests_on=(_STATE_DIR,),
                keys=(),
            )
        elif ours:
            yield Fault(
                where,
                f"{path} is a place of the gateway's own: it keeps {ours} in its state folder",
                "use another name, or another folder",
                rests_on=(_STATE_DIR,),
                keys=(),
            )
        elif path in taken:
            yield Fault(where, f"{path} {taken[path]}, and would be damaged", "use another name", keys=())
        elif where == ("log", "file"):
            # Two sockets in one place are told of where two listeners are.
            taken[path] = "is the log"


def _written(tree: Settings) -> Iterator[tuple[Where, str]]:
    if tree.log.file != "-":
        yield ("log", "file"), _plain(tree.log.file)
    for key in ("listen", "health_listen"):
        # The same endpoint in both means one listener.
        text = getattr(tree.admin, key)
        if text is not None and (key, text) != ("health_listen", tree.admin.listen):
            yield from _socket(("admin", key), text)
    for name, listener in tree.listeners.items():
        for number, text in enumerate(listener.listen):
            yield from _socket(("listeners", name, "listen", number), text)


def _socket(where: Where, text: str) -> Iterator[tuple[Where, str]]:
    endpoint = parse_listen(text)
    if endpoint.kind == "unix":
        yield where, _plain(endpoint.path)


def sockets_are_not_our_own_door(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """The command line's door in the state folder takes no mail."""
    door = _plain(tree.state_dir / CONTROL_SOCKET)
    for name, backend in tree.backends.items():
        for number, server in enumerate(backend.servers):
            if server.path is not None and _plain(server.path) == door:
                where: Where = ("backends", name, "servers", number)
                yield Fault(
                    where,
                    f"{server.address} is the door of our own command line",
                    "write the socket of the mail server behind this gateway",
                    rests_on=((*where, "address"), _STATE_DIR),
                    keys=(),
                )
