"""S/MIME by rules, through the running gateway: what reaches the backends is verified and decrypted by OpenSSL."""

from __future__ import annotations

import email
import email.policy
import errno
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from smtpgate.control import SYSTEM
from smtpgate.filters.certificates import CertificateFolder
from smtpgate.filters.sealing import AT_ONCE
from smtpgate.policy import event as told
from smtpgate.signing.smime import Sealed
from tests.edit_corpus import HEAD, cases, message, multi, text
from tests.gateway_kit import TestGateway
from tests.script_kit import Backend, Client, Connection
from tests.test_signing_wire import BANNER, SigningCase, good, received, write
from tests.vault_kit import VaultGateway

LETTER = HEAD + b"\r\nhello\r\n"
SIGN = '\n[[rules]]\nname = "sign"\naction = "smime-sign"\n'
ENCRYPT = '\n[[rules]]\nname = "encrypt"\naction = "smime-encrypt"\n'


def certificate(address: str, key: Any, days: int = 30, san: bool = True) -> x509.Certificate:
    """A certificate for an address, signed by its own key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=60)).not_valid_after(now + timedelta(days=days))
    if san:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address)]), False)
    return builder.sign(key, SHA256())


def pem(key: Any) -> bytes:
    """A private key."""
    octets: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return octets


class SMIMECase(SigningCase):
    """A gateway that signs for Ann and encrypts for Bob."""

    rsa_keys: dict[str, Any] = {}

    def setUp(self) -> None:
        """Keys and certificates."""
        super().setUp()
        for name in ("ann", "bob", "eve"):
            if name not in self.rsa_keys:
                self.rsa_keys[name] = rsa.generate_private_key(65537, 2048)
            write(self.folder / f"{name}.key", pem(self.rsa_keys[name]))
        self.ann = certificate("ann@example.org", self.rsa_keys["ann"])
        write(self.folder / "ann.pem", self.ann.public_bytes(Encoding.PEM))
        self.certificates = self.folder / "certificates"
        self.certificates.mkdir()
        self.give("bob.pem", "Bob@Example.net")

    def give(self, name: str, address: str, form: Encoding = Encoding.PEM, key: Any = None, **more: Any) -> None:
        """A certificate into the folder of recipients."""
        made = certificate(address, key or self.rsa_keys["bob"], **more)
        (self.certificates / name).write_bytes(made.public_bytes(form))

    def top(self, size: str = "25 MiB") -> str:
        """What stands above the tables."""
        return f'smime_certificates = "{self.certificates}"\nsmime_size = "{size}"\n'

    def keys_of(self, address: str = "ann@example.org") -> str:
        """The table of Ann's key."""
        return (
            f'[[smime_keys]]\naddress = "{address}"\ncertificate = "{self.folder}/ann.pem"\n'
            f'key = "{self.folder}/ann.key"\n'
        )

    def openssl(self, verb: str, octets: bytes, *more: str) -> bytes:
        """What `openssl cms` makes of a message. It must be content."""
        given, made = self.folder / "given.eml", self.folder / "made"
        given.write_bytes(octets)
        words = ["openssl", "cms", f"-{verb}", "-in", str(given), "-out", str(made), *more]
        done = subprocess.run(words, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, (done.stderr, octets[:3000]))
        return made.read_bytes()

    def verified(self, octets: bytes) -> bytes:
        """The content of a good signature of Ann's."""
        return self.openssl("verify", octets, "-CAfile", str(self.folder / "ann.pem"), "-purpose", "any")

    def opened(self, octets: bytes, who: str = "bob") -> bytes:
        """What somebody can read."""
        return self.openssl("decrypt", octets, "-inkey", str(self.folder / f"{who}.key"))

    def notes(self, gateway: TestGateway) -> list[str]:
        """Of the last message."""
        self.assertTrue(gateway.until(lambda: gateway.told(told.TransactionEnded)))
        notes: list[str] = gateway.told(told.TransactionEnded)[-1].transaction.notes
        return notes


def body_of(octets: bytes) -> bytes:
    """Behind the header."""
    return octets.partition(b"\r\n\r\n")[2]


