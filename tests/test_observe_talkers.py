"""Who sends most: in bounded memory, over hours, days and restarts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from smtpgate.control.statistics import DAY, HOUR, Range
from smtpgate.control.top import Top, TopList
from smtpgate.interfaces import ITalkerStore, StoreFailed
from smtpgate.observe.talkers import KINDS, SAVE_S, Talkers, network_of
from smtpgate.policy import event as told
from smtpgate.policy.sketch import Sketch
from smtpgate.policy.verdict import merge
from smtpgate.state.database import Database
from smtpgate.state.talker_store import NAMES, TalkerStore
from tests.observe_kit import REFUSED, finding, session, transaction

#: The beginning of a day.
T = 1_790_000_000 // DAY * DAY


class SketchTests(SynchronousTestCase):
    """`policy.sketch`."""

    @given(st.lists(st.integers(0, 60), max_size=200), st.integers(1, 8))
    def test_what_it_promises(self, names: list[int], most: int) -> None:
        """Bounded; a count is never too high, and short by the floor at most; whoever is above the floor is there."""
        sketch = Sketch(most)
        for name in names:
            sketch.add(str(name), 0)
            self.assertLessEqual(len(sketch), 2 * most)
        real = Counter(map(str, names))
        held = {name: sum(counts) for name, counts in Sketch.rows(_wide(sketch))}
        for name, count in real.items():
            self.assertLessEqual(held.get(name, 0), count)
            self.assertLessEqual(count - held.get(name, 0), sketch.floor)
        self.assertLessEqual(sketch.floor * most, len(names))

    @given(st.lists(st.lists(st.integers(0, 30), max_size=80), max_size=5))
    def test_put_together(self, hours: list[list[int]]) -> None:
        """The same holds for hours of which only the largest were written."""
        whole = Sketch(12)
        for names in hours:
            hour = Sketch(6)
            for name in names:
                hour.add(str(name), 1)
            whole.merge(list(hour.rows())[:3], hour.left_out(3))
        held = {name: counts[1] for name, counts in whole.rows()}
        low = whole.left_out(12)
        for name, count in Counter(str(name) for names in hours for name in names).items():
            self.assertLessEqual(held.get(name, 0), count)
            self.assertLessEqual(count - held.get(name, 0), low)


def _wide(sketch: Sketch) -> Sketch:
    """One that shows all that is in it."""
    sketch.most = max(1, len(sketch))
    return sketch


class MemoryTalkers:
    """An `interfaces.ITalkerStore` in memory."""

    def __init__(self) -> None:
        self.hours: dict[tuple[str, int], Any] = {}
        self.is_broken = False

    def put(self, hour: int, kinds: Any) -> Deferred[None]:
        if self.is_broken:
            return fail(StoreFailed("no room"))
        for kind, (rows, floor) in kinds.items():
            if rows:
                self.hours[kind, hour] = (rows, floor)
        return succeed(None)

    def load(self, kind: str, step: int, begin: int, end: int) -> Deferred[Any]:
        if self.is_broken:
            return fail(StoreFailed("no room"))
        whole: dict[int, Sketch] = {}
        for (of, hour), (rows, floor) in sorted(self.hours.items()):
            if of == kind and begin <= hour // step * step < end:
                whole.setdefault(hour // step * step, Sketch(1000)).merge(rows, floor)
        return succeed([(at, list(one.rows()), one.floor) for at, one in whole.items()])

    def load_now(self, kind: str, hour: int) -> Any:
        return [(hour, *self.hours[kind, hour])] if (kind, hour) in self.hours else []


class TalkersTests(SynchronousTestCase):
    """`Talkers` and what is asked of them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.begin = T + 10 * HOUR + 600
        self.store = MemoryTalkers()
        self.events: list[Any] = []
        self.talkers = self.started()

    def wall(self) -> float:
        return self.begin + self.clock.seconds()

    def started(self) -> Talkers:
        """A process."""
        talkers = Talkers(self.clock, self.wall, self.store, self.events.append)
        talkers.start()
        self.top = Top(self.wall, maybeDeferred)
        self.top.store, self.top.talkers = self.store, talkers
        return talkers

    def mail(self, sender: str = "a@example.org", outcome: str = "delivered", **values: Any) -> None:
        """A message has ended."""
        facts = session(client_ip=values.pop("ip", "192.0.2.7"), user=values.pop("user", ""))
        self.talkers.hear(told.TransactionEnded(transaction(facts, outcome, sender=sender, **values)))

    def ask(self, kind: str, hours: int = 1) -> TopList:
        """Of the last hours, the running one too."""
        end = int(self.wall()) // HOUR * HOUR + HOUR
        return self.successResultOf(ensureDeferred(self.top.top(kind, Range(end - hours * HOUR, end, HOUR), 10)))

    def counts(self, kind: str, hours: int = 1) -> dict[str, int]:
        """By name."""
        return {one.name: one.count for one in self.ask(kind, hours).talkers}

    def test_by_kind_and_verdict(self) -> None:
        """Networks, domains, users, rules and reasons; null senders as such; each domain of a message once."""
        self.mail("a@EXAMPLE.org", user="bob", recipients=("x@example.net", "y@example.net", "z@example.com"))
        self.mail("", ip="192.0.2.200")
        found = [finding("no-programs", filter="rules"), finding("shadowed", filter="rules", is_shadow=True)]
        self.mail(
            "c@other.example", "refused", reply=REFUSED, ip="2001:db8:1:2:3::4", findings=found, verdict=merge(found)
        )
        self.assertEqual(self.counts("client"), {"192.0.2.0/24": 2, "2001:db8:1:2::/64": 1})
        self.assertEqual(self.counts("sender"), {"example.org": 1, "<>": 1, "other.example": 1})
        self.assertEqual(self.counts("recipient"), {"example.net": 3, "example.com": 1})
        self.assertEqual(self.counts("user"), {"bob": 1})
        self.assertEqual(self.counts("rule"), {"no-programs": 1})
        self.assertEqual(self.counts("reason"), {"no-programs": 1})
        (first, second) = self.ask("client").talkers
        self.assertEqual((first.counts, second.counts), ((2, 0, 0, 0, 0), (0, 0, 0, 1, 0)))
        self.assertEqual(network_of("unix:/x"), "local")

    def test_a_restart_in_the_hour(self) -> None:
        """Nothing is lost at a stop, nothing is counted twice."""
        self.mail()
        self.successResultOf(ensureDeferred(self.talkers.close()))
        self.talkers = self.started()
        self.mail()
        for hours in (1, 24, 72):
            self.assertEqual(self.counts("sender", hours), {"example.org": 2})
        self.clock.advance(SAVE_S)
        for hours in (1, 24, 72):
            self.assertEqual(self.counts("sender", hours), {"example.org": 2})

    def test_hours_and_days(self) -> None:
        """Trend beside the time before; new is who was not seen in the 24 hours before."""
        self.mail()
        self.mail()
        self.assertEqual(
            [one.is_new for one in self.ask("sender").talkers], [False], "there is nothing to be new beside"
        )
        self.clock.advance(HOUR)
        self.mail()
        self.mail("n@new.example")
        found = {one.name: (one.count, one.before, one.is_new) for one in self.ask("sender").talkers}
        self.assertEqual(found, {"example.org": (1, 2, False), "new.example": (1, 0, True)})
        self.assertEqual(self.counts("sender", 2), {"example.org": 3, "new.example": 1})
        self.assertEqual(self.counts("sender", 24 * 30), {"example.org": 3, "new.example": 1})
        self.clock.advance(DAY)
        self.mail("n@new.example")
        self.assertEqual(self.counts("sender", 24 * 30), {"example.org": 3, "new.example": 2})
        self.assertEqual(self.counts("sender", 24 * 3), {"example.org": 3, "new.example": 2})

    def test_a_store_that_fails(self) -> None:
        """Is told once; the hour goes on."""
        self.store.is_broken = True
        self.mail()
        self.clock.pump([SAVE_S] * 3)
        self.store.is_broken = False
        self.clock.advance(SAVE_S)
        self.assertEqual([one.name for one in self.events], ["talkers.failing", "talkers.works"])
        self.assertEqual(self.counts("sender"), {"example.org": 1})


