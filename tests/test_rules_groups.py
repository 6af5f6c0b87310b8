"""Groups of addresses and scopes of rules: who is in which, when it is known, and for whom a rule is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.config.model_policy import Groups
from smtpgate.config.patterns import AddressList
from smtpgate.examine.skeleton import looks_like
from smtpgate.filters.rules import Rules
from smtpgate.message.header import HeaderSection
from smtpgate.policy.event import TransactionEnded
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.proxy.likes import Likes
from smtpgate.proxy.reputation import KNOWN_S, Correspondents
from smtpgate.rules import values
from smtpgate.rules.asked import grouped
from tests.limits_kit import FILE
from tests.test_filters_rules import Services, path
from tests.vault_kit import VaultCase

GROUPS = """
[groups.board]
addresses = ["ann@example.org", "*.board.example"]
[groups.staff]
addresses = ["example.org", "bob@"]
[groups.none]
"""


def rule(name: str, when: str, action: str = "reject", more: str = "") -> str:
    """One rule."""
    return f'[[rules]]\nname = "{name}"\nwhen = """{when}"""\naction = "{action}"\n{more}\n'


class GroupsTests(SynchronousTestCase):
    """What conditions know of groups."""

    def settings(self, text: str) -> Any:
        """Of a file with these rules."""
        return loads(FILE + GROUPS + text, "/nowhere/gate.toml")

    def test_who_is_in_which(self) -> None:
        """An address in several; the null sender in none that does not name it; a user without a domain."""
        groups = self.settings("").groups
        for (local, domain), names in {
            ("Ann", "EXAMPLE.org"): ["board", "staff"],
            ("x", "a.board.example"): ["board"],
            ("bob", "elsewhere.example"): ["staff"],
            ("bob", ""): ["staff"],
            ("x", "board.example"): [],
            ("", ""): [],
        }.items():
            self.assertEqual(groups.of(local, domain), names, (local, domain))
        self.assertEqual(Groups(null=AddressList(["<>"])).of("", ""), ["null"])

    def test_facts_at_their_steps(self) -> None:
        """Of sender and user from MAIL on, of one recipient at RCPT, of all behind it."""
        groups = self.settings("").groups.of
        session = Session("id", "mx", "mx")
        transaction = Transaction("id.1", session, path("ann@example.org"), {})
        self.assertEqual(values.at_mail(transaction, groups)["user_groups"], [])
        for user, names in (("bob", ["staff"]), ("x@example.org", ["staff"]), ("x", [])):
            session.user = user
            known = values.at_mail(transaction, groups)
            self.assertEqual((known["sender_groups"], known["user_groups"]), (["board", "staff"], names))
        self.assertEqual(values.at_rcpt(path("a@b.board.example"), groups)["recipient_groups"], ["board"])
        recipients = [Recipient(path(name), {}) for name in ("a@x.example", "b@example.org", "ann@example.org")]
        for one in recipients:
            one.state = "accepted"
        recipients[1].state = "refused"
        self.assertEqual(values.at_data(recipients, groups)["groups_of_recipients"], ["board", "staff"])
        steps = {
            "'board' in sender_groups": "mail",
            "user_groups.size() > 0": "mail",
            "'board' in recipient_groups": "rcpt",
            "'board' in groups_of_recipients": "data",
        }
        rules = self.settings("".join(rule(f"r{n}", when) for n, when in enumerate(steps))).rules
        self.assertEqual([one.condition.step for one in rules], list(steps.values()))

    def test_what_leaves(self) -> None:
        """Domains that are not ours, and whether one message goes to both."""
        is_local = self.settings("").local_domains.matches
        for names, outside, is_mixed in (
            (("a@example.net",), [], False),
            (("a@X.example", "b@x.example"), ["x.example"], False),
            (("a@x.example", "b@Example.NET"), ["x.example"], True),
            ((), [], False),
        ):
            recipients = [Recipient(path(name), {}) for name in names]
            for one in recipients:
                one.state = "accepted"
            known = values.at_data(recipients, is_local=is_local)
            self.assertEqual((known["outside_domains"], known["is_mixed"]), (outside, is_mixed), names)

    def test_they_are_looked_up_only_where_a_rule_asks(self) -> None:
        """Nobody pays for what no rule wants."""
        asked: list[str] = []

        def of(local: str, domain: str) -> list[str]:
            asked.append(local)
            return []

        for when, count in (("sender == 'x'", 0), ("subject == 'sender_groups'", 0), ("'board' in sender_groups", 1)):
            asked.clear()
            rules = Rules(self.settings(rule("a", when)).rules, "enforce", Services(), groups=of)
            transaction = Transaction("id.1", Session("id", "mx", "mx"), path("ann@example.org"), {})
            made = rules.transaction(transaction)
            assert made is not None
            made.mail(())
            self.assertEqual(len(asked), count, when)

    def test_names_in_conditions(self) -> None:
        """In a list and in tests of it, with their places; not what only looks so."""
        for text, names in {
            "'board' in sender_groups": [("board", 1, 1)],
            "true &&\n  !('a' in recipient_groups || \"b\" in user_groups)": [("a", 2, 5), ("b", 2, 32)],
            "groups_of_recipients.exists(g, g == 'a' || g != 'b')": [("a", 1, 37), ("b", 1, 49)],
            "subject == \"'board' in sender_groups\"": [],
            "sender in sender_groups": [],
            "// 'x' in sender_groups\ntrue": [],
            "'b\\oard' in sender_groups": [],
        }.items():
            self.assertEqual([(one.name, one.line, one.column) for one in grouped(text)], names, text)

    def test_how_many_can_be_seen(self) -> None:
        """Mailboxes of To and Cc, those in groups of RFC 5322 too, each once; Bcc is not seen."""
        for fields, count in (
            (b"", 0),
            (b"To: a@x.example, B <b@x.example>\r\n", 2),
            (b"To: A@x.example\r\nCc: a@X.example, c@x.example\r\n", 2),
            (b"To: team: a@x.example, b@x.example;\r\nBcc: c@x.example\r\n", 2),
            (b"To: undisclosed-recipients:;\r\n", 0),
        ):
            self.assertEqual(values.at_header(HeaderSection(fields + b"\r\n"))["visible_recipients"], count, fields)


class LikeTests(SynchronousTestCase):
    """Domains that look like those that our users write to."""

    def setUp(self) -> None:
        self.known = Correspondents()
        for domain in ("northern-works.example", "Bank.example", "gmail.com", "ab.example", "sub.partner.co.uk"):
            self.known.learn("x", domain, 1000.0)

    def like(self, domain: str, now: float = 1000.0) -> list[str]:
        """What it looks like."""
        return self.known.like(domain, now)

    def test_what_looks_alike(self) -> None:
        """In other letters, with one more, less, changed, or two swapped; with words around."""
        works = ["northern-works.example"]
        for domain, found in {
            "northern-w0rks.example": works,
            "northem-works.example": works,
            "northern-work.example": works,
            "norhtern-works.example": works,
            "NORTHERN-WORKZ.example": works,
            "n\u043erthern-works.example": works,
            "secure-bank.example": ["bank.example"],
            "partnor.co.uk": ["sub.partner.co.uk"],
        }.items():
            self.assertEqual(self.like(domain), found, domain)

    def test_what_does_not(self) -> None:
        """Itself and what is below it, short names, others, and mailbox providers."""
        for domain in (
            "northern-works.example",
            "Northern-Works.example",
            "mail.northern-works.example",
            "aab.example",
            "elsewhere.example",
            "gmail.com",
            "",
        ):
            self.assertEqual(self.like(domain), [], domain)

    def test_it_is_learned_and_forgotten(self) -> None:
        """After the index was made too; who is written to is no look-alike any more."""
        self.assertEqual(self.like("southern-w0rks.example"), [])
        self.known.learn("x", "southern-works.example", 2000.0)
        self.assertEqual(self.like("southern-w0rks.example", 2000.0), ["southern-works.example"])
        self.assertEqual(self.like("southern-w0rks.example", 2000.0 + KNOWN_S), [])
        self.known.learn("x", "southern-w0rks.example", 2000.0)
        self.assertEqual(self.like("southern-w0rks.example", 2000.0), [])

    @given(st.text("abcdefghij", min_size=6, max_size=20), st.integers(0, 3), st.data())
    def test_one_letter_away(self, name: str, how: int, data: Any) -> None:
        """Whatever the comparison of two names finds, the search among many finds."""
        likes = Likes(10)
        likes.add(f"{name}.example")
        at = data.draw(st.integers(1, len(name) - 1))
        letter = data.draw(st.sampled_from("xyz-"))
        other = [name[:at] + letter + name[at:], name[:at] + letter + name[at + 1 :], name[:at] + name[at + 1 :],
                 name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :]][how]  # fmt: skip
        found = looks_like(f"{other}.example", (f"{name}.example",))
        self.assertEqual(likes.of(f"{other}.example"), [f"{name}.example"] if found else [])
        likes.remove(f"{name}.example")
        self.assertEqual(likes.of(f"{other}.example"), [])

    def test_many_that_are_alike(self) -> None:
        """Where thousands have one half the same, those that are one letter away are found all the same; the newest
        are held, and one that is written to again is new."""
        likes = Likes(3000)
        for number in range(4000):
            likes.add(f"customer{number:05d}.test")
            if number > 1500:
                likes.add("northern-works.test")
        self.assertEqual(len(likes), 3000)
        self.assertEqual(likes.of("northern-wrks.test"), ["northern-works.test"])
        self.assertEqual(likes.of("customer00100x.test"), [])
        self.assertIn("customer03456.test", likes.of("customer03x456.test"))
        self.assertIn("customer03456.test", likes.of("cutsomer03456.test"))
        for number in range(4000):
            likes.remove(f"customer{number:05d}.test")
        likes.remove("northern-works.test")
        self.assertEqual((len(likes), likes.of("northern-wrks.test")), (0, []))

    def test_one_name_under_many_endings(self) -> None:
        """They are no look-alikes, and keep none from being found."""
        likes = Likes(1000)
        for number in range(500):
            likes.add(f"partner.e{number}")
        likes.add("partmer.test")
        self.assertEqual(likes.of("partner.test"), ["partmer.test"])

    def test_they_are_there_after_a_restart(self) -> None:
        """From the first question on."""
        known = Correspondents()
        known.restore(self.known.changed(1000.0, 100), 1000.0)
        self.assertEqual(known.like("northern-w0rks.example", 1000.0), ["northern-works.example"])


class ScopeTests(VaultCase):
    """`sender` and `recipient` beside listener and direction, on the wire."""

    def test_a_rule_for_one_recipient(self) -> Deferred[Any]:
        """The others of the message are not touched; nor is mail of other senders."""
        text = GROUPS + rule("scoped", "true", more='sender = ["example.org"]\nrecipient = ["bob@example.net"]')
        text += rule("group", "'staff' in recipient_groups && !('board' in sender_groups)", "defer")

        def script(gateway: Any, backend: Any) -> None:
            self.assertEqual(self.send(gateway, b"bob")[:3], b"554")
            self.assertEqual(self.send(gateway, b"bob", b"carl")[:3], b"250")
            self.assertEqual(len(backend.messages), 1)
            self.assertTrue(gateway.idle())
            replies = self.replies(gateway)
            self.assertEqual(replies, [("bob", 550), ("bob", 550), ("carl", 250)])
            self.assertEqual(self.send(gateway, b"bob", b"carl", sender=b"x@elsewhere.example")[:3], b"250")
            self.assertTrue(gateway.idle())
            self.assertEqual(self.replies(gateway)[3:], [("bob", 451), ("carl", 250)])

        return self.talk(text, script)

    def replies(self, gateway: Any) -> list[tuple[str, int]]:
        """What each recipient heard."""
        ended = [event.transaction for event in gateway.told(TransactionEnded)]
        return [(one.path.local, one.reply.code) for it in ended for one in it.recipients]
