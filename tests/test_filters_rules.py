"""Rules on mail: judged in their order and at their step, with their own failure policy; in shadow nothing changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.examine.facts import Facts, File, Link
from smtpgate.filters.rules import Rules
from smtpgate.message.header import HeaderSection
from smtpgate.policy import event as told
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.policy.verdict import Finding
from smtpgate.smtp.address import Path, parse_path
from smtpgate.wiring import rules_of
from tests.gateway_kit import GatewayCase, TestGateway
from tests.limits_kit import FILE
from tests.script_kit import Backend, Client

MAIL = b"From: Ann <ann@example.org>\r\nSubject: =?utf-8?q?secret_plan?=\r\nX-Kind: a\r\n\r\nhello\r\n"


def path(text: str) -> Path:
    found, _ = parse_path(f"<{text}>".encode(), utf8=True)
    assert isinstance(found, Path)
    return found


class Services:
    """What rules use."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.told: list[Any] = []
        self.tell = self.told.append
        self.asked = 0
        self._facts = facts or Facts()

    def edits(self, transaction: Transaction) -> Any:
        """Those of the transaction."""
        return transaction.edits

    def examine(self, transaction: Transaction) -> Deferred[Facts]:
        """The facts, at once."""
        self.asked += 1
        return succeed(self._facts)


class RulesTests(SynchronousTestCase):
    """`Rules`, step by step."""

    def run_rules(
        self, text: str, *, sender: str = "ann@example.org", found: tuple[Finding, ...] = (), facts: Facts | None = None
    ) -> list[tuple[str, str, str]]:
        """A message to two recipients through these rules: step, reason and action of what they say."""
        self.services = Services(facts)
        rules = Rules(loads(FILE + text, "/nowhere/gate.toml").rules, self.services)
        session = Session("id", "mx", "mx")
        session.client_ip = "192.0.2.7"
        transaction = Transaction("id.1", session, path(sender), {})
        made = rules.transaction(transaction)
        said: list[tuple[str, str, str]] = []
        if made is None:
            return said

        def note(step: str, findings: list[Finding] | None) -> None:
            said.extend((step, one.reason, one.action + (" shadow" if one.is_shadow else "")) for one in findings or ())

        note("mail", made.mail(found))
        for name in ("b@example.net", "c@example.net"):
            recipient = Recipient(path(name), {})
            note("rcpt", made.rcpt(found, recipient))
            recipient.state = "accepted"
            transaction.recipients.append(recipient)
        note("data", made.data(found))
        note("header", made.header(found, HeaderSection(MAIL.partition(b"hello")[0])))
        transaction.octets = len(MAIL)
        note("end", self.successResultOf(ensureDeferred(made.end(found))))
        return said

    def rule(self, name: str, when: str, action: str = "reject", more: str = "") -> str:
        """One rule."""
        return f'[[rules]]\nname = "{name}"\nwhen = """{when}"""\naction = "{action}"\n{more}\n'

    def test_each_at_the_first_step_that_knows_all(self) -> None:
        """Once; a rule about a recipient for each of them."""
        text = "".join(
            self.rule(name, when)
            for name, when in (
                ("at-end", "size > 10"),
                ("at-header", "subject == 'secret plan' && header('x-kind').exists(h, h == 'a')"),
                ("at-data", "recipients.size() == 2"),
                ("at-rcpt", "recipient == 'c@example.net'"),
                ("at-mail", "sender_domain == 'example.org' && client_ip == '192.0.2.7' && direction == 'in'"),
                ("never", "sender == 'x'"),
            )
        )
        steps = ("mail", "rcpt", "data", "header", "end")
        self.assertEqual(self.run_rules(text), [(step, f"at-{step}", "reject") for step in steps])
        self.assertEqual(self.services.asked, 0)

    def test_files_and_findings(self) -> None:
        """The content is examined where a rule speaks of it; what filters found is known."""
        text = self.rule("program", "attachments.exists(a, a.name == 'run.exe' && a.kind == 'executable')")
        text += self.rule("sum", "score > 4.0 && findings.exists(f, f.reason == 'x')")
        facts = Facts(files=(File("Run.exe", ("Run.exe",), kind="executable"),))
        said = self.run_rules(text, facts=facts, found=(Finding("x", score=5.0),))
        self.assertEqual(said, [("end", "program", "reject"), ("end", "sum", "reject")])
        self.assertEqual(self.services.asked, 1)

    def test_who_accepts_ends_the_rules_behind(self) -> None:
        """At later steps too, and not those before it; in shadow only those in shadow; for one recipient only there."""
        text = (
            self.rule("first", "size > 1")
            + self.rule("accept", "sender != ''", "accept")
            + self.rule("last", "size > 1")
        )
        self.assertEqual(self.run_rules(text), [("mail", "accept", "note"), ("end", "first", "reject")])
        text = (
            self.rule("accept", "sender != ''", "accept", 'mode = "shadow"')
            + self.rule("last", "size > 1")
            + self.rule("shadow", "size > 1", more='mode = "shadow"')
        )
        self.assertEqual(self.run_rules(text), [("mail", "accept", "note shadow"), ("end", "last", "reject")])
        text = self.rule("accept", "recipient == 'b@example.net'", "accept") + self.rule("last", "recipient != ''")
        self.assertEqual(self.run_rules(text), [("rcpt", "accept", "note"), ("rcpt", "last", "reject")])

    def test_many(self) -> None:
        """Those that hold, and those that cannot be judged, are found among hundreds, in their order."""
        text = "".join(self.rule(f"r{number}", f"size == {number}") for number in range(200))
        text += self.rule("broken", "header('x')[0] == 'a'") + self.rule("size", "size > 10")
        text += "".join(self.rule(f"s{number}", f"size > {20 + number}", "note") for number in range(100))
        expected = [("header", "filter-failed", "defer"), ("end", f"r{len(MAIL)}", "reject"), ("end", "size", "reject")]
        expected += [("end", f"s{number}", "note") for number in range(100) if len(MAIL) > 20 + number]
        self.assertEqual(self.run_rules(text), expected)

    def test_hostile_words(self) -> None:
        """Half letters and octets that are no text, wherever they stand: they are judged like any others."""
        facts = Facts(
            files=(File("\ud800", ("\ud800x",), claimed="\udcff"),),
            links=(Link("https://\ud800/", host="\ud800", shown="\udfff"),),
        )
        section = HeaderSection(
            b"From: \xff <\xff@\xfe>\r\nSubject: =?utf-7?q?+2AA-?= =?utf-16?b?2AA=?= \xff\0\r\n"
            b"X-\xff: \xff\r\nX-A: \xff\r\n\r\n"
        )
        text = self.rule(
            "all", "attachments.size() + links.size() + authors.size() + size > 2 && header('x-a').size() == 1"
        )
        rules = Rules(loads(FILE + text, "/nowhere/gate.toml").rules, Services(facts))
        session = Session("id", "mx", "mx")
        session.helo = session.user = "\udcff"
        made = rules.transaction(Transaction("id.1", session, path("\u00fc@example.org"), {}))
        assert made is not None
        self.assertIsNone(made.header((), section))
        said = self.successResultOf(ensureDeferred(made.end((Finding("x", detail="\ud800"),))))
        self.assertEqual([one.reason for one in said or ()], ["all"])

    def test_scopes(self) -> None:
        """Of other listeners, of the other direction, and off: not judged."""
        text = self.rule("out", "true", more='direction = "out"') + self.rule("off", "true", more='mode = "off"')
        self.assertEqual(self.run_rules(text), [])
        text = self.rule("in", "true", more='direction = "in"\nlistener = ["mx"]')
        self.assertEqual(self.run_rules(text), [("mail", "in", "reject")])

    def test_what_cannot_be_judged_follows_its_own_policy(self) -> None:
        """And is told; a rule behind it is judged all the same."""
        for policy, action in (("tempfail", "defer"), ("reject", "reject"), ("continue", "note")):
            text = self.rule("broken", "header('x')[0] == 'a'", more=f'on_error = "{policy}"') + self.rule(
                "on", "size > 1"
            )
            said = self.run_rules(text)
            self.assertEqual(said, [("header", "filter-failed", action), ("end", "on", "reject")])
            (event,) = self.services.told
            self.assertEqual((type(event), event.filter, event.policy), (told.FilterFailed, "rules", policy))
            self.assertIn("broken", event.detail)


