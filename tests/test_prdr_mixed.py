"""Replies for each recipient where tries, refusals, verdicts and a client that leaves mix."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy import event as told
from smtpgate.policy.verdict import Finding, Scale
from smtpgate.proxy.pipeline import Chain
from smtpgate.proxy.use import Use
from tests import gateway_kit
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, PATIENCE_S, Backend, Client, Connection, without_trace
from tests.test_fanout import SMALL, FanoutCase, Mailboxes
from tests.test_prdr import SPAM, WITH_PRDR, ended, opened

TWO = ("b@example.net", "c@example.net")
BUT_C = Finding("mailbox-rule", "reject", "Not for c", recipients={1})


class _At(Filter):
    """Has the same findings at one stage of each message."""

    def __init__(self, stage: str, found: Sequence[Finding]) -> None:
        setattr(self, stage, lambda *_: list(found))

    def transaction(self, transaction: Any) -> Any:
        """The object of a transaction."""
        return self

    def session(self, session: Any) -> Any:
        """The object of a session."""
        return self

    def closed(self) -> None:
        """For the chain."""


def at(stage: str, *found: Finding, category: str = "policy") -> list[Use]:
    """A filter that finds so much at that stage of each message."""
    factory = Factory("at", Options, frozenset({stage}), lambda options, services: None, category=category)
    return [Use.of(factory, "at", _At(stage, found), None, "enforce", None)]


def states(gateway: TestGateway, which: int = -1) -> list[str]:
    """Of the recipients of a transaction."""
    return [one.state for one in gateway.told(told.TransactionEnded)[which].transaction.recipients]


class RepliesTests(GatewayCase):
    """The reply for the message must not take back what a recipient has."""

    def test_one_is_known_and_the_other_is_refused_now(self) -> Deferred[Any]:
        """The client left before its replies; at the next try b is known, c is refused again: 250 for the message."""
        left, replied = threading.Event(), threading.Event()

        def late(connection: Connection) -> bytes:
            assert left.wait(PATIENCE_S)
            replied.set()
            return b"353 each\r\n250 2.1.5 b ok\r\n550 5.7.1 c no\r\n250 2.0.0 done"

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                opened(client, TWO)
                self.assertRegex(client.say(b"DATA"), b"^354")
                client.send(SMALL + b".\r\n")
                self.assertTrue(gateway.until(lambda: backend.messages))
            left.set()
            self.assertTrue(gateway.idle() and replied.is_set())
            self.assertEqual(states(gateway), ["delivered", "refused"])
            with Client(gateway.port()) as client:
                self.assertEqual(opened(client, TWO), [250, 250])
                replies = [reply[:9] for reply in ended(client, SMALL, 4)]
                self.assertEqual(replies, ["353", "250 2.1.5", "550 5.7.1", "250 2.1.5"])
            self.assertTrue(gateway.idle())
            self.assertEqual(states(gateway), ["known", "refused"])

        return self.drive(script, Backend([(b"^DOT", b"550 5.7.1 c no")], WITH_PRDR, once=[(b"^DOT", late)]))

    def test_one_is_unknown_and_the_other_is_refused(self) -> Deferred[Any]:
        """By policy, and by another backend: the word on the message is to come again, for one of them is to."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                opened(client, TWO)
                self.assertEqual([reply[:3] for reply in ended(client, SMALL, 4)], ["353", "451", "550", "451"])
            self.assertTrue(gateway.idle())
            transaction = gateway.told(told.TransactionEnded)[0].transaction
            self.assertEqual((transaction.outcome, transaction.reply.code), ("unknown", 451))

        return self.drive(script, Backend(once=[(b"^DOT", DROP)]), uses=at("end", BUT_C))

    def test_421_for_one_of_them(self) -> Deferred[Any]:
        """It is the backend's word on its connection, not ours on this one: 451, and the session goes on."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                opened(client, TWO)
                replies = ended(client, SMALL, 4)
                self.assertEqual(replies, ["353", "250 2.1.5 b ok", "451 4.3.2 c going down", "250 2.1.5 b ok"])
                self.assertRegex(client.say(b"NOOP"), b"^250")
            self.assertTrue(gateway.idle())
            self.assertEqual(states(gateway), ["delivered", "deferred"])

        each = b"353 each\r\n250 2.1.5 b ok\r\n421 4.3.2 c going down\r\n250 2.0.0 done"
        return self.drive(script, Backend([(b"^DOT", each)], WITH_PRDR))

    def test_421_of_one_of_lmtp(self) -> Deferred[Any]:
        """The same where the replies are LMTP's."""
        backend = Backend([(b"^DOT", b"421 4.3.2 going down")], lmtp=True)
        self.addCleanup(backend.close)

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                opened(client, TWO)
                self.assertEqual(ended(client, SMALL, 1), ["451 4.3.2 going down"])

        return self.run_script(self.config(backend.port, backend='protocol = "lmtp"'), script)


