"""Work on octets that may be hostile, for a command that has no children: in a process of its own, which may die.

The command line registers documents that came from anywhere. The process is limited as the children of the gateway are
(`confinement`), and gives back octets or one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from smtpgate.examine import confinement

#: More than the process has already; as much as the gateway's children have by default.
MEMORY_OCTETS: Final = 768 << 20
CPU_S: Final = 120.0
#: First octet of what is given back.
_DONE, _REFUSED, _FAILED = b"D", b"R", b"F"


class Died(Exception):
    """It was ended, or failed in a way that says nothing about the octets."""


def apart(work: Callable[[], bytes]) -> bytes:
    """What `work` gives, done in another process. Raises ValueError as `work` does, and Died."""
    ours, theirs = os.pipe()
    process = os.fork()
    if not process:
        os.close(ours)
        _be_apart(work, theirs)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        said = pipe.read()
    status = os.waitpid(process, 0)[1]
    if said[:1] == _DONE:
        return said[1:]
    if said[:1] == _REFUSED:
        raise ValueError(said[1:].decode("utf-8", "replace"))
    raise Died(said[1:].decode("utf-8", "replace") or f"it was ended (status {status})")


def _held() -> int:
    """Octets of address space that the process has now; 0 where that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _stay() -> None:
    """Who has become another user only for a while stays it: what runs here must not become root again."""
    user, group = os.geteuid(), os.getegid()
    if user and not os.getuid():
        os.seteuid(0)
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)


def _be_apart(work: Callable[[], bytes], pipe: int) -> None:
    """The other process: it ends here."""
    said = _FAILED
    try:
        _stay()
        granted = confinement.take_limits(_held() + MEMORY_OCTETS)
        # They start programs to find their shared object, which is refused later.
        for name in ("libarchive", "magic"):
            with suppress(Exception):
                __import__(name)
        confinement.shut(granted)
        confinement.allow_cpu(CPU_S)
        said = _DONE + work()
    except ValueError as error:
        said = _REFUSED + str(error).encode("utf-8", "replace")
    except BaseException as error:
        said = _FAILED + type(error).__name__.encode("ascii", "replace")
    finally:
        with open(pipe, "wb") as file:
            file.write(said)
        os._exit(0)
