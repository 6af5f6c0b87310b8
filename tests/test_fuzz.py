"""Half a minute of fuzzing, with a fresh seed each time that is printed where something breaks, and the fuzzer itself.

SMTPGATE_FUZZ_SEED=12345 runs the same inputs again, SMTPGATE_FUZZ_SECONDS sets the time. `make fuzz` takes longer.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtpgate.smtp.framing import DotDecoder
from smtpgate.smtp.reply import ReplyReader
from smtpgate.smtp.server import ServerConnection
from tests import fuzz
from tests.fuzz_gateway import GatewayFuzz
from tests.fuzz_input import cut

SECONDS = float(os.environ.get("SMTPGATE_FUZZ_SECONDS") or 30)


class ParserTests(SynchronousTestCase):
    """The parsers and the two wire machines."""

    def test_nothing_breaks(self) -> None:
        """Whatever comes, however it is cut up, however late it is answered."""
        run = fuzz.Run(fuzz.given_seed())
        report = run.over(list(fuzz.TARGETS.values()), SECONDS * 2 / 3)
        self.assertEqual(report, "", f"SMTPGATE_FUZZ_SEED={run.seed}\n{report}")
        self.assertEqual(set(run.counts), set(fuzz.TARGETS))


class GatewayTests(TestCase):
    """The whole gateway."""

    timeout = SECONDS + 90

    def test_nothing_breaks(self) -> Deferred[None]:
        """Bent sessions on one side, a server that says anything on the other."""

        async def work() -> None:
            run = GatewayFuzz(fuzz.given_seed())
            await run.start()
            try:
                report = await deferToThread(run.over, SECONDS / 3)
            finally:
                await run.stop()
            self.assertEqual(report, "", f"SMTPGATE_FUZZ_SEED={run.seed}\n{report}")
            self.assertGreater(run.count, 10)

        return ensureDeferred(work())


class FuzzerTests(SynchronousTestCase):
    """The fuzzer finds what is wrong, says it so that it can be run again, and does the same with the same seed."""

    def broken(self) -> Iterator[tuple[str, Any]]:
        """Mistakes as people make them, and the target that must find each."""
        feed, open_end, reply = ReplyReader.feed, DotDecoder._open_end, ServerConnection.reply

        def forgets(self: ReplyReader, data: bytes) -> Any:
            made = feed(self, data)
            self._lines = []
            return made

        def holds_too_little(self: DotDecoder, buffer: bytes, virtual: int) -> Any:
            made = open_end(self, buffer, virtual)
            if self._held == b"\r\n.":
                self._held = b"."
            return made

        def answers_at_once(self: ServerConnection, slot: Any, given: Any, reference: str = "") -> None:
            if slot.verb == "RCPT" and len(self._slots) > 1:
                self.out.append(given.octets(reference))
                self._slots.remove(slot)
                return
            reply(self, slot, given, reference)

        yield "reply", mock.patch.object(ReplyReader, "feed", forgets)
        yield "framing", mock.patch.object(DotDecoder, "_open_end", holds_too_little)
        yield "server", mock.patch.object(DotDecoder, "_open_end", holds_too_little)
        yield "server", mock.patch.object(ServerConnection, "reply", answers_at_once)

    def test_finds_mistakes(self) -> None:
        """Within a moment, and the literal that it prints fails again."""
        for name, mistake in self.broken():
            with mistake, mock.patch.object(fuzz, "SHRINK_S", 1.0):
                report = fuzz.Run("1").over([fuzz.TARGETS[name]], 30)
                self.assertIn(f"of target {name}\n", report, name)
                call = report.strip().rpartition("\n")[2]
                self.assertTrue(call.startswith(f"fuzz.check({name!r}, ["), call)
                with self.assertRaises(Exception):
                    eval(call, {"fuzz": fuzz})
            eval(call, {"fuzz": fuzz})

    def test_same_seed_same_input(self) -> None:
        """A failure can be looked at again."""
        for target in fuzz.TARGETS.values():
            self.assertEqual(fuzz.case(target, "5:7"), fuzz.case(target, "5:7"))
            self.assertNotEqual(
                [fuzz.case(target, f"5:{number}") for number in range(5)],
                [fuzz.case(target, f"6:{number}") for number in range(5)],
            )

    def test_octets_are_spelled_as_python(self) -> None:
        """Long runs are short, and all is there."""
        for octets in (b"", b"a", b"X" * 2049, b"a" + b"\n" * 50 + b"'\"b", b"\0" * 41 + b"\xff" * 41):
            self.assertEqual(eval(fuzz.spelled(octets)), octets)
            self.assertLess(len(fuzz.spelled(octets)), 40)

    def test_no_octet_is_lost_by_cutting(self) -> None:
        """Segments are the whole again."""
        chance = random.Random(1)
        for _ in range(500):
            octets = bytes(chance.choices(b"ab\r\n", k=chance.randrange(30)))
            parts = cut(chance, octets)
            self.assertEqual(b"".join(parts), octets)
            self.assertNotIn(b"", parts)