class VerdictTests(GatewayCase):
    """Findings about some of them, at any stage."""

    def hears(self, stage: str, category: str = "policy") -> Deferred[Any]:
        """Each stage of the content is the same: c alone is refused with PRDR; the message without."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                opened(client, TWO)
                replies = ended(client, SMALL, 4)
                self.assertEqual([reply[:9] for reply in replies], ["353", "250 2.0.0", "550 5.7.1", "250 2.0.0"])
                self.assertEqual(states(gateway), ["delivered", "refused"])
                opened(client, TWO, b"")
                self.assertEqual(ended(client, SMALL, 1), ["550 5.7.1 Not for c"])
            self.assertEqual([without_trace(one) for one in backend.messages], [SMALL])

        return self.drive(script, uses=at(stage, BUT_C, category=category))

    def test_at_the_header(self) -> Deferred[Any]:
        """Seen before the body is."""
        return self.hears("header")

    def test_at_the_body(self) -> Deferred[Any]:
        """Seen while it passes."""
        return self.hears("body", "malware")

    def test_at_the_end(self) -> Deferred[Any]:
        """Seen with all of it."""
        return self.hears("end")

    def test_about_one_whom_the_message_is_not_for(self) -> Deferred[Any]:
        """The backend refused b at RCPT: what is wrong for b is nobody's business any more."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                for names in (TWO, (*TWO, "d@example.net")):
                    for params in (b" PRDR", b""):
                        self.assertEqual(opened(client, names, params)[:2], [550, 250])
                        self.assertEqual(ended(client, SMALL, 1), ["250 2.0.0 queued"])

        unknown = Backend([(b"<b@", b"550 5.1.1 unknown")])
        return self.drive(script, unknown, uses=at("end", Finding("mailbox-rule", "reject", "no", recipients={0})))

    def test_scores_of_early_stages(self) -> Deferred[Any]:
        """They are a guess as those of the content are: postmaster is spared alone, and is kept apart without PRDR."""
        real = gateway_kit.Chain

        def strict(uses: Any, role: str, clock: Any, tell: Any) -> Chain:
            return real(uses, role, clock, tell, Scale(reject=5.0))

        self.patch(gateway_kit, "Chain", strict)
        both = ("b@example.net", "postmaster@example.net")

        def script(gateway: TestGateway, backend: Backend) -> None:
            spam = "550 5.7.1 The message looks like spam"
            with Client(gateway.port()) as client:
                opened(client, both)
                self.assertEqual(ended(client, SMALL, 4), ["353", spam, "250 2.0.0 queued", "250 2.0.0 queued"])
                self.assertEqual(opened(client, both, b""), [250, 452])
                self.assertEqual(ended(client, SMALL, 1), [spam])

        return self.drive(script, uses=at("mail", Finding("listed", "note", "", score=6.0), category="spam"))


class AgainTests(GatewayCase):
    """Who is left out by policy is taken out of the legs: the others are asked for again on the link they have."""

    def test_the_slot_is_kept(self) -> Deferred[Any]:
        """Another session waits for the only one there is: it gets it afterwards, and both are served."""
        heard: list[bytes] = []

        def script(gateway: TestGateway) -> None:
            def other() -> None:
                with Client(gateway.port()) as client:
                    client.hello()
                    heard.append(client.message())

            (pool,) = gateway.control.revision.pools.values()
            with Client(gateway.port()) as client:
                opened(client, TWO)
                waiter = threading.Thread(target=other)
                waiter.start()
                self.assertTrue(gateway.until(lambda: pool.slots.line.count))
                replies = ended(client, SMALL, 4)
                self.assertEqual([reply[:3] for reply in replies], ["353", "250", "550", "250"])
                waiter.join(PATIENCE_S)
            self.assertEqual([reply[:3] for reply in heard], [b"250"])
            self.assertTrue(gateway.idle())
            self.assertEqual([server.busy for server in pool.servers], [0])

        backend = Backend()
        self.addCleanup(backend.close)
        text = self.config(backend.port, backend="max_connections = 1")
        return self.run_script(text, script, at("end", BUT_C))

    def test_the_client_leaves_meanwhile(self) -> Deferred[Any]:
        """Before its content went out: nothing is delivered, and the next try delivers one copy."""
        reached, left = threading.Event(), threading.Event()
        asked: list[bytes] = []

        def rcpt(connection: Connection) -> bytes:
            asked.append(b"")
            if len(asked) == 3:
                reached.set()
                assert left.wait(PATIENCE_S)
            return b"250 2.1.5 ok"

        def script(gateway: TestGateway, backend: Backend) -> None:
            client = Client(gateway.port())
            opened(client, TWO)
            self.assertRegex(client.say(b"DATA"), b"^354")
            client.send(SMALL + b".\r\n")
            self.assertTrue(gateway.until(reached.is_set))
            client.reset()
            self.assertTrue(gateway.idle())
            left.set()
            self.assertNotEqual(gateway.told(told.TransactionEnded)[0].transaction.outcome, "delivered")
            with Client(gateway.port()) as client:
                opened(client, TWO)
                self.assertEqual([reply[:3] for reply in ended(client, SMALL, 4)], ["353", "250", "550", "250"])
            self.assertTrue(gateway.idle())
            self.assertEqual(len(backend.messages), 1)
            self.assertEqual(gateway.told(told.DuplicatePossible), [])

        return self.drive(script, Backend([(b"^RCPT", rcpt)]), uses=at("end", BUT_C))

    def test_one_who_is_left_is_not_taken_again(self) -> Deferred[Any]:
        """Refused as it is asked for anew: its client hears that, and nothing is delivered."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                opened(client, TWO)
                backend.once.append((b"<b@", b"550 5.1.1 gone"))
                replies = ended(client, SMALL, 4)
                gone, no = "550 5.1.1 gone", "550 5.7.1 Not for c"
                self.assertEqual(replies, ["353", gone, no, gone])
            self.assertTrue(gateway.idle())
            self.assertEqual(states(gateway), ["refused", "refused"])
            self.assertEqual(backend.messages, [])

        return self.drive(script, uses=at("end", BUT_C))

    def test_several_legs(self) -> Deferred[Any]:
        """LMTP with one link for each: those of the others are not touched."""
        backend = Backend(lmtp=True)
        self.addCleanup(backend.close)

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                opened(client, (*TWO, "d@example.net"))
                replies = ended(client, SMALL, 5)
                self.assertEqual([reply[:3] for reply in replies], ["353", "250", "550", "250", "250"])
            self.assertEqual(len(backend.seen(b"^RCPT")), 3)
            self.assertEqual(len(backend.messages), 2)

        text = self.config(backend.port, backend='protocol = "lmtp"')
        return self.run_script(text, script, at("end", BUT_C))

    def test_a_guess_at_the_header_spares_postmaster(self) -> Deferred[Any]:
        """Before the body is seen."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                opened(client, ("b@example.net", "postmaster@example.net"))
                self.assertEqual([reply[:3] for reply in ended(client, SMALL, 4)], ["353", "550", "250", "250"])

        return self.drive(script, uses=at("header", SPAM, category="spam"))


