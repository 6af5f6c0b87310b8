"""What a process gives up before it reads hostile octets: memory, descriptors, files, the network, other processes.

`child` calls `take_limits` when it starts, loads what it needs, and calls `shut` before the first octet that a stranger
wrote. What every POSIX system has is always taken (setrlimit, as OpenSSH does for its child before authentication).
On Linux Landlock and seccomp are added where the kernel grants them: no file system is changed, no program or process
started, no socket opened, nobody signalled. Reading files stays possible: libraries load late, and nothing that was
read finds a way out but the answer to the parent.

Landlock is a set of rules without a rule. The filter of system calls is a short list of what to refuse and not of what
to allow, so that another C library or Python does not break it; a refused call fails with EPERM and the job goes on.

setrlimit(2), prctl(2), landlock(7), seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

#: The socket, the content, and what libraries open while they load and read.
DESCRIPTORS: Final = 64
#: Mail goes first: enough to give way, not so much that a busy machine looks at nothing.
NICENESS: Final = 5

_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

# prctl(2)
_SET_PDEATHSIG, _SET_SECCOMP, _SET_NO_NEW_PRIVS = 1, 22, 38
_FILTER = 2

# landlock(7): its calls have these numbers on all machines.
_CREATE_RULESET, _RESTRICT_SELF, _ASK_VERSION = 444, 446, 1
#: What changes a file system or starts a program, by the version of Landlock that brought it: execute, write, remove
#: and make of every kind; then refer; then truncate.
_FILES: Final = ((1, 0x1FF3), (2, 1 << 13), (3, 1 << 14))
#: bind and connect of TCP, and abstract sockets and signals, with their versions.
_NET, _NET_SINCE, _SCOPE, _SCOPE_SINCE = 3, 4, 3, 6

#: System calls that reading needs nowhere, with their numbers on x86-64 and AArch64 (-1: not there).
_REFUSED: Final[tuple[tuple[str, int, int], ...]] = (
    ("socket", 41, 198),
    ("socketpair", 53, 199),
    ("connect", 42, 203),
    ("fork", 57, -1),
    ("vfork", 58, -1),
    ("execve", 59, 221),
    ("execveat", 322, 281),
    ("kill", 62, 129),
    ("tkill", 200, 130),
    ("rt_sigqueueinfo", 129, 138),
    ("rt_tgsigqueueinfo", 297, 240),
    ("pidfd_send_signal", 424, 424),
    ("pidfd_getfd", 438, 438),
    ("chmod", 90, -1),
    ("fchmod", 91, 52),
    ("fchmodat", 268, 53),
    ("fchmodat2", 452, 452),
    ("ptrace", 101, 117),
    ("process_vm_readv", 310, 270),
    ("process_vm_writev", 311, 271),
    ("io_uring_setup", 425, 425),
    ("userfaultfd", 323, 282),
    ("perf_event_open", 298, 241),
    ("bpf", 321, 280),
    ("add_key", 248, 217),
    ("request_key", 249, 218),
    ("keyctl", 250, 219),
    ("unshare", 272, 97),
    ("setns", 308, 268),
    ("open_by_handle_at", 304, 265),
)
#: Of each machine: its place above, its name for the kernel (linux/audit.h), the numbers of clone, tgkill, prlimit64.
_MACHINES: Final = {
    "x86_64": (0, 0xC000003E, 56, 234, 302),
    "aarch64": (1, 0xC00000B7, 220, 131, 261),
}
#: clone3 has this number on all; calls from here on are x86-64's second set (x32).
_CLONE3, _X32 = 435, 0x40000000
_CLONE_THREAD = 0x10000

# linux/bpf_common.h and linux/seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _GIVE = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_NUMBER_AT, _MACHINE_AT, _FIRST_WORD_AT = 0, 4, 16


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def take_limits(memory_octets: int) -> list[str]:
    """Take the limits that do not hinder loading, and an end with the parent.

    Must be called while there is one thread. Raises OSError where a limit that every system has is not granted.

    :param memory_octets: of address space, as RLIMIT_AS counts it
    :return: for `shut`: which of "landlock" and "seccomp" the system grants
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Who ends the gateway may signal all its processes (systemd does); it still needs them while it drains.
        signal.signal(number, signal.SIG_IGN)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, DESCRIPTORS)
    _lower(resource.RLIMIT_AS, memory_octets)
    if _is_granted(_give_way):
        _give_way()
    if _LIBC is None:
        return []
    _control(_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    _control(_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))
    return [name for name, step in _DOORS.items() if _is_granted(step)]


