"""PRDR on both legs; and where there is one reply for all, recipients that may fare otherwise are kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.policy import event as told
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.use import Use
from tests.gateway_kit import GatewayCase, TestGateway
from tests.script_kit import DROP, EHLO, REFERENCE, Backend, Client, Connection, without_trace
from tests.test_fanout import SMALL, FanoutCase, Mailboxes

WITH_PRDR = (*EHLO, "PRDR")
SPAM = Finding("bulk", "reject", "Looks like bulk mail")


class _Says(Filter):
    """Has the same findings at the end of each message."""

    def __init__(self, found: Sequence[Finding]) -> None:
        self._found = list(found)

    def transaction(self, transaction: Any) -> Any:
        """The object of a transaction."""
        return self

    def end(self) -> list[Finding]:
        """For the chain."""
        return self._found

    def closed(self) -> None:
        """For the chain."""


def says(*found: Finding, category: str = "spam") -> list[Use]:
    """A filter that finds so much in each message."""
    factory = Factory("says", Options, frozenset({"end"}), lambda options, services: None, category=category)
    return [Use.of(factory, "says", _Says(found), None, "enforce", None)]


def opened(client: Client, names: Sequence[str], params: bytes = b" PRDR") -> list[int]:
    """MAIL and the recipients; the codes of the latter."""
    client.hello()
    assert client.say(b"MAIL FROM:<a@example.org>" + params).startswith(b"250")
    return [int(client.say(b"RCPT TO:<%s>" % name.encode())[:3]) for name in names]


def ended(client: Client, content: bytes, replies: int) -> list[str]:
    """DATA and the content; so many replies after it, without their reference."""
    assert client.say(b"DATA").startswith(b"354")
    client.send(content + b".\r\n")
    out = [client.read() for _ in range(replies)]
    return [line.decode().strip().rsplit(" ", 1)[0] if line[:3] != b"353" else "353" for line in out]


class ClientLegTests(FanoutCase):
    """A client that asks for it."""

    def test_backends_do_not_depend_on_each_other(self) -> Deferred[Any]:
        """One takes the message and one refuses: each recipient hears its own, at once, and nothing is remembered."""
        backends = [Mailboxes([(b"^DOT", b"550 5.7.1 spam")]), Mailboxes()]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                names = self.names(2)
                self.assertEqual(opened(client, names), [250] * 4)
                self.assertEqual(
                    ended(client, SMALL, 6),
                    ["353", "550 5.7.1 spam", "250 2.0.0 queued", "550 5.7.1 spam", "250 2.0.0 queued"]
                    + ["250 2.0.0 queued"],
                )
                self.assertRegex(client.say(b"NOOP"), b"^250")
            self.assertEqual(sorted(backends[1].delivered), ["u@d1.example", "v@d1.example"])
            self.assertTrue(gateway.idle())
            transaction = gateway.told(told.TransactionEnded)[0].transaction
            self.assertEqual(transaction.outcome, "delivered")
            self.assertEqual([one.state for one in transaction.recipients], ["refused", "delivered"] * 2)
            self.assertEqual(len(gateway.ledger), 0)

        return self.play(backends, script)

    def test_a_backend_that_dies_costs_only_its_own(self) -> Deferred[Any]:
        """Lost before its end of data: 451 for its recipients, 250 for the others."""
        backends = [Mailboxes(), Mailboxes([(b"^DATA", DROP)])]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                self.assertEqual(opened(client, self.names(2)[:2]), [250, 250])
                replies = ended(client, SMALL, 4)
                self.assertEqual([reply[:3] for reply in replies], ["353", "250", "451", "250"])
            self.assertEqual(backends[0].delivered, ["u@d0.example"])
            self.assertTrue(gateway.idle())
            transaction = gateway.told(told.TransactionEnded)[0].transaction
            self.assertEqual([one.state for one in transaction.recipients], ["delivered", "deferred"])

        return self.play(backends, script)

    def test_where_all_fare_alike_one_reply_says_so(self) -> Deferred[Any]:
        """Delivered to all, or refused by all in the same words."""
        backends = [Mailboxes(once=[(b"^DOT", b"550 5.7.1 no")]), Mailboxes(once=[(b"^DOT", b"550 5.7.1 no")])]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                for expected in ("550 5.7.1 no", "250 2.0.0 queued"):
                    opened(client, self.names(2))
                    self.assertEqual(ended(client, SMALL, 1), [expected])
                    self.assertRegex(client.say(b"NOOP"), b"^250 2")

        return self.play(backends, script)

    def test_refused_for_all_in_different_words(self) -> Deferred[Any]:
        """Each hears its own; the last is for now where one of them is."""
        backends = [Mailboxes([(b"^DOT", b"550 5.7.1 no")]), Mailboxes([(b"^DOT", b"452 4.2.2 full")])]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                opened(client, self.names(2)[:2])
                self.assertEqual(ended(client, SMALL, 4), ["353", "550 5.7.1 no", "452 4.2.2 full", "452 4.2.2 full"])

        return self.play(backends, script)

    def test_who_does_not_ask_has_one_reply(self) -> Deferred[Any]:
        """451 for a mix, as ever, and the ledger knows the rest."""
        backends = [Mailboxes(), Mailboxes([(b"^DOT", b"550 5.7.1 no")])]

        def script(gateway: TestGateway) -> None:
            with Client(gateway.port()) as client:
                opened(client, self.names(2)[:2], b"")
                self.assertEqual([reply[:3] for reply in ended(client, SMALL, 1)], ["451"])
            self.assertGreater(len(gateway.ledger), 0)

        return self.play(backends, script)


class BackendLegTests(GatewayCase):
    """A backend that offers it."""

    TO = ("b@example.net", "c@example.net", "d@example.net")
    EACH = b"353 one by one\r\n250 2.1.5 b ok\r\n550 5.7.1 c no\r\n452 4.2.2 d full\r\n"

    def heard(self, gateway: TestGateway, replies: int, params: bytes = b" PRDR") -> list[str]:
        """One message to three: what the client hears at its end."""
        with Client(gateway.port()) as client:
            self.assertEqual(opened(client, self.TO, params), [250] * 3)
            return ended(client, SMALL, replies)

    def test_its_replies_are_the_client_s(self) -> Deferred[Any]:
        """353 and one each, whole or octet by octet; with DATA and with BDAT; the link serves the next message."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                for _ in range(2):
                    self.assertEqual(opened(client, self.TO), [250] * 3)
                    self.assertEqual(
                        ended(client, SMALL, 5),
                        ["353", "250 2.1.5 b ok", "550 5.7.1 c no", "452 4.2.2 d full", "250 2.1.5 b ok"],
                    )
                opened(client, self.TO)
                client.send(b"BDAT %d LAST\r\n" % len(SMALL) + SMALL)
                self.assertEqual([client.read()[:3] for _ in range(5)], [b"353", b"250", b"550", b"452", b"250"])
            self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org> PRDR"] * 3)
            self.assertEqual(len([one for one in backend.connections if one.commands[1:2] != [b"QUIT"]]), 1)
            self.assertTrue(gateway.idle())
            for event in gateway.told(told.TransactionEnded):
                states = [one.state for one in event.transaction.recipients]
                self.assertEqual(states, ["delivered", "refused", "deferred"])

        backend = Backend([(b"^DOT", self.EACH + b"250 2.0.0 done\r\n")], WITH_PRDR)
        return self.drive(script, backend)

    def test_its_word_on_the_message_holds_for_all(self) -> Deferred[Any]:
        """A refusal behind the replies takes back what was accepted; who was refused for good stays so."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(
                self.heard(gateway, 5),
                ["353", "451 4.3.0 disk", "550 5.7.1 c no", "451 4.3.0 disk", "451 4.3.0 disk"],
            )

        return self.drive(script, Backend([(b"^DOT", self.EACH + b"451 4.3.0 disk\r\n")], WITH_PRDR))

    def test_lost_behind_some_replies_is_unknown(self) -> Deferred[Any]:
        """Without its last word nothing is sure: 451 for all, and the ledger asks the same server first."""

        def half(connection: Connection) -> bytes:
            connection.say(b"353 one by one\r\n250 2.1.5 b ok\r\n")
            return DROP

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual([reply[:3] for reply in self.heard(gateway, 1)], ["451"])
            self.assertTrue(gateway.idle())
            self.assertEqual(len(gateway.told(told.DeliveryUnknown)), 1)
            self.assertEqual(gateway.told(told.TransactionEnded)[0].transaction.outcome, "unknown")
            self.assertEqual(len(gateway.ledger), 3)

        return self.drive(script, Backend([(b"^DOT", half)], WITH_PRDR))

    def test_one_reply_is_for_all(self) -> Deferred[Any]:
        """A server may answer at once."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.heard(gateway, 1), ["250 2.0.0 queued"])

        return self.drive(script, Backend((), WITH_PRDR))

    def test_too_many_replies_are_out_of_step(self) -> Deferred[Any]:
        """A reply more than recipients and message have: the link is not used again."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.heard(gateway, 1)
            self.assertTrue(gateway.idle())
            self.assertTrue(backend.all_closed())

        return self.drive(script, Backend([(b"^DOT", self.EACH + b"250 2.0.0 a\r\n250 2.0.0 b\r\n")], WITH_PRDR))

    def test_353_unasked_is_out_of_step(self) -> Deferred[Any]:
        """To a message that did not ask for it: 451, unknown."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual([reply[:3] for reply in self.heard(gateway, 1, b"")], ["451"])
            self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org>"])

        return self.drive(script, Backend([(b"^DOT", self.EACH + b"250 2.0.0 done\r\n")], WITH_PRDR))

    def test_an_lmtp_client_is_served_by_it(self) -> Deferred[Any]:
        """Its replies are the N of LMTP, in order."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.say(b"LHLO client.example.com")
                client.say(b"MAIL FROM:<a@example.org>")
                for name in self.TO:
                    client.say(b"RCPT TO:<%s>" % name.encode())
                self.assertEqual(ended(client, SMALL, 3), ["250 2.1.5 b ok", "550 5.7.1 c no", "452 4.2.2 d full"])
                self.assertRegex(client.say(b"NOOP"), b"^250 2")
            self.assertEqual(backend.seen(b"^MAIL"), [b"MAIL FROM:<a@example.org> PRDR"])

        backend = Backend([(b"^DOT", self.EACH + b"250 2.0.0 done\r\n")], WITH_PRDR)
        return self.drive(script, backend, listener='protocol = "lmtp"')

    def test_an_lmtp_backend_gives_a_prdr_client_its_replies(self) -> Deferred[Any]:
        """One to one, and a mix is no 451."""
        backend = Backend(once=[(b"^DOT", b"550 5.2.1 closed")], lmtp=True)

        def script(gateway: TestGateway, _: Backend) -> None:
            replies = self.heard(gateway, 5)
            self.assertEqual(replies[0], "353")
            self.assertEqual(sorted(reply[:3] for reply in replies[1:4]), ["250", "250", "550"])
            self.assertEqual(replies[4][:3], "250")

        self.addCleanup(backend.close)
        text = self.config(backend.port, backend='protocol = "lmtp"')
        return self.run_script(text, lambda gateway: script(gateway, backend))


class VerdictTests(GatewayCase):
    """What policy says of each recipient."""

    TO = ("b@example.net", "postmaster@example.net", "c@example.net")

    def test_each_has_its_own_verdict(self) -> Deferred[Any]:
        """With PRDR a guess refuses the message for all but postmaster; the backend hears of that one only."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertEqual(opened(client, self.TO), [250] * 3)
                no = "550 5.7.1 Looks like bulk mail"
                self.assertEqual(ended(client, SMALL, 5), ["353", no, "250 2.0.0 queued", no, "250 2.0.0 queued"])
            self.assertEqual([without_trace(one) for one in backend.messages], [SMALL])
            last = [line for line in backend.commands if line[:4] in (b"MAIL", b"RCPT", b"DATA")][-3:]
            self.assertEqual(last, [b"MAIL FROM:<a@example.org>", b"RCPT TO:<postmaster@example.net>", b"DATA"])
            self.assertTrue(gateway.idle())
            transaction = gateway.told(told.TransactionEnded)[0].transaction
            self.assertEqual(transaction.outcome, "delivered")
            self.assertEqual([one.state for one in transaction.recipients], ["refused", "delivered", "refused"])
            self.assertEqual((transaction.verdict.action, transaction.verdict.spared), ("tag", "reject"))

        return self.drive(script, uses=says(SPAM))

    def test_a_finding_about_one_recipient(self) -> Deferred[Any]:
        """With PRDR it holds for that one; else for the message, since there is one reply."""
        about = Finding("mailbox-rule", "reject", "Not for c", recipients={2})

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                opened(client, ("b@example.net", "d@example.net", "c@example.net"))
                self.assertEqual(
                    [reply[:13] for reply in ended(client, SMALL, 5)],
                    ["353", "250 2.0.0 que", "250 2.0.0 que", "550 5.7.1 Not", "250 2.0.0 que"],
                )
                opened(client, ("b@example.net", "d@example.net", "c@example.net"), b"")
                self.assertEqual(ended(client, SMALL, 1), ["550 5.7.1 Not for c"])

        return self.drive(script, uses=says(about, category="policy"))

    def test_refused_for_all_has_one_reply(self) -> Deferred[Any]:
        """Malware knows no mercy."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                opened(client, self.TO)
                self.assertEqual(ended(client, SMALL, 1), ["550 5.7.1 Looks like bulk mail"])
            self.assertEqual(backend.messages, [])

        return self.drive(script, uses=says(SPAM, category="malware"))

    def test_without_prdr_they_are_kept_apart_at_rcpt(self) -> Deferred[Any]:
        """Whoever may fare otherwise comes in a message of its own: spam to postmaster reaches nobody else."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertEqual(opened(client, self.TO, b""), [250, 452, 250])
                self.assertEqual(ended(client, SMALL, 1), ["550 5.7.1 Looks like bulk mail"])
                lines = [b"MAIL FROM:<a@example.org>", *(b"RCPT TO:<%s>" % name.encode() for name in self.TO[1:])]
                self.assertEqual(client.codes(b"\r\n".join(lines) + b"\r\n", 3), [250, 250, 452])
                self.assertEqual(ended(client, SMALL, 1), ["250 2.0.0 queued"])
            refused = gateway.told(told.TransactionEnded)[0].transaction.recipients[1].reply
            self.assertEqual((refused.code, refused.enhanced), (452, "4.5.3"))

        return self.drive(script, uses=says(SPAM))

    def test_nobody_is_kept_apart_where_no_guess_refuses(self) -> Deferred[Any]:
        """Without filters, or with such as are no guesses."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertEqual(opened(client, self.TO, b""), [250] * 3)

        return self.drive(script, uses=says(category="malware"))

    def test_one_whom_the_backend_refused_keeps_nobody_apart(self) -> Deferred[Any]:
        """Its answer is waited for, also where both came in one packet."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                lines = [b"MAIL FROM:<a@example.org>", *(b"RCPT TO:<%s>" % name.encode() for name in self.TO[:2])]
                self.assertEqual(client.codes(b"\r\n".join(lines) + b"\r\n", 3), [250, 550, 250])

        return self.drive(script, Backend([(b"<b@", b"550 5.1.1 unknown")]), uses=says(SPAM))


class OfferTests(GatewayCase):
    """Where it is offered."""

    def offered(self, listener: str, verb: bytes = b"EHLO") -> Deferred[Any]:
        """Whether EHLO says PRDR."""

        def script(gateway: TestGateway, backend: Backend) -> bool:
            with Client(gateway.port()) as client:
                return b"PRDR\r\n" in client.say(verb + b" client.example.com")

        return self.drive(script, listener=listener)

    async def test_unless_the_key_says_no(self) -> None:
        """Never in LMTP, where each recipient has its reply by itself."""
        self.assertTrue(await self.offered(""))
        self.assertFalse(await self.offered("prdr = false"))
        self.assertFalse(await self.offered('protocol = "lmtp"', b"LHLO"))

    def test_who_was_not_offered_it_may_not_ask(self) -> Deferred[Any]:
        """555, as for any parameter that EHLO did not name."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                reply = client.say(b"MAIL FROM:<a@example.org> PRDR")
                self.assertRegex(reply, b"^555 5.5.4 .*" + REFERENCE)

        return self.drive(script, listener="prdr = false")
