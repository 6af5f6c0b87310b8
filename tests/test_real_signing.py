"""DKIM signatures judged by others: every message of the corpus by dkimpy, a sample by OpenDKIM as receivers run it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dkim
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
from tests.real_kit import free_port
from tests.test_real_engines import EngineCase, Listening
from tests.test_signing_wire import KEYS, good, write

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
