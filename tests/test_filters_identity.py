"""Tests of smtpgate.filters.identity: who logged in sends as themselves only."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.identity import IdentityFilter, IdentityOptions, factory
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.smtp.address import Path
from smtpgate.testing import Gateway, complaints, use

USERS = """
[filters.options.users]
alice = ["alice@example.net", "sales@"]
"*@example.org" = ["example.org"]
robot = ["*.example.net", "example.net"]
"*" = ["everyone@example.net"]
"""


def sent(
    user: str = "alice@example.net",
    sender: str = "alice@example.net",
    head: str = "From: alice@example.net\n",
    options: str = "",
    mode: str = "enforce",
) -> tuple[str, list[str]]:
    """The last reply to a message of a user, and the reasons of what was found."""
    gateway = Gateway(use(factory, options, mode=mode), role="submission")
    client = gateway.connect()
    client.helo()
    client.login(user)
    reply = client.message(f"{head}Subject: x\n\nHello.\n", sender=sender)
    return reply, [one.reason.removeprefix("identity-") for one in client.findings]


OK = "250 2.0.0 Ok"


class OwnAddressTests(SynchronousTestCase):
    """A login that is an address owns it."""

    def test_as_oneself(self) -> None:
        """However the address is written."""
        for sender in ("alice@example.net", "ALICE@Example.NET", '"alice"@example.net'):
            self.assertEqual(sent(sender=sender, head=f"From: Alice <{sender}>\n"), (OK, []), sender)

    def test_as_somebody_else_in_the_envelope(self) -> None:
        """Refused at MAIL, with both names."""
        for sender in ("bob@example.net", "alice@example.org", "alice@sub.example.net", "alice+x@example.net"):
            reply, reasons = sent(sender=sender)
            self.assertEqual(reply, f"550 5.7.1 alice@example.net may not send as {sender}")
            self.assertEqual(reasons, ["sender"])

    def test_as_somebody_else_in_from(self) -> None:
        """Refused at the end; each of several addresses counts, in each field."""
        for head in (
            "From: bob@example.net\n",
            "From: Alice <alice@example.net>, Bob <bob@example.net>\n",
            "From: alice@example.net\nFrom: bob@example.net\n",
            'From: "alice@example.net" <bob@example.net>\n',
            "From: team: alice@example.net, bob@example.net;\n",
        ):
            reply, reasons = sent(head=head)
            self.assertEqual(reply, "550 5.7.1 alice@example.net may not send as bob@example.net in From", head)
            self.assertEqual(reasons, ["author"])

    def test_a_quoted_local_part(self) -> None:
        """B-130: the address in it is not the author's."""
        reply, reasons = sent(head='From: "Alice <alice@example.net>"@example.org\n')
        self.assertEqual((reply[:9], reasons), ("550 5.7.1", ["author"]))

    def test_a_from_that_can_be_read_twice(self) -> None:
        """It is nobody's own; nor is one without any address."""
        for head in (
            "From: bob@example.net <alice@example.net>\n",
            "From: bob@example.net@example.net\n",
            "From: =?utf-8?q?bob=40example.net?=\n",
            "From: nobody:;\n",
            "From:\n",
        ):
            reply, reasons = sent(head=head)
            self.assertEqual((reply[:9], reasons), ("550 5.7.1", ["ambiguous"]), head)
        self.assertEqual(sent(head='From: "alice@example.net"\n')[0][:9], "550 5.7.1")

    def test_without_from(self) -> None:
        """The envelope was checked; the mail server may add the field."""
        self.assertEqual(sent(head=""), (OK, []))

    def test_the_null_sender(self) -> None:
        """It is everybody's; From still counts."""
        self.assertEqual(sent(sender=""), (OK, []))
        self.assertEqual(sent(sender="", head="From: bob@example.net\n")[1], ["author"])

    def test_a_login_that_is_no_address(self) -> None:
        """It owns nothing without a table."""
        self.assertEqual(sent(user="alice")[1], ["sender"])
        self.assertEqual(sent(user="@example.net")[1], ["sender"])
        self.assertEqual(sent(user="alice@")[1], ["sender"])

    def test_switched_off(self) -> None:
        """Then only the table counts."""
        self.assertEqual(sent(options="own_address = false")[1], ["sender"])


