"""Mail about what is wrong: once for what lasts, again after its time, and when it is over."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from typing import Any

import attrs
from twisted.internet.defer import ensureDeferred

from smtpgate.admin.alert_mail import AlertMails
from smtpgate.config.model_hooks import AlertMail
from smtpgate.control.views import Actor
from smtpgate.policy import event as told
from smtpgate.testing.ports import Table
from tests.admin_kit import HOSTILE
from tests.test_admin_quarantine import QuarantineCase


class MailTests(QuarantineCase):
    """`AlertMails`."""

    def setUp(self) -> None:
        super().setUp()
        revision: Any = self.desk.control.revision
        self.wanted = AlertMail(("ops@example.net", "duty@example.net"), 60.0, 3600.0)
        revision.settings = attrs.evolve(revision.settings, alerts=self.wanted)
        # Nothing but what the tests break: the servers of a desk are never there.
        self.desk.control.alerts._seen = lambda: iter(())  # type: ignore[method-assign]
        self.table = Table(self.desk.clock.seconds)
        self.begin()

    def begin(self) -> None:
        """As after a start."""
        self.mails = AlertMails(self.desk.control, self.desk.clock, self.table, ensureDeferred)
        self.mails.open()
        self.addCleanup(self.mails.close)

    def breaks(self, text: str = "no room") -> None:
        """Something is wrong."""
        self.desk.control.engine.tell(told.Happened("spool.full", "error", text))

    def mended(self) -> None:
        """No more."""
        self.desk.control.engine.tell(told.Happened("spool.recovered", "info", "room"))

    def go(self, seconds: int) -> None:
        """Time passes."""
        self.desk.clock.pump([15.0] * (seconds // 15))

    def sent(self) -> list[Message]:
        """All mails, the first one first."""
        found = []
        for letter in self.successResultOf(self.vault.letters(100)):
            self.assertEqual((letter.kind, letter.sender), ("notice", ""))
            file = self.successResultOf(self.vault.open(letter.body))
            found.append(message_from_bytes(file.read()))
            file.close()
        return found[::-1]

    def text(self, mail: Message) -> str:
        """What one says."""
        payload: Any = mail.get_payload(decode=True)
        return str(payload.decode())

    def test_what_lasts(self) -> None:
        """Not before its time, once, to all who get it; again while it lasts; and that it is over."""
        self.breaks()
        self.go(45)
        self.assertEqual(self.sent(), [])
        self.go(3000)
        (mail,) = self.sent()
        self.assertEqual(mail["To"], "ops@example.net, duty@example.net")
        self.assertEqual((mail["Subject"], mail["Auto-Submitted"]), ("[gate.example.com] 1 alert", "auto-generated"))
        self.assertIn("wrong: no room", self.text(mail))
        self.go(900)
        self.assertEqual(len(self.sent()), 2)
        self.mended()
        self.go(60)
        self.assertEqual(self.sent()[2]["Subject"], "[gate.example.com] 1 over")
        self.assertIn("over: no room", self.text(self.sent()[2]))
        self.go(9000)
        self.assertEqual(len(self.sent()), 3)

    def test_what_is_soon_over(self) -> None:
        """Nobody hears of it."""
        self.breaks()
        self.go(30)
        self.mended()
        self.go(600)
        self.assertEqual(self.sent(), [])

    def test_over_a_restart(self) -> None:
        """What was told is not told anew."""
        self.breaks()
        self.go(120)
        self.mails.close()
        self.begin()
        self.go(600)
        self.assertEqual(len(self.sent()), 1)

    def test_muted(self) -> None:
        """Until it is told of again."""
        mutes, actor = self.desk.control.mutes, Actor("user", "ann")
        self.successResultOf(ensureDeferred(mutes.mute("spool.full", 60, "", actor)))
        self.breaks()
        self.go(600)
        self.assertEqual(self.sent(), [])
        self.successResultOf(ensureDeferred(mutes.lift("spool.full", actor)))
        self.go(30)
        self.assertEqual(len(self.sent()), 1)

    def test_what_will_be_wrong(self) -> None:
        """It is told where that is wanted."""
        self.desk.control.engine.tell(told.FilterFailed("spf", "end", "raised", "x", "continue", ""))
        self.go(120)
        self.assertEqual(self.sent(), [])
        revision: Any = self.desk.control.revision
        revision.settings = attrs.evolve(revision.settings, alerts=attrs.evolve(self.wanted, is_all=True))
        self.desk.control.engine.tell(told.FilterFailed("spf", "end", "raised", "x", "continue", ""))
        self.go(120)
        self.assertIn("will be wrong: filter spf fails", self.text(self.sent()[0]))

    def test_words_of_strangers(self) -> None:
        """No line and no header of their own."""
        for text in (*HOSTILE, "x\r\nBcc: all@example.org\r\n\r\nhello"):
            mail = message_from_bytes(self.compose(text))
            self.assertEqual([name for name in mail.keys() if name == "Bcc"], [])
            self.assertNotIn("\nBcc:", self.text(mail))
            self.assertNotIn("\u202e", self.text(mail))

    def compose(self, text: str) -> bytes:
        """A mail about it."""
        self.breaks(text)
        return self.mails.compose(list(self.desk.control.alerts.now()), [text], self.desk.control.engine.wall())
