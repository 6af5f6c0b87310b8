"""Rules that change mail, through the running gateway: what reaches the backends, and what is told of it."""

from __future__ import annotations

import base64
import io
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.task import Clock

from smtpgate.config.loader import loads
from smtpgate.control import SYSTEM
from smtpgate.edits.plan import from_answer, plan
from smtpgate.edits.wanted import Change, Target, to_plain
from smtpgate.examine.registered import Registered, RowMatch
from smtpgate.interfaces import ChildFailed
from smtpgate.net.children import Children
from smtpgate.policy import event as told
from smtpgate.policy.record import plain
from smtpgate.policy.transaction import Transaction
from smtpgate.wiring import rules_of
from tests.edit_corpus import HEAD, IMAGE, message, multi, text
from tests.edit_kit import Workshop
from tests.gateway_kit import TestGateway
from tests.script_kit import EHLO, Backend, Client, without_trace
from tests.vault_kit import VaultCase, VaultGateway

BANNER = """
[[rules]]
name = "outside"
when = "sender_domain != 'example.net'"
action = "banner"
text = "Caution: {sender} is not one of us"
"""
PROGRAM = (
    b'Content-Type: application/octet-stream; name="run.exe"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    + base64.encodebytes(b"MZ" + bytes(200)).replace(b"\n", b"\r\n")
)
STRIP = """
[[rules]]
name = "no-programs"
action = "strip"
parts = "attachment.kind == 'executable' || attachment.name.endsWith('.exe')"
"""
LETTER = HEAD + b"\r\nhello\r\n"
SAID = b"Caution: ann@example.org is not one of us\r\n\r\n"


class EditCase(VaultCase):
    """A gateway with rules and their workshops."""

    def talk(  # type: ignore[override]
        self, rules: str, script: Callable[[Any, Backend], None], backend: Backend | None = None, **config: str
    ) -> Deferred[Any]:
        """Run a script against it."""
        behind = backend or Backend()
        self.addCleanup(behind.close)
        given = self.config(behind.port, **config) + rules
        self.workshop, self.shadow = Workshop(), Workshop(is_shadow=True)
        uses = rules_of(loads(given, "/nowhere/gate.toml"), self.workshop, self.shadow)  # type: ignore[arg-type]
        return self.run_script(given, lambda gateway: script(gateway, behind), uses)

    def send(  # type: ignore[override]
        self, gateway: TestGateway, content: bytes, *names: bytes, options: bytes = b"", chunks: bool = False
    ) -> bytes:
        """A message; the last reply."""
        with Client(gateway.port()) as client:
            client.hello()
            client.say(b"MAIL FROM:<ann@example.org>" + options)
            for name in names or (b"b@example.net",):
                client.say(b"RCPT TO:<" + name + b">")
            if chunks:
                half = len(content) // 2
                client.send(b"BDAT %d\r\n" % half + content[:half])
                client.read()
                client.send(b"BDAT %d LAST\r\n" % (len(content) - half) + content[half:])
                return client.read()
            client.say(b"DATA")
            return client.say(content.replace(b"\r\n.", b"\r\n..") + b".")

    def ended(self, gateway: TestGateway) -> Transaction:
        """The last transaction."""
        self.assertTrue(gateway.until(lambda: gateway.told(told.TransactionEnded)))
        transaction: Transaction = gateway.told(told.TransactionEnded)[-1].transaction
        return transaction


