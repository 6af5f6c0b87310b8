"""Tests of smtpgate.filters.engines.yara: rules from files, what they lead to, and what becomes of changed ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.examine import patterns
from smtpgate.filters.engines.servers import BadAnswer
from smtpgate.filters.engines.yara import factory, parse_answer
from smtpgate.interfaces import ChildFailed
from smtpgate.policy.event import Happened
from smtpgate.testing import PLAIN, Gateway, complaints, use

OK = "250 2.0.0 Ok"
REFUSED = "550 5.7.1 The message holds what is not accepted here"
FAILED = "451 4.3.0 A check could not be done; try again later"


def rule(name: str, needle: str, severity: str = "high") -> str:
    """A rule that looks for a text."""
    return f'rule {name} {{ meta: severity = "{severity}" strings: $a = "{needle}" condition: $a }}\n'


class YaraCase(SynchronousTestCase):
    """A folder with rules."""

    def setUp(self) -> None:
        """An empty folder, and a child that knows nothing."""
        patterns._kept.clear()
        self.folder = Path(os.getcwd(), self.mktemp())
        self.folder.mkdir()

    def write(self, name: str, text: str) -> None:
        """A file of rules."""
        (self.folder / name).write_text(text)

    def gateway(self, options: str = "", **more: Any) -> None:
        """A gateway that scans."""
        self.gate = Gateway(use(factory, f'rules = "{self.folder}"\n{options}', **more))
        self.addCleanup(self.gate.close)

    def send(self, text: str) -> str:
        """A message with a text; the reply."""
        self.client = self.gate.connect()
        self.client.helo()
        return self.client.message(PLAIN + text + "\n")

    def told(self) -> list[str]:
        """Names of events."""
        return [event.name for event in self.gate.events if isinstance(event, Happened)]


class FilterTests(YaraCase):
    """`yara`."""

    def test_severities_have_actions(self) -> None:
        """As shipped, and as the operator says; the strongest decides, all are named."""
        for severity, action in (
            ("critical", "reject"),
            ("High", "reject"),
            ("medium", "quarantine"),
            ("low", "tag"),
            ("info", "note"),
            ("odd", "tag"),
            ("", "tag"),
        ):
            self.write("a.yar", rule("one", "needle", severity))
            self.gateway()
            self.send("a needle")
            self.assertEqual(
                [(one.reason, one.action) for one in self.client.findings], [("yara-match", action)], severity
            )
        self.write("a.yar", rule("one", "needle", "low") + rule("two", "hay", "high") + rule("three", "hay", "low"))
        self.gateway('severities = { high = "defer" }\notherwise = "note"')
        self.assertEqual(self.send("needle and hay"), "451 4.7.1 The message holds what is not accepted here")
        self.assertEqual(
            [(one.action, one.detail) for one in self.client.findings],
            [("defer", "two in message"), ("note", "one in message, three in message")],
        )

    def test_rules_can_be_passed_over(self) -> None:
        """By name."""
        self.write("a.yar", rule("odd_one", "needle") + rule("two", "hay"))
        self.gateway('ignore = ["odd_*"]')
        self.assertEqual(self.send("needle"), OK)
        self.assertEqual(self.send("hay"), REFUSED)

    def test_files_and_folders(self) -> None:
        """Only those that are named as rules are taken out of a folder; one that is named itself is taken."""
        self.write("a.yar", rule("one", "first"))
        self.write("b.txt", "no rules")
        self.write("c.yara", rule("two", "second"))
        self.write("d.txt", rule("three", "third"))
        self.gate = Gateway(use(factory, f'rules = ["{self.folder}", "{self.folder}/d.txt"]'))
        for text in ("first", "second", "third"):
            self.assertEqual(self.send(text), REFUSED)

    def test_rules_go_out_once(self) -> None:
        """The child is asked by digest; the same message is not scanned again."""
        self.write("a.yar", rule("one", "needle"))
        self.gateway()
        for text, count in (("a", 2), ("b", 3), ("b", 3), ("c", 4)):
            self.send(text)
            self.assertEqual(len(self.gate.children.asked), count)

    def test_what_has_changed_is_used(self) -> None:
        """Without a new configuration, told once; a message that was clean is scanned anew."""
        self.write("a.yar", rule("one", "needle"))
        self.gateway('poll = "1m"')
        self.assertEqual(self.send("hay"), OK)
        self.write("b.yar", rule("two", "hay"))
        self.assertEqual(self.send("hay"), OK)
        self.gate.advance(61)
        self.assertEqual(self.send("hay"), REFUSED)
        (self.folder / "b.yar").unlink()
        self.gate.advance(61)
        self.assertEqual(self.send("hay"), OK)
        self.assertEqual(self.told(), ["engine.rules", "engine.rules"])

    def test_bad_rules_change_nothing(self) -> None:
        """The old ones stay; it is told once, and mended rules are used."""
        self.write("a.yar", rule("one", "needle"))
        self.gateway('poll = "1m"')
        self.write("a.yar", "rule broken {")
        for _ in range(3):
            self.gate.advance(61)
            self.assertEqual(self.send("a needle"), REFUSED)
        self.assertEqual(self.told(), ["engine.rules_refused"])
        (self.folder / "a.yar").unlink()
        self.gate.advance(61)
        self.assertEqual(self.send("another needle"), REFUSED)
        self.assertEqual(self.told(), ["engine.rules_refused"] * 2)
        self.write("a.yar", rule("one", "hay"))
        self.gate.advance(61)
        self.assertEqual(self.send("hay"), REFUSED)
        self.assertEqual(self.send("a needle"), OK)

    def test_a_child_that_fails_is_a_failure(self) -> None:
        """And so is one that says something else."""
        self.write("a.yar", rule("one", "needle"))
        for kind in ("died", "timeout", "busy"):
            self.gateway()
            self.gate.children.fails = kind
            self.assertEqual(self.send("needle"), FAILED)
        for plain in (
            {},
            {"status": "done"},
            {"status": "unknown"},
            {"status": "refused", "error": "x"},
            {"status": "done", "octets": 3, "matches": [], "limits": []},
        ):
            self.gateway()
            self.gate.children.run = lambda *args: succeed(plain)  # type: ignore[method-assign]
            self.assertEqual(self.send("needle"), FAILED, plain)

    def test_changed_rules_that_kill_the_child_are_refused(self) -> None:
        """The message at hand is scanned with the old ones."""
        self.write("a.yar", rule("one", "needle"))
        self.gateway('poll = "1m"')
        self.send("x")
        run = self.gate.children.run

        def dies(job: str, descriptor: Any, request: Any, timeout_s: float) -> Deferred[Any]:
            return (
                fail(ChildFailed("died", "SIGKILL")) if "rules" in request else run(job, descriptor, request, timeout_s)
            )

        self.gate.children.run = dies  # type: ignore[method-assign]
        self.write("b.yar", rule("two", "hay"))
        self.gate.advance(61)
        self.assertEqual(self.send("a needle"), REFUSED)
        self.assertEqual(self.told(), ["engine.rules_refused"])

    def test_what_limits_hide(self) -> None:
        """A note, or what the operator says; where the time was over, it is a failure."""
        self.write("a.yar", rule("one", "needle"))

        def answer(limits: list[str]) -> Any:
            return lambda job, descriptor, request, timeout_s: succeed(
                {"status": "done", "octets": os.fstat(descriptor).st_size, "matches": [], "limits": limits}
            )

        self.gateway()
        self.gate.children.run = answer(["depth"])  # type: ignore[method-assign]
        self.assertEqual(self.send("x"), OK)
        self.assertEqual([one.reason for one in self.client.findings], ["yara-incomplete"])
        self.gateway('on_incomplete = "reject"')
        self.gate.children.run = answer(["files"])  # type: ignore[method-assign]
        self.assertEqual(self.send("x"), "550 5.7.1 Not all of the message could be checked")
        self.gateway()
        self.gate.children.run = answer(["time"])  # type: ignore[method-assign]
        self.assertEqual(self.send("x"), FAILED)

    def test_a_large_message_waits(self) -> None:
        """As shipped."""
        self.write("a.yar", rule("one", "needle"))
        self.gateway('max_octets = "1 kB"')
        self.assertEqual(self.send("x\n" * 2000), "451 4.7.1 The message is too large to be checked")
        self.assertEqual(self.gate.children.asked, [])


class OptionTests(YaraCase):
    """What `check-config` says."""

    def test_rules_are_compiled(self) -> None:
        """A mistake is told with its file; what is no file, and what holds no rules, too."""
        self.write("good.yar", rule("one", "needle"))
        self.assertEqual(complaints(factory, f'rules = "{self.folder}"'), [])
        self.write("bad.yar", "rule x { condition: nonsense }")
        (said,) = complaints(factory, f'rules = "{self.folder}"')
        self.assertIn("bad.yar: error", said)
        self.assertIn("nonsense", said)
        (self.folder / "bad.yar").write_bytes(b"rule \xff")
        self.assertIn("is not UTF-8", complaints(factory, f'rules = "{self.folder}"')[0])
        (self.folder / "empty").mkdir()
        self.assertIn("no rules in", complaints(factory, f'rules = "{self.folder}/empty"')[0])
        self.assertIn("cannot read", complaints(factory, f'rules = "{self.folder}/none.yar"')[0])
        os.mkfifo(self.folder / "pipe")
        self.assertIn("is no file", complaints(factory, f'rules = "{self.folder}/pipe"')[0])
        for bad in ("", "rules = []", f'rules = "{self.folder}/good.yar"\npoll = 0', 'rules = [""]'):
            self.assertEqual(len(complaints(factory, bad)), 1, bad)

    def test_answers_are_read_strictly(self) -> None:
        """Of all octets, and of nothing but texts."""
        good: dict[str, Any] = {
            "octets": 3,
            "limits": ["depth"],
            "matches": [{"rule": "a", "namespace": "b", "severity": "c", "where": "d"}],
        }
        self.assertEqual(parse_answer(good, 3).matches[0].rule, "a")
        for bad in (
            {"octets": None},
            {"limits": [1]},
            {"limits": None},
            {"matches": [{"rule": "a"}]},
            {"matches": None},
        ):
            self.assertRaises(BadAnswer, parse_answer, good | bad, 3)
        self.assertRaises(OSError, parse_answer, good, 4)
