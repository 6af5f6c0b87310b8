"""Rate and concurrency limits: exact for every key and unit, settled by outcome, and never a trap for the polite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.limit_rules import Held, come_back
from tests.limits_kit import FILE, LimitsKit


def rate(count: str, by: str, more: str = "", rate: str = "10/1h") -> str:
    names = ", ".join(f'"{name}"' for name in by.split())
    return f"""
[[rate_limits]]
name = "{count.replace("_", "-")}-{by.replace(" ", "-").replace("_", "-")}"
count = "{count}"
by = [{names}]
rate = "{rate}"
pace = "0s"
{more}
"""


#: Two values of each key: what belongs to one must not count for the other.
SESSION_KEYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "client": ({"client_ip": "192.0.2.7"}, {"client_ip": "192.0.2.8"}),
    "network": ({"client_ip": "192.0.2.7"}, {"client_ip": "192.0.3.7"}),
    "listener": ({"listener": "mx"}, {"listener": "other"}),
    "helo": ({"helo": "one.example"}, {"helo": "two.example"}),
    "user": ({"user": "alice"}, {"user": "bob"}),
}
MAIL_KEYS = {"sender": ("a@one.example", "b@one.example"), "sender_domain": ("a@one.example", "a@two.example")}
RCPT_KEYS = {
    "recipient": (("a@example.net", "mail"), ("b@example.net", "mail")),
    "recipient_domain": (("a@example.net", "mail"), ("a@sub.example.net", "mail")),
    "backend": (("a@example.net", "mail"), ("a@example.net", "other")),
}
ALL_KEYS = (*SESSION_KEYS, *MAIL_KEYS, *RCPT_KEYS)


def is_in(held: Held | None) -> bool:
    return held is None


class BoundaryTests(SynchronousTestCase):
    """The tenth passes, the eleventh does not, and one more when the time is there."""

    def _one(self, kit: LimitsKit, count: str, by: str, which: int) -> bool:
        """One unit, by the first or the second value of the key; whether it came in."""
        values: dict[str, Any] = {"user": "alice"}
        if by in SESSION_KEYS:
            values |= SESSION_KEYS[by][which]
        session = kit.session(**values)
        if count == "connections":
            return is_in(kit.limits.connect(session))
        if count == "auth_failures":
            let_in = is_in(kit.limits.auth(session))
            if let_in:
                kit.limits.login_failed(session)
            return let_in
        sender = MAIL_KEYS[by][which] if by in MAIL_KEYS else "alice@example.org"
        transaction = kit.transaction(session, sender)
        if not is_in(kit.limits.mail(transaction)):
            kit.end(transaction, "deferred")
            return False
        address, backend = RCPT_KEYS[by][which] if by in RCPT_KEYS else ("bob@example.net", "mail")
        recipient, held = kit.recipient(transaction, address, backend)
        if count == "refused_recipients" and is_in(held):
            recipient.state = "refused"
            kit.limits.not_accepted(transaction, recipient)
            kit.limits.refused(transaction, recipient)
        kit.end(transaction, "delivered" if is_in(held) else "deferred", octets=1)
        return is_in(held)

    def _check(self, count: str, by: str) -> None:
        kit = LimitsKit(rate(count, by))
        for _ in range(10):
            self.assertTrue(self._one(kit, count, by, 0), (count, by))
        self.assertFalse(self._one(kit, count, by, 0), (count, by))
        # Another value has a count of its own.
        self.assertTrue(self._one(kit, count, by, 1), (count, by))
        kit.clock.advance(359.99)
        self.assertFalse(self._one(kit, count, by, 0), (count, by))
        kit.clock.advance(0.01)
        self.assertTrue(self._one(kit, count, by, 0), (count, by))
        self.assertFalse(self._one(kit, count, by, 0), (count, by))
        kit.clock.advance(3600)
        self.assertEqual([self._one(kit, count, by, 0) for _ in range(11)], [True] * 10 + [False], (count, by))

    def test_messages(self) -> None:
        """By every key."""
        for by in ALL_KEYS:
            self._check("messages", by)

    def test_recipients(self) -> None:
        """By every key."""
        for by in ALL_KEYS:
            self._check("recipients", by)

    def test_octets(self) -> None:
        """By every key; messages of one octet here."""
        for by in ALL_KEYS:
            self._check("octets", by)

    def test_connections(self) -> None:
        """By what a connection shows."""
        for by in ("client", "network", "listener"):
            self._check("connections", by)

    def test_refused_recipients(self) -> None:
        """By what MAIL shows."""
        for by in (*SESSION_KEYS, *MAIL_KEYS):
            self._check("refused_recipients", by)

    def test_failed_logins(self) -> None:
        """By who is there."""
        for by in ("client", "network", "listener", "helo"):
            self._check("auth_failures", by)

    def test_combinations(self) -> None:
        """Two keys are counted for each pair."""
        kit = LimitsKit(rate("messages", "user recipient_domain"))

        def one(user: str, domain: str) -> bool:
            transaction = kit.transaction(kit.session(user=user))
            _, held = kit.recipient(transaction, f"x@{domain}")
            kit.end(transaction)
            return is_in(held)

        self.assertEqual([one("alice", "a.example") for _ in range(11)], [True] * 10 + [False])
        self.assertTrue(one("alice", "b.example"))
        self.assertTrue(one("bob", "a.example"))

    def test_networks_as_large_as_told(self) -> None:
        """IPv4 and IPv6 have their own, and a mapped address is an IPv4 one."""
        kit = LimitsKit(rate("connections", "network", "prefix4 = 16\nprefix6 = 48", "1/1h"))

        def one(address: str) -> bool:
            return is_in(kit.limits.connect(kit.session(client_ip=address)))

        self.assertTrue(one("192.0.2.7"))
        self.assertFalse(one("192.0.99.1"))
        self.assertFalse(one("::ffff:192.0.1.1"))
        self.assertTrue(one("192.1.2.7"))
        self.assertTrue(one("2001:db8:1::1"))
        self.assertFalse(one("2001:db8:1:ffff::1"))
        self.assertTrue(one("2001:db8:2::1"))


class SettlingTests(SynchronousTestCase):
    """What counts is known at the end."""

    def _after(self, count: str, outcome: str, octets: int = 1000) -> float:
        """How much of a limit is in use after one message with three recipients, one of them refused."""
        kit = LimitsKit(rate(count, "client", rate="1000000/1h"))
        transaction = kit.transaction()
        kit.limits.mail(transaction)
        for name in ("a", "b", "c"):
            kit.recipient(transaction, f"{name}@example.net")
        refused = transaction.recipients[2]
        refused.state = "refused"
        kit.limits.not_accepted(transaction, refused)
        kit.limits.refused(transaction, refused)
        kit.end(transaction, outcome, octets)
        self.assertEqual(transaction.charges, [])
        rule = kit.limits.rules[0]
        return float(round(rule.rate.level(rule.stamps.get("192.0.2.7"), kit.limiter.now()), 3))

    def test_by_outcome(self) -> None:
        """Delivered and refused count; deferred never; given up by the client counts as a message, and no more."""
        table = {
            "messages": {"delivered": 1, "refused": 1, "unacked": 1, "unknown": 1, "deferred": 0, "aborted": 1},
            "recipients": {"delivered": 2, "refused": 2, "unacked": 2, "unknown": 2, "deferred": 0, "aborted": 0},
            "octets": {
                "delivered": 1000,
                "refused": 1000,
                "unacked": 1000,
                "unknown": 1000,
                "deferred": 0,
                "aborted": 0,
            },
            "refused_recipients": dict.fromkeys(("delivered", "refused", "deferred", "aborted"), 1),
        }
        for count, outcomes in table.items():
            for outcome, units in outcomes.items():
                self.assertEqual(self._after(count, outcome), units, (count, outcome))

    def test_a_declared_size_is_held_back_until_the_real_one_is_known(self) -> None:
        """Two messages at once cannot both have the last of it."""
        kit = LimitsKit(rate("octets", "client", rate="10000/1h"))
        first, second = kit.transaction(SIZE="8000"), kit.transaction(SIZE="8000")
        self.assertTrue(is_in(kit.limits.mail(first)))
        self.assertFalse(is_in(kit.limits.mail(second)))
        kit.end(first, octets=1000)
        self.assertTrue(is_in(kit.limits.mail(second)))

    def test_a_message_larger_than_the_limit_comes_in_alone(self) -> None:
        """It would never come in otherwise; what it took must be paid off before the next."""
        kit = LimitsKit(rate("octets", "client", rate="3600/1h"))
        large = kit.transaction(SIZE="7200")
        self.assertTrue(is_in(kit.limits.mail(large)))
        kit.end(large, octets=7200)
        kit.clock.advance(3601)
        self.assertFalse(is_in(kit.limits.mail(kit.transaction(SIZE="3600"))))
        kit.clock.advance(3600)
        self.assertTrue(is_in(kit.limits.mail(kit.transaction(SIZE="3600"))))

    def test_all_or_nothing(self) -> None:
        """Where one limit has no room nothing is taken of the others."""
        kit = LimitsKit(rate("messages", "client") + rate("messages", "sender", rate="1/1h"))
        for expected in (True, False, False):
            transaction = kit.transaction()
            self.assertEqual(is_in(kit.limits.mail(transaction)), expected)
            kit.end(transaction, "delivered" if expected else "deferred")
        rule = kit.limits.rules[0]
        self.assertAlmostEqual(rule.rate.level(rule.stamps.get("192.0.2.7"), kit.limiter.now()), 1.0, places=3)

    def test_a_message_counts_once_for_a_key(self) -> None:
        """Five recipients of one domain are one message for it."""
        kit = LimitsKit(rate("messages", "recipient_domain", rate="2/1h"))
        for expected in (True, True, False):
            transaction = kit.transaction()
            for number in range(5):
                _, held = kit.recipient(transaction, f"u{number}@example.net")
                self.assertEqual(is_in(held), expected)
            kit.end(transaction, "delivered" if expected else "deferred")

    def test_a_refused_recipient_frees_nobody_else(self) -> None:
        """A message is counted while any recipient of that key is accepted, whichever of them came first."""
        kit = LimitsKit(rate("messages", "recipient_domain", rate="2/1h"))

        def one(states: str) -> bool:
            transaction = kit.transaction()
            helds = []
            for number, state in enumerate(states):
                recipient, held = kit.recipient(transaction, f"u{number}@example.net")
                helds.append(is_in(held))
                if state == "x":
                    recipient.state = "refused"
                    kit.limits.not_accepted(transaction, recipient)
            kit.end(transaction, "delivered" if all(helds) and "o" in states else "deferred")
            return all(helds)

        self.assertTrue(one("xx"))
        self.assertTrue(one("xo"))
        self.assertTrue(one("xxo"))
        self.assertFalse(one("xo"))

    def test_the_null_sender_is_counted_by_who_uses_it(self) -> None:
        """Bounces of one server are no other's (DESIGN: limits by client and HELO)."""
        kit = LimitsKit(rate("messages", "sender_domain", rate="1/1h"))

        def bounce(client: str) -> bool:
            transaction = kit.transaction(kit.session(client_ip=client), "")
            held = kit.limits.mail(transaction)
            kit.end(transaction, "delivered" if is_in(held) else "deferred")
            return is_in(held)

        self.assertEqual([bounce("192.0.2.1"), bounce("192.0.2.2"), bounce("192.0.2.1")], [True, True, False])

    def test_nobody_without_a_login_is_counted_by_user(self) -> None:
        """There is no such key."""
        kit = LimitsKit(rate("messages", "user", rate="1/1h"))
        for _ in range(5):
            self.assertTrue(is_in(kit.limits.mail(kit.transaction())))