class TalkerStoreTests(TestCase):
    """`TalkerStore` over a database in a file."""

    timeout = 30

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.database = Database(folder / "state.sqlite")
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)
        self.store = TalkerStore(self.database)

    def test_it_keeps_the_port_s_promise(self) -> None:
        """Of `interfaces`."""
        verifyObject(ITalkerStore, self.store)

    async def test_a_day_is_made_of_its_hours(self) -> None:
        """However often they are written; the largest are kept."""
        many = [(f"d{number}.example", (1, 0, 0, 0, 0)) for number in range(NAMES)]
        for count in (1, 5):
            await self.store.put(T, {"sender": ([("a.example", (count, 0, 0, 0, 0)), ("\udcff", (1, 0, 0, 0, 0))], 0)})
        await self.store.put(T + HOUR, {"sender": ([("a.example", (0, 0, 0, 2, 0)), *many], 3), "user": ([], 0)})
        ((at, rows, floor),) = await self.store.load("sender", DAY, T, T + DAY)
        self.assertEqual((at, rows[0], len(rows), floor), (T, ("a.example", (5, 0, 0, 2, 0)), NAMES, 4))
        self.assertEqual([at for at, _, _ in await self.store.load("sender", HOUR, T, T + DAY)], [T, T + HOUR])
        self.assertEqual(self.store.load_now("sender", T)[0][1][0], ("a.example", (5, 0, 0, 0, 0)))
        self.assertEqual(await self.store.load("user", HOUR, 0, T + DAY), [])

    async def test_what_is_old_goes_and_what_is_damaged_counts_as_none(self) -> None:
        """Hours after eight days, days after 400."""
        row = [("a.example", (1, 0, 0, 0, 0))]
        for at in (T - 401 * DAY, T - 9 * DAY, T):
            await self.store.put(at, {"sender": (row, 0)})
        self.assertEqual([at for at, _, _ in await self.store.load("sender", HOUR, 0, T + DAY)], [T])
        self.assertEqual([at for at, _, _ in await self.store.load("sender", DAY, 0, T + DAY)], [T - 9 * DAY, T])
        for text in ("{", "[]", '{"rows":[["x",1]],"floor":0}', '{"rows":[7],"floor":0}'):
            await self.database.run(
                lambda connection, text: connection.exec_driver_sql("UPDATE talkers SET data = ?", (text,)), text
            )
            self.assertEqual([rows for _, rows, _ in await self.store.load("sender", HOUR, 0, T + DAY)], [[]])


class KindTests(SynchronousTestCase):
    """The closed list."""

    def test_kinds(self) -> None:
        """Each once."""
        self.assertEqual(len(set(KINDS)), len(KINDS))
