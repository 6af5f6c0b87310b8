"""Jobs for the tests of child processes: each does what a parser of hostile octets may be brought to do."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

Request = dict[str, Any]
Answer = dict[str, Any]


def echo(content: Any, request: Request) -> Answer:
    """What it was given."""
    return {"content": bytes(content).decode("latin-1"), "kind": type(content).__name__, "request": request}


def digest(content: Any, request: Request) -> Answer:
    """The digest of the content."""
    return {"digest": hashlib.sha256(content).hexdigest()}


def whoami(content: Any, request: Request) -> Answer:
    """What the process is, and what it has."""
    descriptors = []
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
        except OSError:
            # The one that the list itself was read with.
            continue
    return {
        "pid": os.getpid(),
        "place": os.getcwd(),
        "environment": dict(os.environ),
        "descriptors": sorted(descriptors),
        "niceness": os.nice(0),
        "modules": sorted(sys.modules),
        "limits": {
            name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("CORE", "NOFILE", "AS", "FSIZE")
        },
        "cpu": [time.process_time(), *resource.getrlimit(resource.RLIMIT_CPU)],
    }


def sleep(content: Any, request: Request) -> Answer:
    """For ever."""
    while True:
        time.sleep(3600)


def burn(content: Any, request: Request) -> Answer:
    """CPU time, without end."""
    while True:
        pass


def devour(content: Any, request: Request) -> Answer:
    """Memory, without end."""
    held = []
    while True:
        held.append(bytearray(2**20))


def crash(content: Any, request: Request) -> Answer:
    """Read where nothing is."""
    return {"text": ctypes.string_at(8)}


def leave(content: Any, request: Request) -> Answer:
    """End the process."""
    if "signal" in request:
        signal.raise_signal(request["signal"])
    os._exit(7)


def resign(content: Any, request: Request) -> Answer:
    """End the process, by the exception for it."""
    sys.exit(7)


def _channel() -> int:
    """The socket to the gateway, as whoever took the process over would find it."""
    return next(number for number in range(64) if _is_socket(number))


def _is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False


def _frame(said: Any) -> bytes:
    octets = json.dumps(said).encode()
    return struct.pack("!I", len(octets)) + octets


def jabber(content: Any, request: Request) -> Answer:
    """Write octets to the gateway."""
    os.write(_channel(), request["octets"].encode("latin-1"))
    return sleep(content, request)


def claim(content: Any, request: Request) -> Answer:
    """Write a frame to the gateway."""
    os.write(_channel(), _frame(request["said"]))
    return sleep(content, request)


def twice(content: Any, request: Request) -> Answer:
    """Answer twice, at once."""
    os.write(_channel(), _frame({"id": request["id"], "answer": {}}) * 2)
    return sleep(content, request)


def trickle(content: Any, request: Request) -> Answer:
    """Answer octet by octet."""
    for octet in _frame({"id": request["id"], "answer": {"n": 1}}):
        os.write(_channel(), bytes([octet]))
    return sleep(content, request)


def unasked(content: Any, request: Request) -> Answer:
    """Answer, and answer again when the first answer was read."""
    channel = _channel()
    answer = _frame({"id": request["id"], "answer": {}})
    os.write(channel, answer)
    while any(fcntl.ioctl(channel, termios.TIOCOUTQ, bytes(4))):
        time.sleep(0.001)
    os.write(channel, answer)
    return sleep(content, request)


def later(content: Any, request: Request) -> Answer:
    """Answer, wait for the next request, and answer the first once more in its place."""
    answer = _frame({"id": request["id"], "answer": {}})
    with socket.socket(fileno=os.dup(_channel())) as channel:
        channel.sendall(answer)
        channel.recv(4)
        channel.sendall(answer)
    return sleep(content, request)


def chatter(content: Any, request: Request) -> Answer:
    """Print more than a pipe holds."""
    for _ in range(40):
        os.write(1, b"x" * 4096)
        os.write(2, b"y" * 4096)
    return {}


def deaf(content: Any, request: Request) -> Answer:
    """Ignore every signal that can be ignored."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    return sleep(content, request)


def mute(content: Any, request: Request) -> Answer:
    """Close the socket, and stay."""
    os.close(_channel())
    return sleep(content, request)


def huge(content: Any, request: Request) -> Answer:
    """An answer of so many octets."""
    return {"text": "x" * request["octets"]}


def number(content: Any, request: Request) -> Any:
    """An answer that is no table."""
    return 5


def strange(content: Any, request: Request) -> Answer:
    """An answer that JSON has no words for."""
    return {"set": {1, 2}}


class Panic(BaseException):
    """As libraries in Rust raise it."""


def panic(content: Any, request: Request) -> Answer:
    """Raise what is no Exception."""
    raise Panic("words of the message")


def refuse(content: Any, request: Request) -> Answer:
    """Raise, with words of the message."""
    raise ValueError("words of the message")


def dig(content: Any, request: Request) -> Answer:
    """Recurse without end."""
    return dig(content, request)


def hold(content: Any, request: Request) -> Answer:
    """Keep a view of the content beyond its time."""
    sys.modules[__name__].__dict__.setdefault("held", []).append(memoryview(content))
    return {"octets": len(content)}


def attempt(content: Any, request: Request) -> Answer:
    """Try what a process that was taken over would try; the errno of each, 0 where it could."""
    folder = request["folder"]
    old, new = f"{folder}/old", f"{folder}/new"
    tries: dict[str, Callable[[], object]] = {
        "change the content": _alter,
        "write": lambda: open(new, "wb", 0).write(b"x"),
        "append": lambda: open(old, "ab", 0).write(b"x"),
        "overwrite": lambda: os.pwrite(os.open(old, os.O_RDWR), b"x", 0),
        "write in memory": lambda: os.write(os.memfd_create("x"), b"x"),
        "truncate": lambda: os.truncate(old, 0),
        "remove": lambda: os.unlink(old),
        "make a folder": lambda: os.mkdir(new),
        "change the mode": lambda: os.chmod(old, 0o777),
        "fork": _fork,
        "run": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "open a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "signal the gateway": lambda: os.kill(os.getppid(), 0),
        "limit the gateway": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
    }
    came = {}
    for name, act in tries.items():
        try:
            act()
            came[name] = 0
        except OSError as error:
            came[name] = error.errno or -1
    return came


def _alter() -> None:
    """The content is mapped from a descriptor that is still there."""
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if path.startswith("/") and path != os.devnull:
            with mmap.mmap(os.open(f"/proc/self/fd/{name}", os.O_RDWR), 0) as content:
                content[0:1] = b"X"


def _fork() -> None:
    if not os.fork():
        os._exit(0)


JOBS = {
    job.__name__: f"{__name__}:{job.__name__}"
    for job in (
        echo,
        digest,
        whoami,
        sleep,
        burn,
        devour,
        crash,
        leave,
        resign,
        jabber,
        claim,
        twice,
        trickle,
        unasked,
        later,
        chatter,
        deaf,
        mute,
        huge,
        number,
        strange,
        panic,
        refuse,
        dig,
        hold,
        attempt,
    )
} | {"absent": "tests.no_such_module:look"}