class ReplyTests(SynchronousTestCase):
    """What the client hears, and what the administrator sees."""

    def test_the_reply_says_when_and_the_finding_which(self) -> None:
        """450 4.7.1 with a time; the name of the limit, its key and its state in the finding."""
        kit = LimitsKit(rate("messages", "client", rate="2/1h"))
        for _ in range(2):
            transaction = kit.transaction()
            kit.limits.mail(transaction)
            kit.end(transaction)
        held = kit.limits.mail(kit.transaction())
        assert held is not None
        reply, finding = held.reply(), held.findings[0]
        self.assertEqual((reply.code, reply.enhanced), (450, "4.7.1"))
        self.assertRegex(reply.text, r"^Too many messages; come back in 3[0-9] minutes$")
        self.assertEqual((finding.reason, finding.filter, finding.action), ("messages-client", "rate_limits", "defer"))
        self.assertIn("messages by client of 192.0.2.7: 2 of 2 in use at 2/1h; free in 1800.0 s", finding.detail)
        self.assertEqual(finding.reply(), reply)

    @given(st.floats(0.001, 1e6), st.text(max_size=20))
    def test_the_time_is_never_too_early(self, seconds: float, key: str) -> None:
        """And at most a tenth and one unit too late."""
        number, unit = come_back(seconds, key).split(" ")
        told = int(number) * {"seconds": 1, "minutes": 60, "hours": 3600}[unit]
        self.assertGreaterEqual(told, seconds)
        self.assertLessEqual(told, (seconds + 1) * 1.1 + {"seconds": 1, "minutes": 60, "hours": 3600}[unit])

    def test_first_the_reply_waits(self) -> None:
        """A client that is a little too fast is slowed down to the rate, and refused only beyond that."""
        kit = LimitsKit(rate("messages", "client", rate="1/1s").replace('pace = "0s"', 'pace = "3s"'))
        waits = []
        for _ in range(6):
            transaction = kit.transaction()
            held = kit.limits.mail(transaction)
            waits.append((round(held.wait_s, 3), held.is_paced) if held is not None else (0.0, True))
            kit.end(transaction, "delivered" if held is None or held.is_paced else "deferred")
        self.assertEqual(waits, [(0, True), (1, True), (2, True), (3, True), (4, False), (4, False)])

    def test_in_shadow_nothing_is_done(self) -> None:
        """What it would have done is found."""
        kit = LimitsKit(rate("messages", "client", 'mode = "shadow"', "1/1h"))
        for number in range(3):
            transaction = kit.transaction()
            held = kit.limits.mail(transaction)
            if number:
                assert held is not None
                self.assertTrue(held.is_paced and held.wait_s == 0.0 and held.findings[0].is_shadow)
            kit.end(transaction)

    def test_switched_off(self) -> None:
        """It is not there."""
        self.assertTrue(LimitsKit(rate("messages", "client", 'mode = "off"')).limits.is_empty)

    def test_only_what_it_is_about(self) -> None:
        """By listener, client, user, sender, recipient, class."""
        cases: dict[str, Callable[[LimitsKit], tuple[Transaction, str]]] = {
            'listener = ["other"]': lambda kit: (kit.transaction(), "a@example.net"),
            'client = ["198.51.100.0/24"]': lambda kit: (kit.transaction(), "a@example.net"),
            'user = ["alice"]': lambda kit: (kit.transaction(kit.session(user="bob")), "a@example.net"),
            'sender = ["example.com"]': lambda kit: (kit.transaction(), "a@example.net"),
            'recipient = ["sub.example.net"]': lambda kit: (kit.transaction(), "a@example.net"),
            'classes = ["suspect"]': lambda kit: (kit.transaction(), "a@example.net"),
        }
        for condition, make in cases.items():
            kit = LimitsKit(rate("recipients", "client", condition, "1/1h"))
            for _ in range(3):
                transaction, address = make(kit)
                self.assertTrue(is_in(kit.recipient(transaction, address)[1]), condition)
                kit.end(transaction)
        kit = LimitsKit(rate("recipients", "client", 'classes = ["suspect"]\nsender = ["example.org"]', "1/1h"))
        session = kit.session(traffic_class="suspect")
        results = [is_in(kit.recipient(kit.transaction(session), "a@example.net")[1]) for _ in range(2)]
        self.assertEqual(results, [True, False])


