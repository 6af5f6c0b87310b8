"""What a pool counts where it happens: links, probes, answers and waits, under the names of `observe.catalogue`."""

from __future__ import annotations

from smtpgate.config.model import Backend
from smtpgate.policy.meter import Histogram, Meter
from smtpgate.policy.transaction import Session
from smtpgate.smtp.reply import Reply


class PoolCounts:
    """The counts of one backend."""

    def __init__(self, backend: Backend, meter: Meter | None) -> None:
        self._meter = meter if meter is not None else Meter()
        self._pool = backend.name
        # The servers of strangers, whose names the DNS gives, are one.
        self._is_one = backend.kind == "mx"
        self._replies: dict[tuple[str, int], tuple[str, ...]] = {}
        self._waits: dict[str, tuple[Histogram, Histogram]] = {}

    def _place(self, server: str) -> tuple[str, str]:
        return self._pool, "other" if self._is_one else server

    def checked(self, server: str, is_up: bool) -> None:
        """A probe came to its end."""
        self._meter.count("backend_checks_total", *self._place(server), "ok" if is_up else "failed")

    def answered(self, server: str, reply: Reply) -> None:
        """A server answered the end of data."""
        key = self._replies.get((server, reply.code // 100))
        if key is None:
            key = ("backend_replies_total", *self._place(server), f"{reply.code // 100}xx")
            if not self._is_one:
                self._replies[server, reply.code // 100] = key
        self._meter.counts[key] += 1

    def waited(self, session: Session, seconds: float) -> None:
        """A session had a slot, or gave up, after so long."""
        known = self._waits.get(session.traffic_class)
        if known is None:
            known = (
                self._meter.histogram("backend_queue_seconds", self._pool),
                self._meter.histogram("priority_wait_seconds", session.traffic_class),
            )
            self._waits[session.traffic_class] = known
        for histogram in known:
            histogram.add(seconds)

    def given_up(self, stage: str) -> None:
        """Another server is asked, or none."""
        self._meter.count("backend_retries_total", self._pool, stage)

    def connected(self, server: str, seconds: float, tls_s: float | None) -> None:
        """A link is ready, after so long.

        :param tls_s: of that the handshake; None without one
        """
        if tls_s is not None:
            self._meter.took(tls_s, "tls_handshake_seconds", "backend")
        self._meter.count("backend_connects_total", *self._place(server), "ok")
        self._meter.took(seconds, "backend_connect_seconds", *self._place(server))

    def not_connected(self, server: str) -> None:
        """A link could not be had."""
        self._meter.count("backend_connects_total", *self._place(server), "failed")