class BannerTests(EditCase):
    """Words put into mail."""

    def test_for_all_recipients_by_data_and_chunks(self) -> Deferred[Any]:
        """One content for all, a larger size is announced, and the record says what was done."""
        words = SAID.strip() + b" and far from us" * 20

        def script(gateway: TestGateway, backend: Backend) -> None:
            for chunks in (False, True):
                options = b" SIZE=%d" % len(LETTER)
                reply = self.send(gateway, LETTER, b"b@example.net", b"c@example.net", options=options, chunks=chunks)
                self.assertEqual(reply[:9], b"250 2.0.0")
                self.assertEqual(without_trace(backend.messages[-1]), HEAD + b"\r\n" + words + b"\r\n\r\nhello\r\n")
                self.assertEqual(len(backend.messages), 1 + chunks)
            sizes = [int(line.rpartition(b"SIZE=")[2].split()[0]) for line in backend.seen(b"^MAIL")]
            self.assertTrue(all(size >= len(backend.messages[0]) for size in sizes), sizes)
            transaction = self.ended(gateway)
            self.assertIn("edited", transaction.notes)
            record = plain(transaction.session, 0.0)["messages"][0]
            shown = {"author": "rules/outside", "what": "banner", "where": "1 text/plain", "before": ""}
            self.assertEqual(record["changes"], [{**shown, "after": words.decode()}])
            self.assertEqual([one.reason for one in transaction.findings], ["outside", "outside"])

        return self.talk(BANNER.replace("us", "us" + " and far from us" * 20), script)

    def test_of_a_release(self) -> Deferred[Any]:
        """What is held is held as it came; what is released is changed as the rules say then."""
        rules = (
            BANNER
            + """
[[rules]]
name = "hold"
when = "subject != 'no'"
action = "quarantine"
"""
        )

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, LETTER)[:3], b"250")
            self.assertEqual([without_trace(octets) for octets in gateway.files()], [LETTER])
            (held,) = gateway.held()
            gateway.in_reactor(lambda: gateway.control.quarantine.release([held.id], SYSTEM))
            self.assertTrue(gateway.posted())
            self.assertEqual(without_trace(backend.messages[0]), LETTER.replace(b"hello", SAID + b"hello"))

        return self.talk(rules, script)

    def test_a_large_message_by_pieces(self) -> Deferred[Any]:
        """From the disk, with dots at the beginning of lines; what is behind the words is as it was."""
        file = b"Content-Type: application/x\r\n\r\n" + b".line\r\n" * 200_000
        content = message(multi("mixed", text("us-ascii", "7bit"), file))

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, content)[:3], b"250")
            self.assertTrue(gateway.spools)
            got = without_trace(backend.messages[0]).replace(b"\r\n..", b"\r\n.")
            self.assertEqual(got.replace(SAID, b"", 1), content)

        return self.talk(BANNER, script, limits='spool_memory = "64 KiB"')

    def test_several_backends(self) -> Deferred[Any]:
        """Each gets the same; one without 8BITMIME no octet that it does not take."""
        other = Backend(ehlo=[word for word in EHLO if word not in ("8BITMIME", "SMTPUTF8")])
        self.addCleanup(other.close)
        rules = BANNER.replace("Caution:", "Vorsicht, Grüße:")
        more = f"""
[backends.other]
servers = ["127.0.0.1:{other.port}"]
tls = "off"
"""
        route = '[[routes]]\nrecipient = "c@example.net"\nbackend = "other"\n'

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, LETTER, b"b@example.net", b"c@example.net")[:3], b"250")
            one, two = without_trace(backend.messages[0]), without_trace(other.messages[0])
            self.assertEqual(one, two)
            self.assertTrue(one.isascii())
            self.assertIn(b"Vorsicht, Gr=C3=BC=C3=9Fe: ann@example.org is not one of us\r\n\r\nhello\r\n", one)

        behind = Backend()
        self.addCleanup(behind.close)
        given = (self.config(behind.port) + more).replace("[[routes]]", route + "[[routes]]", 1) + rules
        uses = rules_of(loads(given, "/nowhere/gate.toml"), Workshop(), Workshop())  # type: ignore[arg-type]
        return self.run_script(given, lambda gateway: script(gateway, behind), uses)

    def test_beside_tags(self) -> Deferred[Any]:
        """Fields and body in one list; a text that becomes UTF-8 says so, whatever a rule wants of the subject."""
        rules = (
            BANNER.replace("Caution", "Grüße €").replace('"banner"', '"banner"\non_signature = "edit"')
            + '[[rules]]\nname = "tag"\naction = "tag"\nsubject_tag = "[EXT]"\nheaders = { "X-Tag" = "yes" }\n'
        )
        content = message(text("koi8-r", "base64"))

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, content.replace(b"Subject", b"X-Tag: no\r\nSubject"))[:3], b"250")
            got = backend.messages[0]
            self.assertIn(b"X-Tag: yes\r\n", got)
            self.assertNotIn(b"X-Tag: no", got)
            self.assertIn(b"Subject: [EXT] a letter\r\n", got)
            self.assertIn(b"Content-Type: text/plain; charset=utf-8\r\n", got)
            body = base64.b64decode(got.partition(b"\r\n\r\n")[2]).decode()
            self.assertTrue(body.startswith("Grüße €: ann@example.org is not one of us\r\n\r\nПривет"), body)

        return self.talk(rules, script)

    @inlineCallbacks
    def test_in_shadow_no_octet_changes_and_nothing_waits(self) -> Any:
        """The backend hears DATA at once, no job is run; the rule is in the record."""
        rules = (
            BANNER
            + STRIP.replace("no-programs", "strip")
            + BANNER.replace("outside", "size").replace("sender_domain", "size > 1 && sender_domain")
        )
        rules = rules.replace("[[rules]]", '[[rules]]\nmode = "shadow"')
        rules += '[[rules]]\nname = "fields"\nmode = "shadow"\naction = "headers"\nheaders_remove = ["Subject"]\n'

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<ann@example.org>")
                client.say(b"RCPT TO:<b@example.net>")
                self.assertEqual(client.say(b"DATA")[:3], b"354")
                self.assertTrue(backend.seen(b"^DATA"))
                content = message(multi("mixed", text("us-ascii", "7bit"), PROGRAM))
                self.assertEqual(client.say(content + b".")[:3], b"250")
            self.assertEqual(without_trace(backend.messages[0]), content)
            self.assertEqual((self.workshop.asked, self.shadow.asked), ([], []))
            transaction = self.ended(gateway)
            self.assertEqual(
                [(one.reason, one.is_shadow) for one in transaction.findings],
                [("outside", True), ("strip", True), ("fields", True), ("size", True)],
            )
            self.assertEqual(transaction.changes, [])

        yield self.talk(rules, script)

    def test_what_is_not_put(self) -> Deferred[Any]:
        """Told with its reason, and the message goes on as it came."""
        content = message(IMAGE)

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, content)[:3], b"250")
            self.assertEqual(without_trace(backend.messages[0]), content)
            transaction = self.ended(gateway)
            self.assertEqual(transaction.notes, ["not_edited:no-text"])
            (changed,) = transaction.changes
            self.assertEqual((changed.what, changed.after), ("not done", "there is no text that people read"))

        return self.talk(BANNER, script)

    def test_a_plan_that_cannot_be_had(self) -> Deferred[Any]:
        """By a child that dies or lies: the rule's own policy speaks."""
        forged = {"offset": 0, "removed": 0, "put": "X-Forged: yes\r\n", "author": "rules/outside"}
        cut = {"offset": 0, "removed": 0, "put": "Content-X: y\r\n\r\n", "author": "rules/outside"}
        lone = {"offset": len(LETTER), "removed": 0, "put": "\n.\r\n", "author": "rules/outside"}
        behind = {"offset": 10_000, "removed": 0, "put": "x", "author": "rules/outside"}
        rest = {"done": [], "left": [], "broken": []}

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.workshop.fails.add("edit")
            self.assertEqual(self.send(gateway, LETTER)[:9], b"451 4.3.0")
            self.workshop.fails.clear()
            for wrong in (forged, cut, lone, behind, {}):
                self.workshop.lies["edit"] = {"splices": [wrong], **rest}
                self.assertEqual(self.send(gateway, LETTER)[:9], b"451 4.3.0", wrong)
            self.assertEqual(backend.messages, [])

        return self.talk(BANNER, script)

    def test_a_plan_that_never_comes(self) -> Deferred[Any]:
        """It is waited for as long as rules may take, and then the rule's own policy speaks."""
        clock = Clock()

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.workshop.clock = clock
            self.workshop.waits["edit"] = Deferred()
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<ann@example.org>")
                client.say(b"RCPT TO:<b@example.net>")
                client.say(b"DATA")
                client.send(LETTER + b".\r\n")
                self.assertTrue(gateway.until(lambda: "edit" in self.workshop.asked))
                gateway.in_reactor(clock.advance, 30.0)
                self.assertEqual(client.read()[:9], b"250 2.0.0")
            self.assertEqual(without_trace(backend.messages[0]), LETTER)
            (event,) = self.workshop.told
            self.assertIn("no plan within 19 s", event.detail)

        return self.talk(BANNER + 'on_error = "continue"\n', script)

    def test_a_plan_that_cuts_a_line_end(self) -> Deferred[Any]:
        """It shows only while the message leaves: the backend never gets an end of it."""
        cut = {"offset": len(LETTER) - 1, "removed": 1, "put": "", "author": "rules/outside"}

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.workshop.lies["edit"] = {"splices": [cut], "done": [], "left": [], "broken": []}
            self.assertEqual(self.send(gateway, LETTER)[:1], b"4")
            self.assertEqual(backend.messages, [])

        return self.talk(BANNER, script)

    def test_binary_is_not_offered(self) -> Deferred[Any]:
        """Words go into lines."""
        words = (*EHLO, "BINARYMIME")

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"BINARYMIME", client.hello())

        return self.talk(BANNER, script, Backend(ehlo=words))


