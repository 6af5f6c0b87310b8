"""Processes of the filter benchmark: forks of our own, and servers under test with the CPU time of all they started.

Everything that is started here ends with the benchmark, also when that is killed: each process asks the kernel for a
signal at the death of its parent. Only what was started here is ever signalled, by its id.

proc(5) for /proc/PID/stat; prctl(2) PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Ask for SIGTERM at the death of the parent."""
    _LIBC.prctl(_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Forked:
    """A function at work in a fork of this process; to be made before there are threads."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.pid = os.fork()
        if not self.pid:
            die_with_parent()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                work()
            except BaseException:
                traceback.print_exc()
            os._exit(0)

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGTERM)
            os.waitpid(self.pid, 0)


def _table() -> dict[int, tuple[int, int, int]]:
    """Parent, own ticks, and ticks of children that are gone, of every process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                rest = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                user, system, gone_user, gone_system = map(int, rest[11:15])
                found[int(name)] = int(rest[1]), user + system, gone_user + gone_system
    return found


def _family(root: int, table: dict[int, tuple[int, int, int]]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found = [root] if root in table else []
    for pid in found:
        found += children.get(pid, [])
    return found


class Tree:
    """A server and every process that it starts.

    :ivar log: what it writes
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self.log = folder / f"{Path(command[0]).name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | environment, preexec_fn=die_with_parent,
            )  # fmt: skip
        self.pid = self._process.pid

    def cpu_s(self) -> float:
        """CPU time, user and system, of all of them, of those that are gone too."""
        table = _table()
        return sum(table[pid][1] + table[pid][2] for pid in _family(self.pid, table)) / _TICK

    def is_alive(self) -> bool:
        """Whether the first of them still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End them: the first by its signal, and whoever is left."""
        family = _family(self.pid, _table())
        if self.is_alive():
            self._process.terminate()
            try:
                self._process.wait(8)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        deadline = time.monotonic() + 3
        left = family[1:]
        while left and time.monotonic() < deadline:
            table = _table()
            left = [pid for pid in left if pid in table and table[pid][0] in (1, *family)]
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def busy_s() -> float:
    """CPU time that the machine has spent on anything but idling."""
    with open("/proc/stat") as numbers:
        fields = [int(one) for one in numbers.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICK


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing has, below those that clients get."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    start = 10_000 + os.getpid() * 37 % max(1, low - 12_000)
    for port in range(start, start + 1_500):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    sys.exit("no free ports")
