"""Words for the service manager: sd_notify(3), over the datagram socket that it names in NOTIFY_SOCKET.

READY once all is bound, RELOADING and READY around a reload, STOPPING with ever more time while a drain lasts, and
WATCHDOG from the reactor at half of the interval that is asked for: where the reactor stands still the beat does too,
and the manager starts us anew. Without the variable nothing is said. What cannot be sent is let go: mail comes first.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any

#: While we stop we ask again after so long, and each time for so much, which systemd gives from that moment on.
EXTEND_EVERY_S, EXTEND_S = 10.0, 30.0


class Notifier:
    """The line to the service manager."""

    def __init__(self, environ: MutableMapping[str, str], clock: Any, status: Callable[[], str]) -> None:
        """
        :param environ: its variables are taken out, so that children do not speak for us
        :param clock: `callLater`
        :param status: one line on how it stands
        """
        self._clock = clock
        self._status = status
        self._socket: socket.socket | None = None
        self._calls: dict[str, Any] = {}
        place = environ.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_ours = pid in ("", str(os.getpid()))
        self._beat_s = int(microseconds) / 2e6 if is_ours and microseconds.isascii() and microseconds.isdigit() else 0.0
        if place.startswith(("/", "@")):
            self._open(f"\0{place[1:]}" if place.startswith("@") else place)

    def _open(self, place: str) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        made.setblocking(False)
        try:
            made.connect(place)
        except OSError:
            made.close()
        else:
            self._socket = made

    @property
    def is_heard(self) -> bool:
        """Whether there is a service manager."""
        return self._socket is not None

    def ready(self) -> None:
        """All is bound, or a reload is over."""
        self._say("READY=1", self._state())
        if self._beat_s and "beat" not in self._calls:
            self._beat()

    def reloading(self) -> None:
        """A reload begins. The manager waits for `ready`, whatever becomes of it."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def stopping(self) -> None:
        """The drain has begun."""
        self._say("STOPPING=1", self._state())
        self._extend()

    def _extend(self) -> None:
        self._say(f"EXTEND_TIMEOUT_USEC={int(EXTEND_S * 1e6)}", self._state())
        self._later("extend", EXTEND_EVERY_S, self._extend)

    def _beat(self) -> None:
        self._say("WATCHDOG=1", self._state())
        self._later("beat", self._beat_s, self._beat)

    def _later(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        if self._socket is not None:
            self._calls[name] = self._clock.callLater(seconds, call)

    def _state(self) -> str:
        return f"STATUS={' '.join(self._status().split())}"

    def _say(self, *lines: str) -> None:
        if self._socket is not None:
            # A manager that does not read, or is gone, is no reason to hold anything up.
            with contextlib.suppress(OSError):
                self._socket.send("\n".join(lines).encode("utf-8", "replace"))

    def close(self) -> None:
        """Say no more."""
        for call in self._calls.values():
            if call.active():
                call.cancel()
        self._calls.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