class RetryTests(FanoutCase):
    """What is known of an earlier try goes before what is thought of this one."""

    def judged_otherwise(self, params: bytes) -> Deferred[Any]:
        """Delivered while its client was away; at the retry a filter would refuse it."""
        left = threading.Event()

        def late(connection: Connection) -> bytes:
            assert left.wait(PATIENCE_S)
            return b"250 2.0.0 queued"

        said: list[Finding] = []
        factory = Factory("later", Options, frozenset({"end"}), lambda options, services: None, category="spam")
        uses = [Use.of(factory, "later", _Later(said), None, "enforce", None)]
        backend = Backend(once=[(b"^DOT", late)])
        self.addCleanup(backend.close)

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                opened(client, ["b@example.net"], params)
                self.assertRegex(client.say(b"DATA"), b"^354")
                client.send(SMALL + b".\r\n")
                self.assertTrue(gateway.until(lambda: backend.messages))
            gateway.settle()
            left.set()
            self.assertTrue(gateway.idle())
            said.append(SPAM)
            with Client(gateway.port()) as client:
                opened(client, ["b@example.net"], params)
                self.assertEqual([reply[:3] for reply in ended(client, SMALL, 1)], ["250"])
            self.assertEqual(len(backend.messages), 1)

        return self.run_script(self.config(backend.port), script, uses)

    def test_delivered_and_judged_otherwise(self) -> Deferred[Any]:
        """250: a refusal would tell the sender that it was not delivered."""
        return self.judged_otherwise(b"")

    def test_the_same_with_prdr(self) -> Deferred[Any]:
        """Each for itself."""
        return self.judged_otherwise(b" PRDR")

    def test_the_client_leaves_while_the_ledger_is_written(self) -> Deferred[Any]:
        """Of one that is unknown; the other, which is delivered, is noted too then, and has one copy."""
        backends = [Mailboxes(), Mailboxes(once=[(b"^DOT", DROP)])]

        def script(gateway: TestGateway) -> None:
            asked, written = threading.Event(), Deferred[None]()
            store = gateway.store
            real = store.put

            def slow(rows: Any) -> Deferred[None]:
                store.rows += rows
                asked.set()
                return written

            store.put = slow  # type: ignore[method-assign]
            client = Client(gateway.port())
            names = self.names(2)[:2]
            opened(client, names)
            self.assertRegex(client.say(b"DATA"), b"^354")
            client.send(SMALL + b".\r\n")
            self.assertTrue(gateway.until(asked.is_set))
            client.reset()
            gateway.settle()
            store.put = real  # type: ignore[method-assign]
            gateway.in_reactor(written.callback, None)
            self.assertTrue(gateway.idle())
            with Client(gateway.port()) as again:
                opened(again, names)
                ended(again, SMALL, 1)
            self.assertTrue(gateway.idle())
            self.assertEqual(backends[0].delivered, ["u@d0.example"])

        return self.play(backends, script)


class _Later(Filter):
    """Has the findings of a list that is filled later."""

    def __init__(self, found: list[Finding]) -> None:
        self._found = found

    def transaction(self, transaction: Any) -> Any:
        """The object of a transaction."""
        return self

    def end(self) -> list[Finding]:
        """For the chain."""
        return list(self._found)

    def closed(self) -> None:
        """For the chain."""
