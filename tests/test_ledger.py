"""Tests of smtpgate.proxy.ledger: a retry is answered, not delivered again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.proxy import ledger as book
from smtpgate.proxy.ledger import COMMITTED, KEEP_ANONYMOUS_S, KEEP_S, REFUSED, UNKNOWN, Ledger
from smtpgate.smtp.address import NULL_SENDER, Path, parse_path
from smtpgate.smtp.reply import Reply

BOB, EVE = "bob@example.net", "eve@example.net"
OK = Reply(250, "2.0.0", ("queued as 1",))
NO = Reply(550, "5.1.1", ("No such", "user"))
HEADER = HeaderSection(
    b"Received: from a\r\nFrom: a@example.org\r\nTo: b\r\nDate: today\r\nMessage-ID: <1@a>\r\nSubject: x\r\n\r\n"
)


class Store:
    """A store that keeps what it is given; `ready` is what its next call gives."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.ready: Deferred[None] | None = None

    def put(self, rows: list[Any]) -> Deferred[None]:
        """Keep rows."""
        self.rows += rows
        return self.ready or succeed(None)


def path(text: str) -> Path:
    """An address."""
    if not text:
        return NULL_SENDER
    found, _ = parse_path(f"<{text}>".encode())
    assert isinstance(found, Path)
    return found


def transaction(
    sender: str = "alice@example.org", ip: str = "192.0.2.1", params: dict[str, bytes | None] | None = None
) -> Transaction:
    """One try of a client."""
    session = Session("S", "mx", "mx")
    session.client_ip = ip
    return Transaction("S.1", session, path(sender), params or {})


class LedgerCase(SynchronousTestCase):
    """A ledger with a clock of its own."""

    def setUp(self) -> None:
        """Begin with nothing known."""
        self.now = 1000.0
        self.store = Store()
        self.ledger = Ledger(bytes(32), lambda: self.now, self.store)

    def write(
        self, state: str, recipient: str = BOB, reply: Reply = OK, *, of: Transaction | None = None, key: str = "k",
        has_id: bool = True, server: str = "mail:25",
    ) -> None:  # fmt: skip
        """Note one fate."""
        done = self.ledger.write(of or transaction(), key, has_id, [(recipient, state, server, reply)])
        self.successResultOf(done)


