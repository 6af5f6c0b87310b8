"""Digests and their links: who is told of what, what a link does, and what nobody can do with one."""

from __future__ import annotations

import re
import time
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from string import Formatter
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred, fail, succeed

from smtpgate.admin.digest import Digests, due_at
from smtpgate.admin.links import Link, Links
from smtpgate.admin.spoken import LANGUAGES, words_of
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.held import Addressee
from tests.admin_kit import CONFIG, HOSTILE, Desk
from tests.test_admin_quarantine import QuarantineCase

MORE = """
[digests]
at = ["08:00", "16:30"]
"""


class Table:
    """One value."""

    def __init__(self) -> None:
        self.value: Any = None

    def get(self, key: str) -> Any:
        """It."""
        return succeed(self.value)

    def put(self, key: str, value: Any, keep_s: float) -> Any:
        """Keep it."""
        self.value = value
        return succeed(None)


class DigestCase(QuarantineCase):
    """A desk that sends digests."""

    def setUp(self) -> None:
        super().setUp()
        text = CONFIG.replace("[admin]", '[admin]\npublic_url = "https://admin.example.com"') + MORE
        old = self.desk
        self.desk = Desk(text)
        self.desk.control.engine.vault = self.vault
        self.desk.control.engine.outbox = old.control.engine.outbox
        self.desk.control.engine.in_thread = old.control.engine.in_thread
        self.desk.users.persons = self.desk.people = self.desk.control.people.store = old.people
        self.owner = self.desk.token("owner")
        self.vault._wall = self.desk.control.engine.wall
        self.links = self.desk.office.links
        self.digests = Digests(
            self.desk.control, self.desk.office.templates.mail, self.links, self.desk.clock, Table(), ensureDeferred
        )

    def now(self) -> float:
        """On the wall."""
        return self.desk.control.engine.wall()

    def send(self, since: float = 0.0) -> dict[str, Message]:
        """Digests of all since then: by address."""
        self.successResultOf(ensureDeferred(self.digests.send(since, self.now() + 1, self.now())))
        found = {}
        for letter in self.successResultOf(self.vault.letters(100)):
            file = self.successResultOf(self.vault.open(letter.body))
            found[letter.recipients[0].address] = message_from_bytes(file.read())
            file.close()
            self.assertEqual((letter.kind, letter.sender), ("digest", ""))
        return found

    def text(self, mail: Message, which: int = 0) -> str:
        """One of its texts."""
        part: Any = mail.get_payload()[which]
        return str(part.get_payload(decode=True).decode())

    def place(self, mail: Message) -> str:
        """The path of the first link."""
        found = re.search(r"https://admin\.example\.com(/held/\S+)", self.text(mail))
        assert found is not None
        return found[1]


