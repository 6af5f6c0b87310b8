"""Tests of smtpgate.state.history_store: ended sessions, kept for a time and found again."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from smtpgate.interfaces import IHistoryStore
from smtpgate.message.header import HeaderSection
from smtpgate.policy.found import Kept
from smtpgate.policy.query import OWNER, Clause, Query, Value, parse
from smtpgate.policy.record import plain
from smtpgate.policy.transaction import Session
from smtpgate.state import history_rework, history_store
from smtpgate.state import history_rows as rows
from smtpgate.state.database import Database
from smtpgate.state.history_store import HistoryStore
from smtpgate.state.history_words import SEARCHED
from tests.observe_kit import HOSTILE, WALL, finding, session, transaction


def record(facts: Session) -> dict[str, Any]:
    """A session as it is kept."""
    return plain(facts, facts.ended)


def sessions(count: int, first: int = 1) -> list[Session]:
    """So many sessions of one message each, a second apart."""
    made = []
    for number in range(first, first + count):
        facts = session(number)
        transaction(facts)
        made.append(facts)
    return made


def forget_words(connection: Any) -> None:
    """As an earlier version left it: records alone."""
    connection.exec_driver_sql("UPDATE sessions SET numbers = NULL")
    connection.exec_driver_sql("DELETE FROM messages")
    connection.exec_driver_sql("DELETE FROM history_waiting")
    rows.drop_old(connection)


class HistoryCase(TestCase):
    """A store with a clock of its own."""

    timeout = 30

    def setUp(self) -> None:
        """Open it."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.database = Database(folder / "state.sqlite")
        self.database.open()
        self.database.start(reactor)
        self.addCleanup(self.database.close)
        self.now = WALL
        self.store = self.made()

    def made(self, **limits: Any) -> HistoryStore:
        """A store over the database."""
        return HistoryStore(self.database, lambda: self.now, lambda: Kept(**limits))

    async def counts(self) -> tuple[int, int]:
        """Sessions and messages in the tables."""

        def count(connection: Any) -> tuple[int, int]:
            return tuple(
                connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar() for t in ("sessions", "messages")
            )

        return await self.database.read(count)

    async def ids(self, text: str = "", **given: Any) -> list[int]:
        """The numbers of the sessions whose messages are found."""
        found = await self.store.search(parse(text, WALL + 1000), **given)
        return [int(row.id.partition(".")[0][-4:]) for row in found.rows]


