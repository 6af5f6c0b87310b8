"""Places in the state folder that the gateway and its command line both know."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: The door of the command line; whoever may open it is the owner.
CONTROL_SOCKET: Final = "control.sock"
#: What the gateway makes in its state folder, beside keys (`*.key`), the database (`smtpgate.sqlite`, with the files
#: that SQLite puts beside it), and each while it is written (`*.new`).
STATE_NAMES: Final = frozenset({CONTROL_SOCKET, "lock", "layout", "selfsigned.pem", "spool", "Maildir"})
_DATABASE: Final = "smtpgate.sqlite"
#: Longest path of a socket (unix(7)).
_SOCKET_OCTETS: Final = 107


def kept_by_us(path: str, state_dir: str) -> str:
    """The name in the state folder that the gateway makes itself and that a path is or lies in; '' for any other."""
    if not path.startswith(f"{state_dir.rstrip('/')}/"):
        return ""
    name = os.path.relpath(path, state_dir).partition("/")[0]
    is_ours = name in STATE_NAMES or name.startswith(_DATABASE) or name.endswith((".key", ".new"))
    return name if is_ours else ""


def control_socket(state_dir: Path) -> str:
    """The path by which to bind or connect to the control socket.

    A path that is too long for a socket is said by way of a descriptor of the folder, which stays open as long as
    the process lives. Raises OSError where there is no folder.
    """
    path = os.path.join(state_dir, CONTROL_SOCKET)
    if len(os.fsencode(path)) <= _SOCKET_OCTETS:
        return path
    fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{fd}/{CONTROL_SOCKET}"
