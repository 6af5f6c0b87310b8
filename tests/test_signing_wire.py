"""DKIM signatures through the running gateway: what reaches the backends is verified there, by dkimpy and OpenDKIM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import dkim
from twisted.internet.defer import Deferred

from smtpgate.config.loader import loads
from smtpgate.control import SYSTEM
from smtpgate.signing.keys import SigningKey, new_key
from smtpgate.wiring import rules_of
from tests.edit_corpus import HEAD, cases
from tests.edit_kit import Workshop
from tests.gateway_kit import TestGateway
from tests.script_kit import EHLO, Backend, Client
from tests.vault_kit import VaultCase, VaultGateway

KEYS = {kind: new_key(kind) for kind in ("rsa", "ed25519")}  # type: ignore[arg-type]
LETTER = HEAD + b"\r\nhello\r\n"
BANNER = """
[[rules]]
name = "outside"
action = "banner"
text = "Caution: {sender} is not one of us"
on_signature = "edit"
[[rules]]
name = "mark"
action = "tag"
subject_tag = "[X]"
headers = { "X-Origin" = "outside" }
"""


def lookup(name: bytes, timeout: int = 5) -> bytes:
    """The record of a key, by its selector."""
    selector = name.partition(b".")[0].decode()
    return KEYS[selector].record().encode()


def good(message: bytes) -> list[bytes]:
    """The domains of the good signatures of a message, the topmost first; each one must be good."""
    judged = dkim.DKIM(message)
    found = []
    for place, (name, _) in enumerate(one for one in judged.headers if one[0].lower() == b"dkim-signature"):
        assert judged.verify(idx=place, dnsfunc=lookup), (place, name, message)
        found.append(judged.domain)
    return found


class SigningCase(VaultCase):
    """A gateway with keys of its own."""

    def setUp(self) -> None:
        """The keys as files."""
        super().setUp()
        self.keys = self.folder / "keys"
        self.keys.mkdir()
        for kind, key in KEYS.items():
            path = self.keys / f"{kind}.pem"
            path.touch(0o600)
            path.write_bytes(key.pem())

    def key(self, kind: str = "rsa", domain: str = "example.org", **more: str) -> str:
        """The table of a key that signs what comes here."""
        given = {"direction": '"both"', **more}
        rest = "".join(f"{name} = {value}\n" for name, value in given.items())
        return f'[[dkim_keys]]\ndomain = "{domain}"\nselector = "{kind}"\nfile = "{self.keys / kind}.pem"\n{rest}'

    def talk(  # type: ignore[override]
        self, tables: str, script: Callable[[Any, Backend], None], backend: Backend | None = None, **config: str
    ) -> Deferred[Any]:
        """Run a script against it."""
        behind = backend or Backend()
        self.addCleanup(behind.close)
        given = self.config(behind.port, **config) + tables
        self.workshop = Workshop()
        uses = rules_of(loads(given, "/nowhere/gate.toml"), self.workshop, Workshop(is_shadow=True))  # type: ignore[arg-type]
        return self.run_script(given, lambda gateway: script(gateway, behind), uses)

    def send(  # type: ignore[override]
        self, gateway: TestGateway, content: bytes, options: bytes = b"", chunks: int = 0
    ) -> bytes:
        """A message; the last reply.

        :param chunks: sent by BDAT, in pieces of so many octets
        """
        with Client(gateway.port()) as client:
            client.hello()
            client.say(b"MAIL FROM:<ann@example.org>" + options)
            client.say(b"RCPT TO:<b@example.net>")
            if chunks:
                reply = b""
                for at in range(0, max(len(content), 1), chunks):
                    piece = content[at : at + chunks]
                    last = b" LAST" if at + chunks >= len(content) else b""
                    client.send(b"BDAT %d%b\r\n" % (len(piece), last) + piece)
                    reply = client.read()
                return reply
            client.say(b"DATA")
            stuffed = b"\r\n".join(b"." + one if one[:1] == b"." else one for one in content.split(b"\r\n"))
            return client.say(stuffed + (b"." if content.endswith(b"\r\n") else b"\r\n."))


def received(backend: Backend) -> bytes:
    """The last message that came there, dots undone where it has some."""
    octets = backend.messages[-1]
    by_data = next(one for one in reversed(backend.commands) if one[:4] in (b"DATA", b"BDAT"))[:4] == b"DATA"
    return octets.replace(b"\r\n..", b"\r\n.") if by_data else octets


class WireTests(SigningCase):
    """What leaves is signed as it leaves."""

    def test_structures_by_data_and_chunks(self) -> Deferred[Any]:
        """Messages of every structure, with a banner, a tag and our trace field, are good to dkimpy, by both keys."""
        sample = [one.content for one in cases()][::19]
        self.assertGreater(len(sample), 45)

        def script(gateway: TestGateway, backend: Backend) -> None:
            for place, content in enumerate(sample):
                content = b"From: Ann <ann@example.org>\r\n" + _without_from(content)
                options = b" BODY=8BITMIME"
                self.assertEqual(self.send(gateway, content, options, chunks=700 * (place % 2))[:3], b"250")
                self.assertEqual(good(received(backend)), [b"example.org", b"example.org"])
            self.assertTrue(any(b"Caution" in one for one in backend.messages))
            self.assertTrue(all(b"X-Origin: outside" in one for one in backend.messages))

        return self.talk(self.key() + self.key("ed25519") + BANNER, script, Backend())

    def test_odd_bodies(self) -> Deferred[Any]:
        """None at all, empty lines, dots, blanks, no last line end, large ones from the disk: one hash for all ways."""
        bodies = [
            b"",
            b"\r\n",
            b"\r\n\r\n\r\n",
            b".\r\n..\r\n",
            b"a  \t b \t\r\n \r\n\r\n",
            b"no end",
            b" \r\n",
            b".hidden",
        ]
        bodies += [b"x" * 900 + b" \r\n" + b"\r\n" * 5000 + b"y\r\n", b".line  of it\t \r\n" * 60_000]

        def script(gateway: TestGateway, backend: Backend) -> None:
            for body in bodies:
                for chunks in (0, 1 << 20, 5000):
                    self.assertEqual(self.send(gateway, HEAD + b"\r\n" + body, chunks=chunks)[:3], b"250")
                    self.assertEqual(good(received(backend)), [b"example.org"], (body[:40], chunks))
            self.assertEqual(self.send(gateway, HEAD.removesuffix(b"\r\n"), chunks=50)[:3], b"250")
            self.assertEqual(good(received(backend)), [b"example.org"])
            self.assertTrue(gateway.spools)

        return self.talk(self.key(), script, limits='spool_memory = "64 KiB"')

    def test_lone_line_ends_and_other_odd_octets(self) -> Deferred[Any]:
        """What is made of them is what is signed, whatever pieces they come in; NUL, 8 bits and long lines too."""
        bodies = [b"a\rb", b"a\nb\n", b"\r", b"\n.\n", b"\r.\r", b"a \r b \n\t", b"a\0b", b"\0", b"caf\xe9 \xff"]
        bodies += [b"x" * 70_000, b"x" * 900 + b" \t" * 600, b"\t\r\n\x0b\x0c "]
        fields = [
            b"Subject: a\rb",
            b"Subject: a\nX-Y: c",
            b"Subject: a\n b",
            b"Subject: " + b"y" * 3000,
            b"X: \r\n \r\n b",
        ]
        letters = [HEAD + b"\r\n" + one + b"\r\n" for one in bodies]
        letters += [b"From: ann@example.org\r\n" + one + b"\r\n\r\nhi\r\n" for one in fields]

        def script(gateway: TestGateway, backend: Backend) -> None:
            for letter in letters:
                for chunks in (0, 1 << 20, 7 if len(letter) < 5000 else 997):
                    reply = self.send(gateway, letter, b" BODY=8BITMIME", chunks=chunks)
                    self.assertEqual(reply[:3], b"250", (letter[-60:], chunks))
                    octets = received(backend)
                    self.assertEqual(good(octets), [b"example.org"], (letter[-60:], chunks))
                    self.assertNotRegex(octets, rb"\r(?!\n)|(?<!\r)\n")

        return self.talk(self.key(), script)

    def test_whose_mail_is_signed(self) -> Deferred[Any]:
        """The author's domain counts, not the envelope; one below only where that is said, and its own key first."""
        tables = self.key() + self.key("ed25519", "below.example.org", subdomains="true")
        authors = {
            b"ann@example.org": [b"example.org"],
            b"Ann <ann@EXAMPLE.org>": [b"example.org"],
            b"ann@x.example.org": [],
            b"ann@below.example.org": [b"below.example.org"],
            b"ann@x.y.below.example.org": [b"below.example.org"],
            b"ann@example.com": [],
            b"ann@xexample.org": [],
            b"ann@example.com, bob@example.org": [b"example.org"],
            b", ".join(b"a@h%d.example" % one for one in range(900)) + b", ann@example.org": [b"example.org"],
            b"nobody": [],
        }

        def script(gateway: TestGateway, backend: Backend) -> None:
            for author, domains in authors.items():
                self.assertEqual(self.send(gateway, b"From: " + author + b"\r\nTo: x\r\n\r\nhi\r\n")[:3], b"250")
                self.assertEqual(good(received(backend)), domains, author)

        return self.talk(tables, script)

    def test_nothing_may_be_added(self) -> Deferred[Any]:
        """A second From, Subject or Content-Type breaks the signature; a signature that was there stays."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.send(gateway, LETTER)
            message = received(backend)
            for field in (b"From: x@example.com\r\n", b"Subject: other\r\n", b"Content-Type: text/html\r\n"):
                with self.assertRaises(AssertionError):
                    good(field + message)
            self.assertEqual(self.send(gateway, message)[:3], b"250")
            self.assertEqual(good(received(backend)), [b"example.org"] * 2)

        return self.talk(self.key(), script)

    def test_a_header_that_others_cut_elsewhere(self) -> Deferred[Any]:
        """No signature over it would hold: refused where one is required, else it goes without."""
        odd = b"From: ann@example.org\r\nno field\r\nTo: x\r\n\r\nhi\r\n"
        many = b"From: ann@example.org\r\n" + b"To: x\r\n" * 500 + b"\r\nhi\r\n"

        nul = b"From: ann@example.org\r\nSubject: a\0b\r\n\r\nhi\r\n"

        def strict(gateway: TestGateway, backend: Backend) -> None:
            for content in (odd, many, nul):
                reply = self.send(gateway, content)
                self.assertEqual(reply[:9], b"554 5.6.0")
                self.assertEqual(backend.messages, [])
            for content in (many.replace(b"To: x\r\n" * 20, b""), nul.replace(b"Subject", b"X-Odd")):
                self.send(gateway, content)
                self.assertEqual(good(received(backend)), [b"example.org"])

        def lax(gateway: TestGateway, backend: Backend) -> None:
            for content in (odd, nul):
                self.assertEqual(self.send(gateway, content)[:3], b"250")
                self.assertNotIn(b"DKIM", received(backend))

        done = self.talk(self.key(), strict)
        return done.addCallback(lambda _: self.talk(self.key(required="false"), lax))

    def test_a_key_that_fails(self) -> Deferred[Any]:
        """Mail waits, or goes without where that is allowed; both are told. The next message is signed again."""

        def script(gateway: TestGateway, backend: Backend, is_required: bool) -> None:
            with mock.patch.object(SigningKey, "sign", side_effect=RuntimeError("no engine")):
                reply = self.send(gateway, LETTER)
            self.assertEqual(reply[:9], b"451 4.7.5" if is_required else b"250 2.0.0")
            self.assertEqual(len(backend.messages), 0 if is_required else 1)
            (told,) = [one for one in gateway.events if getattr(one, "name", "") == "signing.failed"]
            self.assertIn("no engine", told.message)
            self.send(gateway, LETTER)
            self.assertEqual(good(received(backend)), [b"example.org"])

        done = self.talk(self.key(), lambda gateway, backend: script(gateway, backend, True))
        return done.addCallback(
            lambda _: self.talk(self.key(required="false"), lambda one, backend: script(one, backend, False))
        )

    def test_only_what_goes_that_way(self) -> Deferred[Any]:
        """A key for what goes out leaves what comes in alone: it streams, and BINARYMIME is there."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.send(gateway, LETTER)
            self.assertNotIn(b"DKIM-Signature", received(backend))
            with Client(gateway.port()) as client:
                self.assertIn(b"BINARYMIME", client.hello())

        def both(gateway: TestGateway, backend: Backend) -> None:
            with Client(gateway.port()) as client:
                self.assertNotIn(b"BINARYMIME", client.hello())

        ehlo = (*EHLO, "BINARYMIME")
        done = self.talk(self.key(direction='"out"'), script, Backend(ehlo=ehlo))
        return done.addCallback(lambda _: self.talk(self.key(), both, Backend(ehlo=ehlo)))

    def test_of_a_release(self) -> Deferred[Any]:
        """What is held has no signature; what is released has one, over what the rules made of it."""
        hold = '\n[[rules]]\nname = "hold"\nwhen = "subject != \'no\'"\naction = "quarantine"\n'

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, LETTER)[:3], b"250")
            self.assertFalse(any(b"DKIM-Signature" in octets for octets in gateway.files()))
            (held,) = gateway.held()
            with mock.patch.object(SigningKey, "sign", side_effect=RuntimeError("no engine")):
                gateway.in_reactor(lambda: gateway.control.quarantine.release([held.id], SYSTEM))
                self.assertTrue(gateway.tried(1))
            self.assertEqual(backend.messages, [])
            gateway.later(3600.0)
            self.assertTrue(gateway.posted())
            self.assertEqual(good(received(backend)), [b"example.org"])
            self.assertIn(b"Caution", received(backend))

        return self.talk(self.key() + BANNER + hold, script)

    def test_of_the_gateways_own(self) -> Deferred[Any]:
        """A report is signed by the key of its own domain for what goes out; what it holds is as it came. A copy is
        signed as its message is."""
        rules = """
[[rules]]
name = "report"
action = "journal"
to = ["archive@example.net"]
[[rules]]
name = "copy"
action = "bcc"
to = ["copy@example.net"]
"""
        tables = self.key(direction='"in"') + self.key("ed25519", "gate.example.com", direction='"out"')

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, LETTER)[:3], b"250")
            self.assertTrue(gateway.posted())
            found = [good(one.replace(b"\r\n..", b"\r\n.")) for one in backend.messages]
            self.assertEqual(sorted(found), [[b"example.org"], [b"example.org"], [b"gate.example.com"]])
            (report,) = [one for one in backend.messages if b"archive@example.net" in one]
            self.assertEqual(report.count(b"DKIM-Signature:"), 1)
            (copy,) = [one for one in backend.messages if b"X-Smtpgate-Copy: bcc" in one]
            self.assertTrue(copy.startswith(b"DKIM-Signature: "))

        return self.talk(tables + rules, script)


def _without_from(content: bytes) -> bytes:
    head, end, body = content.partition(b"\r\n\r\n")
    lines = [one for one in head.split(b"\r\n") if not one.lower().startswith(b"from:")]
    return b"\r\n".join(lines) + end + body


def write(path: Path, octets: bytes) -> Path:
    """A file for its owner alone."""
    path.touch(0o600)
    path.write_bytes(octets)
    return path
