"""A backend's servers on a simulated clock: who gets a slot, who waits, who is put out and how it comes back."""

from __future__ import annotations

import gc
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.interfaces import ClientGone
from smtpgate.proxy.kept import KeptLinks
from smtpgate.proxy.link import LinkFailed
from smtpgate.smtp.reply import Reply
from smtpgate.traffic.health import EJECTED_S, FAILURES
from tests.pool_kit import Asked, PoolKit, server

BUSY = Reply(451, "4.3.2", ("Busy",))


class SlotTests(SynchronousTestCase):
    """Slots by class, and the waiting line."""

    def _fill(self, kit: PoolKit, many: int, traffic_class: str = "unknown") -> list[Asked]:
        asked = [kit.ask(traffic_class) for _ in range(many)]
        self.assertEqual([one.waits for one in asked], [False] * many)
        self.assertEqual([one.failure for one in asked], [None] * many)
        return asked

    def test_a_full_server_makes_sessions_wait_and_the_first_gets_the_slot(self) -> None:
        """In the order in which they came."""
        kit = PoolKit("a", max_connections=3)
        busy = self._fill(kit, 3)
        first, second = kit.ask(), kit.ask()
        self.assertTrue(first.waits and second.waits)
        kit.done(busy[0])
        self.assertIsNotNone(first.link)
        self.assertTrue(second.waits)

    def test_the_line_is_in_the_order_of_the_classes(self) -> None:
        """Who came later and deserves more goes first."""
        kit = PoolKit("a", max_connections=1)
        busy = self._fill(kit, 1)
        asked = {name: kit.ask(name) for name in ("suspect", "unknown", "known", "trusted")}
        order = []
        for _ in range(4):
            kit.done(busy[-1])
            name = next(name for name, one in asked.items() if one.link is not None and name not in order)
            order.append(name)
            busy.append(asked[name])
        self.assertEqual(order, ["trusted", "known", "unknown", "suspect"])

    def test_who_is_refused_is_freed_at_once(self) -> None:
        """Nothing of the wait is left for the collector of cycles: a flood would make it stop all others."""
        kit = PoolKit("a", max_connections=1)
        self._fill(kit, 1)

        def refused() -> None:
            asked = kit.ask("suspect")
            kit.advance(1.2)
            self.assertIsNotNone(asked.failure)
            asked.failure = asked.task = None

        refused()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for _ in range(5):
            refused()
        self.assertEqual(gc.collect(), 0)

    def test_who_comes_later_does_not_overtake_the_line(self) -> None:
        """Where time makes room, as in a slow start, it is for those who wait."""
        kit = PoolKit("a", max_connections=20, slow_start_s=20.0)
        health = kit.pool.servers[0].health
        health.unreachable(kit.clock.seconds(), 0.1)
        health.reached(kit.clock.seconds())
        self._fill(kit, 2)
        trusted = kit.ask("trusted")
        self.assertTrue(trusted.waits)
        for number in range(100):
            kit.advance(0.05)
            later = kit.ask("suspect" if number % 2 else "unknown")
            if not trusted.waits:
                break
            self.assertTrue(later.link is None)
        self.assertIsNotNone(trusted.link)

    def test_nobody_waits_longer_than_its_class(self) -> None:
        """Suspect 1 s, unknown 2.5 s, known and trusted 5 s; then 451 4.3.2."""
        kit = PoolKit("a", max_connections=1)
        self._fill(kit, 1)
        asked = {name: kit.ask(name) for name in ("suspect", "unknown", "known", "trusted")}
        waited: dict[str, float] = {}
        began = kit.clock.seconds()
        while len(waited) < 4:
            kit.advance(0.1)
            for name, one in asked.items():
                if one.failure is not None:
                    waited.setdefault(name, kit.clock.seconds() - began)
            self.assertLess(kit.clock.seconds() - began, 10.0)
        for name, most in {"suspect": 1.0, "unknown": 2.5, "known": 5.0, "trusted": 5.0}.items():
            self.assertLess(abs(waited[name] - most), 0.2)
        self.assertEqual({str(one.failure.reply.code) for one in asked.values() if one.failure}, {"451"})

    def test_strangers_cannot_take_what_is_promised(self) -> None:
        """Trusted sessions were here; a flood of strangers leaves room for the next, and for many soon."""
        kit = PoolKit("a", max_connections=20)
        kit.done(self._fill(kit, 1, "trusted")[0])
        flood = [kit.ask("unknown") for _ in range(200)]
        self.assertEqual(sum(one.link is not None for one in flood), 18)
        self.assertIsNotNone(kit.ask("trusted").link)
        # A guarantee of 8: each slot that comes free is theirs, and beyond it they come first.
        trusted = [kit.ask("trusted") for _ in range(10)]
        for one in [one for one in flood if one.link is not None][:7]:
            kit.done(one)
        self.assertEqual(kit.pool.slots.shares.used["trusted"], 9)
        self.assertEqual(sum(one.waits for one in trusted), 2)

    def test_two_hundred_sessions_on_ten_slots(self) -> None:
        """Nobody starves, and the server never has an eleventh connection (B-202)."""
        kit = PoolKit("a", max_connections=10)
        for _ in range(20):
            asked = [kit.ask() for _ in range(10)]
            self.assertEqual(len([leg for leg in kit.connector.legs["a"] if leg.is_open]), 10)
            for one in asked:
                kit.done(one)
        self.assertEqual(kit.pool.servers[0].links, 0)
        self.assertEqual(kit.pool.servers[0].busy, 0)

    def test_a_session_that_leaves_the_line_leaves_nothing(self) -> None:
        """Its slot goes to the next."""
        kit = PoolKit("a", max_connections=1)
        busy = self._fill(kit, 1)
        first, second = kit.ask(), kit.ask()
        first.task.throw(ClientGone("reset"))
        kit.done(busy[0])
        self.assertIsNotNone(second.link)
        self.assertEqual(kit.pool.slots.line.count, 0)
        self.assertEqual(kit.pool.servers[0].busy, 1)

    def test_links_that_rest_give_way_to_those_in_line(self) -> None:
        """Never one connection too many, and each that waits is served once."""
        kit = PoolKit("a", max_connections=4)
        slots = kit.pool.slots
        resting = self._fill(kit, 4)
        for one in resting[:2]:
            assert one.link is not None
            slots.rest(one.link, one.link.quit)
        waiting = [kit.ask() for _ in range(5)]
        self.assertEqual([one.link is not None for one in waiting], [True, True, False, False, False])
        server = kit.pool.servers[0]
        for one in resting[2:]:
            assert one.link is not None
            # It rests, and one of those in line takes its place at once.
            slots.rest(one.link, one.link.quit)
            kit.turn()
            self.assertLessEqual(server.links, 4)
        self.assertEqual([one.link is not None for one in waiting], [True, True, True, True, False])
        self.assertEqual((server.links, server.busy, slots.line.count), (4, 4, 1))

    def test_what_runs_on_a_drained_server_takes_nothing_from_its_neighbours(self) -> None:
        """Nor what runs on one that bears less than it has."""
        for how in ("drained", "lowered"):
            kit = PoolKit("a", "b", max_connections=20, balance="failover")
            self._fill(kit, 20)
            first = kit.pool.servers[0]
            self.assertEqual((first.busy, kit.pool.servers[1].busy), (20, 0))
            if how == "drained":
                kit.pool.drain(first, "new disk")
            else:
                for _ in range(3):
                    first.adaptive.busy(kit.clock.seconds(), 20)
                    kit.advance(1.1)
                self.assertLess(first.capacity(kit.clock.seconds()), 20)
            self._fill(kit, 20)

    def test_who_deserves_it_keeps_its_part_while_a_server_is_away(self) -> None:
        """Its slots are none that others could be lent."""
        for how in ("down", "ejected", "drained"):
            kit = PoolKit("a", "b", max_connections=20)
            for _ in range(2):
                kit.done(kit.ask("trusted"))
            first = kit.pool.servers[0]
            if how == "down":
                first.health.unreachable(kit.clock.seconds(), 0.0)
                first.health.unreachable(kit.clock.seconds(), 1000.0)
            elif how == "ejected":
                first.health.until = kit.clock.seconds() + 1000.0
            else:
                kit.pool.drain(first, "x")
            suspects = [kit.ask("suspect") for _ in range(50)]
            self.assertEqual(sum(one.link is not None for one in suspects), 18, how)
            self.assertEqual([kit.ask("trusted").waits for _ in range(2)], [False, False], how)

    def test_one_wait_for_all_tiers(self) -> None:
        """Not one for each."""
        for name, seconds in (("trusted", 5.0), ("unknown", 2.5), ("suspect", 1.0)):
            kit = PoolKit(server("a", tier=1), server("b", tier=2), server("c", tier=3), max_connections=1)
            for _ in range(3):
                asked = kit.ask("trusted")
                while asked.waits:
                    kit.advance(0.1)
                self.assertIsNotNone(asked.link)
            began = kit.clock.seconds()
            asked = kit.ask(name)
            while asked.waits:
                kit.advance(0.05)
            self.assertIsNotNone(asked.failure)
            self.assertLess(abs(kit.clock.seconds() - began - seconds), 0.2)

    def test_a_server_that_comes_back_serves_who_waits_for_another(self) -> None:
        """It was away when they came."""
        kit = PoolKit("a", "b", max_connections=1)
        first, second = kit.pool.servers
        kit.connector.refused.add("b")
        second.health.unreachable(kit.clock.seconds(), 0.0)
        second.health.unreachable(kit.clock.seconds(), 1000.0)
        held = kit.ask()
        self.assertEqual(held.link.server, "a")
        waiter = kit.ask("trusted")
        self.assertTrue(waiter.waits)
        kit.connector.refused.clear()
        kit.pool.probe(second)
        kit.advance(0.3)
        self.assertIsNotNone(waiter.link)
        self.assertEqual(waiter.link.server, "b")

    def test_all_servers_of_a_backend_together(self) -> None:
        """`total_connections` holds over the servers, whatever each of them may have."""
        kit = PoolKit("a", "b", max_connections=5, total_connections=6)
        self._fill(kit, 6)
        self.assertTrue(kit.ask().waits)
        self.assertEqual(sum(server.links for server in kit.pool.servers), 6)

    def test_a_full_server_does_not_hold_up_another(self) -> None:
        """The hash says a, and a is full: b has room."""
        kit = PoolKit("a", "b", max_connections=1, balance="hash-recipient")
        first, second = kit.ask(key="example.org"), kit.ask(key="example.org")
        assert first.link is not None and second.link is not None
        self.assertNotEqual(first.link.server, second.link.server)


