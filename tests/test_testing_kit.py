"""Tests of smtpgate.testing: the kit tells of a filter what a running gateway would do with it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtpgate.config.loader import ConfigErrors
from smtpgate.filters.base import Factory, Filter, Options
from smtpgate.interfaces import IConnector, IFilter, IFrontLeg, ILinkEdge, IServices
from smtpgate.plugins.builtin import access, helo, limits, match
from smtpgate.policy.edits import AddField
from smtpgate.policy.event import SessionEnded, SessionOpened, TransactionEnded
from smtpgate.policy.verdict import Finding
from smtpgate.proxy.inmemory import Back, Connector, Front
from smtpgate.proxy.use import Use
from smtpgate.smtp.server import WireRules
from smtpgate.testing import Backend, ContractBroken, Delivered, Gateway, complaints, use

OK = "250 2.0.0 Ok"


class Object:
    """A transaction's object with the methods that a test gives it."""

    def __init__(self, **methods: Any) -> None:
        vars(self).update(methods)


class Made(Filter):
    """A filter that gives out such objects, and notes when it is closed."""

    def __init__(self, services: Any, methods: dict[str, Any], closed: list[str]) -> None:
        self.services, self.methods, self.closed = services, methods, closed

    def transaction(self, transaction: Any) -> Any:
        """The object; methods get the transaction."""
        return Object(**{name: lambda *args, m=method: m(self, transaction) for name, method in self.methods.items()})

    def close(self) -> None:
        """Note it."""
        self.closed.append("closed")


class NightOptions(Options):
    """Options of a test."""

    hours: int = 1


def factory(*stages: str, closed: list[str] | None = None, **methods: Any) -> Factory:
    """A factory whose objects have these methods."""
    noted = closed if closed is not None else []
    named = frozenset(stages or methods)
    return Factory("mine", NightOptions, named, lambda options, services: Made(services, methods, noted))