def shut(granted: Iterable[str]) -> None:
    """Give up the rest; afterwards hostile octets may come. Raises OSError where that fails."""
    for name in granted:
        _DOORS[name]()
    _lower(resource.RLIMIT_FSIZE, 0)
    if "seccomp" not in granted:
        # Only the second choice: threads count as processes here, and some libraries cannot do without one (yara-x).
        _lower(resource.RLIMIT_NPROC, 0)


def allow_cpu(cpu_s: float) -> None:
    """Allow so much CPU time from now on, and up to a second more, since the kernel counts whole ones; then SIGXCPU."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(time.process_time() + cpu_s)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _lower(kind: int, limit: int) -> None:
    """Both limits, where they are not lower already."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def _is_granted(step: Callable[[], None]) -> bool:
    """Try a step in a process of its own: a service manager's filter of system calls may kill whoever takes it."""
    try:
        trial = os.fork()
    except OSError:
        return False
    if not trial:
        try:
            step()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(trial, 0)[1] == 0


def _control(option: int, first: Any, second: Any = None) -> None:
    assert _LIBC is not None
    none = ctypes.c_ulong(0)
    if _LIBC.prctl(ctypes.c_int(option), first, second or none, none, none):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _call(number: int, *words: Any) -> int:
    assert _LIBC is not None
    result: int = _LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return result


def _give_way() -> None:
    os.nice(NICENESS)


def _landlock() -> None:
    version = _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    words = [sum(bits for since, bits in _FILES if version >= since)]
    if version >= _NET_SINCE:
        words.append(_NET)
    if version >= _SCOPE_SINCE:
        words.append(_SCOPE)
    octets = struct.pack(f"={len(words)}Q", *words)
    rules = _call(_CREATE_RULESET, ctypes.c_char_p(octets), ctypes.c_size_t(len(octets)), ctypes.c_uint32(0))
    try:
        _call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _filter_calls() -> None:
    machine = _MACHINES.get(os.uname().machine)
    if machine is None or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, "no table of system calls for this machine")
    place, name, clone, tgkill, prlimit = machine
    refuse = (_GIVE, 0, 0, _FAIL | errno.EPERM)
    # Each: what to do, how many steps to leap over if so and if not, a value.
    steps = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_EQUAL, 1, 0, name),
        refuse,
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        refuse,
        # Its flags are out of a filter's sight; told that it is not there, the C library takes the older clone.
        (_EQUAL, 0, 1, _CLONE3),
        (_GIVE, 0, 0, _FAIL | errno.ENOSYS),
    ]
    for _, *numbers in _REFUSED:
        if numbers[place] >= 0:
            steps += [(_EQUAL, 0, 1, numbers[place]), refuse]
    # A thread may be begun and no process; signals and limits are for this process only.
    for number, test, value in ((clone, _HAS_BIT, _CLONE_THREAD), (tgkill, _EQUAL, os.getpid()), (prlimit, _EQUAL, 0)):
        steps += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST_WORD_AT), (test, 1, 0, value), refuse]
        steps += [(_LOAD, 0, 0, _NUMBER_AT)]
    steps += [(_GIVE, 0, 0, _ALLOW)]
    octets = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(octets))
    _control(_SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(program))


_DOORS: Final = {"landlock": _landlock, "seccomp": _filter_calls}