class SharingTests(SynchronousTestCase):
    """10,000 sessions through the pool."""

    def _share(self, balance: str, sessions: int = 10_000) -> Counter[str]:
        kit = PoolKit(server("a"), server("b", weight=2), server("c", weight=5), balance=balance)
        counts: Counter[str] = Counter()
        for number in range(sessions):
            asked = kit.ask(key=f"d{number}.example", user=f"u{number}")
            assert asked.link is not None
            counts[asked.link.server] += 1
            kit.done(asked)
        return counts

    def test_in_turn(self) -> None:
        """Exactly by weight."""
        self.assertEqual(self._share("round-robin"), Counter(a=1250, b=2500, c=6250))

    def test_idle_servers_share_by_weight(self) -> None:
        """Where nobody is busy, least-connections comes to the same within a hundredth."""
        counts = self._share("least-connections")
        for name, part in (("a", 1 / 8), ("b", 2 / 8), ("c", 5 / 8)):
            self.assertLess(abs(counts[name] / 10_000 - part), 0.01)

    def test_by_user(self) -> None:
        """Each user always at the same server, all together by weight within two hundredths."""
        counts = self._share("hash-user")
        for name, part in (("a", 1 / 8), ("b", 2 / 8), ("c", 5 / 8)):
            self.assertLess(abs(counts[name] / 10_000 - part), 0.02)
        kit = PoolKit("a", "b", "c", balance="hash-user")
        self.assertEqual(len({getattr(kit.ask(user="alice").link, "server", "") for _ in range(5)}), 1)

    def test_the_next_tier_only_where_the_first_is_gone(self) -> None:
        """A backup gets nothing while a server of the first tier works."""
        kit = PoolKit(server("a"), server("spare", tier=2))
        self.assertEqual({getattr(kit.ask().link, "server", "") for _ in range(20)}, {"a"})
        kit.kill("a")
        self.assertEqual(getattr(kit.ask().link, "server", ""), "spare")


