"""Tests of smtpgate.net.poller and smtpgate.net.edge: real sockets, served in batches."""

from __future__ import annotations

import select
import socket
import unittest
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.net import edge as edges
from smtpgate.net.edge import Edge
from smtpgate.net.poller import READ, TURN_S, EpollPoller


class Noted(Edge):
    """An edge that does what it is told when octets come."""

    def __init__(self, sock: socket.socket, poller: EpollPoller, clock: Clock) -> None:
        self.came: list[bytes] = []
        self.ends: list[tuple[str, bool]] = []
        self.then: Callable[[], None] = lambda: None
        self.when_drained: Callable[[], None] = lambda: None
        super().__init__(sock, poller, clock, READ)

    def _received(self, data: bytes) -> None:
        self.came.append(data)
        self.then()

    def _ended(self, reason: str, is_reset: bool) -> None:
        self.ends.append((reason, is_reset))

    def _drained(self) -> None:
        self.when_drained()


@unittest.skipIf(not hasattr(select, "epoll"), "this platform has no epoll")
class BatchTests(SynchronousTestCase):
    """What is written while several sockets are served."""

    def setUp(self) -> None:
        """Three connections."""
        self.now = 0.0
        self.poller = EpollPoller(MemoryReactor(), lambda: self.now)
        self.clock = Clock()
        self.addCleanup(self.poller.close)
        self.edges, self.others = [], []
        for _ in range(3):
            ours, other = socket.socketpair()
            for sock in (ours, other):
                sock.setblocking(False)
                self.addCleanup(sock.close)
            self.edges.append(Noted(ours, self.poller, self.clock))
            self.others.append(other)

    def heard(self, number: int) -> bytes | None:
        """What one of the other sides can read now; None for nothing, b"" for the end."""
        try:
            return self.others[number].recv(1 << 20)
        except BlockingIOError:
            return None

    def say(self, *numbers: int) -> None:
        """Octets from some of the other sides, then one round of the poller."""
        for number in numbers:
            self.others[number].send(b"%d" % number)
        self.poller.doRead()

    def test_alone_it_is_sent_at_once(self) -> None:
        """Nobody waits for anybody."""
        seen = []
        self.edges[0].then = lambda: (self.edges[0].write(b"now"), seen.append(self.heard(0)))  # type: ignore[assignment, func-returns-value]
        self.say(0)
        self.assertEqual(seen, [b"now"])
        self.edges[1].write(b"unasked")
        self.assertEqual(self.heard(1), b"unasked")

    def test_in_a_batch_it_is_sent_when_all_were_served(self) -> None:
        """In the order in which it was written, in one piece, and nothing is left behind."""
        seen = []

        def first() -> None:
            self.edges[0].write(b"a")
            self.edges[2].write(b"x")
            self.edges[0].write(b"b")
            seen.append((self.heard(0), self.heard(2)))

        self.edges[0].then = first
        self.edges[1].then = lambda: seen.append((self.heard(0), self.heard(2)))
        self.say(0, 1)
        self.assertEqual(seen, [(None, None)] * 2)
        self.assertEqual((self.heard(0), self.heard(2)), (b"ab", b"x"))
        self.assertEqual([edge.octets_out for edge in self.edges], [2, 0, 1])
        self.poller.doRead()
        self.assertEqual((self.heard(0), self.heard(2)), (None, None))

    def test_what_becomes_ready_meanwhile_is_served_too(self) -> None:
        """Without a turn of the reactor; but it gets one before long, however busy the sockets are."""
        rounds = []

        def answer() -> None:
            rounds.append(len(rounds))
            self.now += TURN_S / 8
            for number in (0, 1):
                self.others[number].send(b"again")

        self.edges[0].then = self.edges[1].then = answer
        self.say(0, 1)
        self.assertEqual(len(rounds), 10)
        before = len(rounds)
        self.poller.doRead()
        self.assertGreater(len(rounds), before)

    def test_an_event_of_a_closed_socket_is_nobody_else_s(self) -> None:
        """The number of a socket that is closed in a round may be given to another one in the same round."""
        fresh: list[Noted] = []

        def replace() -> None:
            number = self.edges[1].fileno()
            self.edges[1].abort()
            ours, other = socket.socketpair()
            self.addCleanup(other.close)
            self.addCleanup(ours.close)
            ours.setblocking(False)
            self.assertEqual(ours.fileno(), number)
            fresh.append(Noted(ours, self.poller, self.clock))

        self.edges[0].then = replace
        # One that is not read for now, and whose other side has gone: its event is the end, and comes second.
        self.edges[1].pause()
        self.others[0].send(b"x")
        self.others[1].close()
        self.poller.doRead()
        (edge,) = fresh
        self.assertEqual((edge.came, edge.ends, edge.is_open), ([], [], True))
        self.assertEqual(self.edges[1].ends, [])

    def test_last_words_go_before_the_end(self) -> None:
        """Close and abort send what waits; what is written after them goes nowhere."""
        for number, end in enumerate((self.edges[0].close, self.edges[1].abort)):

            def act(number: int = number, end: Callable[[], None] = end) -> None:
                self.edges[number].write(b"bye")
                end()
                self.edges[number].write(b"never")

            self.edges[number].then = act
        self.say(0, 1)
        for number in (0, 1):
            self.assertEqual((self.heard(number), self.heard(number)), (b"bye", b""))

    def test_what_the_kernel_does_not_take_keeps_its_place(self) -> None:
        """More than fits, then a little more in a later round: every octet once, in order."""
        large = bytes(range(256)) * 8192
        got = []
        drained: list[bool] = []
        self.edges[0].when_drained = lambda: drained.append(True)
        self.edges[0].then = lambda: self.edges[0].write(large)
        self.say(0, 1)
        self.assertTrue(self.edges[0].is_full)
        self.edges[0].then = lambda: self.edges[0].write(b"more")
        self.say(0, 1)
        while sum(map(len, got)) < len(large) + 4:
            piece = self.heard(0)
            got += [piece] if piece else []
            self.poller.doRead()
        self.assertEqual(b"".join(got), large + b"more")
        self.assertEqual((drained, self.edges[0].has_unsent), ([True], False))

    def test_who_writes_when_room_was_made_is_served_too(self) -> None:
        """An edge that goes on while the others send does not overtake what it wrote before."""
        filler = bytes(edges.HIGH_WATER * 8)
        self.edges[0].write(filler)
        self.assertTrue(self.edges[0].has_unsent)
        written: list[bytes] = []

        def write(octets: bytes) -> None:
            written.append(octets)
            self.edges[2].write(octets)

        self.edges[1].then = lambda: write(b"one")
        self.edges[0].when_drained = lambda: write(b"two")
        left = len(filler)
        while left:
            left -= len(self.heard(0) or b"")
            if left:
                self.poller.doRead()
            else:
                self.say(1)
        self.assertEqual(self.heard(2), b"".join(written))
        self.assertEqual(sorted(written), [b"one", b"two"])

    def test_the_other_side_left_in_the_same_round(self) -> None:
        """A write to somebody who has gone is told of from the reactor, and the others get theirs."""

        def act() -> None:
            self.others[2].close()
            self.edges[2].write(b"lost")
            self.edges[1].write(b"kept")

        self.edges[0].then = act
        self.say(0, 1)
        self.assertEqual(self.heard(1), b"kept")
        self.clock.advance(0)
        self.poller.doRead()
        self.assertTrue(self.edges[2].ends[-1][1])
        self.assertFalse(self.edges[2].is_open)