class KnowledgeTests(LedgerCase):
    """What is known of whom."""

    def test_nothing_is_known_in_the_beginning(self) -> None:
        """And asking costs nothing."""
        self.assertEqual(len(self.ledger), 0)
        self.assertFalse(self.ledger.may_know(BOB))
        self.assertEqual(self.ledger.hint(BOB), "")
        self.assertIsNone(self.ledger.find("k", BOB))
        self.assertIsNone(self.ledger.refusal(transaction(), BOB))

    def test_committed_is_known_by_message_and_recipient(self) -> None:
        """Of that one message, for that one recipient, with what the server said."""
        self.write(COMMITTED)
        row = self.ledger.find("k", BOB)
        assert row is not None
        self.assertEqual((row.state, row.reply, row.transaction_id), (COMMITTED, OK, "S.1"))
        self.assertTrue(self.ledger.may_know(BOB))
        self.assertFalse(self.ledger.may_know(EVE))
        self.assertIsNone(self.ledger.find("k", EVE))
        self.assertIsNone(self.ledger.find("other", BOB))

    def test_a_newer_fate_takes_the_envelope_of_the_older_with_it(self) -> None:
        """What was refused at one try and delivered at the next is not refused at a third."""
        first = transaction(params={"SIZE": b"100"})
        self.write(REFUSED, reply=NO, of=first)
        self.assertIsNotNone(self.ledger.refusal(first, BOB))
        self.write(COMMITTED, of=transaction(ip="192.0.2.9", params={"SIZE": b"120"}))
        self.assertIsNone(self.ledger.refusal(first, BOB))

    def test_an_unknown_fate_names_its_server(self) -> None:
        """There the retry goes first; a committed one needs no server."""
        self.write(COMMITTED, server="one:25")
        self.assertEqual(self.ledger.hint(BOB), "")
        self.write(UNKNOWN, key="k2", server="two:25")
        self.assertEqual(self.ledger.hint(BOB), "two:25")

    def test_a_refused_recipient_is_known_by_the_envelope(self) -> None:
        """At RCPT there is no content yet: client, sender and SIZE or ENVID have to do."""
        tried = transaction(params={"SIZE": b"1234"})
        self.write(REFUSED, EVE, NO, of=tried)
        row = self.ledger.refusal(transaction(params={"SIZE": b"1234"}), EVE)
        assert row is not None
        self.assertEqual((row.reply.code, row.reply.enhanced, row.reply.text), (550, "5.1.1", "No such user"))
        for other in (
            transaction(),
            transaction(params={"SIZE": b"1235"}),
            transaction(params={"SIZE": b"1234", "ENVID": b"x"}),
            transaction("carol@example.org", params={"SIZE": b"1234"}),
            transaction(ip="192.0.2.2", params={"SIZE": b"1234"}),
        ):
            self.assertIsNone(self.ledger.refusal(other, EVE))
        self.assertIsNone(self.ledger.refusal(transaction(params={"SIZE": b"1234"}), BOB))

    def test_without_size_or_envid_no_recipient_is_refused_again(self) -> None:
        """Nothing tells the message from another of the same sender."""
        self.write(REFUSED, EVE, NO)
        self.assertIsNone(self.ledger.refusal(transaction(), EVE))
        self.assertTrue(self.ledger.must_come_alone(transaction(), EVE))
        for other, recipient in (
            (transaction(), BOB),
            (transaction("carol@example.org"), EVE),
            (transaction(ip="192.0.2.2"), EVE),
            (transaction(params={"SIZE": b"5"}), EVE),
        ):
            self.assertFalse(self.ledger.must_come_alone(other, recipient))
        self.now += KEEP_S
        self.assertFalse(self.ledger.must_come_alone(transaction(), EVE))

    def test_a_refusal_with_size_needs_no_transaction_of_its_own(self) -> None:
        """It is answered at RCPT."""
        tried = transaction(params={"SIZE": b"5"})
        self.write(REFUSED, EVE, NO, of=tried)
        self.assertFalse(self.ledger.must_come_alone(tried, EVE))

    def test_only_a_refusal_is_told_at_the_recipient(self) -> None:
        """A committed or unknown one is a matter of the whole message."""
        for state in (COMMITTED, UNKNOWN):
            tried = transaction(params={"ENVID": b"e"})
            self.write(state, EVE, of=tried)
            self.assertIsNone(self.ledger.refusal(tried, EVE), state)

    def test_what_is_learned_later_holds(self) -> None:
        """Unknown at first, committed at the retry; one row in memory."""
        tried = transaction(params={"SIZE": b"1"})
        self.write(UNKNOWN, of=tried)
        self.write(COMMITTED, of=tried)
        row = self.ledger.find("k", BOB)
        assert row is not None
        self.assertEqual((row.state, len(self.ledger), self.ledger.hint(BOB)), (COMMITTED, 1, ""))


class WaitingTests(LedgerCase):
    """Messages without a client, whose backend still thinks."""

    def test_another_try_sees_it_and_it_does_not_see_itself(self) -> None:
        """Until it is settled, and for that message and recipient only."""
        first, second = transaction(), transaction()
        second.id = "S.2"
        self.ledger.wait(first, "k", [BOB])
        self.assertTrue(self.ledger.may_know(BOB))
        self.assertEqual(len(self.ledger), 1)
        self.assertTrue(self.ledger.waits(second, "k", BOB))
        self.assertFalse(self.ledger.waits(first, "k", BOB))
        self.assertFalse(self.ledger.waits(second, "other", BOB))
        self.assertFalse(self.ledger.waits(second, "k", EVE))
        self.ledger.settle(second, "k", [BOB])
        self.assertTrue(self.ledger.waits(second, "k", BOB))
        self.ledger.settle(first, "k", [BOB])
        self.assertFalse(self.ledger.waits(second, "k", BOB))
        self.assertEqual((len(self.ledger), self.ledger.may_know(BOB)), (0, False))

    def test_two_messages_for_one_recipient(self) -> None:
        """Each has its own end."""
        first, second, third = transaction(), transaction(), transaction()
        second.id, third.id = "S.2", "S.3"
        self.ledger.wait(first, "k", [BOB])
        self.ledger.wait(second, "l", [BOB])
        self.ledger.settle(first, "k", [BOB])
        self.assertEqual([self.ledger.waits(third, key, BOB) for key in "kl"], [False, True])


