"""Mail that is held, through the running gateway: what the client hears, what is on the disk, what the backend gets."""

from __future__ import annotations

import json
import re
from email import message_from_bytes
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from smtpgate.control.views import Actor
from smtpgate.filters.loop import factory as loop
from smtpgate.policy import event as told
from smtpgate.proxy.use import Use
from smtpgate.state.bodies import Bodies
from tests.script_kit import DROP, EHLO, Backend, Client, without_trace
from tests.vault_kit import MAIL, VaultCase, VaultGateway

HOLD = """
[[rules]]
name = "secret"
when = "subject.contains('secret')"
action = "quarantine"
held_as = "dlp"
note = "a test"
"""


class HoldTests(VaultCase):
    """Quarantine and discard."""

    def test_held(self) -> Deferred[Any]:
        """It is on the disk before the client hears 250, octet for octet below our trace field; nobody else has it."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            reply = self.send(gateway, b"b", b"c", subject=b"secret")
            self.assertRegex(reply, rb"^250 2\.0\.0 Ok [0-9A-Z]{26}\.1\r\n$")
            (held,) = gateway.held()
            (octets,) = gateway.files()
            self.assertEqual(without_trace(octets), MAIL % b"secret")
            self.assertEqual((held.held_as, held.state, held.octets), ("dlp", "held", len(octets)))
            self.assertEqual([one.address for one in held.recipients], ["b@example.net", "c@example.net"])
            self.assertEqual((held.sender, held.subject), ("ann@example.org", "secret"))
            self.assertEqual((held.filter, held.reason, held.detail), ("rules", "secret", "rule secret: a test"))
            self.assertEqual(backend.messages, [])
            (ended,) = gateway.told(told.TransactionEnded)
            self.assertEqual(ended.transaction.outcome, "held")
            self.assertEqual({one.state for one in ended.transaction.recipients}, {"held"})
            self.assertIn(f"held:{held.id}", ended.transaction.notes)
            # What no rule is true of goes its way, and leaves nothing behind.
            self.assertEqual(self.send(gateway, b"b")[:3], b"250")
            self.assertEqual(len(backend.messages), 1)
            self.assertEqual((len(gateway.held()), len(gateway.files())), (1, 1))
            # A second one leaves the oldest where it was; what does not wait any more is not it.
            with Client(gateway.port()) as client:
                client.hello()
                self.assertEqual(client.message(MAIL.replace(b"<1@", b"<2@") % b"secret")[:3], b"250")
            newer, older = gateway.held()
            self.assertEqual(gateway.in_reactor(gateway.vault.oldest_times), {"dlp": older.at})
            gateway.in_reactor(gateway.vault.withdraw, [older.id])
            self.assertEqual(gateway.in_reactor(gateway.vault.oldest_times), {"dlp": newer.at})

        return self.talk(HOLD, script)

    def test_held_by_chunks(self) -> Deferred[Any]:
        """BDAT: the last chunk is answered so."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            content = MAIL % b"secret"
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<>")
                client.say(b"RCPT TO:<b@example.net>")
                client.send(b"BDAT 30\r\n" + content[:30])
                self.assertEqual(client.read()[:3], b"250")
                client.send(b"BDAT %d LAST\r\n" % (len(content) - 30) + content[30:])
                self.assertEqual(client.read()[:9], b"250 2.0.0")
            (held,) = gateway.held()
            self.assertEqual((held.sender, without_trace(gateway.files()[0])), ("", content))
            self.assertEqual(backend.messages, [])

        return self.talk(HOLD, script)

    def test_a_retry_is_known(self) -> Deferred[Any]:
        """The client did not hear the answer and comes again: it is held once. Another recipient is another case."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            first = self.send(gateway, b"b", subject=b"secret")
            self.assertEqual(self.send(gateway, b"b", subject=b"secret")[:9], first[:9])
            self.assertEqual(len(gateway.held()), 1)
            self.send(gateway, b"c", subject=b"secret")
            self.assertEqual(len(gateway.held()), 2)
            gateway.ahead_s = 25 * 3600.0
            self.send(gateway, b"b", subject=b"secret")
            self.assertEqual(len(gateway.held()), 3)

        return self.talk(HOLD, script)

    def test_one_recipient_is_held_and_the_other_served(self) -> Deferred[Any]:
        """A rule about one recipient holds for that one; one reply is true for both. Where the backend then refuses the
        message nothing is held: its sender hears that it was not taken."""
        rule = """