class DigestTests(DigestCase):
    """What is sent."""

    def test_to_whom_and_of_what(self) -> None:
        """Each recipient of our own domains hears of what is held for them and theirs to decide on, once."""
        self.hold("b", "c", subject="for both")
        self.hold("b", held_as="policy", subject="to ask for")
        self.hold("b", held_as="dlp", subject="not theirs")
        self.hold("c", direction="out", subject="on its way out")
        mails = self.send()
        self.assertEqual(set(mails), {"b@example.net", "c@example.net"})
        text = self.text(mails["b@example.net"])
        self.assertEqual(mails["b@example.net"]["Subject"], "2 messages are held for you")
        self.assertEqual(mails["b@example.net"]["Auto-Submitted"], "auto-generated")
        self.assertIn("to ask for", text)
        self.assertNotIn("not theirs", text + self.text(mails["b@example.net"], 1))
        self.assertIn("Ask for it: https://admin.example.com/held/", text)
        self.assertIn("Deliver it to me: https://admin.example.com/held/", text)
        self.assertNotIn("on its way out", self.text(mails["c@example.net"]))

    def test_hostile_subjects(self) -> None:
        """Shown as text, in the form that each part has."""
        for subject in HOSTILE:
            self.hold("b", subject=subject, sender=subject[:40])
        mail = self.send()["b@example.net"]
        html = self.text(mail, 1)
        for wrong in ("<script", "<img", "<svg", "\u202e", "\u0007"):
            self.assertNotIn(wrong, html)
        self.assertIn("<script>window.hurt=1</script>", self.text(mail))
        self.assertNotIn("\u202e", self.text(mail))

    def test_long_ones(self) -> None:
        """So many are named, the rest is counted; no line is too long for a server."""
        for _ in range(103):
            self.hold("b", subject="x" * 140)
        mail = self.send()["b@example.net"]
        self.assertIn("3 more are held", self.text(mail))
        self.assertLess(max(map(len, mail.as_bytes().splitlines())), 200)

    def test_odd_addresses(self) -> None:
        """Of strangers' making: they stand in the mail as they were written, and everybody gets theirs."""
        odd = ['"=?utf-8?q?=0abcc:_x?="@example.net', "=?utf-8?q?a?=@example.net", "j\xf6rg@example.net"]
        odd += ['"a b,c"@example.net', "Case@example.net", "b@example.net"]
        self.hold(recipients=tuple(map(Addressee, odd)))
        mails = self.send()
        self.assertEqual(set(mails), set(odd))
        ids = set()
        for address, mail in mails.items():
            self.assertEqual(mail.as_bytes().partition(b"\n")[0], b"To: <" + address.encode() + b">")
            self.assertIsNone(mail["Bcc"])
            ids.add(mail["Message-ID"])
            link = self.links.read(self.place(mail).removeprefix("/held/"), self.now())
            self.assertEqual(link and link.address, address.lower())
        self.assertEqual(len(ids), len(odd))

    def test_a_failure_in_the_middle(self) -> None:
        """The disk is full for some of them: they get theirs later, and the others not once more with each try."""
        self.hold("b", "c", "d")
        begin, left = self.vault.begin, [2]

        def begun() -> Any:
            left[0] -= 1
            return begin() if left[0] != 0 else fail(StoreFailed("no room"))

        self.vault.begin = begun  # type: ignore[method-assign]
        self.failureResultOf(ensureDeferred(self.digests.send(0.0, self.now() + 1, self.now())), StoreFailed)
        self.assertEqual(len(self.successResultOf(self.vault.letters(100))), 1)
        self.send()
        letters = self.successResultOf(self.vault.letters(100))
        whom = sorted(one.recipients[0].address for one in letters)
        self.assertEqual(whom, ["b@example.net", "c@example.net", "d@example.net"])

    def test_when(self) -> None:
        """At each of the times once; what was before the first start is not announced, and what was held in hours that
        were missed is announced with the next."""
        clock, control = self.desk.clock, self.desk.control
        self.hold("b")
        self.digests.open()
        self.addCleanup(self.digests.close)
        clock.advance(31)
        self.assertEqual(self.successResultOf(self.vault.letters(9)), [])
        local = time.localtime(self.now())
        night = time.mktime((local.tm_year, local.tm_mon, local.tm_mday + 1, 3, 0, 0, 0, 0, -1))
        clock.advance(night - self.now())
        sent = len(self.successResultOf(self.vault.letters(9)))
        self.hold("c")
        times = []
        for _ in range(24 * 12):
            before = len(self.successResultOf(self.vault.letters(99)))
            clock.pump([31] * 10)
            if len(self.successResultOf(self.vault.letters(99))) > before:
                times.append(time.strftime("%H:%M", time.localtime(self.now()))[:3])
        self.assertEqual((sent, times), (0, ["08:"]))
        self.hold("d")
        clock.advance(20 * 3600)
        self.assertEqual(len(self.successResultOf(self.vault.letters(99))), 1)
        clock.advance(9 * 3600)
        found = self.successResultOf(self.vault.letters(99))
        self.assertEqual([one.recipients[0].address for one in found], ["d@example.net", "c@example.net"])
        self.assertTrue(control.settings.digests.at)

    def morning(self) -> float:
        """Open the digests, and go to eight o'clock, when they are due."""
        self.digests.open()
        self.addCleanup(self.digests.close)
        self.desk.clock.advance(31)
        local = time.localtime(self.now())
        eight = time.mktime((local.tm_year, local.tm_mon, local.tm_mday + 1, 8, 0, 0, 0, 0, -1))
        self.desk.clock.advance(eight - self.now() - 600)
        return eight

    def test_what_comes_meanwhile(self) -> None:
        """While digests are written, and before a failure of theirs is over: it is in the next, and in no other."""
        eight = self.morning()
        self.hold("b", "c", subject="early")
        begin, tries = self.vault.begin, [0]

        def begun() -> Any:
            tries[0] += 1
            if tries[0] == 2:
                return fail(StoreFailed("no room"))
            return begin()

        self.vault.begin = begun  # type: ignore[method-assign]
        self.desk.clock.advance(eight - self.now() + 5)
        self.assertEqual(tries, [2])
        for _ in range(4):
            self.vault.begin = begin  # type: ignore[method-assign]
            self.hold("b", "c", subject="late")
            self.vault.begin = begun  # type: ignore[method-assign]
            self.desk.clock.advance(31)
        self.desk.clock.advance(eight + 8.5 * 3600 + 31 - self.now())
        counts: dict[str, int] = {}
        for letter in self.successResultOf(self.vault.letters(99)):
            file = self.successResultOf(self.vault.open(letter.body))
            text = self.text(message_from_bytes(file.read()))
            file.close()
            for word in ("early", "late"):
                place = f"{word} {letter.recipients[0].address[0]}"
                counts[place] = counts.get(place, 0) + text.count(word)
        self.assertEqual(counts, {"early b": 1, "early c": 1, "late b": 4, "late c": 4})

    def test_a_clock_that_is_stepped_back(self) -> None:
        """From a year ahead: digests do not wait until that comes."""
        eight = self.morning()
        self.digests._table.value = eight + 365 * 86400.0
        self.desk.clock.advance(31)
        self.hold("b")
        self.desk.clock.advance(eight - self.now() + 31)
        self.assertEqual(len(self.successResultOf(self.vault.letters(9))), 1)

    def test_the_time_that_has_come(self) -> None:
        """Of today, or of yesterday."""
        day = (2026, 3, 10)
        at = lambda hour, minute, back=0: time.mktime((*day[:2], day[2] - back, hour, minute, 0, 0, 0, -1))  # noqa: E731
        self.assertEqual(due_at((480, 990), at(8, 0)), at(8, 0))
        self.assertEqual(due_at((480, 990), at(16, 29)), at(8, 0))
        self.assertEqual(due_at((480, 990), at(23, 0)), at(16, 30))
        self.assertEqual(due_at((480, 990), at(7, 59)), at(16, 30, 1))


