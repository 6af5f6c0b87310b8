"""Tests of smtpgate.filters.address: senders and recipients that are not taken."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.address import factory
from smtpgate.testing import Client, Gateway, complaints, use

OK = "250 2.0.0 Ok"


def client(options: str, role: str = "mx", login: bool = False) -> Client:
    """A client that has greeted."""
    made = Gateway(use(factory, options), role=role, domains=["example.net", "xn--bcher-kva.example"]).connect()
    made.helo()
    if login:
        assert made.login().startswith("235 ")
    return made


def reasons(of: Client) -> list[str]:
    """What was found."""
    return [finding.reason for finding in of.findings]


class SenderTests(SynchronousTestCase):
    """At MAIL, told at RCPT."""

    def test_a_blocked_sender_is_refused_at_the_recipient(self) -> None:
        """Every kind of entry, in any case."""
        options = 'blocked_senders = ["spam@example.org", "bad.example", "*.worse.example", "noreply@"]'
        for sender in (
            "spam@example.org",
            "SPAM@Example.ORG",
            "x@bad.example",
            "x@a.worse.example",
            "noreply@a.example",
        ):
            one = client(options)
            self.assertTrue(one.mail(sender).startswith("250 "), sender)
            self.assertEqual(one.rcpt(), "550 5.7.1 This sender is not taken here", sender)
        for sender in ("ham@example.org", "x@a.bad.example", "x@worse.example"):
            self.assertEqual(client(options).message(sender=sender), OK, sender)

    def test_postmaster_takes_mail_from_everybody(self) -> None:
        """RFC 5321 section 4.5.1; abuse by RFC 2142. The same transaction is refused for others."""
        one = client('blocked_senders = ["spam@example.org"]\nblocked_recipients = ["example.net"]')
        one.mail("spam@example.org")
        self.assertTrue(one.rcpt("bob@example.net").startswith("550 "))
        for recipient in ("postmaster@example.net", "PostMaster@example.net", "abuse@example.net", "postmaster"):
            self.assertTrue(one.rcpt(recipient).startswith("250 "), recipient)

    def test_on_submission_a_stranger_s_postmaster_is_a_recipient_like_others(self) -> None:
        """The duty is about our own domains."""
        options = 'blocked_senders = ["alice@example.net"]'
        one = client(options, role="submission", login=True)
        one.mail("alice@example.net")
        self.assertEqual(one.rcpt("postmaster@example.org"), "550 5.7.1 This sender is not taken here")
        one = client('blocked_recipients = ["example.org"]', role="submission", login=True)
        one.mail("alice@example.net")
        self.assertEqual(one.rcpt("abuse@example.org"), "550 5.7.1 This recipient takes no mail")

    def test_the_null_sender_is_never_refused_for_being_null(self) -> None:
        """Whatever is turned up."""
        one = client('unqualified_sender = "reject"\nlocal_domains = ["example.net"]\nlocal_from_outside = "reject"')
        self.assertEqual(one.message(sender=""), OK)
        self.assertEqual(reasons(one), [])

    def test_local_senders_from_outside(self) -> None:
        """Each action; of a refusal postmaster is exempt."""
        for action, reply in (
            ("off", OK),
            ("note", OK),
            ("tag", OK),
            ("defer", "451 4.7.1 This sender is not taken from your address"),
            ("reject", "550 5.7.1 This sender is not taken from your address"),
        ):
            one = client(f'local_domains = ["example.net"]\nlocal_from_outside = "{action}"')
            self.assertEqual(one.message(sender="eve@example.net"), reply, action)
            self.assertEqual(reasons(one), [] if action == "off" else ["sender-claims-local-domain"], action)
        one = client('local_domains = ["example.net"]\nlocal_from_outside = "reject"')
        self.assertEqual(one.message(sender="eve@example.net", recipients=["postmaster@example.net"]), OK)

    def test_our_own_users_are_no_strangers(self) -> None:
        """A login says so, also where its name is unknown."""
        one = client('local_domains = ["example.net"]\nlocal_from_outside = "reject"', role="submission", login=True)
        self.assertEqual(one.message(sender="alice@example.net", recipients=["bob@example.org"]), OK)
        one.session.user = ""
        self.assertEqual(one.message(sender="alice@example.net", recipients=["bob@example.org"]), OK)

    def test_unqualified_senders(self) -> None:
        """Each action; an address literal is no domain without a dot."""
        for action, reply in (
            ("off", OK),
            ("note", OK),
            ("tag", OK),
            ("defer", "451 4.7.1 Give the whole domain of the sender"),
            ("reject", "550 5.7.1 Give the whole domain of the sender"),
        ):
            one = client(f'unqualified_sender = "{action}"')
            self.assertEqual(one.message(sender="root@localhost"), reply, action)
            self.assertEqual(reasons(one), [] if action == "off" else ["sender-unqualified"], action)
        for sender in ("a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "a@b.c"):
            self.assertEqual(client('unqualified_sender = "reject"').message(sender=sender), OK, sender)

    def test_both_checks_are_made_and_the_stronger_speaks(self) -> None:
        """A local domain may be one without a dot."""
        options = 'local_domains = ["corp"]\nlocal_from_outside = "{}"\nunqualified_sender = "{}"'
        for local, unqualified, reason in (
            ("reject", "note", "sender-claims-local-domain"),
            ("reject", "off", "sender-claims-local-domain"),
            ("note", "reject", "sender-unqualified"),
            ("off", "tag", "sender-unqualified"),
            ("note", "note", "sender-claims-local-domain"),
        ):
            one = client(options.format(local, unqualified))
            one.message(sender="eve@corp")
            self.assertEqual(reasons(one), [reason], (local, unqualified))


class RecipientTests(SynchronousTestCase):
    """At RCPT."""

    def test_a_blocked_recipient_is_refused_alone(self) -> None:
        """The others of the message get it."""
        gateway = Gateway(use(factory, 'blocked_recipients = ["gone@example.net"]'))
        one = gateway.connect()
        one.helo()
        self.assertEqual(one.message(recipients=["gone@example.net", "bob@example.net"]), OK)
        self.assertEqual(gateway.backend.messages[0].recipients, ("bob@example.net",))
        self.assertEqual([finding.recipients for finding in one.findings], [frozenset({0})])

    def test_one_spelling_of_an_address_is_as_good_as_another(self) -> None:
        """Quotes, case, U-labels and UTF-8 local parts are no way around the list."""
        options = 'blocked_recipients = ["gone@example.net", "bücher.example", "jörg@example.net"]'
        for recipient, params in (
            ('"gone"@example.net', ""),
            ("GONE@EXAMPLE.NET", ""),
            ("x@xn--bcher-kva.example", ""),
            ("x@BÜCHER.example", "SMTPUTF8"),
            ("jörg@example.net", "SMTPUTF8"),
            ("jo\u0308rg@example.net", "SMTPUTF8"),
            ("JÖRG@example.net", "SMTPUTF8"),
        ):
            one = client(options)
            one.mail(params=params)
            self.assertEqual(one.rcpt(recipient), "550 5.7.1 This recipient takes no mail", recipient)

    def test_shadow_refuses_nobody(self) -> None:
        """What it would have done is recorded."""
        gateway = Gateway(use(factory, 'blocked_recipients = ["example.net"]', mode="shadow"))
        one = gateway.connect()
        one.helo()
        self.assertEqual(one.message(), OK)
        self.assertEqual([(found.reason, found.is_shadow) for found in one.findings], [("recipient-listed", True)])


class ConfigurationTests(SynchronousTestCase):
    """Mistakes are said at load."""

    def test_mistakes_have_their_words(self) -> None:
        """Also those that would do nothing."""
        for options, said in (
            ('blocked_senders = ["<>"]', ["blocked_senders: the null sender cannot be blocked"]),
            ('blocked_senders = ["@example.org"]', ['blocked_senders: "@example.org" is not a domain']),
            ('blocked_recipients = ["a b@example.org"]', ['blocked_recipients: "a b@example.org" is not an address']),
            ('local_domains = ["bob@example.net"]', ['local_domains: "bob@example.net" is not a domain']),
            ('local_from_outside = "refuse"', ['local_from_outside: unknown value "refuse"']),
            ("unqualified_sender = true", ["unqualified_sender: unknown value true"]),
            ('blocked_senders = "example.org"', ['blocked_senders: "example.org" is not a list']),
        ):
            with self.subTest(options=options):
                self.assertEqual(complaints(factory, options), said)