[[rules]]
name = "for-b"
when = "recipient == 'b@example.net'"
action = "quarantine"
"""
        backend = Backend(once=[(b"DOT", b"250 2.0.0 kept"), (b"DOT", b"554 5.6.0 No"), (b"DOT", b"451 4.3.0 Later")])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b", b"c")[:9], b"250 2.0.0")
            (held,) = gateway.held()
            self.assertEqual([one.address for one in held.recipients], ["b@example.net"])
            self.assertEqual(len(backend.messages), 1)
            last = [line for line in backend.commands if line[:4] in (b"MAIL", b"RCPT", b"DATA")][-3:]
            self.assertEqual([line[:20] for line in last], [b"MAIL FROM:<ann@examp", b"RCPT TO:<c@example.n", b"DATA"])
            self.assertEqual(self.send(gateway, b"b", b"c", subject=b"2")[:9], b"554 5.6.0")
            self.assertEqual(self.send(gateway, b"b", b"c", subject=b"3")[:9], b"451 4.3.0")
            self.assertEqual((len(gateway.held()), len(gateway.files())), (1, 1))
            outcomes = [one.transaction.outcome for one in gateway.told(told.TransactionEnded)]
            self.assertEqual(outcomes, ["delivered", "refused", "deferred"])

        return self.talk(rule, script, backend)

    def test_discarded(self) -> Deferred[Any]:
        """Nobody gets it; for some days it can still be found. What another rule would hold is held."""
        rules = (
            """
