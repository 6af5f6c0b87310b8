"""Slots of a filter, and the memory of bodies: shared out by class, given back whatever happens."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.interfaces import ClientGone
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.filter_slots import FilterSlots
from smtpgate.proxy.memory import PIECE, Memory
from smtpgate.proxy.pipeline import Chain, ChainRun
from smtpgate.proxy.use import Use
from smtpgate.smtp.address import NULL_SENDER
from smtpgate.tasks import Task, Timekeeper


class SlotsTests(SynchronousTestCase):
    """`FilterSlots`."""

    def test_the_next_is_the_most_deserving(self) -> None:
        """Among equals the first."""
        slots = FilterSlots(1)
        slots.take("unknown")
        waiting = {name: slots.take(name) for name in ("suspect", "unknown", "trusted")}
        self.assertEqual(slots.waiting, 3)
        order = []
        for name in ("unknown", "trusted", "unknown"):
            slots.give_back(name)
            order += [one for one, waiter in waiting.items() if waiter.called and one not in order]
        self.assertEqual(order, ["trusted", "unknown", "suspect"])

    def test_who_gives_up_is_not_served(self) -> None:
        """The slot goes to the one behind."""
        slots = FilterSlots(1)
        slots.take("unknown")
        first, second = slots.take("unknown"), slots.take("unknown")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        slots.give_back("unknown")
        self.successResultOf(second)
        self.assertEqual((slots.waiting, slots.shares.total), (0, 1))

    def test_a_long_line_that_is_done_at_once(self) -> None:
        """Each gives its slot back while it is served: all are served, however many."""
        slots = FilterSlots(1)
        slots.take("unknown")
        served: list[int] = []

        def done(number: int) -> None:
            served.append(number)
            slots.give_back("unknown")

        for number in range(2000):
            slots.take("unknown").addCallback(lambda _, number=number: done(number))
        slots.give_back("unknown")
        self.assertEqual(served, list(range(2000)))
        self.assertEqual((slots.waiting, slots.shares.total), (0, 0))


class Hanging:
    """A filter that answers when it is told, or never."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []

    def transaction(self, transaction: Any) -> Hanging:
        return self

    async def end(self) -> Finding | None:
        self.asked.append(Deferred())
        found: Finding | None = await self.asked[-1]
        return found


class Quick:
    """One that answers at once."""

    def transaction(self, transaction: Any) -> Quick:
        return self

    def end(self) -> Finding:
        return Finding("seen")


class ChainTests(SynchronousTestCase):
    """A chain with a filter that has two slots."""

    def setUp(self) -> None:
        """Two slots, ten seconds, and a quick one beside it."""
        self.clock = Clock()
        self.keeper = Timekeeper(self.clock)
        self.hanging, self.quick = Hanging(), Quick()
        self.slots = FilterSlots(2)
        roles = frozenset({"mx"})
        self.events: list[Any] = []
        self.uses = [
            Use("slow", self.hanging, frozenset({"end"}), roles, budget_s=10.0, slots=self.slots, on_error="tempfail"),
            Use("quick", self.quick, frozenset({"end"}), roles),
        ]
        self.chain = Chain(self.uses, "mx", self.clock, self.events.append)

    def message(self, chain: Chain | None = None) -> tuple[ChainRun, Deferred[Any], Task]:
        session = Session("id", "mx", "mx")
        run = (chain or self.chain).transaction(Transaction("id.1", session, NULL_SENDER, {}))
        done: Deferred[Any] = Deferred()
        task = Task(run.run("end", seconds=45.0), self.keeper, done.callback, done.errback)
        task.start()
        return run, done, task

    def test_no_more_than_its_slots(self) -> None:
        """The third waits until one of the first has its answer."""
        messages = [self.message() for _ in range(3)]
        self.assertEqual(len(self.hanging.asked), 2)
        self.hanging.asked[0].callback(Finding("found", "reject"))
        self.assertEqual(len(self.hanging.asked), 3)
        self.assertEqual({one.reason for one in self.successResultOf(messages[0][1])}, {"found", "seen"})
        self.hanging.asked[1].callback(None)
        self.hanging.asked[2].callback(None)
        for _, running, _ in messages[1:]:
            self.successResultOf(running)
        self.assertEqual(self.slots.shares.total, 0)

    def test_one_that_hangs_fails_within_its_time(self) -> None:
        """For those that have a slot and for those that wait for one: its policy speaks, and the slots are free."""
        messages = [self.message() for _ in range(20)]
        self.clock.advance(9.9)
        self.assertEqual(len(self.hanging.asked), 2)
        self.clock.advance(0.2)
        for run, running, _ in messages:
            found = self.successResultOf(running)
            self.assertEqual({one.reason for one in found}, {"filter-failed", "seen"})
            self.assertEqual(run.last_verdict(False).action, "defer")
        self.assertEqual((self.slots.shares.total, self.slots.waiting), (0, 0))

    def test_messages_that_do_not_use_it_are_not_held_up(self) -> None:
        """All slots hang; a chain without that filter goes on at once."""
        for _ in range(5):
            self.message()
        other = Chain(self.uses[1:], "mx", self.clock, self.events.append)
        _, running, _ = self.message(other)
        self.assertEqual([one.reason for one in self.successResultOf(running)], ["seen"])
        self.clock.advance(11)

    def test_a_client_that_leaves_frees_the_slot(self) -> None:
        """Whether it had one or waited."""
        messages = [self.message() for _ in range(4)]
        messages[2][2].throw(ClientGone("reset"))
        messages[0][2].throw(ClientGone("reset"))
        self.assertEqual(len(self.hanging.asked), 3)
        for _, running, _ in (messages[0], messages[2]):
            self.failureResultOf(running, ClientGone)
        for asked in self.hanging.asked[1:]:
            asked.callback(None)
        self.assertEqual((self.slots.shares.total, self.slots.waiting), (0, 0))


class MemoryTests(SynchronousTestCase):
    """`Memory`."""

    def test_each_class_has_its_part(self) -> None:
        """Strangers take what is free, and what is promised to others is there."""
        memory = Memory(100 * PIECE)
        flood = [memory.account("unknown") for _ in range(30)]
        self.assertTrue(memory.account("trusted").may_hold(PIECE))
        held = sum(one.may_hold(10 * PIECE) for one in flood)
        self.assertLess(held, 10)
        self.assertTrue(memory.account("trusted").may_hold(5 * PIECE))
        for one in flood:
            one.close()
        self.assertEqual(memory.octets, 6 * PIECE)

    def test_what_is_held_is_counted_once(self) -> None:
        """A body that grows takes only what is new."""
        memory = Memory(10 * PIECE)
        account = memory.account("unknown")
        for octets in (1, 100, PIECE, PIECE + 1, 3 * PIECE):
            self.assertTrue(account.may_hold(octets))
        self.assertEqual(memory.octets, 3 * PIECE)
        self.assertFalse(account.may_hold(11 * PIECE))
        account.close()
        account.close()
        self.assertEqual(memory.octets, 0)
