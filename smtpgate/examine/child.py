"""The child process in which hostile octets are read: `net.children` starts it and talks to it over one socket.

It takes its limits, loads what jobs need, gives up everything else (`confinement`), and says that it is ready. Then,
until the socket ends: a frame comes, a function of `jobs` is called with the content (mapped, not copied) and the
request, a frame goes back. CPU time is limited for each job anew. What a function raises is answered too, as its type
and place and not in its words, since those may quote the message; the loop goes on.

A frame is its length in 4 octets and JSON. The descriptor of the content comes along with the first octet of a
request. The socket is descriptor 0, as for a server started by inetd, and the one argument is the settings.

unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import json
import mmap
import os
import signal
import socket
import stat
import struct
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Final, NoReturn

from smtpgate.examine import confinement
from smtpgate.examine.jobs import JOBS

#: They start programs to find their shared object (ctypes.util), so they are loaded while that is still possible.
FOUND_BY_PROGRAMS: Final = ("libarchive", "magic")
#: So many places of what was raised are told.
PLACES: Final = 3

_HEAD: Final = struct.Struct("!I")
_CLOEXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def main() -> NoReturn:
    """Run until the socket ends."""
    settings = json.loads(sys.argv[1])
    channel = socket.socket(fileno=os.dup(0))
    trouble = os.dup(2)
    faulthandler.enable(trouble, all_threads=False)
    faulthandler.register(signal.SIGXCPU, trouble, all_threads=False, chain=True)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    granted = confinement.take_limits(settings["memory_octets"])
    jobs = JOBS if settings["jobs"] is None else settings["jobs"]
    _load([*FOUND_BY_PROGRAMS, *settings["warm"], *(place.partition(":")[0] for place in jobs.values())])
    # What libraries print may be content, and nobody reads it. What kills the process is still told.
    os.dup2(nothing, 2)
    os.close(nothing)
    confinement.shut(granted)
    _write(channel, json.dumps({"ready": granted}).encode("ascii"))
    worker = Worker(jobs, settings["answer_octets"])
    with suppress(EOFError, ConnectionError):
        while True:
            asked, descriptor = _read(channel)
            confinement.allow_cpu(settings["cpu_s"])
            _write(channel, worker.answer(asked, descriptor))
    # No library does anything at the end.
    os._exit(0)


class Worker:
    """Runs jobs of a table."""

    def __init__(self, jobs: Mapping[str, str], answer_octets: int) -> None:
        """
        :param jobs: as `jobs.JOBS`
        :param answer_octets: a longer answer is answered as an error
        """
        self._jobs = jobs
        self._answer_octets = answer_octets
        self._functions: dict[str, Callable[[Any, dict[str, Any]], Any]] = {}

    def answer(self, asked: Mapping[str, Any], descriptor: int) -> bytes:
        """Run a job, and give what to say of it. Whatever it raises is said.

        :param asked: `id`, `job`, `has_content` and the job's `request`
        :param descriptor: of the content, or -1; closed here
        """
        said: dict[str, Any]
        try:
            with _content(descriptor) as content:
                if asked["has_content"] and descriptor < 0:
                    raise OSError(errno.EBADF, "no descriptor came with the request")
                answer = self._function(asked["job"])(content, asked["request"])
            if not isinstance(answer, dict):
                raise TypeError("a job answers a dict")
            octets = json.dumps({"id": asked["id"], "answer": answer}).encode("ascii")
            if len(octets) <= self._answer_octets:
                return octets
            said = {"error": "TooLarge", "text": f"an answer of {len(octets)} octets"}
        except BaseException as error:
            # Not Exception: a panic in a library written in Rust is none.
            said = {"error": type(error).__name__, "text": _text(error)}
        return json.dumps({"id": asked["id"], **said}).encode("ascii")

    def _function(self, job: str) -> Callable[[Any, dict[str, Any]], Any]:
        function = self._functions.get(job)
        if function is None:
            module, _, name = self._jobs[job].partition(":")
            function = self._functions[job] = getattr(import_module(module), name)
        return function


def _load(names: Iterable[str]) -> None:
    """Load modules ahead, and let those that have a `make_ready` do what the first message would wait for.

    One that cannot be loaded is a matter of the job that needs it.
    """
    for name in names:
        with suppress(Exception):
            module = import_module(name)
            if hasattr(module, "make_ready"):
                module.make_ready()
    # All that is there now stays: the collector need not go through it again, and not after each 700 objects of a
    # tree that is in use.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@contextmanager
def _content(descriptor: int) -> Iterator[Any]:
    """The octets behind a descriptor, mapped for reading; b"" where there are none. Raises OSError."""
    octets: Any = b""
    if descriptor >= 0:
        try:
            known = os.fstat(descriptor)
            if not stat.S_ISREG(known.st_mode):
                # What cannot be mapped has no size either, and would pass for empty.
                raise OSError(errno.ENODEV, "the content is in no file")
            if known.st_size:
                octets = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
    try:
        yield octets
    finally:
        if octets:
            # A job that failed may still hold a piece: then it goes with what the job held.
            with suppress(BufferError):
                octets.close()


def _text(error: BaseException) -> str:
    """Where it was raised, innermost place first; for a library that is not there, which."""
    trace = error.__traceback__
    # What the job held may be all the memory that there is.
    traceback.clear_frames(trace)
    if isinstance(error, ImportError):
        return str(error)
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{os.path.basename(code.co_filename)}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return " < ".join(places[: -PLACES - 1 : -1])


def _read(channel: socket.socket) -> tuple[dict[str, Any], int]:
    """The next request, and the descriptor that came with it or -1. Raises EOFError."""
    head = b""
    descriptor = -1
    while len(head) < _HEAD.size:
        octets, descriptors, _, _ = socket.recv_fds(channel, _HEAD.size - len(head), 1, _CLOEXEC)
        if not octets:
            raise EOFError
        head += octets
        if descriptors:
            descriptor = descriptors[0]
    frame = bytearray()
    (length,) = _HEAD.unpack(head)
    while len(frame) < length:
        octets = channel.recv(length - len(frame))
        if not octets:
            raise EOFError
        frame += octets
    request: dict[str, Any] = json.loads(frame)
    return request, descriptor


def _write(channel: socket.socket, said: bytes) -> None:
    channel.sendall(_HEAD.pack(len(said)) + said)


if __name__ == "__main__":
    main()