class TimeTests(LedgerCase):
    """How long."""

    def test_a_retry_is_known_for_a_day(self) -> None:
        """Up to the last second, by every way of asking; then by none, also where nobody swept."""
        tried = transaction(params={"SIZE": b"1"})
        self.write(UNKNOWN, of=tried)
        self.write(REFUSED, EVE, NO, of=tried)
        self.now += KEEP_S - 1
        self.assertTrue(self.ledger.find("k", BOB) and self.ledger.hint(BOB) and self.ledger.refusal(tried, EVE))
        self.now += 1
        self.assertFalse(self.ledger.find("k", BOB) or self.ledger.hint(BOB) or self.ledger.refusal(tried, EVE))

    def test_without_a_message_id_for_an_hour(self) -> None:
        """Two such messages are told apart less surely."""
        self.write(COMMITTED, has_id=False)
        self.now += KEEP_ANONYMOUS_S - 1
        self.assertIsNotNone(self.ledger.find("k", BOB))
        self.now += 1
        self.assertIsNone(self.ledger.find("k", BOB))

    def test_sweeping_takes_what_is_over_and_leaves_the_rest(self) -> None:
        """Of every index."""
        self.write(COMMITTED, has_id=False)
        self.write(COMMITTED, EVE)
        self.now += KEEP_ANONYMOUS_S
        self.ledger.expire()
        self.assertEqual(len(self.ledger), 1)
        self.assertFalse(self.ledger.may_know(BOB))
        self.assertTrue(self.ledger.may_know(EVE))

    def test_too_many_rows_push_out_the_oldest(self) -> None:
        """Memory is bounded (promise 8); a row that was written again is young."""
        self.patch(book, "ROWS", 3)
        for number in range(3):
            self.write(COMMITTED, f"r{number}@example.net")
        self.write(COMMITTED, "r0@example.net")
        self.write(COMMITTED, "r3@example.net")
        self.assertEqual(
            [self.ledger.may_know(f"r{number}@example.net") for number in range(4)], [True, False, True, True]
        )

    def test_after_a_restart_what_still_holds_is_known(self) -> None:
        """The store's rows go in as they were."""
        tried = transaction(params={"SIZE": b"1"})
        self.write(REFUSED, EVE, NO, of=tried)
        self.write(COMMITTED, has_id=False)
        fresh = Ledger(bytes(32), lambda: self.now, Store())
        self.now += KEEP_ANONYMOUS_S
        fresh.load(self.store.rows)
        self.assertEqual(len(fresh), 1)
        self.assertIsNotNone(fresh.refusal(tried, EVE))


class WritingTests(LedgerCase):
    """`Ledger.write`."""

    def test_it_is_known_at_once_and_durable_when_the_store_says_so(self) -> None:
        """A retry may be quicker than a disk."""
        self.store.ready = Deferred()
        done = self.ledger.write(transaction(), "k", True, [(BOB, COMMITTED, "mail:25", OK)])
        self.assertIsNotNone(self.ledger.find("k", BOB))
        self.assertNoResult(done)
        self.store.ready.callback(None)
        self.successResultOf(done)

    def test_a_store_that_fails_is_heard_of(self) -> None:
        """The caller decides; what is in memory stays."""
        self.store.ready = Deferred()
        done = self.ledger.write(transaction(), "k", True, [(BOB, COMMITTED, "mail:25", OK)])
        self.store.ready.errback(OSError("full"))
        self.failureResultOf(done, OSError)
        self.assertIsNotNone(self.ledger.find("k", BOB))

    def test_replies_come_back_as_they_were(self) -> None:
        """With and without an enhanced code, of several lines as one."""
        for reply, text in (
            (OK, "queued as 1"),
            (NO, "No such user"),
            (Reply(250, "", ("ok",)), "ok"),
            (Reply(250, "", ("",)), ""),
        ):
            self.write(COMMITTED, reply=reply)
            row = self.ledger.find("k", BOB)
            assert row is not None
            self.assertEqual((row.reply.code, row.reply.enhanced, row.reply.text), (reply.code, reply.enhanced, text))

    def test_every_recipient_has_its_row(self) -> None:
        """Of one write."""
        states = [(BOB, COMMITTED, "a:25", OK), (EVE, REFUSED, "a:25", NO)]
        self.successResultOf(self.ledger.write(transaction(), "k", True, states))
        self.assertEqual([row.recipient for row in self.store.rows], [BOB, EVE])
        self.assertEqual([self.ledger.find("k", who).state for who in (BOB, EVE)], [COMMITTED, REFUSED])  # type: ignore[union-attr]


