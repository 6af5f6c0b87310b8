"""Slots of a backend over a reload: what sessions of the revision before have counts, and gives way as ours does."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.interfaces import ClientGone
from smtpgate.proxy.kept import KeptLinks
from smtpgate.proxy.pool import Pool
from smtpgate.proxy.shared_slots import free_of
from smtpgate.traffic.classes import CLASSES
from tests.pool_kit import Asked, PoolKit


class ReloadTests(SynchronousTestCase):
    """Two revisions with sessions."""

    def test_the_caps_are_those_of_all(self) -> None:
        """Whichever revision a session began with."""
        kit = PoolKit("a", "b", max_connections=2, total_connections=3)
        first = kit.ask()
        old = kit.reload()
        more = [kit.ask() for _ in range(4)]
        late = kit.ask(pool=old)
        self.assertEqual([one.waits for one in more], [False, False, True, True])
        self.assertTrue(late.waits)
        self.assertEqual(sum(server.links for server in kit.pool.servers), 3)
        kit.done(first)
        self.assertEqual([one.waits for one in (more[2], more[3], late)].count(False), 1)
        self.assertEqual(sum(server.links for server in kit.pool.servers), 3)

    def test_what_an_old_session_gives_back_is_for_the_new_and_the_other_way_round(self) -> None:
        """Those in line hear of it."""
        kit = PoolKit("a", max_connections=1)
        first = kit.ask()
        old = kit.reload()
        kit.reload()
        new = kit.ask()
        self.assertTrue(new.waits)
        kit.done(first)
        self.assertFalse(new.waits)
        late = kit.ask(pool=old)
        self.assertTrue(late.waits)
        kit.done(new)
        self.assertFalse(late.waits)
        kit.done(late)
        self.assertEqual((old.servers[0].links, kit.pool.servers[0].links, kit.pool.servers[0].busy), (0, 0, 0))

    def test_a_link_that_an_old_session_keeps_gives_way(self) -> None:
        """Between two of its messages."""
        kit = PoolKit("a", max_connections=1)
        kept = KeptLinks()
        first = kit.ask()
        kit.answer(first)
        kept.keep(kit.pool, first.link)
        old = kit.reload()
        new = kit.ask()
        kit.turn()
        self.assertIsNotNone(new.link)
        self.assertIsNone(kept.take(old, "unknown"))
        self.assertEqual(kit.pool.servers[0].links, 1)
        kit.done(new)
        again = kit.ask(pool=old)
        kit.answer(again)
        kept.keep(old, again.link)
        kit.turn()
        self.assertIsNotNone(kit.ask().link)

    def test_what_is_promised_stays_so(self) -> None:
        """A class that had a slot before the reload has its part after it; what others have counts."""
        kit = PoolKit("a", max_connections=20)
        for _ in range(2):
            kit.done(kit.ask("trusted"))
        before = [kit.ask("suspect") for _ in range(10)]
        kit.reload()
        suspects = [*before, *(kit.ask("suspect") for _ in range(20))]
        self.assertEqual(sum(one.link is not None for one in suspects), 18)
        self.assertEqual([kit.ask("trusted").waits for _ in range(3)], [False, False, True])

    def test_a_revision_that_is_gone_counts_no_more(self) -> None:
        """Nothing of it is asked, nor told."""
        kit = PoolKit("a", max_connections=1)
        first = kit.ask()
        old = kit.reload()
        kit.done(first)
        old.gone()
        self.assertTrue(kit.pool.slots.shared.is_simple)
        self.assertFalse(kit.ask().waits)

    def test_who_waits_is_served_in_class_order_over_all(self) -> None:
        """Whichever revision frees the slot."""
        kit = PoolKit("a", max_connections=4)
        held = [kit.ask() for _ in range(4)]
        suspect = kit.ask("suspect")
        kit.reload()
        trusted = kit.ask("trusted")
        kit.done(held[0])
        self.assertEqual((trusted.waits, suspect.waits), (False, True))

    def test_one_slot_is_given_once(self) -> None:
        """A message is over, and its link rests: one of two that wait has the room, whichever revision they are of."""
        kit = PoolKit("a", max_connections=2)
        kit.ask()
        old = kit.reload()
        ours = kit.ask()
        waiting = [kit.ask(pool=old), kit.ask()]
        kept = KeptLinks()
        kit.answer(ours)
        assert ours.link is not None
        kept.keep(kit.pool, ours.link)
        kit.turn()
        self.assertEqual([one.waits for one in waiting].count(False), 1)
        self.assertEqual((kit.pool.servers[0].links, kit.pool.servers[0].busy), (2, 2))

    def test_a_slot_at_a_server_that_is_no_longer_there(self) -> None:
        """It counts in `total_connections`, and who waits elsewhere for that hears of it."""
        kit = PoolKit("a", "b", balance="round-robin", total_connections=2)
        one, two = kit.ask(), kit.ask()
        kit.reload(["a"])
        waiting = kit.ask("known")
        self.assertTrue(waiting.waits)
        kit.done(next(asked for asked in (one, two) if asked.link is not None and asked.link.server == "b"))
        self.assertIsNotNone(waiting.link)

    def test_links_that_rest_at_a_server_that_is_no_longer_there(self) -> None:
        """They give way to those of the servers that are."""
        kit = PoolKit("a", total_connections=2)
        kept = [KeptLinks(), KeptLinks()]
        for one in kept:
            asked = kit.ask()
            kit.answer(asked)
            assert asked.link is not None
            one.keep(kit.pool, asked.link)
        old = kit.reload(["b"])
        asked = kit.ask(), kit.ask(), kit.ask()
        self.assertEqual([one.waits for one in asked], [False, False, True])
        self.assertEqual((old.servers[0].links, kit.pool.servers[0].links), (0, 2))

    def test_a_lower_cap_is_in_force_at_once(self) -> None:
        """For what rests; what is at work ends when its message does."""
        kit = PoolKit("a", max_connections=6)
        asked = [kit.ask() for _ in range(6)]
        kept = [KeptLinks() for _ in asked]
        for one, mine in zip(asked[:3], kept, strict=False):
            kit.answer(one)
            assert one.link is not None
            mine.keep(kit.pool, one.link)
        old = kit.reload(max_connections=2)
        self.assertEqual((kit.pool.servers[0].links, kit.pool.servers[0].busy), (3, 3))
        self.assertTrue(kit.ask().waits)
        self.assertTrue(kit.ask(pool=old).waits)
        kit.answer(asked[3])
        assert asked[3].link is not None
        kept[3].keep(old, asked[3].link)
        kit.turn()
        self.assertEqual(kit.pool.servers[0].links, 2)

    def test_a_higher_cap_is_for_those_in_line(self) -> None:
        """They need not wait until somebody ends."""
        kit = PoolKit("a", max_connections=1)
        kit.ask()
        waiting = kit.ask()
        kit.reload(max_connections=2, total_connections=5)
        # A session goes on as it began; what its server bears is what the newest says.
        self.assertEqual((waiting.waits, kit.ask().waits), (True, False))


class LifeTests(SynchronousTestCase):
    """Sessions, reloads, drains and deaths in any order: what is counted is what is there."""

    @given(st.integers(0, 2**32))
    def test_any_life(self, seed: int) -> None:
        """No cap is exceeded, nobody waits beside a slot that is free for it, and in the end nothing is left."""
        life = Life(seed)
        for _ in range(100):
            life.step()
            life.check(self)
        life.end(self)


class Person:
    """A session with a link, or one that asks for it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.kept = KeptLinks()
        self.asked: Asked | None = None
        self.link: Any = None