class SignTests(SMIMECase):
    """Signed messages."""

    def test_structures(self) -> Deferred[Any]:
        """Each of a sample is good to OpenSSL and holds the same entity; fields beside those of MIME stay; DKIM is
        over all of it."""
        sample = [one.content for one in cases()][::37]

        def script(gateway: TestGateway, backend: Backend) -> None:
            detached = 0
            for place, content in enumerate(sample):
                if any(one in content for one in (b"multipart/signed", b"pkcs7", b"multipart/encrypted")):
                    continue
                self.assertEqual(self.send(gateway, content, b" BODY=8BITMIME", 500 * (place % 2))[:3], b"250")
                got = received(backend)
                self.assertEqual(good(got), [b"example.org"])
                inner = self.verified(got)
                self.assertEqual(body_of(inner), body_of(content), (inner, content))
                is_detached = b"multipart/signed" in got.partition(b"\r\n\r\n")[0]
                self.assertEqual(is_detached, content.isascii() and b"\0" not in content, got)
                detached += is_detached
                parsed = email.message_from_bytes(got, policy=email.policy.SMTP)
                self.assertEqual(parsed["Subject"], "a letter")
                self.assertEqual(len(parsed.get_all("MIME-Version") or []), 1)
                self.assertEqual(len(parsed.get_all("Content-Type") or []), 1)
            self.assertGreater(detached, 5)
            self.assertGreater(len(sample) - detached, 5)

        return self.talk(self.keys_of() + SIGN + self.key(), script)

    def test_odd_bodies(self) -> Deferred[Any]:
        """No body, no last line end, dots, a header that is nothing else."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            for body in (b"", b"x", b".\r\n..x\r\n", b"\r\n\r\n", b"a" * 900 + b"\r\n" * 3000):
                for chunks in (0, 4000):
                    self.assertEqual(self.send(gateway, HEAD + b"\r\n" + body, chunks=chunks)[:3], b"250")
                    inner = body_of(self.verified(received(backend)))
                    ended = body if chunks or body.endswith(b"\r\n") or not body else body + b"\r\n"
                    self.assertEqual(inner, ended)
            for head in (HEAD, HEAD + b"Content-Type: text/html", HEAD.removesuffix(b"\r\n")):
                self.assertEqual(self.send(gateway, head, chunks=4000)[:3], b"250")
                self.assertEqual(body_of(self.verified(received(backend))), b"")
                self.assertIn(b"\r\nMessage-ID: <1@example.org>\r\n", received(backend))

        return self.talk(self.keys_of() + SIGN, script)

    def test_banner_is_in_it(self) -> Deferred[Any]:
        """Words are put first; the tag stands in the header of the message."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.send(gateway, message(multi("mixed", text("us-ascii", "7bit"))))
            self.assertIn(b"Caution", self.verified(received(backend)))
            self.assertIn(b"X-Origin: outside\r\n", received(backend).partition(b"\r\n\r\n")[0])
            self.assertIn("smime_signed", self.notes(gateway))

        return self.talk(self.keys_of() + SIGN + BANNER, script)

    def test_curves_sign_too(self) -> Deferred[Any]:
        """P-256."""
        key = ec.generate_private_key(ec.SECP256R1())
        write(self.folder / "ann.key", pem(key))
        write(self.folder / "ann.pem", certificate("ann@example.org", key).public_bytes(Encoding.PEM))

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.send(gateway, LETTER)
            self.assertEqual(body_of(self.verified(received(backend))), b"hello\r\n")

        return self.talk(self.keys_of() + SIGN, script)

    def test_who_has_none(self) -> Deferred[Any]:
        """Refused, deferred, or unsigned and told, as the rule says; of several authors it is nobody's."""

        def script(gateway: TestGateway, backend: Backend, reply: bytes) -> None:
            for author in (b"eve@example.org", b"ann@example.org, eve@example.org", b"nobody"):
                said = self.send(gateway, b"From: " + author + b"\r\n\r\nhi\r\n")
                self.assertEqual(said[: len(reply)], reply, author)
                self.assertEqual(len(backend.messages), 0 if reply[:1] != b"2" else len(backend.messages))
                self.assertIn("not_smime_signed", self.notes(gateway))

        done = self.talk(self.keys_of() + SIGN, lambda one, two: script(one, two, b"550 5.7.0 "))
        tries = (("defer", b"451 4.7.0 "), ("continue", b"250"))
        for word, reply in tries:
            rule = f'{SIGN}on_missing = "{word}"\n'
            done.addCallback(
                lambda _, rule=rule, reply=reply: self.talk(self.keys_of() + rule, lambda a, b: script(a, b, reply))
            )
        return done

    def test_a_certificate_of_somebody_else(self) -> Deferred[Any]:
        """Signs nothing: programs would show the signature as a forged one. The next that fits is taken."""
        write(
            self.folder / "other.pem", certificate("eve@example.org", self.rsa_keys["ann"]).public_bytes(Encoding.PEM)
        )
        other = self.keys_of("example.org").replace("ann.pem", "other.pem")

        def refused(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, LETTER)[:10], b"550 5.7.0 ")
            self.assertEqual(backend.messages, [])

        def signed(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.send(gateway, LETTER)[:3], b"250")
            self.assertEqual(body_of(self.verified(received(backend))), b"hello\r\n")

        done = self.talk(other + SIGN, refused)
        done.addCallback(lambda _: self.talk(other + self.keys_of() + SIGN, signed))
        return done

    def test_in_shadow_nothing_changes(self) -> Deferred[Any]:
        """Nor is anybody refused."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.send(gateway, LETTER)
            self.assertTrue(backend.messages[0].endswith(LETTER))

        rules = f'{SIGN}mode = "shadow"\n{ENCRYPT}mode = "shadow"\n'
        return self.talk(self.keys_of("eve@example.org") + rules, script, top=self.top())


class EncryptTests(SMIMECase):
    """Encrypted messages."""

    def test_only_the_recipient_reads_it(self) -> Deferred[Any]:
        """Signed by Ann, then encrypted for Bob with AES-256, then signed with DKIM; in clear it is nowhere."""
        content = message(
            multi("mixed", text("utf-8", "8bit"), b"Content-Type: text/x-secret\r\n\r\nthe word is XYZZY")
        )

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.mail(gateway, content)[:3], b"250")
            got = received(backend)
            self.assertNotIn(b"XYZZY", got)
            self.assertEqual(good(got), [b"example.org"])
            signed = self.opened(got)
            self.assertEqual(body_of(self.verified(signed)), body_of(content))
            given = self.folder / "given.eml"
            given.write_bytes(got)
            words = ["openssl", "cms", "-cmsout", "-print", "-in", str(given)]
            self.assertIn(b"aes-256-cbc", subprocess.run(words, capture_output=True, check=True).stdout)
            with self.assertRaises(self.failureException):
                self.opened(got, "eve")
            notes = self.notes(gateway)
            self.assertTrue({"smime_signed", "smime_encrypted"} <= set(notes), notes)

        return self.talk(self.keys_of() + ENCRYPT + SIGN + self.key(), script, top=self.top())

    def test_all_recipients_or_none(self) -> Deferred[Any]:
        """One without a certificate: nobody gets it in clear. A file that comes counts at once."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            def ask() -> bytes:
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"MAIL FROM:<ann@example.org>")
                    client.say(b"RCPT TO:<bob@example.net>")
                    client.say(b"RCPT TO:<Eve@example.net>")
                    client.say(b"DATA")
                    return client.say(LETTER + b".")

            self.assertEqual(ask()[:10], b"550 5.7.10")
            self.assertEqual(backend.messages, [])
            self.give("eve@example.net.der", "x@y.example", Encoding.DER, key=self.rsa_keys["eve"])
            self.assertEqual(ask()[:3], b"250")
            for who in ("bob", "eve"):
                self.assertIn(b"hello", self.opened(received(backend), who))

        return self.talk(ENCRYPT, script, top=self.top())

    def test_certificates_that_are_not_good(self) -> Deferred[Any]:
        """Expired, of a curve, too short, no certificate at all: as if there were none, by what the rule says."""
        short = rsa.generate_private_key(65537, 1024)
        bad: list[dict[str, Any]] = [{"days": -1}, {"key": ec.generate_private_key(ec.SECP256R1())}, {"key": short}]

        def script(gateway: TestGateway, backend: Backend) -> None:
            for more in bad:
                self.give("bob.pem", "bob@example.net", **more)
                self.assertEqual(self.mail(gateway)[:10], b"451 4.7.10", more)
            (self.certificates / "bob.pem").write_bytes(b"-----BEGIN CERTIFICATE-----")
            self.assertEqual(self.mail(gateway)[:10], b"451 4.7.10")
            self.assertEqual(backend.messages, [])
            self.give("other.crt", "bob@example.net")
            self.assertEqual(self.mail(gateway)[:3], b"250")
            self.assertIn(b"hello", self.opened(received(backend)))

        return self.talk(ENCRYPT + 'on_missing = "defer"\n', script, top=self.top())

    def test_addresses_however_they_are_written(self) -> None:
        """Case and the form of the domain mean nothing, in a name of a file and in a certificate."""
        self.give("Bob@Bücher.example.pem", "x@y.example")
        self.give("eve.pem", "Eve@xn--bcher-kva.example")
        folder, now = CertificateFolder(self.certificates), datetime.now(UTC)
        for address in ("BOB@xn--bcher-kva.example", "bob@BÜCHER.example", "eve@bücher.example"):
            found = folder.find([address], now)
            self.assertEqual((len(found.certificates), found.lacking), (1, ()), address)
        self.assertEqual(folder.find(["x@y.example"], now).certificates, ())

    def test_a_file_that_can_be_read_later(self) -> None:
        """One that the gateway may not read until its mode is mended, and one that it could not open just then: nothing
        of the file changes, and it counts for the next message all the same."""
        self.give("bob@example.net.pem", "bob@example.net")
        folder, now = CertificateFolder(self.certificates), datetime.now(UTC)
        path = self.certificates / "bob@example.net.pem"

        def change_mode() -> None:
            before = path.stat().st_ctime_ns
            while path.stat().st_ctime_ns == before:
                # The clock of a file system goes by some milliseconds.
                path.chmod(0o640)

        for error, mend in (
            (PermissionError(errno.EACCES, "Permission denied"), change_mode),
            (OSError(errno.EMFILE, "Too many open files"), lambda: None),
        ):
            change_mode()
            with mock.patch.object(Path, "read_bytes", side_effect=error) as read:
                self.assertEqual(folder.find(["bob@example.net"], now).certificates, ())
                once = read.call_count
                self.assertEqual(folder.find(["bob@example.net"], now).certificates, ())
                self.assertEqual(read.call_count, once if isinstance(error, PermissionError) else 2 * once)
            mend()
            self.assertEqual(len(folder.find(["bob@example.net"], now).certificates), 1)

    def mail(self, gateway: TestGateway, content: bytes = LETTER) -> bytes:
        """To Bob."""
        with Client(gateway.port()) as client:
            client.hello()
            client.say(b"MAIL FROM:<ann@example.org> BODY=8BITMIME")
            client.say(b"RCPT TO:<bob@example.net>")
            client.say(b"DATA")
            return client.say(content + b".")

    def test_not_twice(self) -> Deferred[Any]:
        """What is encrypted goes as it is; what only says so is encrypted."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.mail(gateway)
            once = received(backend)
            self.mail(gateway, once)
            self.assertTrue(received(backend).endswith(once))
            liar = (
                HEAD + b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nthe word is XYZZY\r\n"
            )
            other = HEAD + b"Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\nXYZZY\r\n--b--\r\n"
            for content in (liar, other):
                self.assertEqual(self.mail(gateway, content)[:3], b"250")
                self.assertNotIn(b"XYZZY", received(backend))
                self.assertIn(b"XYZZY", self.opened(received(backend)))

        return self.talk(ENCRYPT, script, top=self.top())

    def test_too_large_or_no_folder(self) -> Deferred[Any]:
        """Refused, and deferred as the rule's failure: never in clear."""

        def script(gateway: TestGateway, backend: Backend) -> None:
            self.assertEqual(self.mail(gateway, HEAD + b"\r\n" + b"x\r\n" * 5000)[:9], b"552 5.3.4")
            self.certificates.rename(self.folder / "elsewhere")
            self.assertEqual(self.mail(gateway)[:9], b"451 4.3.0")
            self.assertEqual(backend.messages, [])

        return self.talk(ENCRYPT, script, top=self.top("10 KiB"))

    def test_a_library_that_fails(self) -> Deferred[Any]:
        """The failure of the rule: deferred; where the operator said so it goes on, with what else was changed."""

        def script(gateway: TestGateway, backend: Backend, reply: bytes) -> None:
            for error in (RuntimeError("no engine"), ValueError("no")):
                with mock.patch("smtpgate.filters.sealing.encrypt", side_effect=error):
                    self.assertEqual(self.mail(gateway)[:9], reply)
            self.assertEqual(len(backend.messages), 0 if reply[:1] == b"4" else 2)
            self.assertTrue(all(b"Caution" in one for one in backend.messages))
            self.assertEqual(len([one for one in self.workshop.told if type(one) is told.FilterFailed]), 2)
            # A splice that would cut a line end is none: what was planned before stands.
            with mock.patch("smtpgate.filters.sealing.encrypt", return_value=Sealed(b"X: y\r\n", b"a\nb")):
                self.assertEqual(self.mail(gateway)[:9], reply)
            self.assertTrue(all(b"Caution" in one for one in backend.messages))
            self.assertEqual(self.mail(gateway)[:3], b"250")
            self.assertIn(b"Caution", self.opened(received(backend)))

        done = self.talk(ENCRYPT + BANNER, lambda a, b: script(a, b, b"451 4.3.0"), top=self.top())
        rule = f'{ENCRYPT}on_error = "continue"\n'
        return done.addCallback(
            lambda _: self.talk(rule + BANNER, lambda a, b: script(a, b, b"250 2.0.0"), top=self.top())
        )

    def test_a_thread_that_never_comes_back(self) -> Deferred[Any]:
        """It is waited for as long as rules may take; the turns that it had are free again."""
        clock = Clock()

        def script(gateway: TestGateway, backend: Backend) -> None:
            works = self.workshop.run_in_worker
            self.workshop.clock = clock
            for _ in range(AT_ONCE + 1):
                asked = threading.Event()

                def never(*_: Any, asked: threading.Event = asked) -> Deferred[Any]:
                    asked.set()
                    return Deferred()

                self.workshop.run_in_worker = never  # type: ignore[method-assign]
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"MAIL FROM:<ann@example.org>")
                    client.say(b"RCPT TO:<bob@example.net>")
                    client.say(b"DATA")
                    client.send(LETTER + b".\r\n")
                    self.assertTrue(asked.wait(10))
                    gateway.in_reactor(clock.advance, 30.0)
                    self.assertEqual(client.read()[:9], b"451 4.3.0")
            self.assertIn("not done within 19 s", self.workshop.told[-1].detail)
            self.workshop.run_in_worker = works  # type: ignore[method-assign]
            self.assertEqual(self.mail(gateway)[:3], b"250")
            self.assertIn(b"hello", self.opened(received(backend)))

        return self.talk(ENCRYPT, script, top=self.top())

    def test_no_more_in_memory_than_there_is_room(self) -> Deferred[Any]:
        """While others wait for their backend the next one is deferred; when they are gone there is room again."""
        go, came = threading.Event(), threading.Semaphore(0)

        def late(connection: Connection) -> bytes:
            came.release()
            go.wait(10)
            return b"250 2.0.0 queued"

        large = HEAD + b"\r\n" + b"x\r\n" * 60_000
        backend = Backend([(b"DOT", late)])

        def script(gateway: TestGateway, backend: Backend) -> None:
            replies: list[bytes] = []
            senders = [threading.Thread(target=lambda: replies.append(self.mail(gateway, large))) for _ in range(4)]
            for one in senders:
                one.start()
                self.assertTrue(came.acquire(timeout=10))
            self.assertEqual(self.mail(gateway, large)[:9], b"451 4.3.2")
            go.set()
            for one in senders:
                one.join(10)
            self.assertEqual([one[:3] for one in replies], [b"250"] * 4)
            self.assertEqual(self.mail(gateway, large)[:3], b"250")

        return self.talk(ENCRYPT, script, backend, top=self.top("180 KiB"))

    def test_of_a_release(self) -> Deferred[Any]:
        """What is held is as it came; what is released is encrypted, and signed."""
        hold = '\n[[rules]]\nname = "hold"\naction = "quarantine"\n'

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(self.mail(gateway)[:3], b"250")
            (held,) = gateway.held()
            gateway.in_reactor(lambda: gateway.control.quarantine.release([held.id], SYSTEM))
            self.assertTrue(gateway.posted())
            got = received(backend)
            self.assertEqual(good(got), [b"example.org"])
            self.assertIn(b"hello", self.verified(self.opened(got)))

        return self.talk(self.keys_of() + self.key() + ENCRYPT + SIGN + hold, script, top=self.top())
