"""Filters of strangers in a real gateway: packages of their own, installed by pip, that work, crash and block."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import re
import select
import signal
import smtplib
import sys
import tempfile
import urllib.request
from pathlib import Path

from twisted.trial.unittest import SkipTest

from smtpgate.cli import main
from tests.real_kit import FastServer, Gateway, RealCase, free_port, run, smtp, until

ROOT = Path(__file__).resolve().parent.parent
CRASHING = '''
"""Raises, for the recipient that its options name: at RCPT, or with "late-" before it at the end; and when closed."""

from typing import Any

from smtpgate.filters.base import Factory, Filter, Options


class CrashingOptions(Options):
    victim: str = ""


class Crashing(Filter):
    def __init__(self, options: CrashingOptions, services: Any) -> None:
        self.victim = options.victim

    def transaction(self, transaction: Any) -> Any:
        return Mail(self.victim, transaction)

    def close(self) -> None:
        raise RuntimeError("cannot let go")


class Mail:
    def __init__(self, victim: str, transaction: Any) -> None:
        self.victim, self.transaction = victim, transaction

    def rcpt(self, recipient: Any) -> None:
        if recipient.path.local == self.victim:
            raise SystemExit("the list is gone")

    async def end(self) -> None:
        if any(one.path.local == f"late-{self.victim}" for one in self.transaction.recipients):
            raise RuntimeError("the list is gone")


factory = Factory("crashing", CrashingOptions, frozenset({"rcpt", "end"}), Crashing)
'''
BLOCKING = '''
"""Spins at MAIL, waits for what never comes at RCPT, or does not even let itself be cancelled."""

import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from smtpgate.filters.base import Factory, Filter


class Blocking(Filter):
    def transaction(self, transaction: Any) -> Any:
        return Mail(transaction)


class Mail:
    def __init__(self, transaction: Any) -> None:
        self.transaction = transaction

    def mail(self) -> None:
        end = time.monotonic() + 0.3
        while self.transaction.sender.local == "spin" and time.monotonic() < end:
            pass

    async def rcpt(self, recipient: Any) -> None:
        if recipient.path.local == "never":
            await Deferred()
        if recipient.path.local == "stubborn":
            try:
                await Deferred()
            except CancelledError:
                await Deferred()


factory = Factory("blocking", None, frozenset({"mail", "rcpt"}), lambda options, services: Blocking(), budget_s=3.0)
'''
CONFIG = """
local_domains = ["example.net"]
[admin]
listen = "tcp:{admin}:interface=127.0.0.1"
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:{backend}"]
tls = "off"
[[routes]]
backend = "mail"
"""
#: Carol alone has hours, and never gets mail.
QUIET = """
[[filters]]
use = "quiet-hours"
[filters.options]
opens = "00:00"
closes = "00:00:00.000001"
urgent = ["bob@", "tempfail@", "reject@", "continue@", "late-tempfail@", "late-reject@", "late-continue@", "never@",
          "stubborn@"]
