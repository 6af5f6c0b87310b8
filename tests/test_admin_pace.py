"""How much of the gateway's time the pages may take: the budget, the lines before it, and who goes first."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import pace
from smtpgate.admin.pace import Delay, Pace, Place
from smtpgate.spent import counted
from tests.admin_kit import Desk


class Port:
    """A listening port."""

    def __init__(self) -> None:
        self.is_reading = True
        self.connected = True
        self.numberAccepts = 100

    def stopReading(self) -> None:
        self.is_reading = False

    def startReading(self) -> None:
        self.is_reading = True


class Rig:
    """A budget over a clock, and a CPU that is as busy as it is said to be."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cpu = self.stood = 0.0
        self.pace = Pace(self.clock, lambda: self.cpu, (0.001, 0.001), lambda: self.stood)
        self.done: list[str] = []
        self.refused: list[str] = []

    def spend(self, seconds: float) -> None:
        """The admin side computed."""
        self.cpu += seconds
        self.pace.charge(seconds)

    def pass_time(self, seconds: float, share: float = 0.0) -> None:
        """Time passes, in which mail takes a part of the reactor."""
        for _ in range(round(seconds / 0.05)):
            self.cpu += 0.05 * share
            self.clock.advance(0.05)

    def ask(self, key: str, cost: float = 0.0) -> Place:
        """A request; it is answered when it goes."""

        def go() -> None:
            self.spend(cost)
            self.done.append(key)
            self.pace.leave(place)

        place = self.pace.place(key, go, lambda: self.refused.append(key))
        self.pace.enter(place)
        return place

    def exhaust(self) -> None:
        """Mail takes all, and the budget is spent."""
        self.spend(pace.BURST_S)
        self.pass_time(3.0, 1.0)
        self.spend(1.0)


class BudgetTests(SynchronousTestCase):
    """What may be spent."""

    def test_nobody_waits_where_the_reactor_has_time(self) -> None:
        """A hundred requests of a person who clicks about."""
        rig = Rig()
        for _ in range(100):
            rig.ask("192.0.2.1", 0.002)
            rig.pass_time(0.1)
        self.assertEqual(len(rig.done), 100)
        self.assertFalse(rig.pace.is_strained)

    def test_while_mail_needs_all_a_small_part_is_left(self) -> None:
        """Over a minute the admin side gets the floor and no more, however much is asked."""
        rig = Rig()
        rig.exhaust()
        before = rig.cpu
        spent = len(rig.done)
        for _ in range(600):
            for _ in range(5):
                rig.ask("192.0.2.1", 0.01)
            rig.pass_time(0.1, 1.0)
        self.assertTrue(rig.pace.is_strained)
        cost = (len(rig.done) - spent) * 0.011
        self.assertLess(cost, 60 * pace.FLOOR * 1.2)
        self.assertGreater(cost, 60 * pace.FLOOR * 0.5)
        self.assertGreater(rig.cpu, before)

    def test_it_comes_back(self) -> None:
        """Mail has gone; in a few seconds it is as before."""
        rig = Rig()
        rig.exhaust()
        rig.pass_time(30.0)
        self.assertFalse(rig.pace.is_strained)
        for _ in range(10):
            rig.ask("192.0.2.1", 0.002)
            rig.clock.advance(0)
        self.assertEqual(len(rig.done), 10)

    def test_a_look_that_comes_late_says_that_it_is_busy(self) -> None:
        """The machine has no time for us, whoever takes it."""
        rig = Rig()
        rig.spend(0.2)
        for _ in range(20):
            rig.clock.advance(pace.TICK_S + pace.LATE_S * 2)
            rig.pace.charge(0.05)
        self.assertTrue(rig.pace.is_strained)

    def test_a_thread_that_stands_in_line_for_a_processor_is_busy(self) -> None:
        """On a machine that others fill, mail computes for little of the time and has none to spare."""
        rig = Rig()
        for _ in range(30):
            rig.ask("192.0.2.1", 0.02)
            rig.cpu += 0.03
            rig.stood += 0.06
            rig.clock.advance(pace.TICK_S)
        self.assertTrue(rig.pace.is_strained)

    def test_the_kernel_says_how_long_a_thread_stood_in_line(self) -> None:
        """It only grows; where nobody counts, and once closed, it is nothing."""
        delay = Delay()
        first = delay.seconds()
        self.assertGreaterEqual(delay.seconds(), first)
        self.assertGreaterEqual(first, 0.0)
        delay.close()
        self.assertEqual(delay.seconds(), 0.0)

    def test_few_connections_are_taken_in_one_turn(self) -> None:
        """tcp.Port would take hundreds at once when it has seen many."""
        rig, port = Rig(), Port()
        port.numberAccepts = 300
        rig.pace.connected(port)
        self.assertEqual(port.numberAccepts, pace.ACCEPTS)

    def test_one_turn_of_the_reactor_does_little(self) -> None:
        """Ten requests that came together are not done together, and all are done."""
        rig = Rig()
        for number in range(10):
            rig.ask(f"192.0.2.{number}", 0.003)
        self.assertLess(len(rig.done), 4)
        for _ in range(10):
            rig.clock.advance(0)
        self.assertEqual(len(rig.done), 10)

    def test_work_in_steps_and_in_threads_is_paid(self) -> None:
        """What a coroutine computes between its waits, and what a thread did for it; also where it fails."""
        rig = Rig()
        wait: Deferred[None] = Deferred()
        paid: list[float] = []
        rig.pace.charge = paid.append  # type: ignore[method-assign]

        async def work() -> None:
            rig.cpu += 1.0
            counted(lambda: sum(range(200_000)))()
            await wait
            rig.cpu += 2.0
            raise ValueError("of the work")

        done = ensureDeferred(rig.pace.metered(work()))
        wait.callback(None)
        self.failureResultOf(done, ValueError)
        self.assertEqual(paid, [1.0, 2.0])
        self.assertEqual(len(rig.pace._elsewhere), 1)
        self.assertGreater(rig.pace._elsewhere[0], 0.0)

    def test_mail_pays_nothing(self) -> None:
        """Outside of a request a call is what it was."""
        function: Any = len
        self.assertIs(counted(function), function)


