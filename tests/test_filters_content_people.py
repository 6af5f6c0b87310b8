"""Tests of smtpgate.filters.content.people: whom a message says that it is from."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.filters.content.people import factory
from smtpgate.testing import Gateway, complaints, use


def found(
    author: str, options: str = "", more: str = "", body: str = "hello", sender: str = "a@example.org"
) -> dict[str, Any]:
    """What the filter says of a message of that author, by kind."""
    gateway = Gateway(use(factory, options))
    client = gateway.connect()
    client.helo()
    head = f"From: {author}\r\nTo: bob@example.net\r\n{more}" + ("" if "Subject:" in more else "Subject: x\r\n")
    client.message(f"{head}\r\n{body}\r\n".encode(), sender=sender)
    return {finding.reason.removeprefix("people-"): finding for finding in client.findings}


class PeopleFilterTests(SynchronousTestCase):
    """Each kind, and what only looks like one."""

    def test_honest_authors_are_nothing(self) -> None:
        """B-113, B-130: a name that repeats the own address, a quoted local part, accents, several authors."""
        for author in (
            "Alice <alice@example.org>", "alice@example.org- private <alice@example.org>",
            '"Doe, John" <john@example.org>',
            '"someone@example.org" <news@mail.example.org>', "=?utf-8?q?J=C3=B6rg?= <joerg@example.org>",
            "PayPal <service@paypal.com>", "PayPal <service@mail.paypal.com>", "Orange Lee <lee@example.org>",
        ):  # fmt: skip
            self.assertEqual(found(author).keys() - {"sender-elsewhere"}, set(), author)

    def test_a_name_that_is_another_address(self) -> None:
        """B-115: somebody's, or ours."""
        self.assertIn("name-holds-address", found('"accounts@bank.example.com" <mary@example.org>'))
        for options in ("", 'protected = ["example.net"]'):
            say = found('"accounts@example.net" <mary@example.org>', options)["name-holds-ours"]
            self.assertEqual((say.action, say.score), ("tag", 4.0))

    def test_a_brand_that_it_does_not_come_from(self) -> None:
        """In the name, whatever letters; common words as whole names only."""
        for author in (
            "PayPal <a@example.org>",
            "P\u0430yPal Service <a@example.org>",
            "Ledger <a@example.org>",
            '"DHL Express" <a@example.org>',
        ):
            self.assertIn("brand-name", found(author), author)

    def test_a_brand_in_the_subject(self) -> None:
        """Unless it leads there."""
        more = "Subject: Your Netflix membership\r\n"
        self.assertIn("brand-subject", found("Alice <a@example.org>", more=more, body="https://evil.example.com/"))
        self.assertNotIn("brand-subject", found("Alice <a@example.org>", more=more, body="https://www.netflix.com/x"))

    def test_domains_that_look_like_others(self) -> None:
        """Ours, partners' and those of brands."""
        self.assertIn("look-alike", found("PayPal <a@paypa1.com>"))
        say = found("Bob <a@examp1e-partner.com>", 'protected = ["example-partner.com"]')["look-alike-ours"]
        self.assertEqual((say.action, say.score), ("tag", 4.0))
        honest = found("Bob <a@example-partner.com>", 'protected = ["example-partner.com"]')
        self.assertEqual(honest.keys() & {"look-alike", "look-alike-ours"}, set())

    def test_people_of_ours(self) -> None:
        """By name in any order and letters, from an address that is none of theirs."""
        options = '[filters.options.people]\n"Jane Doe" = ["jane@example.net", "jane.private@gmail.com"]\n'
        for author in (
            "Jane Doe <ceo@gmail.com>",
            '"Doe, Jane" <jane@example.org>',
            "J\u0430ne D\u043ee <x@example.org>",
            '"Dr. Jane Doe (CEO)" <x@example.org>',
            '"JANE DOE | Finance" <x@example.org>',
        ):
            say = found(author, options)["protected-name"]
            self.assertEqual(say.action, "tag", author)
        for author in ("Jane Doe <jane@example.net>", "jane doe <Jane.Private@gmail.com>", "Jane Dole <x@example.org>",
                       "Jane <x@example.org>", "Doe <x@example.org>", "M. Doe <x@example.org>"):  # fmt: skip
            self.assertEqual(found(author, options).keys() & {"protected-name", "protected-initials"}, set(), author)
        for author in ("J. Doe <x@example.org>", '"Doe, J." <x@example.org>', "Jane D <x@example.org>"):
            self.assertEqual(found(author, options)["protected-initials"].action, "note", author)
        single = '[filters.options.people]\nRonaldinho = ["r@example.net"]\n'
        self.assertIn("protected-name", found("Ronaldinho <x@example.org>", single))
        self.assertNotIn("protected-name", found("Ronaldinho Fans <x@example.org>", single))

    def test_signs_of_authors(self) -> None:
        """Each by its own."""
        for author, kind in (
            ("Support Team <help1987@gmail.com>", "office-at-freemail"),
            ("\u2605 Winner \u2605 <a@example.org>", "decorated-name"),
            ("Acme\u00ae <a@example.org>", "decorated-name"), ("P\u0430ula <a@example.org>", "name-in-letters"),
            ("News <a@x8f.onmicrosoft.com>", "nowhere-author"), ("News <a@shop-1a2b.web.app>", "nowhere-author"),
            ("alice@example.org", "no-name"), ("Alice, Alice, <a@example.org>", "several-names"),
            ("Bob <xkvbnrtw@example.org>", "random-author"),
        ):  # fmt: skip
            self.assertIn(kind, found(author), author)

    def test_where_answers_go(self) -> None:
        """Elsewhere, or to a mailbox that anybody may have; lists do it too."""
        self.assertIn("answers-freemail", found("A <a@example.org>", more="Reply-To: b@gmail.com\r\n"))
        self.assertIn("answers-elsewhere", found("A <a@example.org>", more="Reply-To: b@example.com\r\n"))
        self.assertNotIn("answers-elsewhere", found("A <a@example.org>", more="Reply-To: b@sub.example.org\r\n"))
        self.assertNotIn(
            "answers-elsewhere",
            found("A <a@example.org>", more="Reply-To: l@example.com\r\nList-Id: <l.example.com>\r\n"),
        )

    def test_a_reader_without_a_name(self) -> None:
        """Greeted by address, or named in the subject."""
        self.assertIn("reader-in-subject", found("A <a@example.org>", more="Subject: bob@example.net, you won\r\n"))
        self.assertIn("reader-greeted", found("A <a@example.org>", body="Hello bob@example.net,"))
        self.assertNotIn("reader-greeted", found("A <a@example.org>", body="Hello Bob, this goes to bob@example.net"))

    def test_options(self) -> None:
        """What means nothing is refused."""
        self.assertEqual(complaints(factory, "scores = { no-name = 0.0 }"), [])
        self.assertEqual(len(complaints(factory, "scores = { noname = 0.0 }")), 1)
        self.assertEqual(len(complaints(factory, 'protected = ["a b"]')), 1)
        for people in ('"" = ["a@example.net"]', '"Jane" = ["jane"]', '"Jane" = ["@example.net"]'):
            self.assertEqual(len(complaints(factory, f"[filters.options.people]\n{people}\n")), 1, people)
