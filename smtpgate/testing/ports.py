"""What filters get in the kit in place of sockets, child processes and a database.

Look-ups are answered from zones, jobs for child processes run at once in this process, tables live as long as the
gateway of the test.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpgate.examine.jobs import JOBS
from smtpgate.interfaces import ChildFailed, IChildren, IHTTPClient, ITable, StreamClosed


@implementer(IChildren)
class Children:
    """Child processes that are none: a job runs at once.

    :ivar fails: set to a kind of ChildFailed, every job fails with it
    :ivar asked: names of the jobs that were run
    """

    def __init__(self) -> None:
        self.fails = ""
        self.asked: list[str] = []

    def run(
        self, job: str, descriptor: int | None, request: Mapping[str, Any], timeout_s: float
    ) -> Deferred[dict[str, Any]]:
        """Run a job."""
        self.asked.append(job)
        if self.fails:
            return fail(ChildFailed(self.fails, "said the test"))
        module, _, name = JOBS[job].partition(":")
        content: Any = b""
        if descriptor is not None and os.fstat(descriptor).st_size:
            content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        try:
            answer = getattr(import_module(module), name)(content, json.loads(json.dumps(request)))
            return succeed(json.loads(json.dumps(answer)))
        except Exception as error:
            return fail(ChildFailed("error", repr(error)))


@implementer(ITable)
class Table:
    """Small values, each with a time to live."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.rows: dict[str, tuple[str, float]] = {}

    def get(self, key: str) -> Deferred[Any]:
        """The value, or None."""
        text, expires = self.rows.get(key, ("null", 0.0))
        return succeed(json.loads(text) if expires > self._seconds() else None)

    def put(self, key: str, value: Any, keep_s: float) -> Deferred[None]:
        """Keep a value."""
        self.rows[key] = (json.dumps(value), self._seconds() + keep_s)
        return succeed(None)


@implementer(IHTTPClient)
class HTTP:
    """An HTTP client whose requests a test answers.

    :ivar requests: (method, url, headers, body) of each
    :ivar answer: called with those four, gives what `interfaces.IHTTPClient.request` gives
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any, bytes | None]] = []
        self.answer: Callable[..., Deferred[Any]] | None = None

    def request(
        self, method: str, url: str, headers: Any, body: bytes | None, timeout_s: float, cap_octets: int
    ) -> Deferred[Any]:
        """Ask the test."""
        self.requests.append((method, url, headers, body))
        assert self.answer is not None, "the test answers no HTTP requests"
        return self.answer(method, url, headers, body)


def no_connection(endpoint: str, timeout_s: float) -> Deferred[Any]:
    """A network in which nothing answers."""
    return fail(StreamClosed(f"nothing listens on {endpoint} in a test"))