class Life:
    """A backend with up to three revisions."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        chance = self.chance
        reuse, total = chance.choice(("off", "pool")), chance.choice((None, 2, 4))
        self.kit = PoolKit(
            *"ab", max_connections=chance.choice((1, 2, 3)), total_connections=total, reuse=reuse, slow_start_s=5.0
        )
        self.pools = [self.kit.pool]
        self.people: list[Person] = []
        self.drained: set[str] = set()

    def step(self) -> None:
        """Something happens."""
        chance, kit = self.chance, self.kit
        what = chance.random()
        if what < 0.25:
            self.people.append(Person(chance.choice(self.pools)))
        elif what < 0.75 and self.people:
            self.act(chance.choice(self.people))
        elif what < 0.80 and len(self.pools) < 3:
            kit.reload()
            self.pools.append(kit.pool)
            # As `control.drains` does it.
            self.drain("ab", False)
            self.drain("".join(self.drained), True)
        elif what < 0.82 and len(self.pools) > 1:
            self.retire()
        elif what < 0.85:
            kit.kill(chance.choice("ab"))
        elif what < 0.88:
            kit.connector.refused.clear()
        elif what < 0.91:
            name, drains = chance.choice("ab"), chance.random() < 0.5
            self.drained = self.drained | {name} if drains else self.drained - {name}
            self.drain(name, drains)
        else:
            kit.advance(chance.choice((0.05, 0.3, 1.0, 5.0)))
        kit.turn()

    def drain(self, names: str, drains: bool) -> None:
        """In all revisions."""
        for pool in self.pools:
            for name in names:
                server = pool.server(name)
                assert server is not None
                if drains:
                    pool.drain(server, "x")
                else:
                    pool.ready(server)

    def act(self, one: Person) -> None:
        """A session goes on."""
        chance, kit = self.chance, self.kit
        if one.asked is not None:
            if one.asked.waits:
                if chance.random() < 0.2:
                    self.leave(one)
                return
            one.link, one.asked = one.asked.link, None
        elif one.link is None:
            one.link = one.kept.take(one.pool, chance.choice(CLASSES))
            if one.link is None:
                one.asked = kit.ask(chance.choice(CLASSES), pool=one.pool)
        elif one.link.failure is not None or chance.random() < 0.2:
            one.link.abort()
            one.link = None
        elif chance.random() < 0.7:
            one.link.transactions += 1
            one.kept.keep(one.pool, one.link)
            one.link = None
        else:
            self.leave(one)

    def leave(self, one: Person) -> None:
        """A session is over."""
        self.people.remove(one)
        if one.asked is not None and one.asked.waits:
            one.asked.task.throw(ClientGone("reset"))
        elif one.asked is not None and one.asked.link is not None:
            one.link = one.asked.link
        if one.link is not None:
            one.link.abort()
        one.kept.leave()

    def retire(self) -> None:
        """The last sessions of the oldest revision end."""
        for one in [one for one in self.people if one.pool is self.pools[0]]:
            self.leave(one)
        self.pools.pop(0).gone()

    def check(self, case: SynchronousTestCase) -> None:
        """What must hold at any time."""
        newest = self.pools[-1]
        slots, now = newest.slots, self.kit.clock.seconds()
        open_ = sum(leg.is_open for legs in self.kit.connector.legs.values() for leg in legs)
        case.assertLessEqual(open_, sum(server.links for server in newest.servers))
        for server in newest.servers:
            case.assertLessEqual(server.links, server.max_links)
            case.assertLessEqual(0, server.busy)
        total = newest.backend.total_connections
        case.assertLessEqual(sum(server.links for server in newest.servers), 10 if total is None else total)
        case.assertEqual(slots.shares.total, sum(server.busy for server in newest.servers))
        slots.shares.resize(slots.capacity(now))
        # Who waits may have tried one of them in vain; time makes room by itself now and then.
        is_free = all(
            free_of(server, now)
            and slots.shared.may_open(server.load)
            and not server.health.is_starting(now)
            and not server.health.needs_trial
            for server in newest.servers
        )
        for name in slots.line.classes():
            case.assertFalse(is_free and slots.shares.may(name), name)

    def end(self, case: SynchronousTestCase) -> None:
        """All sessions end."""
        for one in list(self.people):
            self.leave(one)
        self.kit.turn()
        for pool in self.pools:
            pool.close()
        self.kit.turn()
        slots = self.pools[-1].slots
        case.assertEqual((slots.shares.total, slots.line.count, slots.idle_links), (0, 0, 0))
        for server in self.pools[-1].servers:
            case.assertEqual((server.links, server.busy), (0, 0))