class PoliteTests(SynchronousTestCase):
    """Who comes back when it was told to is let in, whatever else put it off (rspamd #1498)."""

    @given(
        st.lists(st.sampled_from(["deliver", "defer", "abort", "refuse"]), min_size=5, max_size=40),
        st.sampled_from(["3/1h", "10/1h", "1/5m"]),
        st.integers(1, 4),
    )
    def test_a_polite_client_always_comes_in(self, fates: list[str], per: str, recipients: int) -> None:
        """It waits as it is told, and what another check defers never counts against it."""
        kit = LimitsKit(
            rate("messages", "client", rate=per)
            + rate("recipients", "sender", rate="20/1h")
            + rate("octets", "network", rate="10000/1h")
        )
        for fate in fates:
            tries = 0
            while True:
                tries += 1
                self.assertLess(tries, 5)
                transaction = kit.transaction(SIZE="900")
                told = [kit.limits.mail(transaction)]
                if is_in(told[0]):
                    told += [kit.recipient(transaction, f"u{n}@example.net")[1] for n in range(recipients)]
                if all(map(is_in, told)):
                    break
                kit.end(transaction, "deferred")
                waits = [held.wait_s for held in told if held is not None]
                kit.clock.advance(max(waits) + 1e-6)
            outcome = {"deliver": "delivered", "defer": "deferred", "abort": "aborted", "refuse": "refused"}[fate]
            kit.end(transaction, outcome, octets=900)

    def test_deferrals_alone_never_use_it_up(self) -> None:
        """A hundred tries that greylisting puts off, then one that is delivered."""
        kit = LimitsKit(rate("messages", "client", rate="1/1h") + rate("recipients", "recipient", rate="1/1h"))
        for _ in range(100):
            transaction = kit.transaction()
            self.assertTrue(is_in(kit.limits.mail(transaction)))
            self.assertTrue(is_in(kit.recipient(transaction, "a@example.net")[1]))
            kit.end(transaction, "deferred")


