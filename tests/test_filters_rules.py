"""Rules on mail: judged in their order and at their step, with their own failure policy; in shadow nothing changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, inlineCallbacks, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.examine.facts import Facts, File, Link
from smtpgate.examine.registered import Fingerprint, Registered, RowMatch
from smtpgate.filters.rules import EXAMINE_S, Rules
from smtpgate.interfaces import ChildFailed
from smtpgate.message.header import HeaderSection
from smtpgate.policy import event as told
from smtpgate.policy.edits import EditList
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
        self.clock = Clock()
        self.answer: Callable[[], Deferred[Facts]] = lambda: succeed(facts or Facts())
        self.searched = 0
        self.found: Callable[[], Deferred[Registered]] = lambda: succeed(Registered())

    def edits(self, transaction: Transaction) -> Any:
        """Those of the transaction."""
        return transaction.edits

    def known(self, transaction: Transaction) -> Deferred[Registered]:
        """What is registered, as it was said."""
        self.searched += 1
        return self.found()

    def examine(self, transaction: Transaction) -> Deferred[Facts]:
        """The facts, at once where nothing else was said."""
        self.asked += 1
        return self.answer()


class RulesTests(SynchronousTestCase):
    """`Rules`, step by step."""

    def run_rules(
        self,
        text: str,
        *,
        found: tuple[Finding, ...] = (),
        services: Services | None = None,
        late_s: float = 0.0,
    ) -> list[tuple[str, str, str]]:
        """A message to two recipients through these rules, step by step: step, reason and action of what they say.

        :param late_s: how much time passes at its end
        """
        self.services = services or Services()
        session = Session("id", "mx", "mx")
        session.client_ip = "192.0.2.7"
        said: list[tuple[str, str, str]] = []
        for mode, mark in (("enforce", ""), ("shadow", " shadow")):
            rules = Rules(loads(FILE + text, "/nowhere/gate.toml").rules, mode, self.services)
            transaction = Transaction("id.1", session, path("ann@example.org"), {})
            made = rules.transaction(transaction)
            if made is None:
                continue
            steps: list[tuple[str, Any]] = [("mail", made.mail(found))]
            for name in ("b@example.net", "c@example.net"):
                recipient = Recipient(path(name), {})
                steps.append(("rcpt", made.rcpt(found, recipient)))
                recipient.state = "accepted"
                transaction.recipients.append(recipient)
            steps.append(("data", made.data(found)))
            steps.append(("header", made.header(found, HeaderSection(MAIL.partition(b"hello")[0]))))
            transaction.octets = len(MAIL)
            ended = ensureDeferred(made.end(found))
            self.services.clock.advance(late_s)
            steps.append(("end", self.successResultOf(ended)))
            said += [(step, one.reason, one.action + mark) for step, findings in steps for one in findings or ()]
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
        said = self.run_rules(text, services=Services(facts), found=(Finding("x", score=5.0),))
        self.assertEqual(said, [("end", "program", "reject"), ("end", "sum", "reject")])
        self.assertEqual(self.services.asked, 1)

    def test_what_is_registered(self) -> None:
        """It is looked for where a rule speaks of it, and the content is not examined for that."""
        text = self.rule("plan", "fingerprints.exists(f, f.name == 'plan' && f.share >= 0.3 && f.longest > 100)")
        text += self.rule("customers", "rows.exists(r, r.table == 'customers' && r.rows >= 5 && 'iban' in r.columns)")
        text += self.rule("other", "rows.exists(r, r.table == 'others')")
        services = Services()
        found = Registered((Fingerprint("plan", 0.31, 200),), (RowMatch("customers", 5, ("first", "iban")),))
        services.found = lambda: succeed(found)
        self.assertEqual(
            self.run_rules(text, services=services), [("end", "plan", "reject"), ("end", "customers", "reject")]
        )
        self.assertEqual((services.searched, services.asked), (1, 0))

    def test_what_is_registered_and_cannot_be_looked_for(self) -> None:
        """Only the rules that speak of it fail, each by its own policy; the others know what they need."""
        text = self.rule("plan", "fingerprints.size() > 0", more='on_error = "tempfail"')
        text += self.rule("rows", "rows.size() > 0", more='on_error = "continue"')
        text += self.rule("program", "attachments.size() > 0") + self.rule("size", "size > 10")
        for late_s in (0.0, EXAMINE_S):
            services = Services(Facts(files=(File("a.exe", ("a.exe",)),)))
            waiting: Deferred[Registered] = Deferred()
            services.found = lambda late_s=late_s, waiting=waiting: (
                waiting if late_s else fail(ChildFailed("died", "killed"))
            )
            said = self.run_rules(text, services=services, late_s=late_s)
            self.assertEqual(
                [(reason, action) for _, reason, action in said],
                [("filter-failed", "defer"), ("filter-failed", "note"), ("program", "reject"), ("size", "reject")],
            )

    def test_what_could_not_be_found_out_is_never_not_true(self) -> None:
        """Also where rules are looked at together and none of the others holds."""

        def broken() -> Deferred[Any]:
            return fail(ChildFailed("died", "killed"))

        for name, when in (("found", "rows.size() > 0"), ("answer", "attachments.size() > 0")):
            services = Services()
            setattr(services, name, broken)
            text = self.rule("one", when) + self.rule("large", "size > 1000000")
            self.assertEqual(self.run_rules(text, services=services), [("end", "filter-failed", "defer")])

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
        self.assertEqual(self.run_rules(text), [("end", "last", "reject"), ("mail", "accept", "note shadow")])
        text = self.rule("accept", "sender != ''", "accept") + self.rule("shadow", "size > 1", more='mode = "shadow"')
        self.assertEqual(self.run_rules(text), [("mail", "accept", "note")])
        text = self.rule("accept", "recipient == 'b@example.net'", "accept") + self.rule("last", "recipient != ''")
        self.assertEqual(self.run_rules(text), [("rcpt", "accept", "note"), ("rcpt", "last", "reject")])
        text = self.rule("accept", "recipient == 'b@example.net'", "accept") + self.rule("last", "size > 1")
        self.assertEqual(self.run_rules(text), [("rcpt", "accept", "note"), ("end", "last", "reject")])
        text = self.rule("accept", "recipients.all(r, r.endsWith('@example.net'))", "accept") + self.rule(
            "z", "size > 1"
        )
        self.assertEqual(self.run_rules(text), [("data", "accept", "note")])

    def test_many(self) -> None:
        """Those that hold, and those that cannot be judged, are found among hundreds, in their order."""
        text = "".join(self.rule(f"r{number}", f"size == {number}") for number in range(200))
        text += self.rule("broken", "header('x')[0] == 'a'") + self.rule("size", "size > 10")
        text += "".join(self.rule(f"s{number}", f"size > {20 + number}", "note") for number in range(100))
        expected = [("header", "filter-failed", "defer"), ("end", f"r{len(MAIL)}", "reject"), ("end", "size", "reject")]
        expected += [("end", f"s{number}", "note") for number in range(100) if len(MAIL) > 20 + number]
        self.assertEqual(self.run_rules(text), expected)

    def test_content_that_cannot_be_examined(self) -> None:
        """By a failure or in time: only rules that speak of it fail, each by its own policy."""
        text = (
            self.rule("one", "attachments.size() > 0", more='on_error = "continue"')
            + self.rule("two", "links.size() > 0 || true")
            + self.rule("three", "size > 1")
            + self.rule("four", "links.size() > 0", more='mode = "shadow"')
        )
        expected = [("end", "filter-failed", action) for action in ("note", "defer")] + [("end", "three", "reject")]
        expected.append(("end", "filter-failed", "defer shadow"))
        for answer, late_s, why in (
            (lambda: fail(ChildFailed("died", "killed")), 0.0, "killed"),
            (lambda: Deferred(), EXAMINE_S, "18"),
        ):
            services = Services()
            services.answer = answer
            self.assertEqual(self.run_rules(text, services=services, late_s=late_s), expected)
            self.assertEqual([event.policy for event in services.told], ["continue", "tempfail", "tempfail"])
            self.assertTrue(all(why in event.detail for event in services.told), services.told)

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
        rules = Rules(loads(FILE + text, "/nowhere/gate.toml").rules, "enforce", Services(facts))
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
        shadow = Services()
        shadow.edits = lambda transaction: EditList()  # type: ignore[method-assign]
        uses = rules_of(loads(config, "/nowhere/gate.toml"), Services(), shadow)  # type: ignore[arg-type]
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

    @inlineCallbacks
    def test_what_cannot_be_judged_at_each_step(self) -> Any:
        """By `when` or by `unless`: refused at that step, for whom it fails, or as if the rule were not there."""
        groups = '[groups.g]\naddresses = ["in@example.net"]\n[groups.other]\naddresses = ["x@example.com"]\n'
        served = [b"250 2.1.0", b"250 2.1.5", b"250 2.1.5", b"354 End d", b"250 2.0.0"]
        #: Conditions that fail, their steps, and what is heard there.
        steps = (
            ("sender_groups[0] == '{}'", lambda code: [code, b"503 5.5.1", b"503 5.5.1"]),
            ("recipient_groups[0] == '{}'", lambda code: [served[0], code, *served[2:]]),
            ("recipients[2] == '{}'", lambda code: [*served[:3], code]),
            ("header('x')[0] == '{}'", lambda code: [*served[:4], code]),
            ("size > 1 && authors[3] == '{}'", lambda code: [*served[:4], code]),
        )
        codes = (("tempfail", b"451 4.3.0"), ("reject", b"550 5.3.0"), ("continue", b""))
        for condition, heard in steps:
            for policy, code in codes:
                # For the second recipient, who is in a group, the rule is not true.
                for keys in (f'when = "{condition}"'.format("other"), f'unless = "{condition}"'.format("g")):
                    expected = heard(code) if code else served
                    rule = f'[[rules]]\nname = "r"\naction = "reject"\n{keys}\non_error = "{policy}"\n'

                    def script(gateway: TestGateway, backend: Backend, expected: list[bytes] = expected) -> None:
                        self.assertEqual(self.send(gateway, b"b", b"in"), expected)
                        self.assertTrue(gateway.idle())
                        self.assertEqual(len(backend.messages), int(expected[-1][:3] == b"250"))
                        (ended,) = gateway.told(told.TransactionEnded)
                        self.assertEqual([one.reason for one in ended.transaction.findings], ["filter-failed"])

                    yield self.talk(groups + rule, script)

    def tagged(self, rules: str, content: bytes, expected: bytes) -> Deferred[Any]:
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
        return self.tagged(text, MAIL, b"X-Large: yes\r\n" + MAIL)

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

    @inlineCallbacks
    def test_what_makes_a_message_wait(self) -> Any:
        """The backend has heard DATA when the client does, but where a rule in force speaks of the content, or changes
        the message by what is known at its end only."""
        for when, action, mode, streams in (
            ("sender == 'x'", "reject", "enforce", True),
            ("subject == 'x'", "reject", "enforce", True),
            ("size > 99999999", "reject", "enforce", True),
            ("subject.contains('attachments')", "reject", "enforce", True),
            ("attachments.size() > 1", "reject", "enforce", False),
            ("attachments.size() > 1", "reject", "shadow", True),
            ("subject == 'x'", "tag", "enforce", True),
            ("size > 99999999", "tag", "enforce", False),
            ("size > 99999999", "tag", "shadow", True),
        ):
            tag = 'subject_tag = "[X]"' if action == "tag" else ""
            text = f'[[rules]]\nname = "x"\nwhen = "{when}"\naction = "{action}"\nmode = "{mode}"\n{tag}\n'

            def script(gateway: TestGateway, backend: Backend, expected: tuple[bool, str] = (streams, text)) -> None:
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"MAIL FROM:<ann@example.org>")
                    client.say(b"RCPT TO:<b@example.net>")
                    self.assertEqual(client.say(b"DATA")[:3], b"354")
                    self.assertEqual((bool(backend.seen(b"^DATA")), expected[1]), expected)
                    self.assertEqual(client.say(MAIL + b".")[:3], b"250")

            yield self.talk(text, script)