class LanguageTests(DigestCase):
    """In the words of those who read it."""

    def test_all_texts_in_all_languages(self) -> None:
        """With the same places for what is put in."""
        english = LANGUAGES["en"]
        for language, words in LANGUAGES.items():
            self.assertEqual(set(words), set(english), language)
            for name, text in words.items():
                places = {name for _, name, _, _ in Formatter().parse(text) if name}
                wanted = {name for _, name, _, _ in Formatter().parse(english[name]) if name}
                self.assertEqual(places, wanted, f"{language} {name}")
        self.assertEqual(words_of("tlh"), english)

    def test_german(self) -> None:
        """Mail and pages; what strangers wrote stays what it is, though it looks like a place for something."""
        settings = self.desk.control.settings
        digests = attrs.evolve(settings.digests, language="de")
        revision: Any = self.desk.control.revision
        revision.settings = attrs.evolve(settings, digests=digests)
        self.hold("b", subject="{address} <b>")
        mail = self.send()["b@example.net"]
        name, subject = (str(make_header(decode_header(mail[field]))) for field in ("From", "Subject"))
        self.assertTrue(name.startswith("Zurückgehaltene E-Mails <"), name)
        self.assertEqual(subject, "1 Nachricht an Sie wird zurückgehalten")
        self.assertEqual(mail["Content-Language"], "de")
        self.assertIn("Mir zustellen: https://", self.text(mail))
        self.assertIn("{address} <b>", self.text(mail))
        self.assertIn("{address} &lt;b&gt;", self.text(mail, 1))
        page = self.desk.ask("GET", self.place(mail), host="admin.example.com")
        self.assertIn('<html lang="de"', page.text)
        self.assertIn("Diese Nachricht zustellen?", page.text)
        self.assertIn("<button>Mir zustellen</button>", page.text)