class ConcurrencyTests(SynchronousTestCase):
    """How much is at work at a time."""

    def _limit(self, count: str, by: str, more: str = "") -> str:
        return f"""
[[concurrency_limits]]
name = "at-work"
count = "{count}"
by = ["{by}"]
most = 2
{more}
"""

    def test_sessions(self) -> None:
        """The third waits until one has gone; another client is not concerned."""
        kit = LimitsKit(self._limit("sessions", "client"))
        sessions = [kit.session() for _ in range(3)]
        self.assertEqual([is_in(kit.limits.connect(one)) for one in sessions], [True, True, False])
        self.assertTrue(is_in(kit.limits.connect(kit.session(client_ip="192.0.2.9"))))
        kit.limits.left(sessions[2])
        self.assertFalse(is_in(kit.limits.connect(kit.session())))
        kit.limits.left(sessions[0])
        self.assertTrue(is_in(kit.limits.connect(kit.session())))

    def test_sessions_of_a_user(self) -> None:
        """Counted from the login on."""
        kit = LimitsKit(self._limit("sessions", "user"))
        sessions: list[Session] = [kit.session(user="alice") for _ in range(3)]
        self.assertEqual([is_in(kit.limits.connect(one)) for one in sessions], [True] * 3)
        self.assertEqual([is_in(kit.limits.login(one)) for one in sessions], [True, True, False])

    def test_transactions(self) -> None:
        """To a domain, however they end."""
        for outcome in ("delivered", "refused", "deferred", "aborted"):
            kit = LimitsKit(self._limit("transactions", "recipient_domain"))
            transactions = [kit.transaction() for _ in range(3)]
            told = [is_in(kit.recipient(one, "a@example.net")[1]) for one in transactions]
            self.assertEqual(told, [True, True, False])
            kit.end(transactions[0], outcome)
            self.assertTrue(is_in(kit.recipient(kit.transaction(), "a@example.net")[1]), outcome)

    def test_no_name_stays_behind(self) -> None:
        """What is over takes no memory."""
        kit = LimitsKit(self._limit("transactions", "sender"))
        for number in range(100):
            transaction = kit.transaction(sender=f"s{number}@example.org")
            kit.limits.mail(transaction)
            kit.end(transaction)
        self.assertEqual(len(kit.limiter.counts["at-work"]), 0)


