"""Tests of smtpgate.proxy.ledger: a retry is answered, not delivered again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.interfaces import StoreFailed
from smtpgate.message.header import HeaderSection
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.proxy import ledger as book
from smtpgate.proxy.ledger import COMMITTED, KEEP_ANONYMOUS_S, KEEP_S, REFUSED, UNKNOWN, Ledger
from smtpgate.smtp import status
from smtpgate.smtp.address import NULL_SENDER, Path, parse_path
from smtpgate.smtp.reply import Reply

BOB, EVE = "bob@example.net", "eve@example.net"
OK = Reply(250, "2.0.0", ("queued as 1",))
NO = Reply(550, "5.1.1", ("No such", "user"))
#: The same as the ledger gives it back.
SAID = Reply(550, "5.1.1", ("No such user",))
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
        self.assertIsNone(self.ledger.word(transaction(), BOB, [EVE], [EVE]))

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

    def test_an_unknown_fate_names_its_server(self) -> None:
        """There the retry goes first; a committed one needs no server."""
        self.write(COMMITTED, server="one:25")
        self.assertEqual(self.ledger.hint(BOB), "")
        self.write(UNKNOWN, key="k2", server="two:25")
        self.assertEqual(self.ledger.hint(BOB), "two:25")

    def test_what_is_learned_later_holds(self) -> None:
        """Unknown at first, committed at the retry; one row in memory."""
        tried = transaction(params={"SIZE": b"1"})
        self.write(UNKNOWN, of=tried)
        self.write(COMMITTED, of=tried)
        row = self.ledger.find("k", BOB)
        assert row is not None
        self.assertEqual((row.state, len(self.ledger), self.ledger.hint(BOB)), (COMMITTED, 1, ""))


class WordTests(LedgerCase):
    """`Ledger.word`: what a recipient hears at RCPT, where there is no content yet."""

    def mixed(self, params: dict[str, bytes | None] | None = None, key: str = "k") -> None:
        """An earlier try, which one had and the other was refused."""
        self.write(COMMITTED, BOB, of=transaction(params=params), key=key)
        self.write(REFUSED, EVE, NO, of=transaction(params=params), key=key)

    def word(
        self,
        recipient: str,
        here: tuple[str, ...] = (),
        beside: tuple[str, ...] = (),
        *,
        of: Transaction | None = None,
    ) -> Reply | None:
        """What it hears."""
        return self.ledger.word(of or transaction(params={"SIZE": b"5"}), recipient, here, beside)

    def test_size_and_one_who_has_it_prove_the_message(self) -> None:
        """Whether that one came before or was sent along; the refused one hears its own refusal."""
        for here, beside in (((BOB,), ()), ((), (EVE, BOB))):
            self.mixed({"SIZE": b"5"})
            word = self.word(EVE, here, beside)
            assert word is not None
            self.assertEqual((word.code, word.enhanced, word.text), (550, "5.1.1", "No such user"))

    def test_it_is_told_once(self) -> None:
        """Another message of the same sender, size and recipients is not refused for it, too."""
        self.mixed({"SIZE": b"5"})
        self.assertIsNotNone(self.word(EVE, (BOB,)))
        self.assertIsNone(self.word(EVE, (BOB,)))
        self.assertIsNone(self.word(BOB, (EVE,)))
        # The message itself is known still.
        row = self.ledger.find("k", EVE)
        assert row is not None
        self.assertEqual(row.state, REFUSED)

    def test_size_alone_proves_nothing(self) -> None:
        """Many messages of one sender have the same size."""
        self.mixed({"SIZE": b"5"})
        self.assertIsNone(self.word(EVE))
        self.assertIsNone(self.word(EVE, ("other@example.net",), ("third@example.net",)))

    def test_an_envid_proves_the_message(self) -> None:
        """It names it."""
        self.mixed({"ENVID": b"x"})
        self.assertIsNone(self.word(EVE, of=transaction(params={"ENVID": b"y"})))
        self.assertEqual(self.word(EVE, of=transaction(params={"ENVID": b"x"})), SAID)

    def test_a_retry_from_another_address_is_the_same(self) -> None:
        """Large senders have pools of them."""
        self.mixed({"SIZE": b"5"})
        self.assertIsNotNone(self.word(EVE, (BOB,), of=transaction(ip="192.0.2.9", params={"SIZE": b"5"})))

    def test_without_proof_the_two_kinds_are_kept_apart(self) -> None:
        """In whichever order they come: the one reply to the end of data must be true of all."""
        for first, second in ((EVE, BOB), (BOB, EVE)):
            for params in (None, {"SIZE": b"5"}):
                self.mixed(params)
                of = transaction() if first == BOB else transaction(params=params)
                self.assertIsNone(self.word(first, of=of))
                self.assertIs(self.word(second, (first,), of=of), status.OTHER_DESTINATION)

    def test_who_was_not_accepted_keeps_nobody_out(self) -> None:
        """Only recipients that share the reply count."""
        self.mixed()
        self.assertIsNone(self.word(BOB, of=transaction()))

    def test_other_messages_know_nothing_of_it(self) -> None:
        """Of another sender, of another size; and two messages are not mixed up."""
        self.mixed({"SIZE": b"5"})
        for other in (transaction("carol@example.org", params={"SIZE": b"5"}), transaction(params={"SIZE": b"6"})):
            self.assertIsNone(self.word(EVE, (BOB,), (BOB,), of=other))
            self.assertIsNone(self.word(BOB, (EVE,), (EVE,), of=other))
        self.setUp()
        self.write(COMMITTED, BOB, key="k")
        self.write(REFUSED, EVE, NO, key="l")
        self.assertIsNone(self.word(EVE, (BOB,), of=transaction()))

    def test_only_what_is_certain_counts(self) -> None:
        """Not what is unknown, nor what is over."""
        self.write(UNKNOWN, BOB)
        self.write(REFUSED, EVE, NO)
        self.assertIsNone(self.word(EVE, (BOB,), of=transaction()))
        self.mixed({"SIZE": b"5"}, "m")
        self.now += KEEP_S
        self.assertIsNone(self.word(EVE, (BOB,)))

    def test_what_was_refused_once_and_delivered_then_is_not_refused(self) -> None:
        """The newer fate holds."""
        self.mixed({"SIZE": b"5"})
        self.write(COMMITTED, EVE, of=transaction(params={"SIZE": b"5"}))
        self.assertIsNone(self.word(EVE, (BOB,)))


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
        self.now += KEEP_S - 1
        self.assertTrue(self.ledger.find("k", BOB) and self.ledger.hint(BOB))
        self.now += 1
        self.assertFalse(self.ledger.find("k", BOB) or self.ledger.hint(BOB))

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
        tried = transaction(params={"ENVID": b"1"})
        self.write(REFUSED, EVE, NO, of=tried)
        self.write(COMMITTED, has_id=False)
        fresh = Ledger(bytes(32), lambda: self.now, Store())
        self.now += KEEP_ANONYMOUS_S
        fresh.load(self.store.rows)
        self.assertEqual(len(fresh), 1)
        self.assertEqual(fresh.word(tried, EVE, [], []), SAID)


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
        self.store.ready.errback(StoreFailed("full"))
        self.failureResultOf(done, StoreFailed)
        self.assertIsNotNone(self.ledger.find("k", BOB))

    def test_what_the_store_did_not_take_is_tried_again(self) -> None:
        """Until it is there: a restart must not forget it."""
        self.store.ready = fail(StoreFailed("full"))
        self.failureResultOf(self.ledger.write(transaction(), "k", True, [(BOB, COMMITTED, "mail:25", OK)]))
        self.store.rows.clear()
        self.store.ready = fail(StoreFailed("still"))
        self.ledger.expire()
        self.store.rows.clear()
        self.store.ready = None
        self.ledger.expire()
        self.assertEqual([row.recipient for row in self.store.rows], [BOB])
        self.ledger.expire()
        self.assertEqual(len(self.store.rows), 1)

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
        for ledger in (self.ledger, other):
            self.successResultOf(
                ledger.write(transaction(params={"SIZE": b"1"}), "k", True, [(BOB, COMMITTED, "mail:25", OK)])
            )
        one, two = (ledger.find("k", BOB) for ledger in (self.ledger, other))
        assert one is not None and two is not None
        self.assertRegex(one.envelope, r"\A[0-9a-f]{32}\.[0-9a-f]{32}\Z")
        self.assertFalse({one.sender, one.mark} & {two.sender, two.mark})