class LineTests(SynchronousTestCase):
    """Who goes first."""

    def exhausted(self) -> Rig:
        rig = Rig()
        rig.pace.know("198.51.100.1")
        rig.exhaust()
        rig.done.clear()
        return rig

    def test_each_address_in_turn(self) -> None:
        """One that asks for a hundred things does not keep another waiting for them."""
        rig = self.exhausted()
        for _ in range(100):
            rig.ask("192.0.2.1", 0.001)
        rig.ask("192.0.2.2", 0.001)
        rig.pass_time(9.5, 1.0)
        self.assertIn("192.0.2.2", rig.done[:2])

    def test_who_has_logged_in_before_strangers(self) -> None:
        """Three of four turns are theirs, and strangers are not forgotten."""
        rig = self.exhausted()
        for number in range(40):
            rig.ask(f"192.0.2.{number}", 0.02)
        for _ in range(40):
            rig.ask("198.51.100.1", 0.02)
        rig.pass_time(20.0, 1.0)
        first = rig.done[:8]
        self.assertEqual(first.count("198.51.100.1"), 6)

    def test_what_waits_too_long_is_told_to_come_back(self) -> None:
        """And takes no part in what comes."""
        rig = self.exhausted()
        for number in range(200):
            rig.ask(f"192.0.2.{number}", 0.1)
        rig.pass_time(pace.WAIT_S + 1.0, 1.0)
        self.assertEqual(len(rig.done) + len(rig.refused), 200)
        self.assertEqual(rig.pace.shed, len(rig.refused))
        self.assertGreater(len(rig.refused), 150)

    def test_a_peer_that_hangs_up_is_not_served(self) -> None:
        """It leaves the line."""
        rig = self.exhausted()
        gone, there = rig.ask("192.0.2.1"), rig.ask("192.0.2.1")
        rig.pace.leave(gone)
        rig.pass_time(20.0)
        self.assertEqual(len(rig.done), 1)
        self.assertEqual(there.state, "over")

    def test_so_many_at_once(self) -> None:
        """Those that wait for something slow keep a place each; the next goes when one is over."""
        rig = Rig()
        begun: list[Place] = []
        places = []
        for _ in range(pace.AT_ONCE + 5):
            place = rig.pace.place("192.0.2.1", lambda: begun.append(places[-1]), lambda: None)
            places.append(place)
            rig.pace.enter(place)
            rig.pass_time(0.1)
        self.assertEqual(len(begun), pace.AT_ONCE)
        rig.pace.leave(begun[0])
        rig.clock.advance(0)
        self.assertEqual(len(begun), pace.AT_ONCE + 1)

    def test_new_connections_wait_in_the_kernel(self) -> None:
        """While more is spent than there is; a port that was closed meanwhile is left alone."""
        rig = self.exhausted()
        open_port, closed = Port(), Port()
        rig.pace.connected(open_port)
        rig.pace.connected(closed)
        self.assertFalse(open_port.is_reading)
        closed.connected = False
        rig.pass_time(30.0)
        self.assertTrue(open_port.is_reading)
        self.assertFalse(closed.is_reading)


class DoorTests(SynchronousTestCase):
    """Over HTTP."""

    def setUp(self) -> None:
        """An office whose budget is spent."""
        self.desk = Desk()
        self.token = self.desk.token("owner")
        self.cpu = 0.0
        self.desk.office.pace = self.pace = Pace(self.desk.clock, lambda: self.cpu, (0.0, 0.0), lambda: 0.0)
        self.pace.rate = pace.FLOOR
        self.pace.charge(10.0)

    def open(self, path: str, door: str = "web") -> Any:
        """The transport of a request that was sent."""
        channel, transport = self.desk.open(door)
        head = f"GET {path} HTTP/1.1\r\nHost: localhost:8080\r\nAuthorization: Bearer {self.token}\r\n\r\n"
        channel.dataReceived(head.encode())
        return transport

    def test_it_waits_and_is_answered(self) -> None:
        """Nothing is lost of it."""
        transport = self.open("/api/v1/overview")
        self.assertEqual(transport.value(), b"")
        self.desk.clock.pump([0.1] * 95)
        self.assertIn(b"200 OK", transport.value())

    def test_it_is_told_to_come_back(self) -> None:
        """With a problem that says why, and when."""
        transport = self.open("/api/v1/overview")
        for _ in range(120):
            self.pace.charge(1.0)
            self.desk.clock.advance(0.1)
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b" 503 ", head)
        self.assertIn(b"Retry-After: 5", head)
        self.assertIn(b'"type": "/problems/busy"', body)

    def test_the_local_door_and_the_health_paths_never_wait(self) -> None:
        """They are how a gateway that is besieged is looked after."""
        self.assertIn(b"200 OK", self.open("/livez").value())
        self.assertIn(b"200 OK", self.open("/api/v1/overview", "local").value())

    def test_a_stream_keeps_no_place(self) -> None:
        """It may last for days."""
        self.desk.office.pace = self.pace = Pace(self.desk.clock, lambda: self.cpu, (0.0, 0.0), lambda: 0.0)
        self.desk.sites.clear()
        for _ in range(6):
            self.assertIn(b"event-stream", self.open("/api/v1/events").value())
        self.assertEqual(self.pace._at_work, 0)
        self.desk.office.close()
