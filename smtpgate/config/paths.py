"""Places in the state folder that the gateway and its command line both know."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: The door of the command line; whoever may open it is the owner.
CONTROL_SOCKET: Final = "control.sock"
#: Longest path of a socket (unix(7)).
_SOCKET_OCTETS: Final = 107


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
