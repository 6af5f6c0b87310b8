"""Digests of people: one for all their addresses, when they chose, and never twice."""

from __future__ import annotations

import time
from email import message_from_bytes
from email.message import Message
from typing import Any

from twisted.internet.defer import ensureDeferred, fail

from smtpgate.admin.digest import LAST, Digests, due_at
from smtpgate.config.loader import loads
from smtpgate.control.views import Actor
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.person import Preferences
from smtpgate.proxy.own import FILTER
from smtpgate.testing.ports import Table
from tests.admin_kit import CONFIG
from tests.test_admin_digest import DigestCase

BASE = CONFIG.replace("[admin]", '[admin]\npublic_url = "https://admin.example.com"')
ACTOR = Actor("user", "bea")


class PeopleCase(DigestCase):
    """Bea has two addresses."""

    more = '[digests]\nat = ["08:00"]\n'

    def setUp(self) -> None:
        super().setUp()
        self.configure(self.more)
        self.table = Table(self.desk.clock.seconds)
        self.digests = self.fresh()
        self.successResultOf(self.desk.people.set_addresses("bea", ["b@example.net", "sales@example.net"]))

    def configure(self, more: str) -> None:
        """Other settings."""
        self.desk.control.revision.settings = loads(BASE + more, "/nowhere/gate.toml")  # type: ignore[union-attr]

    def fresh(self) -> Digests:
        """As after a start."""
        office = self.desk.office
        made = Digests(
            self.desk.control, office.templates.mail, office.links, self.desk.clock, self.table, ensureDeferred
        )
        made.open()
        self.addCleanup(made.close)
        return made

    def choose(self, **chosen: Any) -> None:
        """What Bea wants."""
        people = self.desk.control.people
        person = self.successResultOf(ensureDeferred(people.person("bea")))
        heard = self.successResultOf(ensureDeferred(self.digests.heard(person)))
        done = ensureDeferred(people.set_preferences(person, Preferences(**chosen), heard, ACTOR))
        self.successResultOf(done)

    def mails(self) -> list[tuple[str, Message]]:
        """All that were sent: to whom, and what."""
        found = []
        for letter in self.successResultOf(self.vault.letters(100)):
            file = self.successResultOf(self.vault.open(letter.body))
            found.append((letter.recipients[0].address, message_from_bytes(file.read())))
            file.close()
        return found[::-1]

    def until(self, hour: int, minute: int = 1, weekday: int | None = None) -> None:
        """To the next such time."""
        days = 1
        while True:
            local = time.localtime(self.now())
            at = time.mktime((local.tm_year, local.tm_mon, local.tm_mday + days, hour, minute, 0, 0, 0, -1))
            if weekday in (None, time.localtime(at).tm_wday):
                break
            days += 1
        self.desk.clock.advance(at - self.now())


class OneTests(PeopleCase):
    """One for all addresses."""

    def test_one_mail(self) -> None:
        """To the first address, with a link for each message that holds for the address that it is for."""
        self.hold("b", subject="one")
        self.hold("sales", "c", subject="two")
        mails = self.send()
        self.assertEqual(set(mails), {"b@example.net", "c@example.net"})
        text = self.text(mails["b@example.net"])
        self.assertIn("Mail to 2 addresses", text)
        self.assertIn("To: sales@example.net", text)
        self.assertIn("https://admin.example.com/my", text)
        self.assertNotIn("/my", self.text(mails["c@example.net"]))
        link = self.links.read(self.place(mails["b@example.net"]).removeprefix("/held/"), self.now())
        self.assertEqual(link and link.address, "sales@example.net")

    def test_what_was_blocked(self) -> None:
        """Nobody hears of what they do not want."""
        self.hold("b", filter=FILTER)
        self.assertEqual(self.send(), {})

    def test_a_kill_in_the_middle(self) -> None:
        """Who had theirs gets no second one when the gateway begins anew; the others get theirs."""
        self.desk.clock.advance(31)
        self.hold("b", "c", "d")
        begin, left = self.vault.begin, [1]

        def begun() -> Any:
            left[0] -= 1
            return begin() if left[0] >= 0 else fail(StoreFailed("killed"))

        self.vault.begin = begun  # type: ignore[method-assign]
        self.until(8)
        self.assertEqual(len(self.mails()), 1)
        self.digests.close()
        self.vault.begin = begin  # type: ignore[method-assign]
        self.fresh()
        self.desk.clock.advance(31)
        self.desk.clock.advance(31)
        self.assertEqual(sorted(to for to, _ in self.mails()), ["b@example.net", "c@example.net", "d@example.net"])