[[rules]]
name = "away"
when = "subject.contains('junk')"
action = "discard"
"""
            + HOLD
        )

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b", subject=b"junk")[:9], b"250 2.0.0")
            (held,) = gateway.held()
            self.assertEqual(held.held_as, "discarded")
            self.assertAlmostEqual(held.expires - held.at, 3 * 86400.0, 3)
            self.assertEqual(gateway.told(told.TransactionEnded)[0].transaction.outcome, "discarded")
            self.send(gateway, b"b", subject=b"secret junk")
            self.assertEqual([one.held_as for one in gateway.held()], ["dlp", "discarded"])
            self.assertEqual(backend.messages, [])
            gateway.ahead_s = 3 * 86400.0 + 1
            self.assertEqual(gateway.in_reactor(gateway.control.quarantine.expire), 1)
            self.assertEqual([one.held_as for one in gateway.held()], ["dlp"])
            self.assertEqual(len(gateway.files()), 1)

        return self.talk(rules, script)

    def test_no_room(self) -> Deferred[Any]:
        """A message that must be held is deferred, with 452 4.3.1; all other mail goes on. Nothing is left of it."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.vault._bodies = Bodies(gateway.folder, left_octets=1 << 62)
            self.assertEqual(self.send(gateway, b"b", subject=b"secret")[:9], b"452 4.3.1")
            self.assertEqual(self.send(gateway, b"b")[:3], b"250")
            self.assertEqual((gateway.held(), gateway.files(), len(backend.messages)), ([], [], 1))
            (event,) = gateway.told_of("quarantine.failed")
            self.assertIn("nearly full", event.message)
            ended = gateway.told(told.TransactionEnded)[0].transaction
            self.assertEqual((ended.outcome, {one.state for one in ended.recipients}), ("deferred", {"accepted"}))

        return self.talk(HOLD, script)

    def test_full(self) -> Deferred[Any]:
        """Over its size the oldest of a class goes where the class says so; else mail is deferred."""
        rules = (
            """
[quarantine]
size = "1 MiB"
[[rules]]
name = "spam"
when = "subject.contains('spam')"
action = "quarantine"
held_as = "spam"
[[rules]]
name = "report"
when = "subject == 'report'"
action = "journal"
to = ["archive@example.net"]
[[rules]]
name = "away"
when = "subject == 'away'"
action = "redirect"
to = ["archive@example.net"]
"""
            + HOLD
        )
        big = b"x" * 70 + b"\r\n"

        def script(gateway: VaultGateway, backend: Backend) -> None:
            content = MAIL % b"spam %d" + big * 6000
            for number in range(4):
                self.assertEqual(self.send(gateway, b"b", content=content % number)[:9], b"250 2.0.0")
            self.assertEqual([one.subject for one in gateway.held()], ["spam 3", "spam 2"])
            self.assertEqual(len(gateway.files()), 2)
            # Spam gives way to what must be held, and that to nothing.
            for number in range(2):
                content = MAIL % b"secret %d" + big * 6000
                self.assertEqual(self.send(gateway, b"b", content=content % number)[:9], b"250 2.0.0")
            self.assertEqual([one.subject for one in gateway.held()], ["secret 1", "secret 0"])
            self.assertEqual(self.send(gateway, b"b", content=MAIL % b"secret" + big * 6000)[:9], b"452 4.3.1")
            self.assertEqual(self.send(gateway, b"b", content=MAIL % b"spam" + big * 6000)[:9], b"452 4.3.1")
            self.assertEqual([one.subject for one in gateway.held()], ["secret 1", "secret 0"])
            # Letters need no room there.
            for subject in (b"report", b"away"):
                self.assertEqual(self.send(gateway, b"b", content=MAIL % subject + big * 6000)[:9], b"250 2.0.0")
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 3)

        return self.talk(rules, script, limits='message_size = "512 KiB"')

    def test_copies_when_it_is_full(self) -> Deferred[Any]:
        """Spam of strangers is no reason to defer the mail that is copied."""
        rules = """
[quarantine]
size = "1 MiB"
[[rules]]
name = "spam"
when = "subject.contains('spam')"
action = "quarantine"
held_as = "spam"
[[rules]]
name = "all"
when = "!subject.contains('spam')"
action = "copy"
"""
        big = b"x" * 70 + b"\r\n"

        def script(gateway: VaultGateway, backend: Backend) -> None:
            for number in range(2):
                self.send(gateway, b"b", content=MAIL % (b"spam %d" % number) + big * 6000)
            self.assertEqual(self.send(gateway, b"b", content=MAIL % b"x" + big * 6000)[:3], b"250")
            self.assertEqual([one.subject for one in gateway.held()], ["x", "spam 1"])

        return self.talk(rules, script, limits='message_size = "512 KiB"')

    def test_a_filter_holds(self) -> Deferred[Any]:
        """What a filter proposes is held in the class of its category."""
        from smtpgate.policy.verdict import Finding
        from tests.test_pipeline_verdict import says

        uses = [
            says(name, category, header=lambda transaction, services, word=word: Finding("seen", "quarantine")
                 if word in transaction.subject else None).factory
            for name, category, word in (("scanner", "malware", "bad"), ("guesser", "spam", "odd"))
        ]  # fmt: skip
        from smtpgate.proxy.use import Use

        made = [Use.of(one, one.name, one.build(None, None), None, "enforce", None) for one in uses]

        def script(gateway: VaultGateway, backend: Backend) -> None:
            for word in (b"bad", b"odd", b"good"):
                self.assertEqual(self.send(gateway, b"b", subject=word)[:3], b"250")
            self.assertEqual(
                [(one.held_as, one.filter) for one in gateway.held()], [("spam", "guesser"), ("malware", "scanner")]
            )
            self.assertEqual(len(backend.messages), 1)

        return self.talk("", script, uses=made)

    def test_in_shadow_nothing_is_held(self) -> Deferred[Any]:
        """Nor copied, nor sent."""
        rules = "".join(
            f'[[rules]]\nname = "r{number}"\naction = "{action}"\nmode = "shadow"\n{more}\n'
            for number, (action, more) in enumerate(
                [("quarantine", ""), ("discard", ""), ("copy", ""), ("route", 'backend = "mail"')]
                + [(name, 'to = ["a@example.net"]') for name in ("redirect", "bcc", "journal")]
            )
        )

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b")[:3], b"250")
            self.assertEqual((gateway.held(), gateway.letters(), gateway.files()), ([], [], []))
            self.assertEqual(len(backend.messages), 1)
            found = gateway.told(told.TransactionEnded)[0].transaction.findings
            self.assertEqual(
                [one.action for one in found if one.action != "note"], ["quarantine", "discard", "redirect"]
            )
            self.assertEqual({one.is_shadow for one in found}, {True})

        return self.talk(rules, script)


