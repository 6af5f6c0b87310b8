"""Slots of a backend over a reload: what sessions of the revision before have counts, and gives way as ours does."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.proxy.kept import KeptLinks
from tests.pool_kit import PoolKit


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
        self.assertEqual(kit.pool.servers[0].load.slots, [kit.pool.slots])
        self.assertFalse(kit.ask().waits)