class WireTests(GatewayCase):
    """Through the running gateway."""

    def talk(self, text: str, script: Callable[[TestGateway, Backend], None]) -> Deferred[Any]:
        """A gateway with these rules."""
        behind = Backend()
        self.addCleanup(behind.close)
        config = self.config(behind.port) + text
        uses = rules_of(loads(config, "/nowhere/gate.toml"), Services())  # type: ignore[arg-type]
        return self.run_script(config, lambda gateway: script(gateway, behind), uses)

    def send(self, gateway: TestGateway, *names: bytes, sender: bytes = b"ann@example.org") -> list[bytes]:
        """A message; the codes of what is heard."""
        with Client(gateway.port()) as client:
            client.hello()
            heard = [client.say(b"MAIL FROM:<" + sender + b">")]
            heard += [client.say(b"RCPT TO:<" + name + b"@example.net>") for name in names]
            if any(reply[:1] == b"2" for reply in heard[1:]):
                heard.append(client.say(b"DATA"))
                if heard[-1][:3] == b"354":
                    heard.append(client.say(MAIL + b"."))
        return [reply[:9] for reply in heard]

    def test_refusals_at_each_step(self) -> Deferred[Any]:
        """With the reply of the rule; one recipient is refused and the other served."""
        text = """
[[rules]]
name = "sender"
when = "sender == 'bad@example.org'"
action = "reject"
reply = "553 5.1.8 Not from you"
[[rules]]
name = "recipient"
when = "recipient == 'no@example.net'"
action = "defer"
reply = "451 4.2.1 Later"
[[rules]]
name = "subject"
when = "subject.contains('secret')"
unless = "sender_domain == 'example.org'"
action = "reject"
reply = "Nothing secret"
[[rules]]
name = "small"
when = "size < 100000 && sender_domain == 'small.example'"
action = "defer"
"""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b", sender=b"bad@example.org")[0], b"553 5.1.8")
            good = self.send(gateway, b"no", b"b")
            self.assertEqual(good[1:], [b"451 4.2.1", b"250 2.1.5", b"354 End d", b"250 2.0.0"])
            self.assertEqual(self.send(gateway, b"b", sender=b"x@other.example")[-1], b"550 5.7.1")
            self.assertEqual(self.send(gateway, b"b", sender=b"x@small.example")[-1], b"550 5.7.1")
            self.assertEqual(len(backend.messages), 1)
            self.assertTrue(gateway.idle())
            found = [one.reason for one in gateway.told(told.TransactionEnded)[-1].transaction.findings]
            self.assertEqual(found, ["subject"])

        return self.talk(text, script)

    def tagged(self, rules: str, content: bytes, expected: bytes, spools: int = 0) -> Deferred[Any]:
        """What a message becomes."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<ann@example.org>")
                client.say(b"RCPT TO:<b@example.net>")
                client.say(b"DATA")
                self.assertEqual(client.say(content + b".")[:3], b"250")
            (message,) = backend.messages
            rest, received = re.subn(rb"(?m)^Received:.*\r\n(?:[ \t].*\r\n)*", b"", message)
            self.assertEqual((rest, received), (expected, 1))
            self.assertEqual(len(gateway.spools), spools)

        return self.talk(rules, script)

    def test_tags(self) -> Deferred[Any]:
        """Of several rules in their order; the rest of the message is as it was, nothing waits for its end."""
        text = """