class KeyTests(LedgerCase):
    """Which message is the same."""

    def key(
        self, header: HeaderSection = HEADER, octets: int = 100, checksum: int = 7, of: Transaction | None = None
    ) -> str:
        """The key of one message."""
        return self.ledger.key(of or transaction(), header, octets, checksum)

    def changed(self, old: bytes, new: bytes) -> HeaderSection:
        """The header section with another field."""
        octets = HEADER.octets.replace(old, new)
        self.assertNotEqual(octets, HEADER.octets)
        return HeaderSection(octets)

    def test_a_retry_has_the_same_key(self) -> None:
        """Also over another path, from another machine of the same sender, folded anew by nobody."""
        other_way = self.changed(b"Received: from a\r\n", b"Received: from b\r\nReceived: from c\r\nX-Id: 9\r\n")
        self.assertEqual(self.key(other_way), self.key())
        self.assertEqual(self.key(of=transaction(ip="2001:db8::9")), self.key())
        self.assertEqual(self.key(of=transaction(params={"SIZE": b"5"})), self.key())

    def test_whatever_tells_messages_apart_is_in_the_key(self) -> None:
        """Each identifying field, size, checksum and sender."""
        keys = {
            self.key(),
            self.key(octets=101),
            self.key(checksum=8),
            self.key(of=transaction("carol@example.org")),
            self.key(of=transaction("")),
            *(
                self.key(self.changed(old, new))
                for old, new in (
                    (b"From: a@", b"From: b@"),
                    (b"To: b", b"To: c"),
                    (b"To: b", b"To: b\r\nCc: c"),
                    (b"Date: today", b"Date: tomorrow"),
                    (b"<1@a>", b"<2@a>"),
                    (b"Subject: x", b"Subject: y"),
                    (b"Subject: x", b"Subject: x\r\nSubject: y"),
                )
            ),
        }
        self.assertEqual(len(keys), 12)

    def test_fields_cannot_run_into_each_other(self) -> None:
        """What is moved from one to the next is another message."""
        one = HeaderSection(b"From: a\r\nTo: bc\r\nMessage-ID: <1>\r\n\r\n")
        two = HeaderSection(b"From: ab\r\nTo: c\r\nMessage-ID: <1>\r\n\r\n")
        self.assertNotEqual(self.key(one), self.key(two))

    def test_without_a_message_id_the_client_is_in_the_key(self) -> None:
        """Two machines that send the same report are two messages."""
        header = self.changed(b"Message-ID: <1@a>\r\n", b"")
        one, two = self.key(header), self.key(header, of=transaction(ip="192.0.2.2"))
        self.assertNotEqual(one, two)
        self.assertEqual(one, self.key(header))

    def test_the_key_says_nothing_without_the_secret(self) -> None:
        """Nor is one gateway's key another's; an address is not in it."""
        other = Ledger(b"x" * 32, lambda: self.now, Store())
        self.assertNotEqual(other.key(transaction(), HEADER, 100, 7), self.key())
        self.assertRegex(self.key(), r"\A[0-9a-f]{40}\Z")
        tried = transaction(params={"SIZE": b"1"})
        self.assertNotEqual(other.envelope(tried), self.ledger.envelope(tried))
        self.assertRegex(self.ledger.envelope(tried), r"\A[0-9a-f]{32}\Z")
        self.assertNotEqual(other.envelope(transaction()), self.ledger.envelope(transaction()))