class GatewayTests(SynchronousTestCase):
    """`Gateway` and `Client`."""

    def test_mail_without_filters(self) -> None:
        """From the greeting to the backend, with our trace field on top."""
        gateway = Gateway()
        client = gateway.connect("192.0.2.7")
        self.assertEqual(client.greeting, "220 gate.example.com ESMTP")
        self.assertEqual(client.helo("mail.example.org"), "250-gate.example.com")
        self.assertEqual(client.message("Subject: x\n\n.dot\nend\n"), OK)
        (delivered,) = gateway.backend.messages
        self.assertEqual((delivered.sender, delivered.recipients), ("alice@example.org", ("bob@example.net",)))
        self.assertRegex(delivered.content, rb"\AReceived: from mail\.example\.org \(\[192\.0\.2\.7\]\)\r\n")
        self.assertTrue(delivered.content.endswith(b"\r\nSubject: x\r\n\r\n.dot\r\nend\r\n"))
        self.assertEqual(client.transaction.outcome, "delivered")

    def test_one_step_each(self) -> None:
        """What a client says, and what it hears."""
        client = Gateway().connect()
        self.assertEqual(client.say("NOOP"), OK)
        client.helo()
        self.assertEqual(client.mail("a@example.org", "SIZE=10"), "250 2.1.0 Sender ok")
        self.assertEqual(client.rcpt("x@elsewhere.example")[:9], "550 5.7.1")
        self.assertEqual(client.rcpt(), OK)
        self.assertEqual(client.data()[:3], "354")
        client.content(b"Subject: x\r\n")
        client.content(b"\r\nhi\r\n")
        self.assertEqual(client.read(), "")
        self.assertEqual(client.end(), OK)
        self.assertEqual(client.say("QUIT"), "221 2.0.0 Goodbye")
        self.assertTrue(client.is_closed)

    def test_replies_of_several_lines_are_one(self) -> None:
        """And pipelined ones are read one by one."""
        client = Gateway().connect()
        self.assertIn("\n250-PIPELINING\n", client.say("EHLO x.example") + "\n")
        client.send(b"NOOP\r\nRSET\r\nVRFY x\r\n")
        self.assertEqual([client.read()[:3] for _ in range(4)], ["250", "250", "252", ""])

    def test_a_refusal_ends_the_message(self) -> None:
        """Of the sender, of all recipients, of the content: the reply is that refusal."""
        client = Gateway(use(limits, 'rows = [{ message_size = "30" }]')).connect()
        self.assertEqual(client.message()[:3], "503")
        client.helo()
        self.assertEqual(client.message(recipients=["x@elsewhere.example"])[:9], "550 5.7.1")
        client.say("RSET")
        self.assertEqual(client.message(), "552 5.3.4 Message is larger than 30")

    def test_the_backend_says_what_it_is_told(self) -> None:
        """At each step; what it refuses it does not keep; and it may say nothing at all."""
        gateway = Gateway()
        client = gateway.connect()
        client.helo()
        for verb in ("MAIL", "RCPT", "DATA", "END"):
            gateway.backend.answers = {verb: "550 5.1.1 No such user"}
            self.assertEqual(client.message(), "550 5.1.1 No such user", verb)
            client.say("RSET")
        self.assertEqual(gateway.backend.messages, [])
        gateway.backend.answers = {"END": ""}
        self.assertEqual(client.message(), "")
        gateway.advance(600)
        self.assertEqual(client.read()[:3], "451")
        self.assertEqual(client.transaction.outcome, "unknown")

    def test_the_time_of_day(self) -> None:
        """Of sessions and events; in UTC, or in the zone that is given."""
        for now in ("2026-01-07 03:00", "2026-01-07T04:00:00+01:00"):
            client = Gateway(now=now).connect()
            self.assertEqual(client.session.started, 1767754800.0, now)
        gateway = Gateway(now="2026-01-07 03:00")
        gateway.advance(90.5)
        self.assertEqual(gateway.connect().session.started, 1767754890.5)

    def test_a_client_that_is_idle_is_told_to_go(self) -> None:
        """Hours pass in no time."""
        gateway = Gateway()
        client = gateway.connect()
        gateway.advance(301)
        self.assertEqual(client.read()[:9], "421 4.4.2")
        self.assertTrue(client.is_closed)
        self.assertRaises(ConnectionError, client.say, "NOOP")

    def test_submission(self) -> None:
        """Mail needs a login, and goes everywhere."""
        gateway = Gateway(role="submission")
        client = gateway.connect()
        client.helo()
        self.assertEqual(client.mail()[:3], "530")
        self.assertEqual(client.login("anna")[:3], "235")
        self.assertEqual(client.session.user, "anna")
        self.assertEqual(client.message(recipients=["x@elsewhere.example"]), OK)

    def test_the_rest_of_the_configuration(self) -> None:
        """Tables that the filter does not own."""
        client = Gateway(config="[limits]\nrecipients = 100", domains=["example.com"]).connect()
        client.helo()
        client.mail()
        self.assertEqual(client.rcpt("bob@example.com"), OK)
        self.assertEqual(client.rcpt("bob@example.net")[:3], "550")
        self.assertIn("RCPTMAX=100", client.say("EHLO x.example"))

    def test_what_was_found_and_decided(self) -> None:
        """While it runs and when it is over, of the session first, once each."""
        gateway = Gateway(use(helo), use(match, 'rules = [{ name = "h", header = "subject", pattern = "." }]'))
        client = gateway.connect()
        client.helo("localhost")
        self.assertEqual([found.reason for found in client.findings], ["helo-unqualified"])
        self.assertRaises(IndexError, lambda: client.transaction)
        client.mail()
        self.assertIsNone(client.verdict)
        client.rcpt()
        client.data()
        client.content(b"Subject: x\r\n\r\nhi\r\n")
        self.assertEqual([found.reason for found in client.findings], ["helo-unqualified", "h"])
        client.end()
        self.assertEqual([found.reason for found in client.findings], ["helo-unqualified", "h"])
        assert client.verdict is not None
        self.assertEqual(client.verdict.action, "accept")

    def test_events_are_those_of_the_gateway(self) -> None:
        """In their order."""
        gateway = Gateway()
        client = gateway.connect()
        client.helo()
        client.message()
        client.hang_up()
        kinds = [type(event) for event in gateway.events]
        self.assertEqual(kinds[-3:], [SessionOpened, TransactionEnded, SessionEnded])
        self.assertEqual(gateway.sessions, 0)

    def test_several_clients_at_once(self) -> None:
        """Each has its session and its own objects."""
        waits: list[Deferred[Any]] = []

        def wait(made: Any, transaction: Any) -> Deferred[Any]:
            waits.append(Deferred())
            return waits[-1]

        gateway = Gateway(use(factory(mail=wait)))
        one, two = gateway.connect("192.0.2.1"), gateway.connect("192.0.2.2")
        for client in (one, two):
            client.helo()
            self.assertEqual(client.mail(), "")
        waits[1].callback(Finding("no", "reject"))
        self.assertEqual((one.read(), two.read()[:3]), ("", "550"))
        waits[0].callback(None)
        self.assertEqual(one.read()[:3], "250")
        gateway.close()

    def test_closing(self) -> None:
        """Sessions end, waits are cancelled, the filter hears that its revision is over."""
        closed: list[str] = []
        cancelled: list[Any] = []
        waiting: Deferred[Any] = Deferred(cancelled.append)
        gateway = Gateway(use(factory(closed=closed, mail=lambda made, transaction: waiting)))
        client = gateway.connect()
        client.helo()
        client.mail()
        gateway.close()
        self.assertEqual((gateway.sessions, cancelled, closed), (0, [waiting], ["closed"]))