class TogetherTests(SynchronousTestCase):
    """Several limits, and several recipients."""

    def test_the_longest_wait_is_told(self) -> None:
        """Also where refused recipients are looked at first."""
        text = rate("refused_recipients", "client", rate="60/1h", more="burst = 1") + rate(
            "messages", "client", rate="1/1h"
        )
        kit = LimitsKit(text)
        transaction = kit.transaction()
        self.assertTrue(is_in(kit.limits.mail(transaction)))
        recipient, _ = kit.recipient(transaction, "a@example.net")
        kit.limits.not_accepted(transaction, recipient)
        kit.limits.refused(transaction, recipient)
        kit.end(transaction, "refused")
        held = kit.limits.mail(kit.transaction())
        assert held is not None
        self.assertLess(abs(held.wait_s - 3600.0), 1.0)
        self.assertIn("Too many messages", held.text)
        self.assertEqual(len(held.findings), 2)

    def test_the_longest_is_waited_for(self) -> None:
        """Where all of them are short enough."""
        paced = 'pace = "20s"'
        texts = [
            rate("refused_recipients", "client", rate=f"1/{first}s", more="burst = 1").replace('pace = "0s"', paced)
            + rate("messages", "client", rate=f"1/{second}s", more="burst = 1").replace('pace = "0s"', paced)
            for first, second in ((15, 5), (5, 15))
        ]
        for text in texts:
            kit = LimitsKit(text)
            transaction = kit.transaction()
            self.assertIsNone(kit.limits.mail(transaction))
            recipient, _ = kit.recipient(transaction, "a@example.net")
            kit.limits.refused(transaction, recipient)
            kit.end(transaction)
            held = kit.limits.mail(kit.transaction())
            assert held is not None
            self.assertTrue(held.is_paced)
            self.assertLess(abs(held.wait_s - 15.0), 0.1)
            self.assertEqual((len(held.findings), len(held.met)), (2, 2))

    def test_recipients_of_one_message_come_back_together(self) -> None:
        """Each hears when there is room for it and for those that were put off before it; all are let in then."""
        kit = LimitsKit(rate("recipients", "client", rate="60/1h", more="burst = 3"))

        def sent(names: str) -> tuple[str, float]:
            transaction = kit.transaction()
            again, wait_s = "", 0.0
            for name in names:
                recipient, held = kit.recipient(transaction, f"{name}@example.net")
                if held is not None:
                    kit.limits.not_accepted(transaction, recipient)
                    again, wait_s = again + name, held.wait_s
            kit.end(transaction)
            return again, wait_s

        again, wait_s = sent("abcdef")
        self.assertEqual(again, "def")
        self.assertLess(abs(wait_s - 180.0), 1.0)
        kit.clock.advance(wait_s)
        self.assertEqual(sent(again)[0], "")

    def test_a_recipient_that_is_put_off_at_the_end_costs_nothing(self) -> None:
        """Whatever counts by it, where each has an answer of its own."""
        for count in ("messages", "octets", "recipients"):
            per = "1 KiB/1h" if count == "octets" else "1/1h"
            kit = LimitsKit(rate(count, "recipient", rate=per))
            transaction = kit.transaction(SIZE="1024")
            for name in ("a@example.net", "b@example.net"):
                self.assertTrue(is_in(kit.recipient(transaction, name)[1]), count)
            transaction.recipients[0].state, transaction.recipients[1].state = "delivered", "deferred"
            transaction.outcome, transaction.octets = "delivered", 1024
            kit.limits.ended(transaction)
            again = kit.transaction(SIZE="1024")
            self.assertTrue(is_in(kit.recipient(again, "b@example.net")[1]), count)
            self.assertFalse(is_in(kit.recipient(again, "a@example.net")[1]), count)

    def test_a_login_that_came_to_nothing_does_not_stand_in_its_own_way(self) -> None:
        """One session at a time for a user: a second AUTH in the same session is the same one."""
        kit = LimitsKit('[[concurrency_limits]]\nname = "one"\ncount = "sessions"\nby = ["user"]\nmost = 1\n')
        session = kit.session(user="alice")
        for _ in range(2):
            self.assertTrue(is_in(kit.limits.login(session)))
        self.assertFalse(is_in(kit.limits.login(kit.session(user="alice"))))
        kit.limits.left(session)
        self.assertEqual(len(kit.limiter.counts["one"]), 0)