class HealthTests(SynchronousTestCase):
    """Down, put out, back."""

    def test_a_dead_server_is_passed_over_and_comes_back_slowly(self) -> None:
        """While it is down one session at a time tries; when it is back it gets a tenth at first."""
        kit = PoolKit("a", "b", max_connections=20, slow_start_s=30.0)
        kit.done(kit.ask())
        kit.kill("a")
        kit.connector.opened.clear()
        for _ in range(10):
            kit.done(kit.ask())
        self.assertLessEqual(kit.connector.opened.count("a"), 1)
        self.assertEqual(kit.pool.servers[0].state, "down")
        kit.connector.refused.clear()
        kit.pool.probe(kit.pool.servers[0])
        kit.turn()
        self.assertEqual(kit.pool.servers[0].state, "up")
        # Two slots of twenty now, eleven after half the time, all after all of it.
        for seconds, slots in ((0.0, 2), (15.0, 10), (15.0, 20)):
            kit.advance(seconds, 1.0)
            self.assertEqual(kit.pool.servers[0].capacity(kit.clock.seconds()), slots)
        kit.pool.close()

    def test_no_storm_on_the_one_server_that_is_back(self) -> None:
        """Fifty sessions wait; the server that returns gets two at a time, not fifty."""
        kit = PoolKit("a", max_connections=50, slow_start_s=30.0)
        kit.done(kit.ask())
        kit.kill("a")
        kit.ask()
        kit.connector.refused.clear()
        asked = [kit.ask("known") for _ in range(50)]
        self.assertLessEqual(sum(one.link is not None for one in asked), 5)
        self.assertGreaterEqual(sum(one.link is not None for one in asked), 1)

    def test_one_session_at_a_time_tries_a_silent_server(self) -> None:
        """The others hear so at once, or after their time in line: nobody waits for the time of the greeting."""
        kit = PoolKit("a")
        kit.done(kit.ask())
        kit.connector.silent.add("a")
        first = kit.ask()
        kit.advance(31.0, 0.5)
        self.assertIsNotNone(first.failure)
        kit.ask()
        began = kit.clock.seconds()
        others = [kit.ask() for _ in range(20)]
        kit.advance(3.0)
        self.assertEqual([one.waits for one in others], [False] * 20)
        self.assertLess(kit.clock.seconds() - began, 3.5)
        self.assertEqual(kit.connector.opened.count("a"), 3)

    def _fail(self, kit: PoolKit, name: str, times: int) -> None:
        """That server breaks a transaction, one after the other."""
        failed = 0
        while failed < times:
            asked = kit.ask()
            assert asked.link is not None, asked.failure
            kit.advance(0.1, 0.1)
            if asked.link.server == name:
                kit.pool.failed(asked.link, LinkFailed("mail", BUSY, "421", True))
                failed += 1
            else:
                kit.answer(asked)
            asked.link.quit()
            kit.turn()

    def test_a_server_that_fails_again_and_again_is_put_out(self) -> None:
        """After five failures in a row for 30 s, then one session tries; it comes back when that worked."""
        kit = PoolKit("a", "b")
        self._fail(kit, "a", FAILURES)
        state = kit.pool.servers[0]
        self.assertEqual(state.state, "ejected")
        for _ in range(20):
            asked = kit.ask()
            self.assertEqual(getattr(asked.link, "server", ""), "b")
            kit.done(asked)
        kit.advance(EJECTED_S - 1.0, 1.0)
        self.assertEqual(getattr(kit.ask().link, "server", ""), "b")
        kit.advance(1.5, 0.5)
        tries = [kit.ask() for _ in range(4)]
        at_a = [one for one in tries if getattr(one.link, "server", "") == "a"]
        self.assertEqual(len(at_a), 1)
        kit.answer(at_a[0])
        self.assertEqual(state.state, "up")
        self.assertLess(state.health.part(kit.clock.seconds()), 0.2)
        changes = [(event.server, event.after) for event in kit.told("ServerChanged")]
        self.assertEqual([one for one in changes if one[0] == "a"], [("a", "up"), ("a", "ejected"), ("a", "up")])

    def test_a_trial_that_fails_puts_it_out_for_longer(self) -> None:
        """60 s the second time."""
        kit = PoolKit("a", "b")
        self._fail(kit, "a", FAILURES)
        kit.advance(EJECTED_S + 1.0, 1.0)
        self._fail(kit, "a", 1)
        self.assertEqual(kit.pool.servers[0].health.ejections, 2)
        kit.advance(2 * EJECTED_S - 2.0, 1.0)
        self.assertEqual(getattr(kit.ask().link, "server", ""), "b")

    def test_where_all_others_are_gone_one_that_was_put_out_is_tried(self) -> None:
        """A bad server is better than none."""
        kit = PoolKit("a", "b")
        self._fail(kit, "a", FAILURES)
        kit.kill("b")
        self.assertEqual(getattr(kit.ask().link, "server", ""), "a")

    def test_a_link_that_rests_does_not_keep_the_trial(self) -> None:
        """A session kept its link while the server was put out; its next transaction there comes to nothing: who comes
        once that is over tries the server."""
        kit = PoolKit("a", "b")
        first = kit.ask()
        self.assertEqual(first.link.server, "a")
        kept = KeptLinks()
        kept.keep(kit.pool, first.link)
        self._fail(kit, "a", FAILURES)
        health = kit.pool.servers[0].health
        self.assertTrue(health.is_ejected)
        health.until = kit.clock.seconds()
        link = kept.take(kit.pool, "unknown")
        self.assertTrue(link is not None and link.is_trial and health.has_trial)
        kept.keep(kit.pool, link)
        self.assertFalse(health.has_trial)
        kept.leave()
        kit.turn()
        self.assertIn("a", [getattr(kit.ask().link, "server", "") for _ in range(3)])

    def test_a_trial_that_comes_to_nothing_is_the_next_one_s(self) -> None:
        """Who waited for it has it at once."""
        kit = PoolKit("a", max_connections=10)
        (only,) = kit.pool.servers
        kept = KeptLinks()
        first = kit.ask()
        kept.keep(kit.pool, first.link)
        only.health.until = kit.clock.seconds() - 1.0
        link = kept.take(kit.pool, "unknown")
        waiter = kit.ask()
        self.assertTrue(waiter.waits)
        kept.keep(kit.pool, link)
        kit.turn()
        self.assertTrue(waiter.link is not None and waiter.link.is_trial)

    def test_each_in_line_is_served_when_its_server_may_be_tried(self) -> None:
        """Two wait for different servers: the second does not take away the time at which the first is looked after."""
        kit = PoolKit("a", "b", max_connections=1)
        hold = kit.ask()
        busy = hold.link.server
        (down,) = [one for one in kit.pool.servers if one.name != busy]
        down.health.until = kit.clock.seconds() + 2.0
        down.health.ejections = 1
        first = kit.ask("trusted")
        kit.advance(0.2)
        second = kit.ask("unknown")
        began = kit.clock.seconds()
        while first.waits:
            kit.advance(0.1)
        self.assertIsNotNone(first.link)
        self.assertEqual(first.link.server, down.name)
        self.assertLess(kit.clock.seconds() - began, 2.2)
        self.assertTrue(second.waits)

    def test_who_waits_for_a_server_that_is_down_is_served_when_a_person_says_so(self) -> None:
        """And not only at the end of its time."""
        kit = PoolKit("a", max_connections=20)
        (only,) = kit.pool.servers
        for _ in range(2):
            only.health.unreachable(kit.clock.seconds(), 3.0)
        asked = kit.ask("trusted")
        kit.advance(0.1)
        self.assertTrue(asked.waits)
        kit.pool.hasten()
        kit.advance(0.5)
        self.assertIsNotNone(asked.link)

    def test_a_server_that_starts_slowly_serves_who_waits(self) -> None:
        """Its share grows with time alone: who is in line hears of it."""
        kit = PoolKit("a", max_connections=20, slow_start_s=30.0)
        (only,) = kit.pool.servers
        only.health.unreachable(kit.clock.seconds(), 0.0)
        only.health.reached(kit.clock.seconds())
        while not (asked := kit.ask("trusted")).waits:
            pass
        kit.advance(4.0)
        self.assertIsNotNone(asked.link)

    def test_a_server_that_becomes_slow_gets_less(self) -> None:
        """From 5 ms to 5 s: half of its slots at once, and not more than it can bear later."""
        kit = PoolKit("a", max_connections=20)
        asked = [kit.ask() for _ in range(20)]
        for one in asked:
            kit.done(one, 0.005)
        busy = [kit.ask() for _ in range(20)]
        for one in busy[:10]:
            kit.advance(1.5, 0.5)
            kit.done(one, 5.0)
        self.assertLessEqual(kit.pool.servers[0].capacity(kit.clock.seconds()), 5)
        self.assertTrue(kit.ask().waits)
        for one in busy[10:]:
            kit.done(one, 5.0)
        self.assertGreaterEqual(kit.pool.servers[0].capacity(kit.clock.seconds()), 4)

    def test_an_answer_that_says_busy_counts_as_one_too_late(self) -> None:
        """451 4.3.2 at the end of data, and 421 anywhere."""
        kit = PoolKit("a", max_connections=20)
        asked = [kit.ask() for _ in range(20)]
        kit.answer(asked[0], 0.01, BUSY)
        self.assertEqual(kit.pool.servers[0].capacity(kit.clock.seconds()), 10)


