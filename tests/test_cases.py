"""The case files beside this repository, where they are: what real users of such programs were hit by.

The session scripts run with their own runner, each against a gateway of its own. The mails that need no rule are sent
through a running gateway: "identical" ones arrive with every octet as it was below our own lines, and "survive" ones
get a normal reply, after which the gateway works on. `make cases` runs just these and prints a table.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.gateway_kit import GatewayCase
from tests.script_kit import Backend, Client, without_trace
from tests.test_faults import Process

CASES = Path(__file__).parent.parent.parent / "shared" / "cases"
#: The scripts wait most of their time.
WORKERS = 8


def show(word: str, row: str) -> None:
    """One row of the table, where it was asked for."""
    if os.environ.get("SMTPGATE_TABLE"):
        print(f"{word:10} {row}", file=sys.__stderr__, flush=True)


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs that came with the cases. The folder may be read-only."""
    command = [sys.executable, "-B", str(CASES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


class CasesCase(GatewayCase):
    """Skipped where the cases are not there."""

    def setUp(self) -> None:
        """The cases are a folder beside the repository."""
        if not (CASES / "open").is_dir():
            raise SkipTest(f"no {CASES / 'open'}")
        if shutil.which("openssl") is None:
            raise SkipTest("no openssl, which the runner of the scripts wants")


class SessionTests(CasesCase):
    """The scripts."""

    timeout = 400

    def test_all_hold(self) -> Deferred[None]:
        """Every script of the open cases holds, and none is skipped."""
        scripts = sorted((CASES / "open").glob("*.session"))
        twistd = Path(sys.executable).with_name("twistd")
        launch = f"{twistd} -n --pidfile= smtpgate --config {{config}}"

        def run_some(some: list[Path]) -> str:
            made = tool("session_tool.py", "run", "--launch", launch, *map(str, some))
            return made.stdout + made.stderr

        def run() -> None:
            with ThreadPoolExecutor(WORKERS) as workers:
                said = list(workers.map(run_some, [scripts[number::WORKERS] for number in range(WORKERS)]))
            lines = sorted(line for text in said for line in text.splitlines() if line.endswith(".session"))
            # The runner chooses ports that are free at that moment, and something else may have one when it is used:
            # what fails is run once more, alone.
            again = [script for script in scripts if f"FAIL {script.name}" in lines]
            if again:
                said.append(run_some(again))
                lines = [line for line in lines if not line.startswith("FAIL ")]
                lines += [line for line in said[-1].splitlines() if line.endswith(".session")]
                lines.sort(key=lambda line: line.split()[1])
            for line in lines:
                show(*line.split(None, 1))
            self.assertEqual(lines, [f"ok   {script.name}" for script in scripts], "\n".join(said))

        return deferToThread(run)


class MailTests(CasesCase):
    """The mails."""

    timeout = 120

    def mails(self) -> list[tuple[str, str, str, bytes]]:
        """Name, verdict, what is to be kept and octets of each that needs no rule."""
        folder = Path(self.mktemp()).absolute()
        made = tool("make_cases.py", "--out", str(folder))
        self.assertEqual(made.returncode, 0, made.stderr)
        rows = (CASES / "open" / "expect.tsv").read_text("utf-8").splitlines()[1:]
        mails = []
        for name, _, need, verdict, keep in (row.split("\t") for row in rows):
            if need == "-" and verdict in ("identical", "survive"):
                at = (folder if name.endswith(".gen.eml") else CASES) / "open" / name
                content = at.read_bytes()
                mails.append((name, verdict, keep, content if content.endswith(b"\r\n") else content + b"\r\n"))
        return mails

    def test_all_pass(self) -> Deferred[None]:
        """By DATA, by BDAT and by way of the spool."""
        backend = Backend(ehlo=("PIPELINING", "8BITMIME", "CHUNKING"))
        self.addCleanup(backend.close)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        text = f'hostname = "gate.example.com"\nstate_dir = "{folder / "state"}"\nlocal_domains = ["example.net"]\n'
        text += '[admin]\nlisten = "off"\n'
        for way, body in (("data", "auto"), ("bdat", "auto"), ("spool", "spool")):
            text += f'[listeners.{way}]\nlisten = "tcp:0:interface=127.0.0.1"\ntls = "off"\nbody = "{body}"\n'
        text += f'[backends.mail]\nservers = ["127.0.0.1:{backend.port}"]\ntls = "off"\n[[routes]]\nbackend = "mail"\n'

        def send(client: Client, way: str, content: bytes, recipient: bytes) -> tuple[bytes, float]:
            self.assertRegex(client.say(b"MAIL FROM:<a@example.org> BODY=8BITMIME"), b"^250 ")
            self.assertRegex(client.say(b"RCPT TO:<" + recipient + b">"), b"^250 ")
            if way == "bdat":
                client.send(b"BDAT %d LAST\r\n" % len(content) + content)
            else:
                self.assertRegex(client.say(b"DATA"), b"^354 ")
                client.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
            began = time.monotonic()
            return client.read(), time.monotonic() - began

        def check(gateway: Process, way: str, mail: tuple[str, str, str, bytes], recipient: bytes) -> None:
            name, verdict, keep, content = mail
            count = len(backend.messages)
            with Client(gateway.ports[way]) as client:
                client.hello()
                reply, took_s = send(client, way, content, recipient)
                self.assertRegex(reply, b"^250 2" if verdict == "identical" else rb"^[245]\d\d [245]\.", name)
                if reply.startswith(b"250 "):
                    # No rule is on, so nothing may have changed what goes on to the backend.
                    got = without_trace(backend.messages[-1])
                    self.assertEqual(got if backend.seen(b"^BDAT") else re.sub(rb"(?m)^\.\.", b".", got), content, name)
                else:
                    self.assertEqual(len(backend.messages), count, name)
                if "under one second" in keep:
                    self.assertLess(took_s, 1.0, name)
                self.assertRegex(client.message(b"Subject: next\r\n\r\nhi\r\n"), b"^250 ", name)
                client.say(b"QUIT")
            show("ok", f"{name:28} {verdict:10} {way:6} {reply[:3].decode()} {took_s * 1000:6.0f} ms")

        def run() -> None:
            mails = self.mails()
            self.assertTrue(mails)
            gateway = Process(self, folder, text)
            for way in gateway.ports:
                for number, mail in enumerate(mails):
                    backend.commands.clear()
                    recipient = b"%s-%d@example.net" % (way.encode(), number)
                    check(gateway, way, mail, recipient)
                    self.assertTrue(gateway.says(b'a@example.org.*"' + recipient), mail[0])
                    if "Message-ID text in the log" in mail[2]:
                        found = re.search(rb"(?m)^Message-ID: <(.+)>\r$", mail[3])
                        assert found is not None
                        self.assertTrue(gateway.says(re.escape(found[1])), mail[0])
            gateway.end()
            self.assertEqual(gateway.process.returncode, 0)
            bad = [line for line in gateway.lines if b'"level":"error"' in line.replace(b" ", b"")]
            self.assertEqual(bad, [])

        return deferToThread(run)


class VerdictTests(CasesCase):
    """The mails whose rows ask for a verdict."""

    timeout = 200

    async def test_all_as_their_rows_say(self) -> None:
        """By the default set, and what each row says must be switched on."""
        command = [sys.executable, "-m", "tests.case_verdicts", "--cases", str(CASES), "--busy"]
        folder = Path(__file__).parent.parent
        done = await deferToThread(subprocess.run, command, capture_output=True, text=True, timeout=180, cwd=folder)
        self.assertEqual(done.returncode, 0, f"{done.stdout}\n{done.stderr}")