[[rules]]
name = "one"
when = "sender_domain == 'example.org'"
action = "tag"
subject_tag = "[EXTERNAL]"
headers = { "X-Origin" = "outside", "X-Rule" = "one" }
[[rules]]
name = "two"
when = "subject.contains('secret')"
action = "tag"
subject_tag = "[größer]"
[[rules]]
name = "three"
when = "subject == ''"
action = "tag"
headers = { "X-Three" = "no" }
[[rules]]
name = "shadow"
action = "tag"
subject_tag = "[SHADOW]"
mode = "shadow"
"""
        content = MAIL.replace(b"X-Kind", b"X-Three: forged\r\nx-origin: inside\r\nX-Kind")
        expected = b"X-Origin: outside\r\nX-Rule: one\r\n" + MAIL.replace(
            b"Subject: ", b"Subject: [EXTERNAL] =?utf-8?b?W2dyw7bDn2VyXQ==?= "
        )
        return self.tagged(text, content, expected)

    def test_a_tag_that_needs_all_of_it(self) -> Deferred[Any]:
        """The message waits for it; a subject that has the tag keeps it once."""
        text = """
[[rules]]
name = "large"
when = "size > 10"
action = "tag"
subject_tag = "secret"
headers = { "X-Large" = "yes" }
"""
        return self.tagged(text, MAIL, b"X-Large: yes\r\n" + MAIL, spools=0)

    def test_in_shadow_nothing_changes(self) -> Deferred[Any]:
        """No reply, no octet; what would have been is on the page of the message."""
        names = (
            ("mail", "sender != ''"),
            ("rcpt", "recipient != ''"),
            ("header", "subject != ''"),
            ("end", "size > 1"),
        )
        text = "".join(
            f'[[rules]]\nname = "at-{name}"\nwhen = "{when}"\naction = "reject"\nmode = "shadow"\n'
            for name, when in (*names, ("broken", "header('x')[0] == 'a'"))
        )

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b", b"c")[-1], b"250 2.0.0")
            (message,) = backend.messages
            self.assertTrue(message.endswith(MAIL.partition(b"\r\n\r\n")[2]))
            self.assertTrue(gateway.idle())
            transaction = gateway.told(told.TransactionEnded)[0].transaction
            self.assertEqual({one.is_shadow for one in transaction.findings}, {True})
            self.assertEqual(transaction.verdict.would, "reject")
            self.assertEqual(len(transaction.findings), 6)

        return self.talk(text, script)

    def test_envelope_and_header_do_not_make_it_wait(self) -> Deferred[Any]:
        """Nothing is spooled for rules that speak of nothing else."""
        text = '[[rules]]\nname = "subject"\nwhen = "subject == \'x\' || size > 99999999"\naction = "reject"\n'

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b")[-1], b"250 2.0.0")
            self.assertEqual(gateway.spools, [])

        return self.talk(text, script)