class WhenTests(PeopleCase):
    """When somebody hears."""

    def test_at_once(self) -> None:
        """Within some two minutes of what came, and once; the others wait for the morning."""
        self.desk.clock.advance(31)
        self.choose(digest="immediate")
        self.desk.clock.advance(31)
        self.hold("b", "c")
        self.desk.clock.pump([31] * 4)
        self.assertEqual([to for to, _ in self.mails()], ["b@example.net"])
        self.desk.clock.pump([31] * 40)
        self.assertEqual(len(self.mails()), 1)
        self.hold("sales")
        self.desk.clock.pump([31] * 4)
        self.assertEqual(len(self.mails()), 2)
        self.until(8)
        self.assertEqual([to for to, _ in self.mails()][2:], ["c@example.net"])

    def test_weekly(self) -> None:
        """On that day, of all the week."""
        self.desk.clock.advance(31)
        self.choose(digest="weekly", weekday=4, at=17 * 60)
        self.desk.clock.advance(31)
        for _ in range(2):
            self.hold("b")
            self.until(8)
        self.until(17, 1, weekday=4)
        self.desk.clock.advance(31)
        self.assertEqual([to for to, _ in self.mails()], ["b@example.net"])
        self.assertIn("2 messages", self.mails()[0][1]["Subject"])
        self.until(17, 1, weekday=4)
        self.assertEqual(len(self.mails()), 1)

    def test_another_choice_loses_nothing(self) -> None:
        """What the weekly one had not come to is in the first daily one, and no message is told of twice."""
        self.desk.clock.advance(31)
        self.choose(digest="weekly", weekday=(time.localtime(self.now()).tm_wday - 1) % 7, at=7 * 60)
        self.desk.clock.advance(31)
        self.hold("b", subject="early")
        self.until(8)
        self.until(8)
        self.assertEqual(self.mails(), [])
        self.choose()
        self.hold("b", subject="late")
        self.until(8)
        self.until(8)
        ((to, mail),) = self.mails()
        self.assertEqual((to, mail["Subject"]), ("b@example.net", "2 messages are held for you"))
        self.assertEqual(self.successResultOf(self.desk.people.switched()), {})

    def test_never(self) -> None:
        """And what came meanwhile is not told of later."""
        self.desk.clock.advance(31)
        self.choose(digest="off")
        self.hold("b")
        self.until(8)
        self.choose()
        self.until(8)
        self.assertEqual(self.mails(), [])

    def test_by_domain(self) -> None:
        """A domain with times and a language of its own, and users who chose theirs."""
        more = 'when = "off"\n[digests.domains."Example.NET"]\nwhen = "daily"\nat = ["12:00"]\nlanguage = "de"\n'
        self.configure(self.more + more)
        self.assertEqual(self.digests.slot_of("x@example.net", None).key, f"{LAST} example.net")
        self.assertEqual(self.digests.slot_of("x@example.org", None).schedule.is_on, False)
        self.desk.clock.advance(31)
        self.choose(language="en")
        self.hold("b", "c")
        self.until(8)
        self.assertEqual(self.mails(), [])
        self.until(12)
        self.desk.clock.advance(31)
        languages = {to: mail["Content-Language"] for to, mail in self.mails()}
        self.assertEqual(languages, {"b@example.net": "en", "c@example.net": "de"})

    def test_the_day_that_has_come(self) -> None:
        """Of this week, or of the last."""
        at = lambda day, hour: time.mktime((2026, 3, day, hour, 0, 0, 0, 0, -1))  # noqa: E731
        # 2026-03-10 is a Tuesday.
        self.assertEqual(due_at((480,), at(10, 9), 1), at(10, 8))
        self.assertEqual(due_at((480,), at(10, 7), 1), at(3, 8))
        self.assertEqual(due_at((480,), at(10, 9), 4), at(6, 8))
