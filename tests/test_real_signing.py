"""DKIM signatures judged by others: every message of the corpus by dkimpy, a sample by OpenDKIM as receivers run it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.model_signing import DKIMKey
from smtpgate.filters.engines import milter
from smtpgate.proxy.signing import sign
from smtpgate.signing.dkim import Terms
from tests.admin_kit import make_session
from tests.edit_corpus import HEAD, cases
from tests.real_kit import Postfix, RealCase, free_port, until
from tests.script_kit import Client
from tests.test_real_engines import EngineCase, Listening
from tests.test_signing_wire import KEYS, good, write
from tests.test_smime_wire import certificate, pem

BOTH = tuple(DKIMKey(place, Terms("example.org", name, key)) for place, (name, key) in enumerate(KEYS.items()))


def signed(content: bytes, sizes: tuple[int, ...] = (1 << 16,), keys: tuple[DKIMKey, ...] = BOTH) -> bytes:
    """A message with its signatures.

    :param sizes: of the pieces in which it comes, in turns
    """

    async def pieces() -> AsyncIterator[bytes]:
        at = turn = 0
        while at < len(content):
            size = sizes[turn % len(sizes)]
            yield content[at : at + size]
            at, turn = at + size, turn + 1

    def at_once(function: Any, *args: Any) -> Deferred[Any]:
        return succeed(function(*args))

    found: list[Any] = []
    transaction = make_session().transactions[0]
    made = sign(keys, pieces(), 1 << 20, int(time.time()), at_once, print, transaction)
    ensureDeferred(made).addBoth(found.append)
    (result,) = found
    if not hasattr(result, "fields"):
        result.raiseException()
    octets: bytes = result.fields + content
    return octets


class PeerTests(SynchronousTestCase):
    """dkimpy."""

    def test_the_whole_corpus(self) -> None:
        """Each message by both keys."""
        count = 0
        for case in cases():
            self.assertEqual(good(signed(case.content)), [b"example.org"] * 2, case.name)
            count += 1
        self.assertGreater(count, 900)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b".", b"\xff", b"x" * 70]), max_size=60),
        st.lists(st.integers(1, 90), min_size=1, max_size=5),
    )
    def test_any_body_by_any_pieces(self, atoms: list[bytes], sizes: list[int]) -> None:
        """Blanks and line ends at every seam. A body ends with a line end, as it does on the wire."""
        body = b"".join(atoms) + b"\r\n"
        self.assertEqual(good(signed(HEAD + b"\r\n" + body, tuple(sizes), BOTH[1:])), [b"example.org"])

    def test_a_change_shows(self) -> None:
        """One octet of the body, or a signed field."""
        message = signed(HEAD + b"\r\nhello\r\n", keys=BOTH[1:])
        for old, new in ((b"hello", b"hallo"), (b"a letter", b"a lettre"), (b"To: bob", b"To: eve")):
            lookup = lambda name, timeout=5: KEYS["ed25519"].record().encode()  # noqa: E731
            self.assertFalse(dkim.verify(message.replace(old, new), dnsfunc=lookup), old)


class Receiver(Listening):
    """An OpenDKIM that verifies, and finds our keys in a file."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        records = [f"{name}._domainkey.example.org {key.record()}\n" for name, key in KEYS.items()]
        write(folder / "records", "".join(records).encode())
        conf = folder / "opendkim.conf"
        conf.write_text(
            f"Socket inet:{self.port}@127.0.0.1\nMode v\nTestDNSData file:{folder}/records\nAuthservID judge.example\n"
            "AlwaysAddARHeader yes\nRequireSafeKeys no\nSyslog no\n"
        )
        super().__init__(folder, "opendkim", "opendkim", "-f", "-x", conf)

    def stop(self) -> None:
        """It would wait five seconds for its listener; there is nothing that it could lose."""
        self.popen.kill()
        super().stop()


class OpenDKIMTests(EngineCase):
    """OpenDKIM."""

    programs = ("opendkim",)

    async def test_it_verifies_ours(self) -> None:
        """Messages of every kind, one of 3 MB; and one that was changed is told from them."""
        server = self.start(Receiver(self.folder))
        bench = self.bench(milter.factory, f'servers = "127.0.0.1:{server.port}"')
        sample = [one.content for one in cases()[::23] if b"\0" not in one.content]
        sample += [HEAD + b"\r\n" + b"line of it  \t\r\n.\r\n" * 150_000, HEAD + b"\r\n"]
        for content in sample:
            said = await self.said(bench, signed(content, keys=BOTH[:1]))
            self.assertIn(b"dkim=pass", said, content[:300])
            said = await self.said(bench, signed(content))
            self.assertEqual(said.count(b"dkim=pass"), 2, (said, content[:300]))
        said = await self.said(bench, signed(sample[0]) + b"more\r\n")
        self.assertNotIn(b"dkim=pass", said)
        self.assertGreater(len(sample), 35)

    async def said(self, bench: Any, message: bytes) -> bytes:
        """What it writes above a message, whose last line ends where it has come over SMTP."""
        message += b"" if message.endswith(b"\r\n") else b"\r\n"
        self.assertEqual(await self.action(bench, message), "accept", self.failed(bench))
        return b"".join(getattr(one, "raw", b"") for one in bench.transaction_facts.edits.edits)


