"""Guessed passwords: the office is not banned, the spray is, and nobody can lock an owner out (B-200)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.traffic.bans import FIRST_S, GROWTH, LONGEST_S, MOST, REMEMBERED_S, STRIKE_HALF_S, STRIKES, Bans
from smtpgate.traffic.guesses import (
    ACCOUNT_GUESSES,
    BLIND_TRIES,
    GOOD_S,
    NETWORK_GUESSES,
    PER_ACCOUNT,
    SLOW_S,
    SPRAYED,
    VALUES,
    WINDOW_S,
    Guesses,
)

OFFICE, ELSEWHERE = "192.0.2.0/24", "198.51.100.0/24"


class GuessesTests(SynchronousTestCase):
    """`Guesses`."""

    def setUp(self) -> None:
        """Nothing has happened."""
        self.guesses = Guesses(bytes(32))
        self.now = 1000.0

    def fail(self, account: str, secret: str | None, network: str = OFFICE) -> str:  # type: ignore[override]
        """A failed login; why the network is to be banned, or ""."""
        self.now += 1.0
        return self.guesses.failed(account, secret, network, self.now)[0].bans

    def heard(self, account: str, network: str = OFFICE) -> bool:
        """Whether that account is heard from there."""
        return self.guesses.ask(account, network, self.now).is_heard

    def test_a_phone_with_an_old_password(self) -> None:
        """Ten thousand times the same: one guess. Its replies wait a second."""
        for number in range(10_000):
            self.assertEqual(self.fail("alice", "last year's"), "")
            if number:
                self.assertEqual(self.guesses.failed("alice", "last year's", OFFICE, self.now)[1], 1.0)
        self.assertTrue(self.heard("bob"))
        self.assertTrue(self.heard("alice"))
        self.assertEqual(self.guesses.ask("alice", ELSEWHERE, self.now).wait_s, 0.0)

    def test_an_office_on_the_day_when_passwords_changed(self) -> None:
        """Twenty users at home there, each wrong once or twice: nobody is banned, all are heard."""
        for number in range(20):
            self.guesses.succeeded(f"user{number}", OFFICE, self.now)
        for number in range(20):
            for secret in ("old", "older"):
                self.assertEqual(self.fail(f"user{number}", f"{secret}{number}"), "")
        for number in range(20):
            self.assertTrue(self.heard(f"user{number}"))
        self.assertTrue(self.heard("somebody new"))

    def test_a_spray_is_banned(self) -> None:
        """One network, many accounts: not heard after ten different guesses, banned after twenty."""
        banned = ""
        for number in range(1, 2 * NETWORK_GUESSES + 1):
            banned = self.fail(f"user{number}", f"password{number}", ELSEWHERE)
            self.assertEqual(self.heard("x", ELSEWHERE), number < NETWORK_GUESSES)
            self.assertEqual(bool(banned), number == 2 * NETWORK_GUESSES)
        self.assertEqual(banned, "20 different passwords for 20 accounts within an hour")

    def test_a_phone_whose_password_nobody_sees(self) -> None:
        """SCRAM: the same wrong one all day long, or ten thousand different ones. Never banned, for it may be the
        former; not heard after so many, but for those who are at home there."""
        self.guesses.succeeded("bob", OFFICE, self.now)
        # The first of so many tries is the guess that they are.
        for _ in range(BLIND_TRIES * (NETWORK_GUESSES + PER_ACCOUNT - 1) + 1):
            self.assertTrue(self.heard("alice"))
            self.assertEqual(self.fail("alice", None), "")
        self.assertFalse(self.heard("alice"))
        self.assertTrue(self.heard("bob"))
        for _ in range(10_000):
            self.assertEqual(self.fail("alice", None), "")

    def test_passwords_that_nobody_sees_are_not_the_same(self) -> None:
        """Ten users with a wrong one each are no spray of one password."""
        for number in range(2 * SPRAYED):
            self.assertEqual(self.fail(f"user{number}", None, f"10.0.{number}.0/24"), "")

    def test_a_spray_from_many_networks(self) -> None:
        """The same password on ten accounts, each from another network: those that go on are banned."""
        for number in range(SPRAYED - 1):
            self.assertEqual(self.fail(f"user{number}", "Summer2026!", f"10.0.{number}.0/24"), "")
        self.assertIn("tried on 10 accounts", self.fail("user99", "Summer2026!", "10.0.99.0/24"))
        # One who is at home somewhere may have that password for a wrong one.
        self.guesses.succeeded("carol", OFFICE, self.now)
        self.assertEqual(self.fail("carol", "Summer2026!"), "")

    def test_the_owner_of_an_attacked_account_logs_in(self) -> None:
        """Thousands guess at it from everywhere: at home it is heard at once, elsewhere after a wait, never refused."""
        self.guesses.succeeded("alice", OFFICE, self.now)
        for number in range(3000):
            self.fail("alice", f"guess{number}", f"10.{number // 250}.{number % 250}.0/24")
        at_home = self.guesses.ask("alice", OFFICE, self.now)
        self.assertEqual((at_home.is_heard, at_home.wait_s), (True, 0.0))
        on_holiday = self.guesses.ask("Alice", ELSEWHERE, self.now)
        self.assertEqual((on_holiday.is_heard, on_holiday.wait_s), (True, SLOW_S))
        self.assertEqual(self.guesses.ask("bob", ELSEWHERE, self.now).wait_s, 0.0)

    def test_a_guesser_inside_the_office(self) -> None:
        """Those who are at home there are heard; the others of that network are not, until it is calm again."""
        self.guesses.succeeded("alice", OFFICE, self.now)
        for number in range(NETWORK_GUESSES + PER_ACCOUNT):
            self.fail("root", f"guess{number}")
        self.assertFalse(self.heard("root"))
        self.assertTrue(self.heard("alice"))
        # Before anybody said a name it is not known who it is.
        self.assertTrue(self.heard(""))
        self.assertFalse(self.guesses.ask("", ELSEWHERE, self.now).wait_s)
        self.now += WINDOW_S + 1
        self.assertTrue(self.heard("root"))

    def test_a_stranger_that_guesses_is_not_even_asked_for_a_name(self) -> None:
        """Nobody is at home there."""
        for number in range(NETWORK_GUESSES):
            self.fail("root", f"guess{number}", ELSEWHERE)
        self.assertFalse(self.heard("", ELSEWHERE))

    def test_few_guesses_for_one_account_slow_nobody_down(self) -> None:
        """An owner who has forgotten."""
        for number in range(ACCOUNT_GUESSES - 1):
            self.fail("alice", f"maybe{number}", f"10.0.{number}.0/24")
        self.assertEqual(self.guesses.ask("alice", ELSEWHERE, self.now).wait_s, 0.0)

    def test_a_home_is_forgotten(self) -> None:
        """After a month without a login."""
        self.guesses.succeeded("alice", OFFICE, self.now)
        self.assertTrue(self.guesses.is_at_home("ALICE", OFFICE, self.now + GOOD_S - 1))
        self.assertFalse(self.guesses.is_at_home("alice", OFFICE, self.now + GOOD_S))
        self.guesses.succeeded("bob", ELSEWHERE, self.now + GOOD_S + 1)
        self.assertEqual(self.guesses.allowed(OFFICE), NETWORK_GUESSES)
        self.assertEqual(self.guesses.allowed(ELSEWHERE), NETWORK_GUESSES + PER_ACCOUNT)

    def test_a_large_office_has_a_limit_too(self) -> None:
        """However many are at home there, a stranger that guesses is not heard in the end, and banned later."""
        for many in (10, 24, 50, 500):
            self.guesses = Guesses(bytes(32))
            for number in range(many):
                self.guesses.succeeded(f"user{number}", OFFICE, self.now)
            unheard = banned = 0
            for number in range(1, 400):
                is_banned = bool(self.fail(f"root{number}", f"guess{number}"))
                unheard = unheard or number * (not self.heard("nobody"))
                banned = banned or number * is_banned
            self.assertEqual((unheard, banned), (self.guesses.allowed(OFFICE), 2 * self.guesses.allowed(OFFICE)), many)
            self.assertTrue(self.heard("user1"))

    def test_memory_is_bounded(self) -> None:
        """Millions of guesses take no more room than some."""
        for number in range(5 * VALUES):
            self.fail("alice", f"guess{number}", ELSEWHERE)
        self.assertLessEqual(self.guesses._of_account.count("alice", self.now), VALUES)


class BansTests(SynchronousTestCase):
    """`Bans`."""

    def test_longer_each_time(self) -> None:
        """Ten minutes, thirty, ninety... a day at most; forgotten after a good week."""
        bans, now = Bans(), 0.0
        lengths = []
        for _ in range(7):
            ban = bans.ban("192.0.2.7", "spray", "x", now)
            lengths.append(ban.until - now)
            now = ban.until + 60.0
        expected = [min(LONGEST_S, FIRST_S * GROWTH**number) for number in range(7)]
        self.assertEqual(lengths, expected)
        now += REMEMBERED_S
        self.assertEqual(bans.ban("192.0.2.7", "spray", "x", now).times, 1)

    def test_it_ends_by_itself(self) -> None:
        """To the second."""
        bans = Bans()
        bans.ban("192.0.2.0/24", "spray", "x", 100.0)
        self.assertIsNotNone(bans.find(("192.0.2.7", "192.0.2.0/24"), 100.0 + FIRST_S - 0.1))
        self.assertIsNone(bans.find(("192.0.2.7", "192.0.2.0/24"), 100.0 + FIRST_S))
        self.assertIsNone(bans.find(("198.51.100.7",), 100.0))
        self.assertEqual((bans.newest(9, 100.0 + FIRST_S), bans.holding(100.0 + FIRST_S)), ([], 0))

    def test_who_is_banned_is_not_banned_shorter_nor_counted_twice(self) -> None:
        """More evidence while it is out."""
        bans = Bans()
        bans.ban("a", "spray", "x", 0.0, 7200.0)
        again = bans.ban("a", "errors", "y", 60.0)
        self.assertEqual((again.until, again.times, again.reason), (7200.0, 1, "errors"))

    def test_what_somebody_said_holds_as_it_was_said(self) -> None:
        """The gateway neither shortens it nor writes over its reason; the next word replaces it, shorter too; and it is
        no step of the ladder."""
        bans = Bans()
        bans.ban("a", "ticket 17", "seen", 0.0, 7200.0, "admin")
        again = bans.ban("a", "spray", "y", 60.0)
        self.assertEqual((again.until, again.reason, again.by, again.times), (7200.0, "ticket 17", "admin", 0))
        late = bans.ban("a", "spray", "y", 7000.0)
        self.assertEqual((late.until, late.reason), (7200.0, "ticket 17"))
        bans.ban("a", "ticket 18", "seen", 7001.0, 60.0, "admin")
        self.assertIsNone(bans.get("a", 7061.0))
        first = bans.ban("a", "spray", "y", 7100.0)
        self.assertEqual((first.until, first.times), (7100.0 + FIRST_S, 1))

    def test_what_is_over_goes_first(self) -> None:
        """Where there are too many: bans that are over do not push out one that holds, least of all one by hand."""
        bans = Bans()
        bans.ban("hand", "ticket", "x", 0.0, 1e9, "admin")
        bans.ban("long", "spray", "x", 0.0, 1e9)
        for number in range(MOST):
            bans.ban(str(number), "spray", "x", 1.0, 1.0)
        self.assertEqual(len(bans), MOST)
        self.assertEqual([bans.get(key, 5.0) is not None for key in ("hand", "long")], [True, True])
        self.assertEqual([ban.key for ban in bans.newest(5, 5.0)], ["long", "hand"])
        for number in range(MOST):
            bans.ban(f"n{number}", "spray", "x", 6.0, 1e8)
        self.assertIsNotNone(bans.get("hand", 7.0))
        self.assertEqual((len(bans), bans.holding(7.0)), (MOST, MOST))

    def test_it_grows_for_ever_and_no_further(self) -> None:
        """One who is back each time is banned each time."""
        bans, now = Bans(), 0.0
        bans.longest_s = FIRST_S
        for number in range(1000):
            ban = bans.ban("192.0.2.7", "spray", "x", now)
            self.assertEqual((ban.times, ban.until - now), (number + 1, FIRST_S))
            now = ban.until

    def test_lifted_is_forgotten(self) -> None:
        """The next one is a first one."""
        bans = Bans()
        bans.ban("a", "spray", "x", 0.0)
        self.assertTrue(bans.lift("a"))
        self.assertFalse(bans.lift("a"))
        self.assertIsNone(bans.find(("a",), 1.0))
        self.assertEqual(bans.ban("a", "spray", "x", 2.0).times, 1)

    def test_small_things_together(self) -> None:
        """Enough of them within some minutes; slowly they fade."""
        bans = Bans()
        self.assertEqual([bans.strike("a", 4.0, 0.0) for _ in range(3)], [False, False, True])
        for number in range(50):
            self.assertFalse(bans.strike("b", STRIKES * 0.45, number * STRIKE_HALF_S), number)

    def test_good_mail_takes_strikes_away(self) -> None:
        """So that who sends both is not banned by adding up."""
        bans = Bans()
        for number in range(100):
            self.assertFalse(bans.strike("a", 1.0, float(number)))
            bans.forgive("a", 1.0)
        bans.forgive("nobody", 1.0)
        self.assertFalse(bans.strike("a", STRIKES - 1.0, 101.0))
        bans.forgive("a", 0.5)
        self.assertFalse(bans.strike("a", 1.0, 101.0))
        self.assertTrue(bans.strike("a", 1.0, 101.0))

    def test_a_restart_keeps_them(self) -> None:
        """With all that is known of each."""
        bans = Bans()
        ban = bans.ban("192.0.2.0/24", "spray", "20 passwords", 100.0)
        rows = bans.changed(0.0, 10)
        after = Bans()
        after.restore(rows, 0.0)
        self.assertEqual(after.find(("192.0.2.0/24",), 101.0), ban)
        bans.lift("192.0.2.0/24")
        self.assertEqual(bans.changed(0.0, 10), [("192.0.2.0/24", None, 0.0)])