class RestartTests(SynchronousTestCase):
    """Limits outlive the process and a reload."""

    def test_what_was_in_use_is_in_use_after_a_restart(self) -> None:
        """On another clock, at another date."""
        kit = LimitsKit(rate("messages", "client", rate="3/1h"))
        for _ in range(3):
            transaction = kit.transaction()
            self.assertTrue(is_in(kit.limits.mail(transaction)))
            kit.end(transaction)
        rows = kit.limiter.changed(1_000_000.0, 100)
        self.assertEqual([key for key, _, _ in rows], ["messages-client:messages:client:24:64 192.0.2.7"])
        self.assertEqual(kit.limiter.changed(1_000_000.0, 100), [])
        after = LimitsKit(rate("messages", "client", rate="3/1h"))
        after.limiter = Limiter(after.clock)
        # Twenty minutes later: one has come free.
        after.limiter.restore(rows, 1_000_000.0 + 1200.0)
        after.limits = after.limiter.limits(after.settings)
        after.limits.begin()
        for expected in (True, False):
            transaction = after.transaction()
            self.assertEqual(is_in(after.limits.mail(transaction)), expected)
            after.end(transaction, "delivered" if expected else "deferred")

    def test_a_reload_keeps_what_is_known(self) -> None:
        """Of limits of the same name; sessions that run settle with their own."""
        kit = LimitsKit(rate("messages", "client", rate="1/1h"))
        before = kit.limits
        transaction = kit.transaction()
        before.mail(transaction)
        kit.limits = kit.limiter.limits(kit.settings)
        kit.limits.begin()
        self.assertFalse(is_in(kit.limits.mail(kit.transaction())))
        transaction.outcome = "deferred"
        before.ended(transaction)
        self.assertTrue(is_in(kit.limits.mail(kit.transaction())))

    def used_up(self, text: str, many: int) -> LimitsKit:
        """So many messages have come in, and the next does not."""
        kit = LimitsKit(text)
        for _ in range(many):
            transaction = kit.transaction()
            self.assertTrue(is_in(kit.limits.mail(transaction)))
            kit.end(transaction)
        self.assertFalse(is_in(kit.limits.mail(kit.transaction())))
        return kit

    def test_a_limit_that_is_raised_helps_at_once(self) -> None:
        """What was in use is in use, in the new measure; over a restart too."""
        kit = self.used_up(rate("messages", "client", rate="5/1d"), 5)
        rows = kit.limiter.changed(1_000_000.0, 100)
        raised = rate("messages", "client", rate="1000/1h")
        kit.reload(raised)
        after = LimitsKit(raised)
        after.limiter = Limiter(after.clock)
        after.limiter.restore(rows, 1_000_000.0)
        after.limits = after.limiter.limits(after.settings)
        after.limits.begin()
        for one in (kit, after):
            self.assertTrue(is_in(one.limits.mail(one.transaction())))
            self.assertAlmostEqual(one.limits.rules[0].state("192.0.2.7", one.limits.now())[0], 6.0, places=2)

    def test_a_limit_that_is_lowered_locks_nobody_out(self) -> None:
        """Who had used more than it allows now waits for one to come free."""
        kit = self.used_up(rate("messages", "client", rate="100/1h"), 100)
        kit.reload(rate("messages", "client", rate="2/1h"))
        held = kit.limits.mail(kit.transaction())
        self.assertFalse(is_in(held))
        self.assertLess(abs(held.wait_s - 1800.0), 1.0)

    def test_a_limit_that_counts_something_else_begins_anew(self) -> None:
        """The name alone does not make it the same."""
        kit = self.used_up(rate("messages", "client", rate="2/1h"), 2)
        text = rate("messages", "client", rate="2/1h")
        kit.reload(text.replace('by = ["client"]', 'by = ["network"]'))
        self.assertTrue(is_in(kit.limits.mail(kit.transaction())))
        kit.reload(text)
        self.assertTrue(is_in(kit.limits.mail(kit.transaction())))

    def test_shadow_counts_what_enforce_would_have_let_in(self) -> None:
        """What it would have refused is not taken of it, so that it says what enforce would do, and nobody is locked
        out for that once it is enforced."""
        text = rate("messages", "client", rate="2/1h") + 'mode = "shadow"\n'
        kit = LimitsKit(text)
        for _ in range(50):
            transaction = kit.transaction()
            held = kit.limits.mail(transaction)
            self.assertTrue(held is None or held.is_paced)
            kit.end(transaction)
        self.assertEqual(kit.limits.rules[0].met["shadow"], 48)
        kit.reload(text.replace("shadow", "enforce"))
        held = kit.limits.mail(kit.transaction())
        self.assertFalse(is_in(held))
        self.assertLess(abs(held.wait_s - 1800.0), 1.0)

    def test_what_was_given_back_does_not_come_back(self) -> None:
        """It was on the disk while it was in flight, and is put off then."""
        kit = LimitsKit(rate("messages", "client", rate="3/1d"))
        disk: dict[str, Any] = {}

        def save() -> None:
            for key, value, _ in kit.limiter.changed(1_000_000.0, 100):
                disk[key] = value

        flying = [kit.transaction() for _ in range(3)]
        for transaction in flying:
            self.assertTrue(is_in(kit.limits.mail(transaction)))
        save()
        self.assertEqual(len(disk), 1)
        for transaction in flying:
            kit.end(transaction, "deferred")
        save()
        self.assertEqual(list(disk.values()), [None])
        save()
        self.assertEqual(kit.limiter.changed(1_000_000.0, 100), [])

    def test_what_changed_first_is_kept_first(self) -> None:
        """Keys that are always new keep no other from the disk; another rate is kept of all."""
        kit = LimitsKit(rate("messages", "sender", rate="3/1d"))
        for number in range(5):
            transaction = kit.transaction(sender=f"u{number}@example.org")
            kit.limits.mail(transaction)
            kit.end(transaction)
        first = [key.rpartition(" ")[2] for key, _, _ in kit.limiter.changed(0.0, 2)]
        self.assertEqual(first, ["u0@example.org", "u1@example.org"])
        self.assertEqual(len(kit.limiter.changed(0.0, 9)), 3)
        kit.reload(rate("messages", "sender", rate="6/1d"))
        self.assertEqual([value[1] for _, value, _ in kit.limiter.changed(0.0, 9)], [14400.0] * 5)

    def test_a_revision_that_comes_to_nothing_changes_nothing(self) -> None:
        """What is built is at work once it is begun."""
        text = rate("messages", "client", rate="2/1h")
        kit = self.used_up(text, 2)
        for other in (text.replace("2/1h", "1000/1h"), ""):
            kit.limiter.limits(loads(FILE + other, "/nowhere/gate.toml"))
            self.assertFalse(is_in(kit.limits.mail(kit.transaction())))
        self.assertEqual(len(kit.limiter.changed(0.0, 9)), 1)

    def test_another_rate_while_a_message_is_on_its_way(self) -> None:
        """All of what has not run out is given back, in whichever measure it ran."""
        for slow, fast in (("3600/1h", "60/1h"), ("60/1h", "3600/1h")):
            kit = LimitsKit(rate("messages", "client", rate=slow, more="burst = 10"))
            for _ in range(9):
                transaction = kit.transaction()
                kit.limits.mail(transaction)
                kit.end(transaction)
            flying, old = kit.transaction(), kit.limits
            self.assertTrue(is_in(old.mail(flying)))
            kit.clock.advance(0.5)
            kit.reload(rate("messages", "client", rate=fast, more="burst = 10"))
            kit.clock.advance(0.5)
            before = kit.limits.rules[0].state("192.0.2.7", kit.limits.now())[0]
            flying.outcome = "deferred"
            old.ended(flying)
            after = kit.limits.rules[0].state("192.0.2.7", kit.limits.now())[0]
            # It was the last of ten: nothing of it has run out.
            self.assertLess(abs(before - after - 1.0), 1e-3, (before, after))

    def test_a_limit_that_was_away_does_not_remember(self) -> None:
        """Nor does the disk: removed and added again it begins anew, over a restart too."""
        text = rate("messages", "client", rate="2/1d")
        for is_restored in (False, True):
            kit = self.used_up(text, 2)
            disk = {key: (key, value, at) for key, value, at in kit.limiter.changed(1_000_000.0, 100)}
            if is_restored:
                kit.limiter = Limiter(kit.clock)
                kit.limiter.restore(list(disk.values()), 1_000_000.0)
            kit.reload("")
            kit.reload(text)
            self.assertTrue(is_in(kit.limits.mail(kit.transaction())))
            rows = kit.limiter.changed(1_000_000.0, 100)
            # The old row goes first.
            self.assertEqual([(key in disk, value is None) for key, value, _ in rows], [(True, True), (True, False)])

    def test_sessions_of_an_older_revision_count_in_the_new_measure(self) -> None:
        """What they take and give back is as much as for anybody."""
        kit = self.used_up(rate("messages", "client", rate="10/1d"), 10)
        old, session = kit.limits, kit.session()
        kit.reload(rate("messages", "client", rate="1000/1h"))
        flying = [kit.transaction(session) for _ in range(3)]
        for transaction in flying:
            self.assertTrue(is_in(old.mail(transaction)))
        self.assertLess(abs(kit.limits.rules[0].state("192.0.2.7", kit.limits.now())[0] - 13.0), 0.1)
        self.assertTrue(is_in(kit.limits.mail(kit.transaction())))
        flying[0].outcome = "deferred"
        old.ended(flying[0])
        self.assertLess(abs(kit.limits.rules[0].state("192.0.2.7", kit.limits.now())[0] - 13.0), 0.1)

    def test_off_and_on_again_is_no_way_to_forget(self) -> None:
        """It holds nobody up while it is off."""
        text = rate("messages", "client", rate="2/1h")
        kit = self.used_up(text, 2)
        kit.reload(text + 'mode = "off"\n')
        self.assertTrue(is_in(kit.limits.mail(kit.transaction())))
        kit.reload(text)
        self.assertFalse(is_in(kit.limits.mail(kit.transaction())))

    def test_fewer_keys_from_now_on(self) -> None:
        """`limits.rate_keys` holds from the reload on."""
        text = rate("messages", "sender", rate="2/1d")
        kit = LimitsKit(text)
        for number in range(1500):
            transaction = kit.transaction(sender=f"u{number}@example.org")
            kit.limits.mail(transaction)
            kit.end(transaction)
        kit.reload("[limits]\nrate_keys = 1000\n" + text)
        stamps = kit.limiter.stamps["messages-sender"]
        self.assertEqual((len(stamps), stamps.evicted), (1000, 500))

    def test_what_is_free_again_is_not_kept(self) -> None:
        """It would be free before anybody reads it."""
        kit = LimitsKit(rate("messages", "client", rate="3600/1h"))
        transaction = kit.transaction()
        kit.limits.mail(transaction)
        kit.end(transaction)
        self.assertEqual(kit.limiter.changed(0.0, 100), [])