class IdleLinkTests(SynchronousTestCase):
    """Links that are used again by others."""

    def _session(self, kit: PoolKit, **given: object) -> Asked:
        asked = kit.ask(**given)
        assert asked.link is not None, asked.failure
        return asked

    def _end(self, kit: PoolKit, asked: Asked) -> None:
        assert asked.link is not None
        kit.answer(asked)
        if not kit.pool.slots.park(asked.link):
            asked.link.quit()
        kit.turn()

    def test_off_by_default(self) -> None:
        """A session's link ends with it."""
        kit = PoolKit("a")
        self._end(kit, self._session(kit))
        self._end(kit, self._session(kit))
        self.assertEqual(len(kit.connector.opened), 2)

    def test_the_next_session_gets_it(self) -> None:
        """One connection for both, and it is counted once."""
        kit = PoolKit("a", reuse="pool")
        self._end(kit, self._session(kit))
        self.assertEqual((kit.pool.servers[0].links, kit.pool.servers[0].busy), (1, 0))
        second = self._session(kit)
        self.assertEqual(len(kit.connector.opened), 1)
        self.assertEqual((kit.pool.servers[0].links, kit.pool.servers[0].busy), (1, 1))
        self._end(kit, second)
        kit.advance(3.0)
        self.assertEqual(kit.pool.servers[0].links, 0)

    def test_no_longer_than_it_may(self) -> None:
        """By idle time, by age, by number of messages."""
        kit = PoolKit("a", reuse="pool", reuse_idle_s=5.0, reuse_age_s=20.0, reuse_transactions=3)
        self._end(kit, self._session(kit))
        kit.advance(5.1)
        self._end(kit, self._session(kit))
        self.assertEqual(len(kit.connector.opened), 2)
        for _ in range(2):
            self._end(kit, self._session(kit))
        self.assertEqual(len(kit.connector.opened), 2)
        self._end(kit, self._session(kit))
        self.assertEqual(len(kit.connector.opened), 3)
        held = self._session(kit)
        kit.advance(20.5, 1.0)
        self._end(kit, held)
        self.assertEqual(kit.pool.slots.idle_links, 0)

    def test_not_over_what_names_a_client(self) -> None:
        """A link over which somebody logged in, or that was told a client's address, is nobody else's."""
        kit = PoolKit("a", reuse="pool")
        first = self._session(kit)
        assert first.link is not None
        first.link.is_personal = True
        self._end(kit, first)
        self.assertEqual(kit.pool.servers[0].links, 0)
        for info in ("xclient", "proxy-v1", "proxy-v2"):
            self.assertFalse(PoolKit("a", reuse="pool", client_info=info).pool.slots._idle._may(), info)

    def test_not_under_another_name(self) -> None:
        """Where our EHLO has the client's name, only that client's."""
        kit = PoolKit("a", reuse="pool", ehlo_name="client")
        self._end(kit, self._session(kit, helo="one.example"))
        self._session(kit, helo="two.example")
        self.assertEqual(len(kit.connector.opened), 2)
        self._session(kit, helo="one.example")
        self.assertEqual(len(kit.connector.opened), 2)

    def test_not_with_a_transaction_in_it(self) -> None:
        """One on which a reply is still due, or a transaction open, ends."""
        kit = PoolKit("a", reuse="pool")
        asked = self._session(kit)
        assert asked.link is not None
        asked.link.is_dirty = True
        self._end(kit, asked)
        self.assertEqual(kit.pool.slots.idle_links, 0)

    def test_a_goodbye_while_it_is_idle_is_seen(self) -> None:
        """421 comes, and nobody gets that link."""
        kit = PoolKit("a", reuse="pool", reuse_idle_s=60.0)
        asked = self._session(kit)
        self._end(kit, asked)
        assert asked.link is not None
        asked.link.received(b"421 4.4.2 idle too long\r\n")
        self.assertEqual((kit.pool.slots.idle_links, kit.pool.servers[0].links), (0, 0))
        self._session(kit)
        self.assertEqual(len(kit.connector.opened), 2)

    def test_who_is_in_line_takes_the_link_that_comes_free(self) -> None:
        """Under a rush no further connection is opened, whether the session that had it is over or only rests."""
        for ends in (True, False):
            kit = PoolKit("a", reuse="pool", reuse_idle_s=60.0, max_connections=4)
            busy = [self._session(kit) for _ in range(4)]
            waiting = [kit.ask() for _ in range(20)]
            while waiting:
                one = busy.pop(0)
                if ends:
                    self._end(kit, one)
                else:
                    kept = KeptLinks()
                    assert one.link is not None
                    kept.keep(kit.pool, one.link)
                kit.turn()
                served = [other for other in waiting if other.link is not None]
                self.assertEqual(len(served), 1, ends)
                busy += served
                waiting = [other for other in waiting if other.link is None]
            self.assertEqual((len(kit.connector.opened), kit.pool.servers[0].links), (4, 4), ends)

    def test_a_link_of_another_name_makes_room(self) -> None:
        """It is not what is wanted, so it ends, and there is never one too many."""
        kit = PoolKit("a", reuse="pool", reuse_idle_s=60.0, max_connections=1, ehlo_name="client")
        one = self._session(kit, helo="one.example")
        other = kit.ask(helo="two.example")
        kept = KeptLinks()
        assert one.link is not None
        kept.keep(kit.pool, one.link)
        kit.turn()
        self.assertIsNotNone(other.link)
        self.assertEqual((len(kit.connector.opened), kit.pool.servers[0].links, kit.pool.slots.idle_links), (2, 1, 0))

    def test_idle_links_do_not_starve_the_others(self) -> None:
        """A server with ten slots, all of them idle links of one name: the next name gets a slot at once (B-202)."""
        kit = PoolKit("a", reuse="pool", reuse_idle_s=60.0, max_connections=10, ehlo_name="client")
        first = [self._session(kit, helo="one.example") for _ in range(10)]
        for one in first:
            self._end(kit, one)
        self.assertEqual(kit.pool.slots.idle_links, 10)
        for number in range(200):
            other = kit.ask(helo=f"h{number}.example")
            self.assertIsNotNone(other.link)
            self.assertLessEqual(kit.pool.servers[0].links, 10)
            self._end(kit, other)

    def test_a_drained_server_keeps_none(self) -> None:
        """Nor does a pool whose revision is gone."""
        kit = PoolKit("a", reuse="pool", reuse_idle_s=60.0)
        self._end(kit, self._session(kit))
        kit.pool.drain(kit.pool.servers[0], "new disk")
        self.assertEqual(kit.pool.servers[0].links, 0)
        kit.pool.ready(kit.pool.servers[0])
        self._end(kit, self._session(kit))
        kit.pool.close()
        self.assertEqual(kit.pool.servers[0].links, 0)
