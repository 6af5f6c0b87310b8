# ruff: noqa: E501 - mail as it is written
"""The default set and the mail that must not be hurt, with numbers: good mail while nothing answers, mail for postmaster.

Time is that of the clock of the kit: what a sender would have waited for.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import dkim
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.default_set import DEFAULT_SET
from smtpgate.plugins import find_factories
from smtpgate.testing import Client, Gateway, use
from tests.accuracy.good import good_mail
from tests.test_filters_sender_dmarc import key

MAILS = 1000
#: Nothing is ever answered.
SILENCE = {f"*.{top}": "timeout" for top in ("arpa", "com", "net", "org", "example", "de", "fr")}
SPAM = (
    "From: PayPal Security <service@paypa1-support.top>\nTo: x\nSubject: YOUR ACCOUNT HAS BEEN LIMITED!!!\n"
    "Content-Type: text/html\n\n<p>Dear customer, your account has been suspended. Verify your account within 24 hours or "
    'lose it.</p><a href="http://203.0.113.9/">https://www.paypal.com/</a>\n'
)


def default_set(zones: Any, role: str = "mx", mode: str = "", config: str = "", **options: str) -> Gateway:
    """A gateway with the default set; in one mode for all, where one is given.

    :param options: by filter, of those that have some; a filter that is not in the set comes behind it
    """
    factories, _ = find_factories()
    names = {**dict(DEFAULT_SET), **dict.fromkeys(options.keys() - dict(DEFAULT_SET).keys(), "enforce")}
    uses = [
        use(factories[name], options.get(name, ""), mode=mode or usual)
        for name, usual in names.items()
        if role in factories[name].roles
    ]
    return Gateway(*uses, zones=zones, role=role, config=config)


def patiently(gateway: Gateway, reply: str, client: Client) -> str:
    """The reply, when the clock has gone so far."""
    for _ in range(600):
        if reply:
            return reply
        gateway.advance(0.1)
        reply = client.read()
    return "silence"


def send(
    gateway: Gateway, client: Client, content: bytes | str, sender: str, recipients: list[str]
) -> tuple[str, float]:
    """A message step by step: the last reply, or the refusal that ended it, and the seconds that all of it took."""
    began = gateway.clock.seconds()
    replies = [patiently(gateway, client.mail(sender), client)]
    if replies[-1].startswith("250"):
        replies += [patiently(gateway, client.rcpt(one), client) for one in recipients]
    if replies[-1].startswith("250"):
        replies.append(patiently(gateway, client.data(), client))
    if replies[-1].startswith("354"):
        octets = content.encode() if isinstance(content, str) else content
        lines = octets.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
        client.send(b"".join((b"." if line[:1] == b"." else b"") + line + b"\r\n" for line in lines))
        replies.append(patiently(gateway, client.end(), client))
    return replies[-1], gateway.clock.seconds() - began


class GoodMailTests(SynchronousTestCase):
    """A thousand good mails in, a thousand submissions out, while no resolver answers."""

    def sent(self, role: str, mode: str) -> None:
        """All of them; none refused, none deferred, none that waited long."""
        gateway = default_set(SILENCE, role, mode)
        waited = []
        for number, (kind, sender, content) in enumerate(good_mail(MAILS)):
            client = gateway.connect(f"198.51.{100 + number // 250}.{number % 250}")
            patiently(gateway, client.helo("mail.example.org"), client)
            if role == "submission":
                client.login("alice")
            reply, seconds = send(gateway, client, content, sender, ["bob@example.net"])
            self.assertTrue(reply.startswith("250"), (kind, reply, [one.reason for one in client.findings]))
            waited.append(seconds)
            client.hang_up()
        waited.sort()
        print(
            f"    {role} {mode or 'as shipped'}, no resolver answers: {MAILS} taken, p50 {waited[MAILS // 2]:.1f} s, "
            f"p99 {waited[MAILS * 99 // 100]:.1f} s",
            file=sys.__stderr__,
        )
        self.assertLessEqual(waited[MAILS * 99 // 100], 5.0)
        if role == "mx":
            self.assertGreater(waited[MAILS // 2], 1.0, "somebody was waited for, or this shows nothing")

    def test_good_mail_in(self) -> None:
        """As shipped."""
        self.sent("mx", "")

    def test_good_mail_in_with_all_enforced(self) -> None:
        """Not even where the operator enforces every check."""
        self.sent("mx", "enforce")

    def test_good_mail_out(self) -> None:
        """Submission."""
        self.sent("submission", "")


class MercyTests(SynchronousTestCase):
    """A hundred of each, with every check enforced and a sum that refuses."""

    CONFIG = "[scores]\nreject = 8.0\n"

    def gateway(self) -> Gateway:
        """All checks enforced."""
        return default_set({}, mode="enforce", config=self.CONFIG)

    def test_the_spam_is_spam(self) -> None:
        """Without mercy it is refused, or the tests below would show nothing."""
        gateway = self.gateway()
        client = gateway.connect("203.0.113.9")
        client.helo("mail")
        reply, _ = send(gateway, client, SPAM, "x@paypa1-support.top", ["bob@example.net"])
        self.assertTrue(reply.startswith("550 5.7.1"), reply)

    def test_mail_to_postmaster_and_abuse_gets_through(self) -> None:
        """Marked, whatever it looks like."""
        gateway = self.gateway()
        for number in range(100):
            client = gateway.connect(f"203.0.113.{number}")
            client.helo("mail")
            recipient = ("postmaster@example.net", "abuse@example.net")[number % 2]
            reply, _ = send(gateway, client, SPAM, "x@paypa1-support.top", [recipient])
            self.assertTrue(reply.startswith("250"), reply)
        self.assertEqual(len(gateway.backend.messages), 100)
        self.assertTrue(all(b"X-Spam-Flag: YES" in one.content for one in gateway.backend.messages))

    def test_bounces_get_through(self) -> None:
        """The null sender, from servers without names."""
        gateway = self.gateway()
        for number in range(100):
            client = gateway.connect(f"203.0.113.{number}")
            client.helo("mail.example.org")
            bounce = (
                f"From: Mail Delivery System <MAILER-DAEMON@mail.example.org>\nTo: bob@example.net\nSubject: Undelivered Mail\n"
                f"Auto-Submitted: auto-replied\nMessage-ID: <{number}@mail.example.org>\nMIME-Version: 1.0\n"
                "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nYour message could not be "
                "delivered.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mail.example.org\n\n"
                "Final-Recipient: rfc822; x@example.org\nAction: failed\nStatus: 5.1.1\n\n--b\nContent-Type: message/rfc822\n\n"
                "From: bob@example.net\nTo: x@example.org\nSubject: hello\n\nhello\n--b--\n"
            )
            reply, _ = send(gateway, client, bounce, "", ["bob@example.net"])
            self.assertTrue(reply.startswith("250"), (reply, [one.reason for one in client.findings]))

    def test_call_outs_are_no_attacks(self) -> None:
        """RCPT with the null sender, then QUIT; some with thirty recipients."""
        gateway = self.gateway()
        for number in range(100):
            client = gateway.connect(f"203.0.113.{number}")
            client.helo("mail.example.org")
            client.mail("")
            for one in range(30 if number % 10 == 0 else 1):
                self.assertTrue(patiently(gateway, client.rcpt(f"u{one}@example.net"), client).startswith("250"))
            client.say("QUIT")
            self.assertEqual([one for one in client.findings if one.action in ("defer", "reject")], [])

    def test_forwards_and_lists_get_through(self) -> None:
        """SRS senders; lists that changed the subject and wrote a footer."""
        gateway = self.gateway()
        for number in range(100):
            client = gateway.connect(f"203.0.113.{number}")
            client.helo("lists.example.org")
            if number % 2:
                sender, more = f"SRS0=ab{number}=cd=example.com=alice@forward.example.org", ""
            else:
                sender = "list-bounces+bob=example.net@lists.example.org"
                more = (
                    "List-Id: <list.lists.example.org>\nList-Post: <mailto:list@lists.example.org>\nPrecedence: list\n"
                    "Reply-To: list@lists.example.org\nSender: list-bounces@lists.example.org\n"
                )
            content = (
                f"From: Alice <alice@example.com>\nTo: list@lists.example.org\nSubject: [list] Re: question {number}\n"
                f"Message-ID: <{number}@example.com>\nIn-Reply-To: <1@example.net>\n{more}\nI think so.\n\n"
                "--\nlist mailing list\nhttps://lists.example.org/list\n"
            )
            reply, _ = send(gateway, client, content, sender, ["bob@example.net"])
            self.assertTrue(reply.startswith("250"), (reply, [one.reason for one in client.findings]))


class PolicyTests(SynchronousTestCase):
    """A hundred of each, where published policies are enforced to the word and strangers are told to come again."""

    ZONES: ClassVar[dict[str, Any]] = {
        "_dmarc.example.com": {"TXT": "v=DMARC1; p=reject"},
        "example.com": {"TXT": "v=spf1 -all"},
        "lists.example.org": {"TXT": "v=spf1 ip4:203.0.113.0/24 -all"},
        "forward.example.org": {"TXT": "v=spf1 ip4:203.0.113.0/24 -all"},
        **{f"{one}.113.0.203.in-addr.arpa": {"PTR": "lists.example.org"} for one in range(100)},
        "s._domainkey.example.com": {"TXT": key()[1]},
    }

    def setUp(self) -> None:
        """Everything on."""
        zones = {
            **self.ZONES,
            "lists.example.org": {**self.ZONES["lists.example.org"], "A": [f"203.0.113.{one}" for one in range(100)]},
        }
        self.gateway = default_set(zones, mode="enforce", dmarc='enforce = "reject"', greylist="")

    def reply(self, number: int, content: str | bytes, sender: str, recipient: str = "bob@example.net") -> str:
        """What a server of that network is told, and what was found."""
        client = self.gateway.connect(f"203.0.113.{number}")
        client.helo("lists.example.org")
        reply, _ = send(self.gateway, client, content, sender, [recipient])
        self.found = [one.reason for one in client.findings]
        return reply

    def author(self, number: int) -> bytes:
        """What the author of a domain with p=reject signed."""
        content = (
            f"From: Alice <alice@example.com>\r\nTo: list@lists.example.org\r\nSubject: question {number}\r\n"
            f"Message-ID: <{number}@example.com>\r\n\r\nI think so.\r\n"
        ).encode()
        head: bytes = dkim.sign(content, b"s", b"example.com", key()[0])
        return head + content

    def test_without_a_list_the_policy_holds(self) -> None:
        """Or the tests below would show nothing: the signature broke, and nobody else speaks for it."""
        broken = self.author(0) + b"-- \r\nfooter\r\n"
        self.assertEqual(self.reply(0, broken, "x@lists.example.org")[:10], "550 5.7.26", self.found)

    def test_strangers_are_told_to_come_again(self) -> None:
        """And this shows that somebody waits at all."""
        client = self.gateway.connect("198.51.100.7")
        client.helo("mail")
        client.mail("x@unknown.example")
        self.assertEqual(patiently(self.gateway, client.rcpt("bob@example.net"), client)[:9], "451 4.7.1")

    def test_lists_that_prove_themselves(self) -> None:
        """The author's signature broke by the footer; the list's own domain has sent it."""
        more = (
            b"List-Id: <list.lists.example.org>\r\nList-Post: <mailto:list@lists.example.org>\r\nPrecedence: list\r\n"
        )
        for number in range(100):
            content = more + self.author(number) + b"-- \r\nhttps://lists.example.org/list\r\n"
            reply = self.reply(number, content, f"list-bounces+{number}@lists.example.org")
            self.assertEqual(reply[:3], "250", (reply, self.found))
            self.assertIn("dmarc-fail-list", self.found)

    def test_forwards(self) -> None:
        """Unchanged, with a rewritten sender: the author's signature holds."""
        for number in range(100):
            reply = self.reply(number, self.author(number), f"SRS0=ab{number}=cd=example.com=alice@forward.example.org")
            self.assertEqual(reply[:3], "250", (reply, self.found))

    def test_bounces_and_mail_for_postmaster(self) -> None:
        """From strangers without names, who could not come again, or are heard in any case."""
        for number in range(100):
            content = f"From: <MAILER-DAEMON@a{number}.example>\nSubject: Undelivered\nTo: bob@example.net\n\nIt is.\n"
            self.assertEqual(self.reply(100 + number, content, "")[:3], "250", self.found)
            reply = self.reply(
                100 + number, SPAM, "x@paypa1-support.top", ("postmaster@example.net", "abuse@example.net")[number % 2]
            )
            self.assertEqual(reply[:3], "250", (reply, self.found))

    def test_call_outs(self) -> None:
        """RCPT with the null sender to thirty people, then QUIT."""
        for number in range(100):
            client = self.gateway.connect(f"203.0.113.{100 + number}")
            client.helo("mail.example.org")
            client.mail("")
            replies = [patiently(self.gateway, client.rcpt(f"u{one}@example.net"), client) for one in range(30)]
            self.assertEqual({reply[:3] for reply in replies}, {"250"})
            client.say("QUIT")
