"""Tests of smtpgate.filters.limits: sizes and recipients by listener, user and sender."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.limits import factory
from smtpgate.testing import Client, Gateway, complaints, use

OK = "250 2.0.0 Ok"
TOO_MANY = "452 4.5.3 Too many recipients; send the rest in another transaction"


def gateway(*rows: str, role: str = "mx") -> Gateway:
    """A gateway with these rows."""
    return Gateway(use(factory, f"rows = [{', '.join(rows)}]"), role=role)


def client(*rows: str, role: str = "mx", user: str = "") -> Client:
    """A client of it that has greeted."""
    made = gateway(*rows, role=role).connect()
    made.helo()
    if user:
        assert made.login(user).startswith("235 ")
    return made


def content(size: int) -> bytes:
    """A message of so many octets, as RFC 1870 counts them."""
    return b"Subject: x\r\n\r\n" + b"y" * (size - 16) + b"\r\n"


class SizeTests(SynchronousTestCase):
    """`message_size`."""

    def test_at_the_limit_and_one_over(self) -> None:
        """The limit itself is taken."""
        one = client('{ message_size = "1 kB" }')
        self.assertEqual(one.message(content(1000)), OK)
        self.assertEqual(one.message(content(1001)), "552 5.3.4 Message is larger than 1 kB")

    def test_a_declared_size_is_refused_at_once(self) -> None:
        """No recipient need be given; a smaller one that lies is found out at the end."""
        one = client('{ message_size = "1 kB" }')
        self.assertEqual(one.mail(params="SIZE=1001"), "552 5.3.4 Message is larger than 1 kB")
        self.assertTrue(one.mail(params="SIZE=1000").startswith("250 "))
        one.rcpt()
        one.data()
        one.content(content(1001))
        self.assertEqual(one.end(), "552 5.3.4 Message is larger than 1 kB")

    def test_a_message_too_large_never_ends_at_the_backend(self) -> None:
        """It may have begun there."""
        made = gateway('{ message_size = "1 kB" }')
        one = made.connect()
        one.helo()
        one.message(content(5000))
        self.assertEqual(made.backend.messages, [])

    def test_dots_are_counted_once(self) -> None:
        """Stuffing is of the wire, not of the message."""
        self.assertEqual(client('{ message_size = "30" }').message(b"Subject: x\n\n" + b".\n" * 5), OK)


class RecipientTests(SynchronousTestCase):
    """`recipients`."""

    def test_those_over_the_limit_are_for_another_transaction(self) -> None:
        """The client sends them in its next one (RFC 5321 section 4.5.3.1.10)."""
        one = client("{ recipients = 2 }")
        for _ in range(2):
            one.mail()
            replies = [one.rcpt(f"r{number}@example.net") for number in range(4)]
            self.assertEqual([reply[:3] for reply in replies], ["250", "250", "452", "452"])
            self.assertEqual(replies[2], TOO_MANY)
            one.say("RSET")

    def test_a_pipelined_group_is_counted_too(self) -> None:
        """The answers of the first are still out when the last is asked."""
        one = client("{ recipients = 2 }")
        one.mail()
        one.send(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % number for number in range(5)))
        self.assertEqual([one.read()[:3] for _ in range(5)], ["250", "250", "452", "452", "452"])

    def test_refused_recipients_do_not_count(self) -> None:
        """Neither those that the gateway refused nor those of the backend."""
        made = gateway("{ recipients = 1 }")
        one = made.connect()
        one.helo()
        one.mail()
        self.assertTrue(one.rcpt("x@elsewhere.example").startswith("550 5.7.1"))
        made.backend.answers["RCPT"] = "550 5.1.1 No such user"
        self.assertEqual(one.rcpt("nobody@example.net"), "550 5.1.1 No such user")
        del made.backend.answers["RCPT"]
        self.assertTrue(one.rcpt().startswith("250 "))
        self.assertEqual(one.rcpt(), TOO_MANY)


class RowTests(SynchronousTestCase):
    """Which row holds."""

    def test_the_first_row_that_fits_holds(self) -> None:
        """Also where a later one is stricter, and where it sets no such limit."""
        rows = ('{ sender = ["example.org"], recipients = 5 }', '{ message_size = "20" }')
        self.assertEqual(client(*rows).message(content(100), sender="a@example.org"), OK)
        self.assertTrue(client(*rows).message(content(100), sender="a@example.com").startswith("552 "))

    def test_the_null_sender_can_be_named(self) -> None:
        """One recipient is enough for a bounce."""
        rows = ('{ sender = ["<>"], recipients = 1 }',)
        one = client(*rows)
        one.mail("")
        self.assertTrue(one.rcpt().startswith("250 "))
        self.assertEqual(one.rcpt(), TOO_MANY)
        one.say("RSET")
        one.mail()
        self.assertEqual([one.rcpt()[:3] for _ in range(2)], ["250", "250"])

    def test_rows_of_users_are_for_those_who_logged_in(self) -> None:
        """With stars, and without regard to case."""
        row = '{ user = ["bulk-*"], message_size = "20" }'
        for user, reply in (("bulk-1", "552"), ("BULK-news", "552"), ("alice", "250")):
            one = client(row, role="submission", user=user)
            self.assertEqual(one.message(content(100))[:3], reply, user)
        self.assertEqual(client(row).message(content(100)), OK)

    def test_rows_of_listeners(self) -> None:
        """By the name that the configuration gives."""
        for name, reply in (("front", "552"), ("other", "250")):
            one = client(f'{{ listener = ["{name}"], message_size = "20" }}')
            self.assertEqual(one.message(content(100))[:3], reply, name)

    def test_all_that_a_row_names_must_fit(self) -> None:
        """Not one of it."""
        row = '{ listener = ["front"], sender = ["example.com"], message_size = "20" }'
        self.assertEqual(client(row).message(content(100)), OK)

    def test_without_a_row_there_is_no_limit(self) -> None:
        """And nothing runs."""
        one = client()
        self.assertEqual(one.message(content(100_000)), OK)
        self.assertEqual(one.findings, [])


class ConfigurationTests(SynchronousTestCase):
    """Mistakes are said at load."""

    def test_mistakes_have_their_place_and_their_words(self) -> None:
        """Each row is judged on its own."""
        for row, said in (
            ('{ message_size = "10M" }', ['rows[0].message_size: the unit "M" has two meanings']),
            ('{ message_size = "0" }', ['rows[0].message_size: "0" would take no message']),
            ('{ message_size = "much" }', ['rows[0].message_size: "much" is not a size']),
            ("{ recipients = -1 }", ["rows[0].recipients: -1 is too small"]),
            ('{ recipients = "5" }', ['rows[0].recipients: "5" is not a whole number']),
            ('{ sender = ["<bob@example.net>"] }', ['rows[0].sender: "<bob@example.net>" is not an address']),
            ('{ user = [""] }', ["rows[0].user: an empty user name matches nobody"]),
            ('{ recipient = ["example.net"] }', ["rows[0].recipient: unknown key"]),
        ):
            with self.subTest(row=row):
                self.assertEqual(complaints(factory, f"rows = [{row}]"), said)