class FilterTests(SynchronousTestCase):
    """How filters are used."""

    def test_options_are_read_as_the_gateway_reads_them(self) -> None:
        """A mistake in the test's own options is an error with its words."""
        error = self.assertRaises(ConfigErrors, Gateway, use(access, "entrys = []"))
        self.assertIn('unknown key; did you mean "entries"?', str(error))

    def test_mode_policy_and_name(self) -> None:
        """As the configuration file says them."""

        def fails(made: Any, transaction: Any) -> None:
            raise RuntimeError("a mistake")

        for given, reply in (
            ({}, "451 4.3.0 A check could not be done; try again later"),
            ({"on_error": "reject"}, "550 5.3.0 A check could not be done"),
            ({"on_error": "continue"}, "250 2.1.0 Sender ok"),
            ({"mode": "shadow"}, "250 2.1.0 Sender ok"),
            ({"mode": "off"}, "250 2.1.0 Sender ok"),
        ):
            gateway = Gateway(use(factory(mail=fails), name="night-watch", **given))
            client = gateway.connect()
            client.helo()
            self.assertEqual(client.mail(), reply, given)
            names = [(event.filter, event.kind) for event in gateway.failures]
            self.assertEqual(names, [] if given == {"mode": "off"} else [("night-watch", "raised")])

    def test_one_factory_twice(self) -> None:
        """Under two names, each with its options."""
        one = use(limits, "rows = [{ recipients = 1 }]", name="one")
        two = use(limits, 'rows = [{ message_size = "30" }]', name="two", mode="shadow")
        client = Gateway(one, two).connect()
        client.helo()
        self.assertEqual(client.message(recipients=["bob@example.net", "carol@example.net"]), OK)
        self.assertEqual(
            {(found.filter, found.is_shadow) for found in client.findings}, {("one", False), ("two", True)}
        )

    def test_services_are_what_a_filter_may_use(self) -> None:
        """Clock, edits, worker and witnesses."""
        heard: list[Any] = []

        def look(made: Any, transaction: Any) -> None:
            made.services.edits(transaction).append(AddField(b"X-Seen: yes\r\n", "mine"))
            made.services.run_in_worker(divmod, 7, 2).addCallback(heard.append)
            made.services.run_in_worker(divmod, 7, 0).addErrback(lambda failure: heard.append(failure.type))
            made.services.tell("something")
            heard.append(made.services.clock.seconds() - transaction.session.started)

        gateway = Gateway(use(factory(data=look)))
        verifyObject(IServices, gateway.services)
        client = gateway.connect()
        client.helo()
        gateway.advance(5)
        client.message()
        self.assertEqual(heard, [(3, 1), ZeroDivisionError, 5.0])
        # Asked for before our trace field was, so it stands below that.
        self.assertRegex(gateway.backend.messages[0].content, rb"\AReceived: (?:.*\r\n\t)+.*\r\nX-Seen: yes\r\n")
        self.assertIn("something", gateway.events)

    def test_a_method_that_would_never_be_called(self) -> None:
        """The factory does not name its stage; a running gateway could not tell."""
        gateway = Gateway(
            use(factory("mail", mail=lambda *args: None, rcpt=lambda *args: None, end=lambda *args: None))
        )
        client = gateway.connect()
        client.helo()
        error = self.assertRaises(ContractBroken, client.mail)
        self.assertIn("mine: Object has end, rcpt, which the stages of its factory do not name", str(error))

    def test_a_factory_that_breaks_the_contract(self) -> None:
        """It is refused before anything runs, and so is a role that it is not made for."""

        class Odd:
            name, options, roles = "odd", None, frozenset({"mx"})

        error = self.assertRaises(ContractBroken, Gateway, use(Odd()))
        self.assertIn("Odd", str(error))
        error = self.assertRaises(ContractBroken, Gateway, use(helo), role="submission")
        self.assertEqual(str(error), "helo is not made for listeners of role submission")

    def test_filters_without_a_factory(self) -> None:
        """A Use of the pipeline, in its place between others."""
        bare = Made(None, {"mail": lambda made, transaction: Finding("no", "reject")}, [])
        one = Use("bare", bare, frozenset({"mail"}), frozenset({"mx"}))
        client = Gateway(use(helo), one, use(limits)).connect()
        client.helo()
        self.assertEqual(client.mail()[:3], "550")

    def test_complaints(self) -> None:
        """None about what is good, and each about what is not."""
        self.assertEqual(complaints(factory(mail=None), "hours = 3"), [])
        self.assertEqual(
            complaints(factory(mail=None), 'hours = "3"\nminutes = 1'),
            ['hours: "3" is not a whole number', "minutes: unknown key"],
        )
        # Text that is no TOML has no key.
        self.assertEqual(complaints(factory(mail=None), "hours = 3\nhours = 4"), [": duplicate key"])


class PortTests(SynchronousTestCase):
    """The legs hold the ports of `interfaces`, so the engine cannot tell them from sockets."""

    def test_legs(self) -> None:
        """Both."""
        backend = Backend()
        verifyObject(IFrontLeg, Front(WireRules(), ("192.0.2.1", 1)))
        verifyObject(IConnector, Connector(Gateway()._turns, backend))
        owner = Object(connected=lambda: None, received=lambda octets: None)
        verifyObject(ILinkEdge, Back(Gateway()._turns, backend, owner))
        self.assertEqual(backend.messages, [])

    def test_watched_filters_are_filters(self) -> None:
        """What the kit puts around them too."""
        gateway = Gateway(use(helo))
        verifyObject(IFilter, gateway._uses[0].filter)

    def test_a_delivered_message_is_a_value(self) -> None:
        """Two that are the same are equal."""
        self.assertEqual(Delivered("a", ("b",), b"c"), Delivered("a", ("b",), b"c"))