class LinkTests(DigestCase):
    """What a link does."""

    def press(self, place: str, button: bool = True) -> Any:
        """Open a link, and press its button."""
        page = self.desk.ask("GET", place, host="admin.example.com")
        if not button:
            return page
        csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert csrf is not None, page.text
        return self.post(place, csrf[1], page.header("set-cookie"))

    def post(self, place: str, csrf: str, cookie: str) -> Any:
        """Its form, sent."""
        body = f"csrf={csrf}".encode()
        headers = {
            "Cookie": cookie.partition(";")[0],
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": "https://admin.example.com",
            "X-Forwarded-Proto": "https",
        }
        return self.desk.ask("POST", place, body=body, headers=headers, host="admin.example.com")

    def state(self, id: str) -> str:
        """Of a held message."""
        return str(self.get(f"/quarantine/{id}")["state"])

    def test_S_18_a_look_does_nothing(self) -> None:
        """However often: mail programs and scanners open links."""
        id = self.hold("b", "c")
        place = self.place(self.send()["b@example.net"])
        for _ in range(3):
            page = self.press(place, button=False)
            self.assertEqual(page.status, 200)
            self.assertIn("Deliver this message?", page.text)
        self.assertEqual(self.state(id), "held")

    def test_S_18_released(self) -> None:
        """To that recipient alone, once; it is in the audit."""
        id = self.hold("b", "c")
        place = self.place(self.send()["b@example.net"])
        self.assertIn("on its way to you", self.press(place).text)
        states = {one["address"]: one["state"] for one in self.get(f"/quarantine/{id}")["recipients"]}
        self.assertEqual(states, {"b@example.net": "sending", "c@example.net": "held"})
        self.assertIn("on its way to you", self.press(place, button=False).text)
        releases = [one for one in self.successResultOf(self.vault.letters(9)) if one.kind == "release"]
        self.assertEqual([one.address for one in releases[0].recipients], ["b@example.net"])
        self.assertEqual(len(releases), 1)
        last = self.desk.users.rows[-1]
        self.assertEqual(
            (last["actor_kind"], last["actor"], last["action"]), ("link", "b@example.net", "quarantine.release")
        )

    def test_asked_for(self) -> None:
        """It stays held until somebody has looked."""
        id = self.hold("b", held_as="policy")
        place = self.place(self.send()["b@example.net"])
        self.assertIn("Somebody will look", self.press(place).text)
        self.assertEqual([one["id"] for one in self.get("/quarantine?asked=yes")["items"]], [id])
        self.assertEqual(self.state(id), "held")

    def test_S_18_asked_for_too_late(self) -> None:
        """Of what is on its way already nobody is asked."""
        id = self.hold("b", held_as="policy")
        place = self.place(self.send()["b@example.net"])
        self.successResultOf(self.vault.release(id, None, False, self.now() + 100))
        page = self.press("/held/" + place.removeprefix("/held/"), button=False)
        self.assertIn("on its way to you", page.text)
        other = self.press(self.place_of("release", self.hold("b")), button=False)
        csrf = re.search(r'name="csrf" value="([^"]+)"', other.text)
        assert csrf is not None
        self.assertIn("on its way to you", self.post(place, csrf[1], other.header("set-cookie")).text)
        self.assertEqual(self.get("/quarantine?asked=yes")["items"], [])

    def place_of(self, action: str, id: str) -> str:
        """A link."""
        return f"/held/{self.links.token(Link(action, id, 'b@example.net', int(self.now()) + 60))}"

    def test_S_18_nobody_makes_one(self) -> None:
        """Nor changes one; and its time ends."""
        id = self.hold("b")
        link = Link("release", id, "b@example.net", int(self.now()) + 60)
        token = self.links.token(link)
        self.assertEqual(self.links.read(token, self.now()), link)
        self.assertIsNone(self.links.read(token, self.now() + 61))
        self.assertIsNone(Links(b"another").read(token, self.now()))
        for place in range(len(token)):
            other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            found = self.links.read(other, self.now())
            self.assertIn(found, (None, link), other)
        for wrong in ("", "x", "====", token[:20], "\u00e9", "A" * 5000):
            self.assertIsNone(self.links.read(wrong, self.now()))
        self.assertEqual(self.desk.ask("GET", f"/held/{token[:-4]}AAAA", host="admin.example.com").status, 404)

    def test_S_18_without_its_form(self) -> None:
        """A POST that did not come from the page is refused."""
        id = self.hold("b")
        place = self.place(self.send()["b@example.net"])
        answer = self.desk.ask("POST", place, body=b"csrf=x", host="admin.example.com",
                               headers={"Content-Type": "application/x-www-form-urlencoded"})  # fmt: skip
        self.assertEqual(answer.status, 403)
        self.assertEqual(self.state(id), "held")

    def test_deleted_meanwhile(self) -> None:
        """There is nothing to do."""
        id = self.hold("b")
        place = self.place(self.send()["b@example.net"])
        self.successResultOf(self.vault.withdraw([id]))
        self.assertEqual(self.press(place, button=False).status, 404)