class ChildTests(EditCase):
    """The job where it belongs."""

    @inlineCallbacks
    def test_in_a_real_child(self) -> Any:
        """A limited process plans what this one does; character sets are there when the first message comes."""
        pool = Children(reactor, 1, 1 << 30, 20.0)
        self.addCleanup(pool.close)
        for charset in ("koi8-r", "gb18030", "iso-2022-jp"):
            content = message(multi("mixed", text(charset, "base64"), PROGRAM))
            changes = [
                Change("outside", "banner", text="Grüße €", on_signature="edit"),
                Change("no", "strip", parts=(Target("2", "run.exe"),), on_signature="edit"),
            ]
            with tempfile.TemporaryFile() as file:
                file.write(content)
                file.flush()
                request = {"changes": [to_plain(one) for one in changes], "values": {}}
                answer = yield pool.run("edit", file.fileno(), request, 60.0)
            self.assertEqual(from_answer(answer), plan(content, changes, {}))


class RemovalTests(EditCase):
    """Parts taken out."""

    def test_a_program(self) -> Deferred[Any]:
        """Gone, with kind, name and size in the record and nothing of its content."""
        content = message(multi("mixed", text("us-ascii", "7bit"), PROGRAM, IMAGE))
        rules = STRIP + "keep = true\n"

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, content)[:3], b"250")
            expected = message(multi("mixed", text("us-ascii", "7bit"), IMAGE))
            self.assertEqual(without_trace(backend.messages[0]), expected)
            transaction = self.ended(gateway)
            (changed,) = transaction.changes
            self.assertEqual((changed.what, changed.where), ("removed", "2 application/octet-stream"))
            self.assertEqual(changed.before, "executable run.exe, 202 octets")
            (held,) = gateway.held()
            self.assertEqual((held.held_as, held.reason), ("copy", "no-programs"))
            self.assertEqual([without_trace(octets) for octets in gateway.files()], [content])
            self.assertEqual(self.send(gateway, LETTER)[:3], b"250")
            self.assertEqual(without_trace(backend.messages[1]), LETTER)
            self.assertEqual(len(gateway.held()), 1)

        return self.talk(rules, script)

    def test_what_is_in_an_archive_takes_the_archive(self) -> Deferred[Any]:
        """With a text in its place that names both."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("run.exe", b"MZ" + bytes(200))
        part = b'Content-Type: application/zip; name="a.zip"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        part += base64.encodebytes(packed.getvalue()).replace(b"\n", b"\r\n")
        content = message(multi("mixed", text("us-ascii", "7bit"), part))
        rules = STRIP.replace("strip", "replace") + 'text = "{name} ({kind}) is gone"\n'

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, content)[:3], b"250")
            self.assertIn(b"\r\n\r\na.zip/run.exe (executable) is gone\r\n--b1--", backend.messages[0])
            self.assertNotIn(b"UEsD", backend.messages[0])

        return self.talk(rules, script)

    def test_what_cannot_be_taken_out(self) -> Deferred[Any]:
        """Two programs would see other parts: the message waits, or is refused, or goes on, as the rule says."""
        content = message(multi("mixed", text("us-ascii", "7bit"), PROGRAM) + b"--b1\r\n" + PROGRAM)

        @inlineCallbacks
        def run() -> Any:
            for policy, code in (("tempfail", b"451 4.3.0"), ("reject", b"550 5.3.0"), ("continue", b"250 2.0.0")):

                def script(gateway: TestGateway, backend: Backend, code: bytes = code) -> None:
                    self.assertEqual(self.send(gateway, content)[:9], code)
                    if code[:1] == b"2":
                        self.assertEqual(without_trace(backend.messages[0]), content)

                yield self.talk(STRIP + f'on_error = "{policy}"\n', script)

        result: Deferred[Any] = run()
        return result

    def test_content_that_cannot_be_examined(self) -> Deferred[Any]:
        """What is in it is not known, so the rule fails; it does not let it through."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.workshop.fails.add("examine")
            self.assertEqual(self.send(gateway, LETTER)[:9], b"451 4.3.0")
            self.assertEqual((self.workshop.asked, backend.messages), (["examine"], []))

        return self.talk(STRIP, script)

    @inlineCallbacks
    def test_parts_by_what_else_is_in_it(self) -> Any:
        """What only `parts` speaks of is looked for too; where it cannot be, nothing is let through."""
        content = message(multi("mixed", text("us-ascii", "7bit") + b" 4111 1111 1111 1111\r\n", PROGRAM))
        kind = "attachment.kind == 'executable'"
        board = '[groups.board]\naddresses = ["b@example.net"]\n'
        yes, no = Registered(rows=(RowMatch("customers", 5, ("iban",)),)), Registered()
        cases: list[tuple[str, Any, str, bytes, bool]] = [
            ("rows.exists(r, r.rows >= 5)", lambda: succeed(yes), "", b"250", True),
            ("rows.exists(r, r.rows >= 5)", lambda: succeed(no), "", b"250", False),
            ("rows.exists(r, r.rows >= 5)", lambda: fail(ChildFailed("died", "killed")), "", b"451", False),
            ("matches.exists(m, m.detector == 'card')", None, "", b"250", True),
            ("matches.exists(m, m.detector == 'iban')", None, "", b"250", False),
            ("matches.exists(m, m.detector == 'card')", None, "search", b"451", False),
            ("'board' in groups_of_recipients", None, "", b"250", True),
        ]
        for when, known, fails, code, is_gone in cases:

            def script(
                gateway: TestGateway,
                backend: Backend,
                known: Any = known,
                fails: str = fails,
                expected: Any = (code, is_gone),
            ) -> None:
                self.workshop.fails.add(fails)
                self.workshop.known = lambda transaction: known()  # type: ignore[attr-defined]
                reply = self.send(gateway, content)[:3]
                is_gone = bool(backend.messages) and b"run.exe" not in backend.messages[0]
                self.assertEqual((reply, is_gone), expected, self.workshop.told)

            yield self.talk(f'{board}[[rules]]\nname = "no"\naction = "strip"\nparts = "{kind} && {when}"\n', script)

    def test_a_message_that_is_refused_is_not_edited(self) -> Deferred[Any]:
        """Nobody plans what nobody gets."""
        rules = STRIP + '[[rules]]\nname = "no"\nwhen = "size > 10"\naction = "reject"\n' + BANNER

        def script(gateway: TestGateway, backend: Backend) -> None:
            content = message(multi("mixed", text("us-ascii", "7bit"), PROGRAM))
            self.assertEqual(self.send(gateway, content)[:9], b"550 5.7.1")
            self.assertNotIn("edit", self.workshop.asked)

        return self.talk(rules, script)