"""
CRASH = "".join(
    f'[[filters]]\nuse = "crashing"\nname = "crash-{one}"\non_error = "{one}"\noptions = {{ victim = "{one}" }}\n'
    for one in ("tempfail", "reject", "continue")
)
BLOCK = '[[filters]]\nuse = "blocking"\n'
MESSAGE = b"Message-ID: <%s@example.org>\r\nSubject: x\r\n\r\nhello\r\n"


@functools.cache
def installed() -> tempfile.TemporaryDirectory[str]:
    """A folder with the three packages, built and installed by pip; it goes when the tests end."""
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        raise SkipTest("missing: Python package setuptools>=77")
    place = tempfile.TemporaryDirectory(prefix="smtpgate-plugins-")
    sample = (ROOT / "docs" / "examples" / "quiet_hours.py").read_text(encoding="utf-8")
    sources = {"quiet-hours": sample, "crashing": CRASHING, "blocking": BLOCKING}
    packages = []
    for name, text in sources.items():
        package = Path(place.name, "sources", name)
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["plugin", "new", name, "--folder", str(package)]) == 0
        (package / "smtpgate" / "plugins" / f"{name.replace('-', '_')}.py").write_text(text, encoding="utf-8")
        packages.append(package)
    options = ("-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    target = Path(place.name, "target")
    made = run(sys.executable, "-m", "pip", "install", *options, "--target", target, *packages, timeout=120)
    assert made.returncode == 0, made.stdout + made.stderr
    return place


class PluginTests(RealCase):
    """One gateway process with all three."""

    def setUp(self) -> None:
        super().setUp()
        self.path = str(Path(installed().name, "target"))
        self.server: FastServer
        (self.server,) = self.fast_servers(self.background(), 1, 0)
        self.admin = free_port()
        self.config = CONFIG.format(admin=self.admin, backend=self.server.port)

    def begin(self, filters: str) -> Gateway:
        """The gateway, with the folder on its path."""
        return self.gateway(self.config + filters, env={"PYTHONPATH": self.path})

    def metric(self, name: str, **labels: str) -> float:
        """A counter on /metrics; 0 where it is not there."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        for line in text.splitlines():
            found = re.fullmatch(rf"smtpgate_{name}\{{(.*)\}} (\S+)", line)
            if found is not None and wanted <= set(found[1].split(",")):
                return float(found[2])
        return 0.0

    def client(self, gate: Gateway) -> smtplib.SMTP:
        """A client that has said EHLO."""
        client = smtp(gate.port())
        self.addCleanup(client.close)
        client.ehlo()
        return client

    def rcpt(self, client: smtplib.SMTP, recipient: str, sender: str = "alice@example.org") -> tuple[int, str]:
        """A transaction up to the reply to RCPT."""
        client.rset()
        code, text = client.mail(sender)
        self.assertEqual(code, 250, text)
        code, text = client.rcpt(recipient)
        return code, text.decode()

    def send(self, client: smtplib.SMTP, recipient: str, number: bytes) -> tuple[int, str]:
        """A whole message; the last reply."""
        code, text = self.rcpt(client, recipient)
        if code != 250:
            return code, text
        code, octets = client.data(MESSAGE % number)
        return code, octets.decode()

    def test_the_packages_are_what_runs(self) -> None:
        """The gateway lists the three filters; they are in the folder that pip made, and nowhere else."""
        gate = self.begin(QUIET + CRASH + BLOCK)
        inside = sorted(path.name for path in Path(self.path, "smtpgate", "plugins").glob("*.py"))
        self.assertEqual(inside, ["blocking.py", "crashing.py", "quiet_hours.py"])
        smtpgate = (sys.executable, "-m", "smtpgate.cli", "--config", gate.config)
        listed = run(*smtpgate, "filters", cwd=self.folder)
        self.assertEqual(listed.returncode, 0, listed.stderr)
        names = [line.split()[1] for line in listed.stdout.splitlines()[1:]]
        # Before them stands what every gateway has.
        self.assertEqual(names[-5:], ["quiet-hours", "crash-tempfail", "crash-reject", "crash-continue", "blocking"])
        # Without the folder on the path the same file is refused, by the name of the filter.
        checked = run(*smtpgate[:3], "check-config", gate.config, cwd=self.folder)
        self.assertEqual(checked.returncode, 3)
        self.assertIn('no filter "crashing"', checked.stdout)

    def test_the_sample_acts(self) -> None:
        """Mail waits for whom it says, in its words, and reaches all others."""
        gate = self.begin(QUIET + CRASH + BLOCK)
        client = self.client(gate)
        code, text = self.rcpt(client, "carol@example.net")
        self.assertEqual(code, 451)
        self.assertRegex(text, r"^4\.7\.1 Mail is taken from 00:00 on, time zone UTC [0-9A-V]{26}\.1$")
        code, text = self.send(client, "bob@example.net", b"1")
        self.assertEqual(code, 250, text)
        client.quit()
        self.assertEqual(self.server.taken, {"<1@example.org>": 1})
        (done,) = until(lambda: gate.events("message.done")[1:], "the second transaction is over")
        self.assertEqual(done["outcome"], "delivered")
        self.assertEqual(gate.events("filter.failed"), [])
        self.assertEqual(gate.crashed(), [])

    def test_the_crashing_one_follows_its_policy(self) -> None:
        """At RCPT and at the end, each of the three; it is named with stage and reason in the log, and counted."""
        gate = self.begin(CRASH)
        client = self.client(gate)
        expected = {"tempfail": (451, "4.3.0 "), "reject": (550, "5.3.0 "), "continue": (250, "2.")}
        for policy, (code, enhanced) in expected.items():
            for recipient in (f"{policy}@example.net", f"late-{policy}@example.net"):
                came = self.send(client, recipient, policy.encode())
                self.assertEqual((came[0], came[1][: len(enhanced)]), (code, enhanced), (recipient, came))
                self.assertNotIn("list is gone", came[1])
        code, text = self.send(client, "bob@example.net", b"other")
        self.assertEqual(code, 250, text)
        self.assertEqual(self.server.taken, {"<continue@example.org>": 2, "<other@example.org>": 1})
        failed = until(lambda: (lines := gate.events("filter.failed"))[5:] and lines, "all are in the log")
        self.assertEqual(
            [(line["filter"], line["stage"], line["kind"], line["policy"], line["detail"]) for line in failed],
            [
                (f"crash-{policy}", stage, "raised", policy, f"{kind}('the list is gone')")
                for policy in expected
                for stage, kind in (("rcpt", "SystemExit"), ("end", "RuntimeError"))
            ],
        )
        for policy in expected:
            self.assertEqual(self.metric("filter_runs_total", filter=f"crash-{policy}", result="error"), 2.0)
            open_ = self.metric("filter_fail_open_total", filter=f"crash-{policy}")
            self.assertEqual(open_, 2.0 if policy == "continue" else 0.0)
        self.assertEqual(gate.crashed(), [])
        self.assertIsNone(gate.popen.poll())

    def test_the_blocking_one_is_named(self) -> None:
        """A method that spins is `blocked`, and its mail goes on; the other sessions do too, once it has come back."""
        gate = self.begin(BLOCK)
        spinning, other = self.client(gate), self.client(gate)
        self.assertEqual(spinning.mail("spin@example.org")[0], 250)
        self.assertEqual(self.send(other, "bob@example.net", b"other")[0], 250)
        self.assertEqual(spinning.rcpt("bob@example.net")[0], 250)
        self.assertEqual(spinning.data(MESSAGE % b"spin")[0], 250)
        (failed,) = until(lambda: gate.events("filter.failed"), "it is named")
        self.assertEqual(
            (failed["filter"], failed["stage"], failed["kind"], failed["policy"]),
            ("blocking", "mail", "blocked", "none"),
        )
        self.assertGreaterEqual(float(failed["detail"].removesuffix(" s")), 0.3)
        self.assertEqual(self.metric("filter_runs_total", filter="blocking", result="error"), 1.0)
        self.assertEqual(self.server.taken, {"<other@example.org>": 1, "<spin@example.org>": 1})
        self.assertEqual(gate.crashed(), [])

    def test_one_that_never_returns_runs_out_of_time(self) -> None:
        """Also where it does not let itself be cancelled; meanwhile another session sends its mail."""
        gate = self.begin(BLOCK)
        other = self.client(gate)
        for number, recipient in enumerate(("never", "stubborn"), 1):
            waiting = self.client(gate)
            waiting.mail("alice@example.org")
            waiting.putcmd("rcpt", f"TO:<{recipient}@example.net>")
            self.assertEqual(self.send(other, "bob@example.net", b"%d" % number)[0], 250)
            assert waiting.sock is not None
            self.assertEqual(select.select([waiting.sock], [], [], 0)[0], [])
            code, text = waiting.getreply()
            self.assertEqual((code, text[:6]), (451, b"4.3.0 "))
            self.assertEqual(self.send(waiting, "bob@example.net", b"after%d" % number)[0], 250)
        self.assertEqual(self.metric("filter_runs_total", filter="blocking", result="timeout"), 2.0)
        (failed, *_) = until(lambda: gate.events("filter.failed"), "it is named")
        self.assertEqual((failed["filter"], failed["stage"], failed["kind"]), ("blocking", "rcpt", "timeout"))
        self.assertEqual(len(self.server.taken), 4)
        self.assertEqual(gate.crashed(), [])

    def test_a_client_that_hangs_up_while_it_waits(self) -> None:
        """The session ends, and the gateway goes on; that is no failure of the filter."""
        gate = self.begin(BLOCK)
        waiting = self.client(gate)
        waiting.mail("alice@example.org")
        waiting.putcmd("rcpt", "TO:<never@example.net>")
        waiting.close()
        until(lambda: gate.events("session.done"), "the session ends")
        self.assertEqual(gate.events("filter.failed"), [])
        self.assertEqual(self.send(self.client(gate), "bob@example.net", b"1")[0], 250)
        self.assertEqual(gate.crashed(), [])

    def test_a_reload_builds_a_new_chain(self) -> None:
        """A session keeps the chain that it began with; the old filters are closed with the last such session."""
        gate = self.begin(QUIET + CRASH)
        old = self.client(gate)
        self.assertEqual(self.rcpt(old, "carol@example.net")[0], 451)
        count = len(gate.events("config.applied"))
        gate.write(self.config + CRASH.replace('"crash-', '"smash-') + BLOCK)
        gate.signal(signal.SIGHUP)
        until(lambda: len(gate.events("config.applied")) > count, "the file is read")
        new = self.client(gate)
        self.assertEqual(self.send(new, "carol@example.net", b"new")[0], 250)
        self.assertEqual(self.send(new, "tempfail@example.net", b"new")[0], 451)
        self.assertEqual(self.rcpt(old, "carol@example.net")[0], 451)
        self.assertEqual(self.rcpt(old, "tempfail@example.net")[0], 451)
        self.assertEqual(self.send(old, "bob@example.net", b"old")[0], 250)
        named = [(line["filter"], line["stage"]) for line in gate.events("filter.failed")]
        self.assertEqual(named, [("smash-tempfail", "rcpt"), ("crash-tempfail", "rcpt")])
        old.quit()
        until(lambda: len(gate.events("filter.failed")) == 5, "the old filters are closed")
        closed = {(line["filter"], line["stage"], line["detail"]) for line in gate.events("filter.failed")[2:]}
        why = "RuntimeError('cannot let go')"
        self.assertEqual(closed, {(f"crash-{policy}", "close", why) for policy in ("tempfail", "reject", "continue")})

        # A file whose filters are wrong changes nothing.
        gate.write(self.config + CRASH.replace("victim", "victims"))
        gate.signal(signal.SIGHUP)
        (refused,) = until(lambda: gate.events("config.reload_failed"), "the bad file is refused")
        self.assertIn("filters[0].options.victims", str(refused))
        self.assertEqual(self.send(new, "carol@example.net", b"still")[0], 250)
        self.assertEqual(gate.crashed(), [])
