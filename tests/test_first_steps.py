"""The first steps: small changes of a text, a look at a strange server, the card."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.drafting import Unclear, enforced, point_at, with_rule
from smtpgate.control.acquaint import look
from smtpgate.policy import event as told
from tests.admin_kit import ApiCase, make_session
from tests.test_cli_sendtest import Server

TEXT = """\
# Ours.
local_domains = ["example.net"]   # for now

[listeners.mx]
listen = ["tcp:25"]

[backends.mail]   # the first
# Where it is.
servers = ["127.0.0.1:2600", "unix:/run/mail.sock"]
client_info = "xclient"

[backends.other]
servers = "[::1]:25"
tls = "off"
"""
RULE = '[[rules]]\nname = "a"\nwhen = "size > 1"\naction = "note"\nmode = "shadow"\n'


class DraftingTests(SynchronousTestCase):
    """A text with one thing changed."""

    def test_only_what_is_meant_changes(self) -> None:
        """Comments and all other lines stay."""
        made = point_at(TEXT, "mail.example.org:25", "verify", "example.org")
        before, after = tomllib.loads(TEXT), tomllib.loads(made)
        self.assertEqual(after["backends"]["mail"]["servers"], ["mail.example.org:25"])
        self.assertEqual(after["backends"]["mail"]["tls"], "verify")
        self.assertEqual(after["local_domains"], ["example.net", "example.org"])
        self.assertEqual(after["backends"]["other"], before["backends"]["other"])
        for line in ("# Ours.", "# Where it is.", "[backends.mail]   # the first", 'client_info = "xclient"'):
            self.assertIn(line, made)
        self.assertEqual(point_at(made, "mail.example.org:25", "verify", "example.org"), made)

    def test_without_local_domains(self) -> None:
        """The key is written where a key of the top may stand."""
        for top in ("", "# One line.\n", 'hostname = "gate.example.com"\n'):
            text = f'{top}[backends.mail]\nservers = "a.example:25"\n'
            made = tomllib.loads(point_at(text, "b.example:25", "off", "example.org"))
            self.assertEqual(made["local_domains"], ["example.org"])

    def test_what_is_not_seen_through(self) -> None:
        """Nothing is guessed."""
        for text in (
            "",
            "backends = 1",
            "[backends",
            'backends = { mail = { servers = "a.example:25" } }',
            '[backends]\nmail.servers = "a.example:25"\n',
            '[backends.mail]\nservers = [\n  "a.example:25",\n]\n',
            '[backends.mail]\nclient_info = """\nservers = "x"\n"""\nservers = "a.example:25"\n',
        ):
            self.assertRaises(Unclear, point_at, text, "b.example:25", "off", "example.org")

    @given(st.text(max_size=80), st.text(max_size=30))
    def test_any_address_is_a_value_and_nothing_else(self, address: str, domain: str) -> None:
        """Whatever somebody writes, it is the value of that key, or nothing is made."""
        try:
            made = point_at(TEXT, address, "off", domain)
        except Unclear:
            return
        tree = tomllib.loads(made)
        self.assertEqual(tree["backends"]["mail"]["servers"], [address])
        self.assertEqual(set(tree), set(tomllib.loads(TEXT)))

    def test_rules(self) -> None:
        """One more, from shadow to enforced; not twice."""
        text = with_rule(TEXT, RULE)
        self.assertEqual(tomllib.loads(text)["rules"][0]["mode"], "shadow")
        self.assertRaises(Unclear, with_rule, text, RULE)
        two = with_rule(text, RULE.replace('"a"', '"b"'))
        live = tomllib.loads(enforced(two, "b"))
        self.assertEqual([one["mode"] for one in live["rules"]], ["shadow", "enforce"])
        self.assertRaises(Unclear, enforced, enforced(two, "b"), "b")
        self.assertRaises(Unclear, enforced, two, "c")


class LookTests(SynchronousTestCase):
    """A server that the configuration does not have."""

    def test_what_it_says(self) -> None:
        """Greeting, words, and the recipient's reply; it stops before DATA."""
        server = Server("unused")
        self.addCleanup(server.close)
        seen = look(f"127.0.0.1:{server.port}", "gate.example.com", "a@example.org", "b@example.net")
        self.assertEqual((seen.banner, seen.tls, seen.recipient_code, seen.trouble), ("gate ESMTP", "off", 250, ""))
        self.assertEqual([line.split(" ")[0].upper() for line in server.heard], ["EHLO", "MAIL", "RCPT", "QUIT"])

    def test_nobody_is_there(self) -> None:
        """It is said, and nothing is raised."""
        self.assertIn("refused", look("127.0.0.1:1", "gate.example.com", "a@example.org", "").trouble)


class CardTests(ApiCase):
    """Which steps are done."""

    def done(self) -> list[str]:
        return [one["id"] for one in self.get("/first-steps")["items"] if one["is_done"]]

    def test_each_ticks_by_what_was_done(self) -> None:
        """A delivered message, its page, a refused one, a server that is up; not before."""
        self.assertEqual(self.done(), [])
        session = make_session(outcome="delivered")
        self.desk.control.hear(told.TransactionEnded(session.transactions[0]))
        self.assertEqual(self.done(), ["send"])
        self.desk.control.hear(told.TransactionEnded(make_session(outcome="refused").transactions[0]))
        self.desk.control.current().pools["mail"].servers[0].state = "up"
        self.assertEqual(self.done(), ["send", "bad", "server"])
        # What was seen once stays.
        self.desk.control.outcomes.total.clear()
        self.desk.control.current().pools["mail"].servers[0].state = "down"
        self.assertEqual(self.done(), ["send", "bad", "server"])

    def test_our_own_sink_is_nobodys_server(self) -> None:
        """Being up it shows nothing."""
        self.desk.office.first.sink("tcp:2600:interface=127.0.0.1")
        self.desk.control.current().pools["mail"].servers[0].state = "up"
        self.assertEqual(self.done(), [])

    def test_it_can_be_put_away(self) -> None:
        """By one person for that person."""
        page = self.desk.ask("GET", "/", token=self.owner).text
        self.assertIn('id="first-steps"', page)
        self.assertEqual(self.post("/first-steps/dismiss?dry_run=1", {})["would"]["action"], "first_steps.dismiss")
        self.assertFalse(self.get("/first-steps")["is_dismissed"])
        self.post("/first-steps/dismiss", {})
        self.assertTrue(self.get("/first-steps")["is_dismissed"])
        self.assertNotIn('id="first-steps"', self.desk.ask("GET", "/", token=self.owner).text)

    def test_a_look_by_the_api(self) -> None:
        """What is no address is no command; what was said comes back; it is in the audit."""
        for address, recipient in (("nowhere", ""), ("127.0.0.1:25", "a b@c"), ("127.0.0.1:25", "a@b>\r\nDATA")):
            self.post("/first-steps/server", {"address": address, "recipient": recipient}, 422)
        server = Server("unused")
        self.addCleanup(server.close)
        found: dict[str, Any] = self.post("/first-steps/server", {"address": f"127.0.0.1:{server.port}"})
        self.assertEqual((found["banner"], found["trouble"], found["recipient_code"]), ("gate ESMTP", "", 0))
        self.assertIn("server.look", [row["action"] for row in self.desk.users.rows])