class KeepingTests(HistoryCase):
    """`write`, `session` and `recent`."""

    def test_it_keeps_the_port_s_promise(self) -> None:
        """Of `interfaces`."""
        verifyObject(IHistoryStore, self.store)

    async def test_a_session_comes_back_as_it_was(self) -> None:
        """By its id; another id is nobody's."""
        (one,) = sessions(1)
        await self.store.write([one])
        self.assertEqual(await self.store.session(one.id), record(one))
        for id in ("", "x", one.id[:-1], one.id + ".1", "\ud800"):
            self.assertIsNone(await self.store.session(id), id)

    async def test_a_stretch_of_time_is_read_page_by_page(self) -> None:
        """Oldest first, each once, also where several began at the same moment; and where the newest of them begin."""
        made = sessions(7)
        for one in made[2:5]:
            one.started = made[2].started
        await self.store.write(made)
        at, after, found = made[1].started, "", []
        while True:
            page = await self.store.begun_since(at, 2, after)
            found += [one["id"] for one in page]
            if len(page) < 2:
                break
            at, after = page[-1]["started"], page[-1]["id"]
        self.assertEqual(found, [one.id for one in made[1:]])
        self.assertEqual(await self.store.edge(2), made[4].started)
        self.assertEqual(await self.store.edge(7), 0.0)

    async def test_a_batch_of_any_size(self) -> None:
        """Rows go in by statements of several; each is kept, with its messages, and none of another."""
        total = 0
        for count in (1, 3, 4, 5, 20, 63, 64, 65, 84, 85, 500):
            batch = sessions(count, total + 1)
            transaction(batch[-1])
            await self.store.write(batch)
            total += count
            for one in (batch[0], batch[count // 2], batch[-1]):
                self.assertEqual(await self.store.session(one.id), record(one))
        self.assertEqual(await self.counts(), (total, total + 11))

    async def test_what_an_earlier_version_kept_is_read(self) -> None:
        """Records with names, beside those of today."""
        one, two = sessions(2)
        await self.store.write([one, two])
        named = zlib.compress(json.dumps(record(one)).encode())

        def age(connection: Any) -> None:
            connection.exec_driver_sql("UPDATE sessions SET record = ? WHERE id = ?", (named, one.id))

        await self.database.run(age)
        self.assertEqual(await self.store.session(one.id), record(one))
        self.assertEqual(await self.store.recent(9), [record(two), record(one)])

    async def test_nothing_to_write(self) -> None:
        """Is no error."""
        await self.store.write([])
        self.assertEqual(await self.counts(), (0, 0))

    async def test_what_is_written_twice_is_kept_once(self) -> None:
        """A batch that was tried again."""
        batch = sessions(3)
        await self.store.write(batch)
        await self.store.write(batch[1:] + sessions(1, 4))
        self.assertEqual(await self.counts(), (4, 4))

    async def test_the_newest_come_first(self) -> None:
        """By pages."""
        await self.store.write(sessions(5))
        newest = await self.store.recent(2)
        self.assertEqual([one["started"] - WALL for one in newest], [5, 4])
        older = await self.store.recent(9, newest[-1]["started"])
        self.assertEqual([one["started"] - WALL for one in older], [3, 2, 1])

    async def test_what_peers_say_to_break_things(self) -> None:
        """It is kept, and found by what the database takes of it."""
        for number, text in enumerate(HOSTILE, 1):
            facts = session(number, helo=text)
            transaction(facts, sender=f"{text}@example.org")
            await self.store.write([facts])
            kept: Any = await self.store.session(facts.id)
            self.assertEqual(kept["helo"], text)
        self.assertEqual(await self.counts(), (len(HOSTILE), len(HOSTILE)))


class SearchTests(HistoryCase):
    """`search`."""

    async def fill(self) -> None:
        """Four messages of three sessions, and a session without one."""
        one = session(1)
        transaction(one, sender="alice@mail.example.org", recipients=("bob@example.net", "carol@example.net"))
        two = session(2, client_ip="2001:db8::7", role="submission", listener="submission", user="ann", tls=None)
        transaction(two, "refused", sender="")
        three = session(3, client_ip="192.0.2.200")
        transaction(three, sender="50%_off@example.com", recipients=("bob@example.net",))
        many = tuple(f"r{number}@example.net" for number in range(SEARCHED + 5))
        transaction(three, "deferred", recipients=many)
        await self.store.write([one, two, three, session(4, client_ip="192.0.2.9")])

    async def test_every_way_to_ask(self) -> None:
        """Alone and together; newest first."""
        await self.fill()
        for text, numbers in {
            "": [3, 3, 2, 1],
            "alice": [1],
            "ALICE": [1],
            "alice@mail.example.org": [1],
            "from:mail.example.org": [1],
            "from:alic": [],
            "from:alic*": [1],
            "from:*lic*": [1],
            "domain:example.org": [3, 1],
            "from:<>": [2],
            "to:carol": [1],
            "to:BOB": [3, 1],
            "to:example.net -to:carol": [3, 3, 2],
            "bob verdict:delivered -from:alice": [3],
            "verdict:refused verdict:deferred": [3, 2],
            "verdict:rejected from:alice": [],
            "-verdict:delivered": [3, 2],
            "ip:2001:db8::7": [2],
            "cidr:2001:db8::/33": [2],
            "cidr:192.0.2.0/25": [4, 1],
            "cidr:192.0.2.192/26": [3, 3],
            "-cidr:192.0.2.0/25": [3, 3, 2],
            "192.0.2.200": [3, 3],
            "verdict:none": [4],
            "listener:submission": [2],
            "direction:out": [2],
            "user:ann": [2],
            "tls:none": [2],
            "tls:tlsv1.3 to:carol": [1],
            "message-id:<1@example.org>": [3, 3, 2, 1],
            "size:>1M": [],
            "size:>=2k size:<3k to:carol": [1],
            "-size:>2000": [],
            "score:>5": [],
            "score:<=0": [3, 3, 2, 1],
            "nobody": [],
            "4bX1 to:carol": [1],
        }.items():
            self.assertEqual(await self.ids(text), numbers, text)

    async def test_subjects(self) -> None:
        """Decoded; by words, by a phrase, by a part of it, in any case and script."""
        for number, subject in enumerate(
            ("Your pay slip", "Slip of pay", "=?utf-8?b?w4RyZ2VyIG1pdCBkZXIgU3RyYcOfZQ==?=", "50%_off"), 1
        ):
            facts = session(number)
            header = f"Subject: {subject}\r\n\r\n"
            transaction(facts, header=HeaderSection(header.encode()))
            await self.store.write([facts])
        for text, numbers in {
            "subject:pay": [2, 1],
            'subject:"pay slip"': [1],
            '"pay slip"': [1],
            '-subject:"pay slip"': [4, 3, 2],
            "subject:sli*": [2, 1],
            'subject:"*ur pay*"': [1],
            "subject:*%_o*": [4],
            "ärger": [3],
            "subject:*ÄRG*": [3],
            "strasse": [3],
            "subject:*lip*": [2, 1],
        }.items():
            self.assertEqual(await self.ids(text), numbers, text)

    async def test_rules_and_filters(self) -> None:
        """What was found, by whom, and which rule it was."""
        facts = session(1)
        transaction(
            facts,
            findings=[
                finding(filter="rules", reason="no-programs", score=6.5),
                finding(filter="spf", reason="spf-fail"),
            ],
        )
        await self.store.write([facts, *sessions(1, 2)])
        for text in ("rule:no-programs", "filter:spf", "reason:spf-fail", "rule:no-*", "filter:rules"):
            self.assertEqual(await self.ids(text), [1], text)
        for text in ("reason:no-programs", "rule:spf-fail", "rule:no"):
            self.assertEqual(await self.ids(text), [], text)

    async def test_a_reference_finds_its_own(self) -> None:
        """A message, or all of a session; also without a message."""
        await self.fill()
        three, four = session(3).id, session(4).id
        self.assertEqual(await self.ids(f"id:{three}"), [3, 3])
        self.assertEqual(await self.ids(f"id:{three}.1"), [3])
        self.assertEqual(await self.ids(f"id:{three} to:bob"), [3])
        self.assertEqual(await self.ids(f"id:{four}"), [4])
        self.assertEqual(await self.ids(f"-id:{three} to:bob"), [1])
        self.assertEqual(await self.ids("id:01JEXAMPLE0000000000000077"), [])

    async def test_signs_of_patterns_and_of_the_index_are_text(self) -> None:
        """What an operator pastes is what is looked for."""
        await self.fill()
        self.assertEqual(await self.ids("50%_off"), [3])
        self.assertEqual(await self.ids("from:*5%off*"), [])
        self.assertEqual(await self.ids("from:*_lice*"), [])
        for text in ("'; DROP TABLE messages; --", "NEAR(a b)", "a^b", "(a)"):
            self.assertEqual(await self.ids(text.replace(" ", "_")), [], text)

    async def test_what_peers_say_to_break_things_is_found(self) -> None:
        """By what is shown of it."""
        for number, text in enumerate(HOSTILE, 1):
            facts = session(number)
            transaction(facts, sender=f"{text}@example.org")
            await self.store.write([facts])
        self.assertEqual(await self.ids("from:*script*"), [9])
        self.assertEqual(len(await self.ids("domain:example.org")), len(HOSTILE))

    async def test_recipients_are_found_up_to_a_number(self) -> None:
        """A list of thousands does not fill the table."""
        await self.fill()
        self.assertEqual(await self.ids(f"to:r{SEARCHED - 1}"), [3])
        self.assertEqual(await self.ids(f"to:r{SEARCHED}"), [])

    async def test_from_one_time_to_another(self) -> None:
        """The end is not in it."""
        await self.store.write(sessions(5))
        first = datetime.fromtimestamp(WALL + 2.1, UTC).isoformat().replace("+00:00", "Z")
        last = datetime.fromtimestamp(WALL + 4.1, UTC).isoformat().replace("+00:00", "Z")
        self.assertEqual(await self.ids(f"after:{first} before:{last}"), [3, 2])
        self.assertEqual(await self.ids(f"after:{last} to:example.net"), [5, 4])
        self.assertEqual(await self.ids("last:15m"), [])

    async def test_page_by_page_nothing_is_missed_or_told_twice(self) -> None:
        """Also where many messages are of one moment, and over the edges of parts, with words and without."""
        self.patch(rows, "PART_ROWS", 4)
        self.patch(history_store, "GROUP", 1)
        self.store = self.made(messages=100)
        made = []
        for number in range(1, 12):
            facts = session(number, started=WALL, begun=1000.0)
            transaction(facts, begun=1000.5)
            made.append(facts)
        # The last batch has the oldest: its part reaches over the others.
        late = session(12, started=WALL - 3.0)
        transaction(late)
        for at in range(0, 11, 2):
            await self.store.write(made[at : at + 2])
        await self.store.write([late])
        self.assertGreater(await self.database.read(lambda c: len(rows.parts(c))), 2)
        for text in ("", "to:example.net", "from:*exam*"):
            query, place = parse(text, WALL), 0
            seen: list[str] = []
            while True:
                found = await self.store.search(query, 3, place)
                seen += [row.id for row in found.rows]
                place = found.place
                if not place:
                    break
            self.assertEqual(len(seen), 12, text)
            self.assertEqual(len(set(seen)), 12, text)
            self.assertEqual(seen[-1], f"{late.id}.1")

    async def test_a_search_whose_time_is_over_says_so_and_goes_on(self) -> None:
        """What it has is given; all is found in the end, once."""
        self.patch(rows, "PART_ROWS", 5)
        self.patch(history_store, "GROUP", 1)
        self.patch(rows, "_CHUNK", (5, 5))
        self.store = self.made(messages=100)
        for first in range(1, 30, 5):
            await self.store.write(sessions(5, first))
        for text in ("from:*exam*", "to:example.net", "from:*no_such*", "nobody"):
            query, place, seen, calls = parse(text, WALL), 0, 0, 0
            while True:
                found = await self.database.read(rows.search, query, 50, place, 0.0)
                seen, calls, place = seen + len(found.rows), calls + 1, found.place
                self.assertEqual(found.is_partial, place != 0)
                if not place:
                    break
            self.assertGreater(calls, 3, text)
            self.assertEqual(seen, 30 if "no" not in text else 0, text)

    async def waiting(self) -> int:
        """Rows whose words wait."""
        return await self.database.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM history_waiting").scalar())

    async def test_words_wait_for_others_and_no_search_misses_them(self) -> None:
        """Until they are many, somebody searches, or the house is kept; also those that another process left."""
        self.patch(history_store, "GROUP", 10)
        await self.store.write(sessions(4))
        # It did not know whether there were others before it.
        self.assertEqual(await self.waiting(), 0)
        await self.store.write(sessions(4, 5))
        self.assertEqual(await self.waiting(), 4)
        self.assertEqual(len(await self.ids("")), 8)
        self.assertEqual(await self.waiting(), 4)
        self.assertEqual(len(await self.ids("to:example.net")), 8)
        self.assertEqual(await self.waiting(), 0)
        await self.store.write(sessions(9, 9))
        self.assertEqual(await self.waiting(), 9)
        self.assertEqual((await self.store.count(parse("", WALL))).total, 17)
        await self.store.write(sessions(9, 18))
        self.store = self.made()
        self.assertEqual(len(await self.ids("to:example.net")), 26)
        await self.store.write(sessions(9, 27))
        await self.store.write(sessions(9, 36))
        self.assertEqual(await self.waiting(), 0)
        await self.store.write(sessions(1, 45))
        await self.store.expire(WALL)
        self.assertEqual(await self.waiting(), 0)

    async def test_what_is_past_its_time_before_it_is_indexed(self) -> None:
        """Is not put into the index any more."""
        self.store = self.made(messages=3)
        await self.store.write(sessions(1))
        await self.store.write(sessions(6, 2))
        self.assertEqual(len(await self.ids("to:example.net")), 3)
        held = await self.database.read(lambda c: sum(part.rows for part in rows.parts(c)))
        self.assertEqual(held, 3)

    async def test_live_mail_and_old_mail_fill_a_part_each(self) -> None:
        """However often they take turns."""
        self.patch(history_store, "GROUP", 1)
        old, new = sessions(20), sessions(20, 21)
        for one in old:
            one.started -= 20 * 86400.0
        await self.store.write(old)
        await self.database.run(forget_words)
        for one in new:
            await self.store.write([one])
            await self.database.run(self.store._catch_up, 1)
        self.assertEqual(sorted(part.rows for part in await self.database.read(rows.parts)), [20, 20])
        self.assertEqual(len(await self.ids("to:example.net")), 40)

    async def test_counted(self) -> None:
        """How many, when, and what the newest have."""
        await self.fill()
        found = await self.store.count(parse("", WALL))
        self.assertEqual((found.total, found.is_partial, found.of), (4, False, 4))
        self.assertEqual(found.facets["verdict"], {"delivered": 2, "refused": 1, "deferred": 1})
        self.assertEqual(sum(rows for _, rows in found.histogram), 4)
        for text, total in {
            "to:bob": 2,
            "from:*example*": 3,
            "-verdict:delivered": 2,
            "verdict:none": 1,
            "x": 0,
        }.items():
            self.assertEqual((await self.store.count(parse(text, WALL))).total, total, text)

    async def test_what_keeps_all_out(self) -> None:
        """How many there would be without each term; who may see some domains only is told of these alone."""
        await self.fill()
        query = parse("from:nobody to:bob verdict:delivered", WALL)
        self.assertEqual((await self.store.count(query)).total, 0)
        found = await self.store.without(query)
        self.assertEqual({query.clauses[one.clause].field: one.total for one in found}, {"from": 2})
        mine = query.with_all([Clause(OWNER, (Value("elsewhere.example"),))])
        self.assertEqual(await self.store.without(mine), ())
        totals = [one.total for one in await self.store.without(parse("to:bob verdict:refused size:>1G", WALL))]
        self.assertEqual(totals, sorted(totals, reverse=True))

    async def test_those_who_may_see_some_domains_only(self) -> None:
        """A recipient makes a message theirs; a sender where it came from our own users."""
        one, two = session(1), session(2, role="submission")
        for facts in (one, two):
            transaction(facts, sender="x@a.example", recipients=("y@b.example",))
        await self.store.write([one, two])
        for domain, numbers in {"a.example": [2], "b.example": [2, 1], "c.example": []}.items():
            query = Query((Clause("owner", (Value(domain),)),))
            found = await self.store.search(query)
            self.assertEqual([int(row.id[-6:-2]) for row in found.rows], numbers)

    async def test_what_an_earlier_version_kept_is_given_words(self) -> None:
        """Little by little, lists and records with names."""
        made = sessions(3)
        await self.store.write(made)
        named = zlib.compress(json.dumps(record(made[0])).encode())

        def age(connection: Any) -> None:
            connection.exec_driver_sql("UPDATE sessions SET record = ? WHERE id = ?", (named, made[0].id))
            connection.exec_driver_sql("INSERT INTO sessions VALUES ('damaged', 1.0, x'02', NULL)")
            forget_words(connection)

        before = await self.store.search(parse("", WALL))
        await self.database.run(age)
        self.assertEqual(await self.ids(), [])
        self.assertEqual(await self.store.catch_up(), 4)
        self.assertEqual(await self.store.catch_up(), 0)
        self.assertEqual(await self.ids("to:example.net"), [3, 2, 1])
        self.assertEqual(await self.store.search(parse("", WALL)), before)


class ReworkTests(HistoryCase):
    """`erase` and `coarsen`."""

    async def go_on(self, done: int, total: int) -> bool:
        """No matter how far it is."""
        return True

    async def fill_parts(self) -> None:
        """Thirty messages in six parts, each third to bob."""
        self.patch(rows, "PART_ROWS", 5)
        self.patch(history_store, "GROUP", 1)
        self.patch(history_rework, "STEP", 2)
        self.store = self.made(messages=100, exact_s=3600.0)
        for first in range(1, 30, 5):
            batch = []
            for number in range(first, first + 5):
                facts = session(number)
                transaction(facts, recipients=("bob@example.net" if number % 3 == 0 else "c@example.net",))
                batch.append(facts)
            await self.store.write(batch)

    async def test_a_person_is_erased(self) -> None:
        """In rows, records and words; all others are found as before."""
        await self.fill_parts()
        self.assertEqual(len(await self.ids("to:bob")), 10)
        self.assertEqual(await self.store.erase("Bob@example.net", self.go_on), 10)
        for text in ("bob", "to:bob@example.net", "to:*bob*"):
            self.assertEqual(await self.ids(text), [], text)
        self.assertEqual(len(await self.ids("to:c@example.net")), 20)
        self.assertEqual(len(await self.ids("")), 30)
        self.assertEqual(len(await self.ids("subject:hello")), 20)
        record = await self.store.session(session(3).id)
        self.assertEqual(record["messages"][0]["recipients"][0]["address"], "<erased>")

        def all_octets(connection: Any) -> bytes:
            found = b""
            for table in ("sessions", "messages", "history_waiting"):
                found += repr(connection.exec_driver_sql(f"SELECT * FROM {table}").all()).encode()
            for part in rows.parts(connection):
                found += b"".join(
                    row[0] for row in connection.exec_driver_sql(f"SELECT block FROM {rows.name_of(part.part)}_data")
                )
            return found.lower()

        self.assertNotIn(b"bob", await self.database.read(all_octets))
        self.assertEqual(await self.store.erase("bob@example.net", self.go_on), 0)
        # Mail that comes is found, and goes on as before.
        await self.store.write(sessions(3, 40))
        self.assertEqual(len(await self.ids("")), 33)
        self.assertEqual(len(await self.ids("to:b@example.net")), 3)

    async def test_what_comes_and_goes_meanwhile(self) -> None:
        """Mail is written and expires between two steps; a second order waits for the first."""
        await self.fill_parts()
        came = 0

        async def between(done: int, total: int) -> bool:
            nonlocal came
            came += 1
            await self.store.write(sessions(1, 100 + came))
            return True

        first = ensureDeferred(self.store.erase("bob@example.net", between))
        second = ensureDeferred(self.store.erase("c@example.net", self.go_on))
        self.assertEqual([await first, await second], [10, 20])
        self.assertGreater(came, 10)
        self.assertEqual(len(await self.ids("to:b@example.net")), came)
        self.assertEqual(await self.ids("to:bob"), [])
        self.assertEqual(await self.ids("to:c@example.net"), [])

    async def test_an_order_that_is_ended_can_be_given_again(self) -> None:
        """What it had not come to is still found until then."""
        await self.fill_parts()

        async def stop(done: int, total: int) -> bool:
            return False

        await self.store.erase("bob@example.net", stop)
        await self.store.erase("bob@example.net", self.go_on)
        self.assertEqual(await self.ids("to:bob"), [])
        self.assertEqual(len(await self.ids("")), 30)

    async def test_a_part_that_goes_meanwhile(self) -> None:
        """Its rows were past their time."""
        await self.fill_parts()

        async def expire(done: int, total: int) -> bool:
            self.store = self.made(keep_s=1.0)
            await self.store.expire(WALL + 100)
            return True

        await self.store.erase("bob@example.net", expire)
        self.assertEqual(await self.ids(""), [])
        self.assertEqual(await self.database.read(rows.parts), [])

    async def test_addresses_of_clients_are_cut(self) -> None:
        """Part by part where all of it is old enough, each once."""
        await self.fill_parts()
        self.assertEqual(await self.store.coarsen(WALL + 3600.0), 0)
        done = []
        for _ in range(8):
            done.append(await self.store.coarsen(WALL + 3600.0 + 17))
        self.assertEqual(done, [5, 5, 5, 0, 0, 0, 0, 0])
        self.assertEqual(len(await self.ids("ip:192.0.2.7")), 15)
        self.assertEqual(len(await self.ids("ip:192.0.2.0")), 15)
        self.assertEqual(len(await self.ids("cidr:192.0.2.0/24")), 30)
        self.store = self.made()
        self.assertEqual(await self.store.coarsen(WALL * 2), 0)


class AgeTests(HistoryCase):
    """What is too old or too much goes."""

    async def test_too_old(self) -> None:
        """With each batch that comes, and by itself where nothing comes; its messages go with it."""
        self.store = self.made(keep_s=100.0)
        await self.store.write(sessions(5))
        self.now = WALL + 103.5
        await self.store.write(sessions(1, 100))
        # Three are too old; twice as many as came go at a time.
        self.assertEqual(await self.counts(), (4, 4))
        self.now = WALL + 104.5
        self.assertEqual(await self.store.expire(self.now), 2)
        self.assertEqual([int(one["id"][-4:]) for one in await self.store.recent(9)], [100, 5])
        self.assertEqual(await self.store.expire(self.now), 0)

    async def test_too_many(self) -> None:
        """The oldest go, whatever their age; never more than is over the limit."""
        self.store = self.made(messages=10)
        for first in range(1, 30, 4):
            await self.store.write(sessions(4, first))
        self.assertEqual(await self.counts(), (10, 10))
        self.assertEqual([int(one["id"][-4:]) for one in await self.store.recent(10)], list(range(32, 22, -1)))

    async def test_a_store_that_was_too_large_shrinks_with_each_batch(self) -> None:
        """A little more goes than came, so nobody waits for a large deletion."""
        await self.store.write(sessions(40))
        self.store = self.made(messages=10)
        await self.store.write(sessions(2, 100))
        self.assertEqual(await self.counts(), (38, 38))
        for first in range(200, 240, 2):
            await self.store.write(sessions(2, first))
        self.assertEqual(await self.counts(), (10, 10))

    async def test_what_came_twice_is_not_counted_twice(self) -> None:
        """Else the limit would be reached too early."""
        self.store = self.made(messages=5)
        for _ in range(4):
            await self.store.write(sessions(5))
        self.assertEqual(await self.counts(), (5, 5))