class DeedTests(VaultCase):
    """Copies, reports, redirected mail, other ways."""

    def test_copies(self) -> Deferred[Any]:
        """A copy in the quarantine and one to somebody: the message goes its way, the copies are kept before that."""
        rules = """
[[rules]]
name = "keep"
action = "copy"
[[rules]]
name = "tell"
action = "bcc"
to = ["audit@example.net", "more@example.net"]
"""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b")[:3], b"250")
            self.assertTrue(gateway.posted())
            (held,) = gateway.held()
            self.assertEqual((held.held_as, held.state), ("copy", "held"))
            self.assertEqual(len(backend.messages), 2)
            self.assertEqual(without_trace(backend.messages[0]), MAIL % b"x")
            head, _, rest = backend.messages[1].partition(b"Received:")
            self.assertRegex(head, rb"^X-Smtpgate-Copy: bcc; rule=tell; id=\S+;\r\n\tfrom=<ann@example\.org>\r\n$")
            self.assertTrue(rest.endswith(MAIL % b"x"))
            envelopes = [line for line in backend.commands if line[:4] in (b"MAIL", b"RCPT")]
            self.assertEqual([line.split(b" ")[1] for line in envelopes[2:]],
                             [b"FROM:<>", b"TO:<audit@example.net>", b"TO:<more@example.net>"])  # fmt: skip

        return self.talk(rules, script)

    def test_nothing_is_sent_of_a_message_that_is_refused(self) -> Deferred[Any]:
        """Neither by a rule nor by the backend."""
        rules = """
[[rules]]
name = "keep"
action = "copy"
[[rules]]
name = "report"
action = "journal"
to = ["audit@example.net"]
[[rules]]
name = "no"
when = "subject == 'no'"
action = "reject"
"""
        backend = Backend(once=[(b"DOT", b"554 5.6.0 No")])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b", subject=b"no")[:3], b"550")
            self.assertEqual(self.send(gateway, b"b")[:3], b"554")
            self.assertEqual((gateway.held(), gateway.letters(), gateway.files()), ([], [], []))

        return self.talk(rules, script, backend)

    def test_copies_that_cannot_be_kept(self) -> Deferred[Any]:
        """A strict rule defers the mail; another lets it go on, and that is told."""
        rules = """
[[rules]]
name = "strict"
when = "subject == 'strict'"
action = "copy"
[[rules]]
name = "loose"
when = "subject == 'loose'"
action = "copy"
strict = false
"""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gateway.vault._bodies = Bodies(gateway.folder, left_octets=1 << 62)
            self.assertEqual(self.send(gateway, b"b", subject=b"strict")[:9], b"452 4.3.1")
            self.assertEqual(self.send(gateway, b"b", subject=b"loose")[:3], b"250")
            self.assertEqual(len(gateway.told_of("quarantine.failed")), 2)
            self.assertIn("copy_not_kept", gateway.told(told.TransactionEnded)[1].transaction.notes)

        return self.talk(rules, script)

    def test_journal(self) -> Deferred[Any]:
        """The report has the whole envelope and the verdict, in words and as JSON, and the message octet for octet; a
        held message is reported too."""
        rules = (
            HOLD
            + """
[[rules]]
name = "report"
action = "journal"
to = ["archive@example.net"]
"""
        )

        def script(gateway: VaultGateway, backend: Backend) -> None:
            content = MAIL % "größer".encode() + "Grüße".encode()
            self.assertEqual(self.send(gateway, b"b", b"c", content=content + b"\r\n")[:3], b"250")
            self.assertTrue(gateway.posted())
            self.assertEqual(self.send(gateway, b"d", subject=b"secret")[:3], b"250")
            self.assertTrue(gateway.posted())
            _, first, second = (message.replace(b"\r\n..", b"\r\n.") for message in backend.messages)
            report = message_from_bytes(first)
            self.assertEqual(report["Auto-Submitted"], "auto-generated")
            words, facts, inner = report.get_payload()
            plain = json.loads(facts.get_payload(decode=True))
            self.assertEqual((plain["sender"], plain["verdict"], plain["taken"]), ("ann@example.org", "accept", {}))
            self.assertEqual(plain["recipients"], ["b@example.net", "c@example.net"])
            self.assertIn("recipients: c@example.net", words.get_payload())
            self.assertEqual(inner["Content-Transfer-Encoding"], "8bit")
            start = first.index(b"Content-Disposition: attachment\r\n\r\nReceived:")
            kept = first[start:].partition(b"\r\n\r\n")[2].rpartition(b"\r\n--journal-")[0]
            self.assertEqual(without_trace(kept), content + b"\r\n")
            plain = json.loads(message_from_bytes(second).get_payload()[1].get_payload(decode=True))
            self.assertEqual((plain["verdict"], plain["taken"]), ("quarantine", {"d@example.net": "held"}))
            # The journal alone needs no second file.
            self.assertEqual(len(gateway.files()), 1)

        return self.talk(rules, script)

    def test_journal_of_its_own_reports(self) -> Deferred[Any]:
        """The archive is behind this gateway, and its mail comes through: that ends as a loop, after a few. Each of two
        rules has an id of its own."""
        rules = """
[[rules]]
name = "report"
action = "journal"
to = ["archive@example.net"]
[[rules]]
name = "other"
when = "sender == 'ann@example.org'"
action = "journal"
to = ["other@example.net"]
"""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b")[:3], b"250")
            self.assertTrue(gateway.posted())
            reports = [one for one in backend.messages if b"X-Smtpgate-Journal: " in one]
            self.assertEqual(len({message_from_bytes(one)["Message-ID"] for one in reports}), 2)
            self.assertIsNone(message_from_bytes(reports[0])["Received"])
            replies = []
            while len(replies) < 10 and not (replies and replies[-1][:3] == b"554"):
                last = backend.messages[-1]
                replies.append(self.send(gateway, b"archive", sender=b"", content=last))
                self.assertTrue(gateway.posted())
            self.assertIn(b"loop", replies[-1])
            self.assertLess(len(replies), 7)
            # What a stranger marks so is no report of ours, and no trace that it shows comes into one.
            key = re.search(rb"X-Smtpgate-Journal: .*; key=(\w{32})\r\n", reports[0])
            assert key is not None
            for mark in (b"1; rule=report", b"1; rule=report; key=" + b"0" * 32, b"1; rule=report; key=" + key[1]):
                forged = b"Received: from x by gate.example.com id 1; now\r\n" * 3
                forged += b"X-Smtpgate-Journal: " + mark + b"\r\n" + MAIL % b"x"
                self.assertEqual(self.send(gateway, b"b", sender=b"", content=forged)[:3], b"250")
                self.assertTrue(gateway.posted())
                self.assertIsNone(message_from_bytes(backend.messages[-1])["Received"])

        options = loop.options(received_hops=100, own_hops=3, hostname="gate.example.com")
        guard = Use.of(loop, "loop", loop.build(options, None), None, "enforce", None, may_hold=False)
        return self.talk(rules, script, uses=[guard])

    def test_redirected(self) -> Deferred[Any]:
        """It goes to the address of the rule and to nobody else; to a backend that only the rule names."""
        other = Backend()
        self.addCleanup(other.close)
        rules = f"""
[backends.archive]
servers = ["127.0.0.1:{other.port}"]
tls = "off"
[[rules]]
name = "away"
when = "subject == 'away'"
action = "redirect"
to = ["x@archive.example"]
backend = "archive"
"""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, b"b", b"c", subject=b"away")[:3], b"250")
            self.assertTrue(gateway.posted())
            (message,) = other.messages
            self.assertIn(b"for=<b@example.net>;\r\n\tfor=<c@example.net>\r\n", message)
            self.assertTrue(message.endswith(MAIL % b"away"))
            self.assertEqual((backend.messages, gateway.held(), gateway.files()), ([], [], []))
            self.assertEqual(gateway.told(told.TransactionEnded)[0].transaction.outcome, "redirected")

        return self.talk(rules, script)

    def test_a_copy_goes_no_less_safely(self) -> Deferred[Any]:
        """What rules and policies ask of the way to the recipients holds for whoever gets a copy."""
        policy = '[[tls_policies]]\nlevel = "encrypted"\nrecipient = ["b@example.net"]\n'
        asked = '[[rules]]\nname = "asks"\nwhen = "recipient == \'b@example.net\'"\naction = "require-tls"\n'
        asked += 'tls_level = "encrypted"\n'
        seen: list[str] = []

        def one(table: str, action: str) -> Deferred[Any]:
            other = Backend()
            self.addCleanup(other.close)
            behind = Backend(ehlo=(*EHLO, "STARTTLS"), certificate=self.certificate())
            rules = f"""
[backends.archive]
servers = ["127.0.0.1:{other.port}"]
tls = "optional"
{table}
[[rules]]
name = "tell"
action = "{action}"
to = ["audit@archive.example"]
backend = "archive"
"""

            def script(gateway: VaultGateway, backend: Backend) -> None:
                self.assertEqual(self.send(gateway, b"c")[:3], b"250")
                self.assertTrue(gateway.posted())
                self.assertEqual(len(other.messages), 1)
                self.assertEqual(self.send(gateway, b"c", b"b")[:3], b"250")
                seen.append(action)
                self.assertTrue(gateway.until(lambda: len(gateway.held()) == len(seen)))
                self.assertEqual(len(other.messages), 1, (table, action))
                self.assertTrue(all("5.7.10" in one.detail for one in gateway.held()))

            return self.talk(rules, script, behind, backend_tls="optional")

        done = one(policy, "bcc")
        for table, action in ((policy, "redirect"), (policy, "journal"), (asked, "bcc")):
            done.addCallback(lambda _, table=table, action=action: one(table, action))
        return done

    def test_routed(self) -> Deferred[Any]:
        """By sender all of it, by recipient that one; EHLO offers no more than the other backend can."""
        other = Backend(ehlo=("PIPELINING", "8BITMIME"))
        self.addCleanup(other.close)
        rules = f"""
[backends.other]
servers = ["127.0.0.1:{other.port}"]
tls = "off"
[[rules]]
name = "by-sender"
when = "sender == 'vip@example.org'"
action = "route"
backend = "other"
[[rules]]
name = "by-recipient"
when = "recipient.startsWith('test')"
action = "route"
backend = "other"
"""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"DSN", client.hello())
            self.send(gateway, b"b", sender=b"vip@example.org")
            self.send(gateway, b"test1")
            self.send(gateway, b"b")
            self.assertEqual((len(other.messages), len(backend.messages)), (2, 1))

        return self.talk(rules, script)