class TableTests(SynchronousTestCase):
    """Addresses by login."""

    def test_what_the_table_gives(self) -> None:
        """Addresses, local parts, domains; to logins by name and by pattern."""
        for user, sender, is_own in (
            ("alice", "alice@example.net", True),
            ("ALICE", "alice@example.net", True),
            ("alice", "sales@example.com", True),
            ("alice", "everyone@example.net", True),
            ("alice", "bob@example.net", False),
            ("carol@example.org", "dave@example.org", True),
            ("carol@example.org", "dave@example.net", False),
            ("robot", "x@a.b.example.net", True),
            ("robot", "x@example.net", True),
            ("robot", "x@example.net.evil.test", False),
            ("robot", "x@notexample.net", False),
            ("mallory", "everyone@example.net", True),
            ("mallory", "alice@example.net", False),
        ):
            reply, reasons = sent(user, sender, f"From: {sender}\n", USERS)
            self.assertEqual((reply[:3], reasons), ("250", []) if is_own else ("550", ["sender"]), (user, sender))

    def test_the_domain_of_the_login(self) -> None:
        """All its addresses, where the operator says so; none below it."""
        for sender, is_own in (("bob@example.net", True), ("bob@sub.example.net", False), ("bob@example.org", False)):
            reply, _ = sent(sender=sender, head=f"From: {sender}\n", options="own_domain = true")
            self.assertEqual(reply[:3], "250" if is_own else "550", sender)

    def test_details_of_a_local_part(self) -> None:
        """Behind the mark that the operator names."""
        for sender, is_own in (
            ("alice+x@example.net", True),
            ("+alice@example.net", False),
            ("bob+alice@example.net", False),
        ):
            reply, _ = sent(sender=sender, head=f"From: {sender}\n", options='separator = "+"')
            self.assertEqual(reply[:3], "250" if is_own else "550", sender)


class SenderFieldTests(SynchronousTestCase):
    """Sender, which names who sent it for the authors."""

    def test_it_must_be_own(self) -> None:
        """As From must."""
        head = "From: alice@example.net\nSender: bob@example.net\n"
        reply, reasons = sent(head=head)
        self.assertEqual(reply, "550 5.7.1 alice@example.net may not send as bob@example.net in Sender")
        self.assertEqual(reasons, ["sender-field"])
        self.assertEqual(sent(head="From: alice@example.net\nSender: <alice@example.net>\n"), (OK, []))

    def test_on_behalf(self) -> None:
        """An own Sender lets From be somebody else, where the operator says so."""
        head = "From: boss@example.net\nSender: alice@example.net\n"
        self.assertEqual(sent(head=head)[1], ["author"])
        self.assertEqual(sent(head=head, options="on_behalf = true"), (OK, []))
        self.assertEqual(sent(head="From: boss@example.net\n", options="on_behalf = true")[1], ["author"])
        other = "From: boss@example.net\nSender: bob@example.net\n"
        self.assertEqual(sent(head=other, options="on_behalf = true")[1], ["sender-field", "author"])
        empty = "From: boss@example.net\nSender: <>\n"
        self.assertEqual(sent(head=empty, options="on_behalf = true")[1], ["sender-field", "author"])


class ActionTests(SynchronousTestCase):
    """What becomes of it, and whom it concerns."""

    def test_actions(self) -> None:
        """Noted, marked, or in shadow: it passes, and is recorded."""
        for action in ("note", "tag"):
            reply, reasons = sent(sender="bob@example.net", options=f'action = "{action}"')
            self.assertEqual((reply, reasons), (OK, ["sender"]))
        self.assertEqual(sent(sender="bob@example.net", mode="shadow"), (OK, ["sender"]))

    def test_the_envelope_only(self) -> None:
        """Where fields are not looked at."""
        self.assertEqual(sent(head="From: bob@example.net\n", options="fields = false"), (OK, []))
        self.assertEqual(sent(sender="bob@example.net", options="fields = false")[1], ["sender"])

    def test_who_did_not_log_in(self) -> None:
        """A client that may relay without a login is not looked at; one whose name is unknown owns nothing."""
        session = Session("1", "front", "submission")
        sender = Path(b"bob@example.net", "bob", "example.net")
        judge = IdentityFilter(IdentityOptions(), None)
        self.assertIsNone(judge.transaction(Transaction("1.1", session, sender, {})))
        session.mechanism = "GSSAPI"
        message = judge.transaction(Transaction("1.2", session, sender, {}))
        found = message.mail() if message is not None else None
        self.assertEqual(found and found.public, "This login may not send as bob@example.net")

    def test_hostile_names_in_the_reply(self) -> None:
        """A long address is cut, and nothing leaves the line."""
        long = "a" * 200
        reply, _ = sent(sender=f"{long}@example.net")
        self.assertEqual(reply, f"550 5.7.1 alice@example.net may not send as {'a' * 100}")
        reply, _ = sent(head='From: "\x01\tb"@example.net\n')
        self.assertTrue(reply.startswith("550 5.7.1 ") and reply.isprintable(), reply)

    def test_options_are_checked(self) -> None:
        """Addresses and logins that are none, and a separator that is a letter."""
        for options, key in (
            ('[filters.options.users]\nalice = ["not an address"]', "users"),
            ('[filters.options.users]\n"" = ["a@example.net"]', "users"),
            ('separator = "ab"', "separator"),
            ('separator = "a"', "separator"),
            ('action = "defer"', "action"),
        ):
            found = complaints(factory, options)
            self.assertEqual([one.partition(":")[0].partition(".")[0] for one in found], [key], found)
        self.assertEqual(complaints(factory, USERS), [])

    @given(st.text(st.sampled_from('ab@<>",;:() .\\"+'), max_size=30))
    @settings(max_examples=60)
    def test_no_from_passes_that_names_nobody_of_ones_own(self, text: str) -> None:
        """Whatever it is made of: it passes only with the own address in it."""
        reply, _ = sent(head=f"From: {text}\n")
        self.assertEqual(reply[:9], "550 5.7.1", text)