class FieldTests(EditCase):
    """Fields set and removed."""

    RULE = """
[[rules]]
name = "fields"
when = "subject == 'a letter'"
action = "headers"
headers_set = { "Reply-To" = "desk@example.net", "X-New" = "1" }
headers_remove = ["X-Mailer", "subject"]
"""

    def test_while_it_streams(self) -> Deferred[Any]:
        """In place of the first of its name, the others go; the body does not wait."""
        extra = b"Reply-To: a@x\r\nX-Mailer: 1\r\nREPLY-TO: b@x\r\nx-mailer: 2\r\n"

        def script(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                client.hello()
                client.say(b"MAIL FROM:<ann@example.org>")
                client.say(b"RCPT TO:<b@example.net>")
                self.assertEqual(client.say(b"DATA")[:3], b"354")
                self.assertTrue(backend.seen(b"^DATA"))
                self.assertEqual(client.say(extra + LETTER + b".")[:3], b"250")
            new, _, got = backend.messages[0].partition(b"\r\n")
            expected = b"Reply-To: desk@example.net\r\n" + LETTER.replace(b"Subject: a letter\r\n", b"")
            self.assertEqual((new, without_trace(got)), (b"X-New: 1", expected))
            changed = [(one.what, one.where, one.before, one.after) for one in self.ended(gateway).changes]
            self.assertEqual(
                changed,
                [
                    ("field", "reply-to", "2 of that name", "desk@example.net"),
                    ("field", "x-new", "0 of that name", "1"),
                    ("field", "x-mailer", "2 of that name", ""),
                    ("field", "subject", "1 of that name", ""),
                ],
            )

        return self.talk(self.RULE, script)

    @inlineCallbacks
    def test_a_signed_field(self) -> Any:
        """Told, left alone, or refused, as the rule says."""
        signature = (
            b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s; h=from:subject;\r\n"
            b" bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
        )
        for word, code in (("edit", b"250 2.0.0"), ("skip", b"250 2.0.0"), ("refuse", b"550 5.7.5")):

            def script(gateway: TestGateway, backend: Backend, word: str = word, code: bytes = code) -> None:
                self.assertEqual(self.send(gateway, signature + LETTER)[:9], code)
                changed = [(one.what, one.where) for one in self.ended(gateway).changes]
                if word == "edit":
                    self.assertIn(("breaks", "dkim example.org/s"), changed)
                    self.assertNotIn(b"Subject", backend.messages[0])
                else:
                    self.assertEqual(changed, [("not done", "")])
                    if word == "skip":
                        self.assertEqual(without_trace(backend.messages[0]), signature + LETTER)

            yield self.talk(self.RULE + f'on_signature = "{word}"\n', script)