class OutboxTests(VaultCase):
    """Letters: tries, refusals, what comes back."""

    RULES = """
[outbox]
retry = "5m"
keep = "1h"
[[rules]]
name = "away"
when = "subject == 'away'"
action = "redirect"
to = ["x@example.net", "y@example.net"]
"""

    def test_each_recipient_has_a_fate(self) -> Deferred[Any]:
        """Who was deferred is tried again, later each time; who has it does not get it again."""
        later = b"451 4.2.0 Not now"
        backend = Backend(once=[(rb"RCPT TO:<y@", later), (rb"RCPT TO:<y@", later)])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"away")
            self.assertTrue(gateway.tried(1))
            (letter,) = gateway.letters()
            self.assertEqual([one.state for one in letter.recipients], ["sent", "waiting"])
            self.assertTrue(280 < letter.due - gateway.engine.wall() <= 300)
            self.assertIn("Not now", letter.told)
            gateway.later(301.0)
            self.assertTrue(gateway.tried(2))
            (letter,) = gateway.letters()
            self.assertEqual((letter.tries, len(backend.messages)), (2, 1))
            gateway.later(902.0)
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 2)
            last = [line for line in backend.commands if line[:4] == b"RCPT"][-1]
            self.assertEqual(last[:25], b"RCPT TO:<y@example.net>"[:25])
            self.assertEqual((gateway.held(), gateway.files()), ([], []))

        return self.talk(self.RULES, script, backend)

    def test_refused_for_good(self) -> Deferred[Any]:
        """It is not lost: it is held as undelivered, for whom it was refused, and can be sent from there."""
        backend = Backend(once=[(rb"RCPT TO:<y@", b"550 5.1.1 No such user")])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"away")
            self.assertTrue(gateway.posted())
            (held,) = gateway.held()
            self.assertEqual((held.held_as, held.state), ("undelivered", "held"))
            self.assertEqual(
                [(one.address, one.reply[:9]) for one in held.recipients], [("y@example.net", "550 5.1.1")]
            )
            self.assertEqual(len(gateway.told_of("outbox.failed")), 1)
            self.release(gateway, held.id)
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 2)
            self.assertEqual(gateway.held()[0].state, "released")

        return self.talk(self.RULES, script, backend)

    def release(self, gateway: VaultGateway, id: str, **more: Any) -> Any:
        """As a manager does."""
        from smtpgate.control import SYSTEM

        (outcome,) = gateway.in_reactor(lambda: gateway.control.quarantine.release([id], SYSTEM, **more))
        return outcome

    def test_given_up(self) -> Deferred[Any]:
        """Tried for too long it is held."""
        backend = Backend(rules=[(rb"MAIL FROM:<>", b"451 4.3.0 No")])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"away")
            self.assertTrue(gateway.tried(1))
            gateway.later(3500.0)
            self.assertTrue(gateway.posted())
            (held,) = gateway.held()
            self.assertEqual((held.held_as, len(held.recipients)), ("undelivered", 2))

        return self.talk(self.RULES, script, backend)

    def test_an_answer_that_is_lost(self) -> Deferred[Any]:
        """The letter is sent again: a duplicate can be mended."""
        backend = Backend(once=[(b"DOT", DROP)])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"away")
            self.assertTrue(gateway.tried(1))
            self.assertEqual(len(gateway.told_of("outbox.unknown")), 1)
            gateway.later(301.0)
            self.assertTrue(gateway.posted())
            self.assertEqual(len(gateway.told_of("outbox.sent")), 1)

        return self.talk(self.RULES, script, backend)

    def test_a_release_whose_answer_is_lost(self) -> Deferred[Any]:
        """It is not sent again by itself: a person says so, and knows that it may come twice."""
        backend = Backend(once=[(b"DOT", DROP)])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            self.assertTrue(self.release(gateway, held.id).done)
            self.assertTrue(gateway.posted())
            self.assertEqual(gateway.held()[0].state, "unknown")
            outcome = self.release(gateway, held.id)
            self.assertEqual((outcome.done, outcome.why), (False, "it is unknown already"))
            self.assertTrue(self.release(gateway, held.id, again=True).done)
            self.assertTrue(gateway.posted())
            self.assertEqual((gateway.held()[0].state, len(backend.messages)), ("released", 2))

        return self.talk(HOLD, script, backend)

    def test_a_release(self) -> Deferred[Any]:
        """With the envelope that it came with, once; what a rule tags is tagged; another that refuses keeps it here."""
        rules = (
            HOLD
            + """
[[rules]]
name = "outside"
action = "tag"
subject_tag = "[EXTERNAL]"
[[rules]]
name = "report"
action = "journal"
to = ["archive@example.net"]
[[rules]]
name = "no"
when = "subject.contains('never')"
action = "reject"
mode = "enforce"
direction = "in"
"""
        )

        def script(gateway: VaultGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<ann@example.org> RET=HDRS ENVID=q1")
                client.say(b"RCPT TO:<b@example.net> NOTIFY=NEVER")
                client.say(b"RCPT TO:<c@example.net>")
                client.say(b"DATA")
                client.say(MAIL % b"secret" + b".")
            self.assertTrue(gateway.posted())
            (held,) = gateway.held()
            before = len(backend.messages)
            self.assertTrue(self.release(gateway, held.id, recipients=["b@example.net"]).done)
            self.assertFalse(self.release(gateway, held.id, recipients=["b@example.net"]).done)
            self.assertTrue(self.release(gateway, held.id).done)
            self.assertTrue(gateway.posted())
            self.assertEqual(gateway.held()[0].state, "released")
            self.assertFalse(self.release(gateway, held.id).done)
            released = backend.messages[before:]
            self.assertEqual(len(released), 2)
            for message in released:
                self.assertEqual(without_trace(message), MAIL % b"[EXTERNAL] secret")
            lines = [line for line in backend.commands if line[:4] in (b"MAIL", b"RCPT")][-4:]
            self.assertTrue(all(b"RET=HDRS" in line and b"ENVID=q1" in line for line in lines if line[:4] == b"MAIL"))
            self.assertIn(b"RCPT TO:<b@example.net> NOTIFY=NEVER", lines)

        return self.talk(rules, script)

    def test_what_other_rules_say_of_a_release(self) -> Deferred[Any]:
        """Of what was not judged by whom released it."""
        rules = (
            HOLD
            + """
[[rules]]
name = "big"
when = "subject.contains('never')"
action = "quarantine"
[[rules]]
name = "bigger"
when = "subject.contains('never')"
action = "quarantine"
"""
        )

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret, never")
            (held,) = gateway.held()
            self.assertEqual(held.reason, "secret")
            self.release(gateway, held.id)
            self.assertTrue(gateway.posted())
            (held,) = gateway.held()
            self.assertEqual(held.state, "held")
            self.assertIn("rules: big", held.recipients[0].reply)
            self.assertIn("again", held.recipients[0].reply)
            link = Actor("link", "b@example.net")
            gateway.in_reactor(lambda: gateway.control.quarantine.release([held.id], link))
            self.assertTrue(gateway.posted())
            self.assertEqual((gateway.held()[0].state, backend.messages), ("held", []))
            self.release(gateway, held.id)
            self.assertTrue(gateway.posted())
            self.assertIn("rules: bigger", gateway.held()[0].recipients[0].reply)
            self.release(gateway, held.id)
            self.assertTrue(gateway.posted())
            self.assertEqual((gateway.held()[0].state, len(backend.messages)), ("released", 1))

        return self.talk(rules, script)

    def test_a_class_of_undelivered_mail(self) -> Deferred[Any]:
        """A rule that holds in it gets no release past the other rules."""
        rules = (
            HOLD.replace('"dlp"', '"undelivered"')
            + """
[[rules]]
name = "never"
when = "subject.contains('never')"
action = "quarantine"
"""
        )

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret, never")
            (held,) = gateway.held()
            self.assertEqual(held.held_as, "undelivered")
            self.release(gateway, held.id)
            self.assertTrue(gateway.posted())
            self.assertIn("rules: never", gateway.held()[0].recipients[0].reply)
            self.assertEqual(backend.messages, [])

        return self.talk(rules, script)

    def test_a_refused_release_is_held(self) -> Deferred[Any]:
        """And tells what the server said; later it can be released again."""
        backend = Backend(once=[(rb"RCPT TO:<b@", b"250 2.1.5 Ok"), (rb"RCPT TO:<b@", b"550 5.1.1 Gone")])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            self.release(gateway, held.id)
            self.assertTrue(gateway.posted())
            (held,) = gateway.held()
            self.assertEqual((held.state, held.recipients[0].reply[:14]), ("refused", "550 5.1.1 Gone"))
            self.assertTrue(self.release(gateway, held.id).done)
            self.assertTrue(gateway.posted())
            self.assertEqual(gateway.held()[0].state, "released")

        return self.talk(HOLD, script, backend)

    def test_taken_back(self) -> Deferred[Any]:
        """A release that waits is held again; one who deletes what is on its way is told so."""
        backend = Backend(once=[(rb"RCPT", b"250 2.1.5 Ok")], rules=[(rb"RCPT", b"451 4.2.0 Later")])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            self.release(gateway, held.id)
            self.assertTrue(gateway.tried(1))
            from smtpgate.control import SYSTEM

            quarantine = gateway.control.quarantine
            (outcome,) = gateway.in_reactor(lambda: quarantine.delete([held.id], SYSTEM))
            self.assertFalse(outcome.done)
            (letter,) = gateway.letters()
            gateway.in_reactor(lambda: quarantine.cancel(letter.id, SYSTEM))
            self.assertEqual((gateway.letters(), gateway.held()[0].state), ([], "held"))
            (outcome,) = gateway.in_reactor(lambda: quarantine.delete([held.id], SYSTEM))
            self.assertTrue(outcome.done)
            self.assertEqual((gateway.held(), gateway.files()), ([], []))

        return self.talk(HOLD, script, backend)

    def test_forwarded_no_less_safely(self) -> Deferred[Any]:
        """What came with REQUIRETLS is not forwarded without (RFC 8689 section 4.2.1)."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            from smtpgate.control import SYSTEM

            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            asked = attrs.evolve(held, id="0" * 16, facts=dict(held.facts) | {"params": {"REQUIRETLS": None}})
            gateway.in_reactor(gateway.vault.keep, [asked], [])
            gateway.in_reactor(lambda: gateway.control.quarantine.forward(asked.id, ["soc@example.net"], SYSTEM))
            self.assertTrue(
                gateway.until(lambda: gateway.told_of("outbox.failed") or gateway.told_of("outbox.deferred"))
            )
            self.assertEqual(backend.messages, [])

        return self.talk(HOLD, script)

    def test_forwarded(self) -> Deferred[Any]:
        """As it came, to somebody else; it stays held."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            from smtpgate.control import SYSTEM

            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            gateway.in_reactor(lambda: gateway.control.quarantine.forward(held.id, ["soc@example.net"], SYSTEM))
            self.assertTrue(gateway.posted())
            self.assertEqual(without_trace(backend.messages[0]), MAIL % b"secret")
            self.assertEqual(re.findall(rb"(?m)^MAIL FROM:<>", b"\n".join(backend.commands)), [b"MAIL FROM:<>"])
            self.assertEqual(gateway.held()[0].state, "held")

        return self.talk(HOLD, script)
