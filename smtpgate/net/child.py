"""Our end of one child process that reads hostile octets; `children` holds a pool of them.

The process is `python -m smtpgate.examine.child`, in the root folder, with an environment of our making, and with one
socket to us as its standard input and nothing else of ours. A request goes out as a frame with the descriptor of the
content beside its first octet, an answer comes back as a frame: 4 octets of length and JSON. What the child says is
taken apart no further here than into frames; one that is too long, or more than one at a time, is a lie. Descriptors
that it might send are not taken.

`end` kills the process and all that it may have started, waits until the system has forgotten it without holding up
the reactor, and says how it ended. subprocess is used and not `reactor.spawnProcess`: that one forks a large process,
or looks at each open descriptor, where this one asks the kernel to close them.

unix(7), SCM_RIGHTS; wait(2).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

#: Of frames, both ways. So much JSON takes up to a fifth of a second to be read: the longest a child can hold us up.
FRAME_OCTETS: Final = 8 * 2**20
#: Most that is told of what a process said at its death.
TEXT_LENGTH: Final = 400

_HEAD: Final = struct.Struct("!I")
#: As Twisted reads; more at a time costs a mapping for each (mallopt(3), M_MMAP_THRESHOLD).
_READ_OCTETS: Final = 65536
#: What a pipe holds (pipe(7)).
_PIPE_OCTETS: Final = 65536
#: The end follows its signal at once, or after the memory of a large process is given back.
_REAP_S, _REAP_MOST_S = 0.001, 0.1


class Owner(Protocol):
    """Who hears a child. Nothing is heard after `end` was called."""

    def heard(self, child: Child, frame: bytes) -> None:
        """It said something."""

    def lied(self, child: Child, why: str) -> None:
        """It said what no child of ours says."""

    def gone(self, child: Child) -> None:
        """Its socket is at its end."""


@implementer(IReadWriteDescriptor)
class Child:
    """One process, and what its owner knows of it.

    :ivar is_ready: it has taken its limits and loaded what it needs
    :ivar job: the job that it has, or None
    :ivar jobs: how many it did
    :ivar timer: what its owner wants to be reminded of
    """

    def __init__(self, owner: Owner, reactor: Any, settings: Mapping[str, Any]) -> None:
        """Start it. Raises OSError where that cannot be.

        :param settings: memory_octets, cpu_s, answer_octets, jobs and warm, as `examine.child` takes them
        """
        self.is_ready = False
        self.job: Any = None
        self.jobs = 0
        self.timer: Any = None
        self._owner = owner
        self._reactor = reactor
        self._unsent = memoryview(b"")
        self._descriptor = -1
        self._said = bytearray()
        self._socket, theirs = socket.socketpair()
        try:
            # A session of its own: no terminal signals it, and what it may start is killed with it.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-B", "-m", "smtpgate.examine.child", json.dumps(settings)],
                bufsize=0,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        assert self._process.stderr is not None
        self._trouble = self._process.stderr
        os.set_blocking(self._trouble.fileno(), False)
        self._socket.setblocking(False)
        reactor.addReader(self)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def has_all(self) -> bool:
        """True when all that was sent is with the kernel: the child may have begun."""
        return not self._unsent

    def send(self, octets: bytes, descriptor: int = -1) -> None:
        """Send a frame, and a descriptor with it. Raises OSError where the child is gone.

        :param descriptor: or -1; it must stay open until `has_all`
        """
        self._unsent = memoryview(_HEAD.pack(len(octets)) + octets)
        self._descriptor = descriptor
        self._send()

    def _send(self) -> None:
        try:
            if self._descriptor < 0:
                sent = self._socket.send(self._unsent)
            else:
                sent = socket.send_fds(self._socket, [self._unsent], [self._descriptor])
                # With the first octet it is on its way.
                self._descriptor = -1
        except (BlockingIOError, InterruptedError):
            sent = 0
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._reactor.addWriter(self)
        else:
            self._reactor.removeWriter(self)

    def end(self, ended: Callable[[Child, str], None]) -> None:
        """Kill it; calls back with how it ended once nothing of it is left."""
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        # One that is dying by itself keeps its own end.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._reap(ended, _REAP_S)

    def _reap(self, ended: Callable[[Child, str], None], pause_s: float) -> None:
        code = self._process.poll()
        if code is None:
            self._reactor.callLater(pause_s, self._reap, ended, min(2 * pause_s, _REAP_MOST_S))
            return
        with self._trouble:
            said = self._trouble.read(_PIPE_OCTETS) or b""
        lines = [line.strip() for line in said.decode("ascii", "replace").split("\n") if line.strip()]
        # A crash is told from its place outwards; at a start that failed the last line is the reason.
        text = " / ".join(lines if self.is_ready else lines[-1:])[:TEXT_LENGTH]
        ended(self, f"{_end_of(code)}: {text}" if text else _end_of(code))

    # For the reactor

    def fileno(self) -> int:
        """-1 once ended."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """For the log context."""
        return "child"

    def doWrite(self) -> None:
        """The kernel takes more."""
        try:
            self._send()
        except OSError:
            self._owner.gone(self)

    def doRead(self) -> None:
        """It says something, or is gone."""
        try:
            octets = self._socket.recv(_READ_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            octets = b""
        if not octets:
            self._owner.gone(self)
            return
        said = self._said
        said += octets
        if len(said) < _HEAD.size:
            return
        (length,) = _HEAD.unpack_from(said)
        end = _HEAD.size + length
        if length > FRAME_OCTETS:
            self._owner.lied(self, f"it began a frame of {length} octets")
        elif len(said) > end:
            self._owner.lied(self, "it said more than it was asked")
        elif len(said) == end:
            self._said = bytearray()
            self._owner.heard(self, bytes(said[_HEAD.size :]))

    def connectionLost(self, reason: object) -> None:
        """The reactor saw the end of the socket first."""
        self._owner.gone(self)


def _environment() -> dict[str, str]:
    """What a process gets of the environment: where code lies, and nothing that could be secret.

    Named are the folders of the path that an interpreter would not find by itself: a checkout, folders of plugins.
    """
    known = tuple(os.path.join(prefix, "") for prefix in (sys.prefix, sys.base_prefix))
    folders = [folder for folder in sys.path if os.path.isabs(folder) and not folder.startswith(known)]
    environment = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(folders),
        # Each thread of a library would else take 64 MiB of address space (mallopt(3)).
        "MALLOC_ARENA_MAX": "2",
    }
    with suppress(KeyError):
        # An interpreter in a place of its own may need it to start at all.
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment


def _end_of(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, its CPU time is used up" if -code == signal.SIGXCPU else name


def open_again(descriptor: int) -> int:
    """A descriptor of the same file for reading only, with a place in it of its own. Raises OSError.

    What has no /proc gets the same open file: a child that was taken over could change it there.
    """
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return os.dup(descriptor)
