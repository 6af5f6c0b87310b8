"""The default set with engines that are stopped, while no resolver answers: what depends on them, and what must not.

Time is that of the clock of the kit: what a sender would have waited for.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.default_set import DEFAULT_SET
from smtpgate.interfaces import StreamClosed
from smtpgate.plugins import find_factories
from smtpgate.testing import Gateway, use
from tests.accuracy.good import good_mail
from tests.admin_kit import PASSWORD, Desk
from tests.test_default_set_mercy import MAILS, SILENCE, patiently, send

STOPPED = {"spamd": 'servers = ["127.0.0.1:783"]', "rspamd": 'servers = ["http://127.0.0.1:11333"]'}


def refuse(*asked: Any) -> Deferred[Any]:
    """Nothing listens."""
    return fail(StreamClosed("connection refused"))


def gateway_with(role: str, engines: dict[str, str]) -> Gateway:
    """The default set as shipped, and engines behind it of which none is there."""
    factories, _ = find_factories()
    uses = [use(factories[name], mode=mode) for name, mode in DEFAULT_SET if role in factories[name].roles]
    uses += [use(factories[name], options) for name, options in engines.items()]
    gateway = Gateway(*uses, zones=SILENCE, role=role)
    gateway.http.answer = refuse
    return gateway


class ScannersOfSpamTests(SynchronousTestCase):
    """rspamd and spamd are stopped: mail goes on without their word."""

    def sent(self, role: str) -> None:
        """A thousand good mails: none refused, none deferred, none that waited long; each failure on record."""
        gateway = gateway_with(role, STOPPED)
        waited = []
        for number, (kind, sender, content) in enumerate(good_mail(MAILS)):
            client = gateway.connect(f"198.51.{100 + number // 250}.{number % 250}")
            patiently(gateway, client.helo("mail.example.org"), client)
            if role == "submission":
                client.login("alice")
            reply, seconds = send(gateway, client, content, sender, ["bob@example.net"])
            self.assertTrue(reply.startswith("250"), (kind, reply))
            waited.append(seconds)
            client.hang_up()
        waited.sort()
        print(
            f"    {role}, rspamd and spamd stopped, no resolver answers: {MAILS} taken, "
            f"p50 {waited[MAILS // 2]:.1f} s, p99 {waited[MAILS * 99 // 100]:.1f} s",
            file=sys.__stderr__,
        )
        self.assertLessEqual(waited[MAILS * 99 // 100], 5.0)
        self.assertEqual({one.filter for one in gateway.failures}, {"rspamd", "spamd"})

    def test_mail_in(self) -> None:
        """To the house."""
        self.sent("mx")

    def test_mail_out(self) -> None:
        """Of those who logged in."""
        self.sent("submission")


class ScannerOfProgramsTests(SynchronousTestCase):
    """clamd is stopped: nothing passes unscanned."""

    def test_mail_waits_and_the_page_says_why(self) -> None:
        """451 on mx, nothing at the backend, and clamd with its trouble on the page of the message."""
        gateway = gateway_with("mx", {"clamd": 'servers = ["127.0.0.1:3310"]'})
        client = gateway.connect("192.0.2.7")
        patiently(gateway, client.helo("mail.example.org"), client)
        reply, _ = send(gateway, client, "From: a@example.org\n\nhello\n", "a@example.org", ["bob@example.net"])
        self.assertRegex(reply, r"^451 4\.\d+\.\d+ ")
        self.assertEqual(gateway.backend.messages, [])
        desk = Desk()
        desk.users.add_user("ann", "owner", PASSWORD)
        desk.history.keep(client.session)
        page = desk.ask("GET", f"/sessions/{client.session.transactions[0].id}", token=desk.token("owner")).text
        self.assertIn("because our check \u201cclamd\u201d could not be done", page)
        self.assertIn("unavailable: 127.0.0.1:3310: nothing listens", page)