class WholeTests(RealCase):
    """A gateway as it is started, before a Postfix: what lies in the mailbox still holds."""

    programs = ("postfix", "openssl")

    def test_signed_encrypted_and_signed_again(self) -> None:
        """A banner of the child process, S/MIME, DKIM by both keys; small mail, and 3 MB from the disk."""
        postfix = self.start(Postfix(self.folder, "store"))
        keys = {name: rsa.generate_private_key(65537, 2048) for name in ("ann", "bob")}
        for name, key in keys.items():
            write(self.folder / f"{name}.key", pem(key))
        ann = certificate("ann@example.org", keys["ann"])
        write(self.folder / "ann.pem", ann.public_bytes(Encoding.PEM))
        folder = self.folder / "certificates"
        folder.mkdir()
        bob = certificate("bob@example.net", keys["bob"])
        (folder / "bob.pem").write_bytes(bob.public_bytes(Encoding.PEM))
        tables = ""
        for name, own in KEYS.items():
            path = write(self.folder / f"{name}.pem", own.pem())
            tables += f'[[dkim_keys]]\ndomain = "example.org"\nselector = "{name}"\nfile = "{path}"\n'
        gateway = self.gateway(
            f"""
smime_certificates = "{folder}"
[limits]
spool_memory = "64 KiB"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
role = "submission"
tls = "off"
relay_from = ["127.0.0.1"]
[backends.mail]
servers = ["127.0.0.1:{postfix.port}"]
tls = "off"
[[routes]]
backend = "mail"
{tables}
[[smime_keys]]
address = "ann@example.org"
certificate = "{self.folder}/ann.pem"
key = "{self.folder}/ann.key"
[[rules]]
name = "words"
action = "disclaimer"
text = "From the house of {{author}}"
[[rules]]
name = "sign"
action = "smime-sign"
[[rules]]
name = "encrypt"
when = "subject.startsWith('secret')"
action = "smime-encrypt"
"""
        )
        bodies = [b"hello\r\n", b"a line of it  \t\r\n.\r\n\r\n" * 150_000]
        for subject in (b"open", b"secret"):
            for body in bodies:
                with Client(gateway.port()) as client:
                    client.hello()
                    client.say(b"MAIL FROM:<ann@example.org>")
                    client.say(b"RCPT TO:<bob@example.net>")
                    client.say(b"DATA")
                    head = b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: " + subject + b"\r\n\r\n"
                    reply = client.say(head + body.replace(b"\r\n.", b"\r\n..") + b".")
                    self.assertEqual(reply[:3], b"250", reply)
        until(lambda: len(postfix.messages()) == 4, "all of it is there")
        found = []
        for stored in postfix.messages():
            message = stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            self.assertEqual(good(message), [b"example.org"] * 2)
            is_secret = b"\r\nSubject: secret\r\n" in message
            self.assertEqual(b"From the house of" in message, not is_secret)
            if is_secret:
                message = self.openssl("-decrypt", message, "-inkey", f"{self.folder}/bob.key")
            inner = self.openssl("-verify", message, "-CAfile", f"{self.folder}/ann.pem", "-purpose", "any")
            text = inner.partition(b"\r\n\r\n")[2]
            self.assertIn(b"From the house of ann@example.org", text)
            found.append((is_secret, next(place for place, body in enumerate(bodies) if text.startswith(body))))
        self.assertEqual(sorted(found), [(False, 0), (False, 1), (True, 0), (True, 1)])
        self.assertEqual(gateway.crashed(), [])

    def openssl(self, verb: str, octets: bytes, *more: str) -> bytes:
        """What `openssl cms` makes of a message. It must be content."""
        given, made = self.folder / "given.eml", self.folder / "made"
        given.write_bytes(octets)
        words = ["openssl", "cms", verb, "-in", str(given), "-out", str(made), *more]
        done = subprocess.run(words, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return made.read_bytes()
