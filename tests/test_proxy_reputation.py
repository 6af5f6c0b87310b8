"""Reputation: earned by verdicts, with a reason for each point, fading; and whom our own users write to."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding, Verdict
from smtpgate.proxy.reputation import CORRESPONDENTS, KNOWN_S, Correspondents, Reputation, house_of
from smtpgate.smtp.reply import Reply
from smtpgate.traffic.reputation import HALF_LIFE_S, REASONS, Record, Records
from tests.limits_kit import FILE, path

DAY = 86400.0
SPAM = Verdict("reject", Finding("phishing-link", "reject", category="spam", filter="links"))
MALWARE = Verdict("reject", Finding("virus", "reject", category="malware", filter="clamd"))
TAGGED = Verdict("tag", Finding("scores", "tag", category="spam", filter="scores"))


class RecordTests(SynchronousTestCase):
    """`traffic.reputation`."""

    def test_points_fade(self) -> None:
        """Half after a week, and the sample with them."""
        record = Record(0.0, {})
        record.add("delivered", 8.0, 0.0)
        record.add("spam: x", 2.0, 0.0)
        self.assertEqual((record.sample(0.0), record.bad(0.0)), (10.0, 2.0))
        self.assertAlmostEqual(record.sample(HALF_LIFE_S), 5.0)
        self.assertAlmostEqual(record.bad(2 * HALF_LIFE_S), 0.5)
        record.add("delivered", 1.0, HALF_LIFE_S)
        self.assertAlmostEqual(record.sample(HALF_LIFE_S), 6.0)

    def test_a_small_sample_says_nothing(self) -> None:
        """Neither good nor bad."""
        for reason in ("delivered", "spam: x"):
            record = Record(0.0, {})
            record.add(reason, 2.0, 0.0)
            self.assertEqual(record.standing(0.0), "")

    def test_good_bad_and_mixed(self) -> None:
        """One bad message in ten is neither known nor suspect."""
        for good, bad, standing in (
            (6, 0, "known"),
            (100, 4, "known"),
            (9, 1, ""),
            (3, 3, "suspect"),
            (0, 3, "suspect"),
        ):
            record = Record(0.0, {})
            record.add("delivered", good, 0.0)
            record.add("spam: x", bad, 0.0)
            self.assertEqual(record.standing(0.0), standing, (good, bad))
            self.assertEqual(record.standing(0.0, 100.0), "")

    def test_a_standing_is_lost_with_time(self) -> None:
        """Nobody is condemned for ever."""
        record = Record(0.0, {})
        record.add("malware: virus", 9.0, 0.0)
        self.assertEqual(record.standing(DAY), "suspect")
        self.assertEqual(record.standing(60 * DAY), "")

    @given(st.lists(st.tuples(st.sampled_from([f"r{n}" for n in range(12)]), st.floats(0.1, 5), st.floats(0, 1e6))))
    def test_few_reasons_are_kept(self, points: list[tuple[str, float, float]]) -> None:
        """Memory is bounded, and the sample is never more than was given."""
        record, now = Record(0.0, {}), 0.0
        for reason, more, gap in points:
            now += gap
            record.add(reason, more, now)
            # Those with a name, and what the least have come to.
            self.assertLessEqual(len(record.points), REASONS + 1)
        self.assertLessEqual(record.sample(now), sum(more for _, more, _ in points) + 1e-6)

    def test_no_point_is_lost(self) -> None:
        """Neither the good ones of a sender with many faults, nor those of a fault that is new."""
        record = Record(0.0, {})
        record.add("delivered", 0.2, 0.0)
        for number in range(3 * REASONS):
            record.add(f"r{number}", 1.0 + number, 0.0)
        record.add("new", 0.1, 0.0)
        self.assertEqual(record.points["delivered"], 0.2)
        self.assertAlmostEqual(record.bad(0.0), sum(1.0 + number for number in range(3 * REASONS)) + 0.1)

    def test_who_was_not_heard_of_goes_first(self) -> None:
        """A table of three."""
        records = Records(3)
        for key in ("a", "b", "c", "a", "d"):
            records.add(key, "delivered", 1.0, 0.0)
        self.assertEqual([records.get(key) is not None for key in "abcd"], [True, False, True, True])
        self.assertEqual(dict(records.changed(10))["b"], None)
        self.assertEqual(records.changed(10), [])


class ReputationTests(SynchronousTestCase):
    """`proxy.reputation`."""

    def setUp(self) -> None:
        """Nothing is known."""
        self.now = 1_700_000_000.0
        self.settings = loads(FILE + "\n[classes]\n", "/nowhere/gate.toml")
        self.reputation = Reputation(lambda: self.now, lambda: self.settings)

    def message(
        self,
        outcome: str = "delivered",
        verdict: Verdict | None = None,
        *,
        client: str = "192.0.2.7",
        role: str = "mx",
        sender: str = "alice@example.org",
        recipients: tuple[tuple[str, str], ...] = (("bob@example.net", "delivered"),),
        **authenticated: str,
    ) -> Transaction:
        """A message that has ended."""
        session = Session("id", "mx", role)
        session.client_ip = client
        session.mechanism = "PLAIN" if role == "submission" else ""
        transaction = Transaction("id.1", session, path(sender), {})
        transaction.outcome, transaction.verdict = outcome, verdict
        transaction.authenticated = {name: (value,) for name, value in authenticated.items()}
        for address, state in recipients:
            recipient = Recipient(path(address), {})
            recipient.state, recipient.backend = state, "mail"
            recipient.reply = Reply(250 if state == "delivered" else 550, "", ("x",))
            transaction.recipients.append(recipient)
        self.reputation.hear(told.TransactionEnded(transaction))
        return transaction

    def standing(self, client: str = "192.0.2.7") -> str:
        """Of a client."""
        found = self.reputation.of_client(client)
        return found.name if found is not None else ""

    def test_good_mail_makes_known(self) -> None:
        """With a reason that says by how much."""
        for _ in range(5):
            self.assertEqual(self.standing(), "")
            self.message()
        self.message()
        self.assertEqual(self.standing(), "known")
        found = self.reputation.of_client("192.0.2.7")
        assert found is not None
        self.assertEqual(found.reason, "address 192.0.2.7: 0.0 bad of 6.0 points (delivered 6.0)")

    def test_spam_makes_suspect(self) -> None:
        """Each point has its reason: what filter and finding said so."""
        for verdict in (SPAM, SPAM, MALWARE):
            self.message("refused", verdict)
        found = self.reputation.of_client("192.0.2.7")
        assert found is not None
        self.assertEqual(found.name, "suspect")
        self.assertIn("malware: virus 3.0, spam: phishing-link 2.0", found.reason)

    def test_a_neighbour_of_many_bad_ones(self) -> None:
        """The network needs more than an address, and then speaks for those that nobody knows."""
        for number in range(1, 12):
            self.message("refused", SPAM, client=f"192.0.2.{number}")
        self.assertEqual(self.standing("192.0.2.99"), "")
        for number in range(1, 5):
            self.message("refused", SPAM, client=f"192.0.2.{number}")
        self.assertEqual(self.standing("192.0.2.99"), "suspect")
        self.assertEqual(self.standing("192.0.3.99"), "")

    def test_what_says_nothing(self) -> None:
        """Deferred and aborted mail, users of our own, loopback, relays that speak for others."""
        self.settings = loads('trusted_relays = ["192.0.2.5"]\n' + FILE, "/nowhere/gate.toml")
        for _ in range(20):
            self.message("deferred")
            self.message("aborted")
            self.message("refused", SPAM, client="127.0.0.1")
            self.message("refused", SPAM, client="192.0.2.5")
            self.message("refused", SPAM, role="submission", client="192.0.2.6")
        self.assertEqual(len(self.reputation.records), 0)

    def test_tagged_mail_and_unknown_recipients_are_bad(self) -> None:
        """Less than what was refused for what it is."""
        self.message("delivered", TAGGED)
        self.message("refused", None, recipients=(("x@example.net", "refused"),) * 4)
        record = self.reputation.records.get("address 192.0.2.7")
        assert record is not None
        self.assertEqual(dict(record.lines(self.now)), {"spam: scores": 1.0, "recipient refused": 1.0})

    def test_what_else_is_bad(self) -> None:
        """To speak before the greeting."""
        self.reputation.hear(told.ConnectionRefused("mx", "192.0.2.7", "early_talker"))
        record = self.reputation.records.get("address 192.0.2.7")
        assert record is not None
        self.assertEqual(dict(record.lines(self.now)), {"spoke before the greeting": 1.0})

    def test_a_domain_that_is_proved(self) -> None:
        """Good mail with SPF makes the domain known, from wherever it comes next; without proof it is nobody's."""
        for number in range(6):
            self.message(client=f"198.51.{number}.1", spf="example.org", dkim="example.org", name="mx1.example.org")
        fresh = self.message("aborted", client="203.0.113.9", spf="example.org")
        standing = self.reputation.of_sender(fresh)
        assert standing is not None
        self.assertEqual(standing.name, "known")
        self.assertIn("sender example.org: 0.0 bad of 6.0 points", standing.reason)
        self.assertIsNone(self.reputation.of_sender(self.message("aborted", client="203.0.113.9")))
        self.assertIsNotNone(self.reputation.records.get("dkim example.org"))
        self.assertIsNotNone(self.reputation.records.get("name example.org"))

    def test_no_mailbox_provider_is_known_for_its_users(self) -> None:
        """Everybody has an address there."""
        for _ in range(20):
            self.message(spf="gmail.com", sender="x@gmail.com")
        self.assertIsNone(self.reputation.of_sender(self.message("aborted", spf="gmail.com", sender="y@gmail.com")))

    def test_whom_our_users_write_to(self) -> None:
        """Their domain is known where SPF proves it; of mailbox providers the one address."""
        self.message(
            role="submission", recipients=(("carol@partner.example", "delivered"), ("Dan@gmail.com", "delivered"))
        )
        for sender, spf, is_known in (
            ("other@partner.example", "partner.example", True),
            ("other@partner.example", "", False),
            ("dan@gmail.com", "gmail.com", True),
            ("eve@gmail.com", "gmail.com", False),
            ("x@stranger.example", "stranger.example", False),
        ):
            proved = {"spf": spf} if spf else {}
            transaction = self.message("aborted", sender=sender, **proved)
            self.assertEqual(self.reputation.of_sender(transaction) is not None, is_known, sender)
        self.now += KNOWN_S + 1
        later = self.message("aborted", sender="other@partner.example", spf="partner.example")
        self.assertIsNone(self.reputation.of_sender(later))

    def test_our_own_domains_and_what_was_not_delivered_teach_nothing(self) -> None:
        """Mail between our users, and mail that was refused."""
        self.message(role="submission", recipients=(("x@example.net", "delivered"), ("y@other.example", "refused")))
        self.message("refused", role="submission", recipients=(("z@third.example", "accepted"),))
        self.assertEqual(len(self.reputation.correspondents), 0)

    def test_a_restart_keeps_it(self) -> None:
        """Records and correspondents; what has faded is left behind."""
        for _ in range(6):
            self.message(spf="example.org")
        self.message(role="submission", recipients=(("carol@partner.example", "delivered"),))
        kept: dict[str, list[Any]] = {
            "reputation": self.reputation.changed(self.now, 1000),
            "correspondents": self.reputation.correspondents.changed(self.now, 1000),
        }
        self.assertEqual(self.reputation.changed(self.now, 1000), [])
        after = Reputation(lambda: self.now, lambda: self.settings)
        after.restore(kept["reputation"], self.now)
        after.correspondents.restore(kept["correspondents"], self.now)
        found = after.of_client("192.0.2.7")
        assert found is not None
        self.assertEqual(found.name, "known")
        self.assertTrue(after.correspondents.knows("x", "partner.example", self.now))
        much_later = Reputation(lambda: self.now, lambda: self.settings)
        much_later.restore(kept["reputation"], self.now + 365 * DAY)
        self.assertEqual(len(much_later.records), 0)

    def test_no_more_correspondents_than_there_is_room_for(self) -> None:
        """On the disk neither; those that were written to last are known."""
        found, disk = Correspondents(), dict[str, tuple[str, Any, float]]()
        for number in range(CORRESPONDENTS + 20_000):
            found.learn("x", f"d{number}.example", float(number))
            if number % 30_000 == 0:
                self._write(found, disk)
        self._write(found, disk)
        self.assertEqual((len(found), len(disk)), (CORRESPONDENTS, CORRESPONDENTS))
        after = Correspondents()
        after.restore([*disk.values(), ("old.example", -5.0, 1.0)], 0.0)
        self.assertEqual(len(after), CORRESPONDENTS)
        self.assertFalse(after.knows("x", "old.example", 0.0))

    @staticmethod
    def _write(found: Correspondents, disk: dict[str, tuple[str, Any, float]]) -> None:
        for key, value, at in found.changed(0.0, 10**9):
            if value is None:
                disk.pop(key, None)
            else:
                disk[key] = (key, value, at)

    def test_whose_a_name_is(self) -> None:
        """Two labels, three where the second level is short."""
        for name, house in (
            ("mx1.mail.example.org.", "example.org"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("example.org", "example.org"),
            ("Mail.Example.DE", "example.de"),
        ):
            self.assertEqual(house_of(name), house)
