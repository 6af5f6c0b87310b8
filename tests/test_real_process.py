"""The gateway as a process: its wheel in an environment of its own, exit codes, signals, and the drain under load."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.real_kit import PATIENCE_S, FastServer, Gateway, Load, RealCase, free_port, run, small_id, until
from tests.script_kit import Client

ROOT = Path(__file__).resolve().parent.parent
BODY = b"Message-ID: <by-hand@example.org>\r\nSubject: x\r\n\r\nhello\r\n"
ADMIN = '[admin]\nlisten = "tcp:{port}:interface=127.0.0.1"\n'


def config(backend: int, top: str = "", more: str = "") -> str:
    """One listener, one backend."""
    return f"""
local_domains = ["example.net"]
{top}
[listeners.front]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:{backend}"]
tls = "off"
[[routes]]
backend = "mail"
{more}
"""


def sockets() -> dict[int, int]:
    """Process id of each TCP port that is listened on, as the kernel tells."""
    found = {}
    inodes = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A":
            inodes[f"socket:[{words[9]}]"] = int(words[1].partition(":")[2], 16)
    for place in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            port = inodes.get(os.readlink(place))
            if port is not None:
                found[port] = int(place.parts[2])
    return found


def livez(port: int) -> str:
    """What /livez says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10) as answer:
        return str(answer.read().decode())


class WheelTests(RealCase):
    """What is built is what runs, and nothing of the working tree is needed."""

    def build(self) -> Path:
        """The wheel, built from a copy: the tree stays as it is."""
        source = self.folder / "source"
        source.mkdir()
        for name in ("smtpgate", "twisted"):
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source / name)
        version = importlib.metadata.version("setuptools").split(".")
        # The environment's own setuptools where it is new enough; else pip fetches one.
        options = ["--no-build-isolation"] if int(version[0]) >= 77 else []
        made = run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *options, "-w", self.folder, source)
        if made.returncode and re.search("No matching distribution|connection|resolve", made.stderr, re.IGNORECASE):
            if os.environ.get("SMTPGATE_REQUIRE_REAL") == "1":
                raise AssertionError(made.stderr)
            raise SkipTest("missing: Python package setuptools>=77, and no network to fetch it")
        self.assertEqual(made.returncode, 0, made.stderr)
        (wheel,) = self.folder.glob("*.whl")
        return wheel

    def install(self, wheel: Path) -> Path:
        """A new environment with the wheel, and the locked requirements of this one; its folder."""
        home = self.folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=60)
        python = home / "bin" / "python"
        made = run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel)
        self.assertEqual(made.returncode, 0, made.stderr)
        (packages,) = home.glob("lib/python*/site-packages")
        # Paths of .pth files are taken as they are: the editable smtpgate there, a .pth file itself, is not followed.
        places = [place for place in sys.path if place.endswith("site-packages")]
        (packages / "requirements.pth").write_text("\n".join(places) + "\n")
        twistd = home / "bin" / "twistd"
        twistd.write_text(f"#!{python}\nfrom twisted.scripts.twistd import run\nrun()\n")
        twistd.chmod(0o755)
        return home

    def test_the_wheel_has_all_files(self) -> None:
        """Modules, templates, assets, migrations and the plugin, and nothing that is not ours."""
        wheel = self.build()
        with zipfile.ZipFile(wheel) as archive:
            inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        tracked = run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "smtpgate", "twisted")
        if tracked.returncode == 0:
            wanted = {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()}
            self.assertEqual(inside, wanted)
        else:
            self.assertIn("smtpgate/tap.py", inside)

    def test_twistd_of_the_wheel(self) -> None:
        """twistd knows smtpgate; SMTP and admin answer from one process, which runs from the wheel alone."""
        home = self.install(self.build())
        environ = {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
        told = run(home / "bin/python", "-c", "import smtpgate; print(smtpgate.__file__)", cwd=self.folder, env=environ)
        self.assertTrue(told.stdout.startswith(str(home)), told.stdout + told.stderr)
        helped = run(home / "bin/twistd", "--help", cwd=self.folder, env=environ)
        self.assertRegex(helped.stdout, r"(?m)^ +smtpgate +An SMTP proxy gateway$")
        version = run(home / "bin/smtpgate", "--version", cwd=self.folder, env=environ)
        self.assertRegex(version.stdout, r"^smtpgate \d+\.\d+")

        (server,) = self.fast_servers(self.background(), 1, 0)
        admin = free_port()
        text = config(server.port, more=ADMIN.format(port=admin))
        gate = self.gateway(text, twistd=home / "bin/twistd", env=environ)
        self.assertIn("ok", livez(admin).lower())
        with Client(gate.port()) as client:
            client.hello()
            self.assertTrue(client.message(BODY).startswith(b"250 "))
        self.assertEqual(server.taken, {"<by-hand@example.org>": 1})
        listening = sockets()
        self.assertEqual({listening[gate.port()], listening[admin]}, {gate.pid})
        checked = run(home / "bin/smtpgate", "check-config", gate.config, cwd=self.folder, env=environ)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        status = run(home / "bin/smtpgate", "--config", gate.config, "--json", "status", cwd=self.folder, env=environ)
        self.assertEqual(status.returncode, 0, status.stderr)
        self.assertIn("state", json.loads(status.stdout))
        gate.signal(signal.SIGTERM)
        self.assertEqual(gate.wait(), 0)
        self.figures(f"{Path(told.stdout.strip()).parent} runs SMTP and admin as one process")


class ExitTests(RealCase):
    """How it ends when it cannot begin."""

    def ended(self, text: str) -> tuple[int, str]:
        """Exit code and words of a gateway that must not run."""
        gate = Gateway(self.folder, text)
        self.addCleanup(gate.stop)
        return gate.wait(), gate.text()

    def test_usage(self) -> None:
        """2, with the words that say what is missing."""
        made = run(Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "smtpgate", cwd=self.folder)
        self.assertEqual(made.returncode, 2)
        self.assertIn("--config FILE", made.stderr)

    def test_bad_configuration(self) -> None:
        """3, and every problem is told."""
        text = config(25, top='no_such_key = 1\n[limits]\nrecipients = "many"\n')
        code, words = self.ended(text.replace('backend = "mail"', 'backend = "mial"'))
        self.assertEqual(code, 3, words)
        for word in ("no_such_key", "limits.recipients", "mial"):
            self.assertIn(word, words)
        self.assertNotIn("Traceback", words)

    def test_no_configuration(self) -> None:
        """3 for a file that is not there."""
        twistd = Path(sys.executable).with_name("twistd")
        made = run(twistd, "-n", "--pidfile=", "smtpgate", "--config", "/nowhere/gate.toml", cwd=self.folder)
        self.assertEqual(made.returncode, 3, made.stderr)
        self.assertIn("/nowhere/gate.toml", made.stderr)

    def test_port_in_use(self) -> None:
        """4 for a port of SMTP and for that of the admin pages, with the place."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            code, words = self.ended(config(25).replace("tcp:0:", f"tcp:{port}:"))
            self.assertEqual(code, 4, words)
            self.assertIn(f"tcp:{port}:interface=127.0.0.1", words)
            self.assertNotIn("Traceback", words)
            code, words = self.ended(config(25, more=ADMIN.format(port=port)))
            self.assertEqual(code, 4, words)
            self.assertIn(str(port), words)
            self.assertNotIn("Traceback", words)

    def test_state_folder_in_use(self) -> None:
        """5 while another process has it; the other one is not disturbed."""
        (server,) = self.fast_servers(self.background(), 1, 0)
        first = self.gateway(config(server.port))
        twistd = Path(sys.executable).with_name("twistd")
        made = run(twistd, "-n", "--pidfile=", "smtpgate", "--config", first.config, cwd=self.folder)
        self.assertEqual(made.returncode, 5, made.stdout + made.stderr)
        self.assertIn(str(first.folder / "var"), made.stderr)
        self.assertNotIn("Traceback", made.stderr)
        with Client(first.port()) as client:
            client.hello()
            self.assertTrue(client.message(BODY).startswith(b"250 "))


class ScarceTests(RealCase):
    """Few descriptors, and a state folder that somebody tidied up."""

    def limited(self, soft: int, hard: int) -> Path:
        """A twistd that may have so many descriptors."""
        program = self.folder / "twistd"
        twistd = Path(sys.executable).with_name("twistd")
        program.write_text(f'#!/bin/sh\nulimit -Sn {soft} && ulimit -Hn {hard} && exec "{twistd}" "$@"\n')
        program.chmod(0o755)
        return program

    def test_the_limit_on_connections_follows_from_the_descriptors(self) -> None:
        """Told at the start; who is in can send mail, who comes later is refused, and the admin page answers."""
        (server,) = self.fast_servers(self.background(), 1, 0)
        admin = free_port()
        text = config(server.port, more=ADMIN.format(port=admin))
        gate = self.gateway(text, twistd=self.limited(100, 168))
        (told,) = gate.events("connections.limited")
        self.assertEqual((told["configured"], told["sessions_limit"], told["descriptors"]), (10000, 20, 168))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(gate.port())) for _ in range(20)]
            late = stack.enter_context(Client(gate.port(), greet=False))
            self.assertTrue(late.read().startswith(b"421 4.3.2 "))
            for client in clients:
                client.hello()
                self.assertTrue(client.message(BODY).startswith(b"250 "))
            self.assertIn("ok", livez(admin).lower())
        (refused,) = gate.events("connection.refused")
        self.assertEqual(refused["result"], "refused_capacity")
        self.assertEqual(gate.events("listener.paused"), [])
        self.assertEqual(server.taken, {"<by-hand@example.org>": 20})

    def test_clients_do_not_get_the_last_descriptors(self) -> None:
        """Whatever took the others: here connections whose sessions are over, and whose clients do not go."""
        (server,) = self.fast_servers(self.background(), 1, 0)
        admin = free_port()
        text = config(server.port, more=ADMIN.format(port=admin))
        gate = self.gateway(text, twistd=self.limited(168, 168))
        with contextlib.ExitStack() as stack:
            sender = stack.enter_context(Client(gate.port()))
            sender.hello()

            def is_full() -> bool:
                """One more that errs until it is sent away, and stays."""
                client = stack.enter_context(Client(gate.port(), greet=False))
                if client.read().startswith(b"220 "):
                    client.send(b"NONSENSE\r\n" * 30)
                    while not client.read().startswith(b"421 "):
                        pass
                return bool(gate.events("connection.refused"))

            until(is_full, "the descriptors are used up")
            refused = gate.events("connection.refused")[0]
            self.assertEqual(refused["detail"], "the last descriptors are kept back")
            self.assertIn("ok", livez(admin).lower())
            self.assertTrue(sender.message(BODY).startswith(b"250 "))
        self.assertEqual(gate.events("listener.paused"), [])
        self.assertEqual(gate.crashed(), [])

    def test_a_database_that_is_deleted_is_there_again(self) -> None:
        """It is said, and mail goes on; what the command line asks for is there."""
        (server,) = self.fast_servers(self.background(), 1, 0)
        gate = self.gateway(config(server.port))
        database = gate.folder / "var" / "smtpgate.sqlite"
        for path in database.parent.glob("smtpgate.sqlite*"):
            path.unlink()
        with Client(gate.port()) as client:
            client.hello()
            self.assertTrue(client.message(BODY).startswith(b"250 "))
        until(lambda: gate.events("database.restored"), "it is noticed")
        self.assertTrue(database.exists())
        gate.signal(signal.SIGTERM)
        self.assertEqual(gate.wait(), 0)
        self.assertEqual(gate.crashed(), [])
        connection = sqlite3.connect(database)
        self.addCleanup(connection.close)
        self.assertEqual(connection.execute("SELECT count(*) FROM messages").fetchone(), (1,))


class SignalTests(RealCase):
    """What signals do to a gateway at work."""

    def setUp(self) -> None:
        super().setUp()
        self.loop = self.background()
        self.server: FastServer
        (self.server,) = self.fast_servers(self.loop, 1, 0.004)

    def test_term_under_load(self) -> None:
        """Exit code 0 after the drain: what was acknowledged is there, what is there was acknowledged."""
        gate = self.gateway(config(self.server.port))
        port = gate.port()
        with Client(port) as idle, Client(port) as slow:
            idle.hello()
            slow.hello()
            for line in (b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>", b"DATA"):
                reply = slow.say(line)
            self.assertTrue(reply.startswith(b"354"), reply)
            slow.send(b"Message-ID: <slow@example.org>\r\n\r\n")
            load = Load(port, 100_000, is_patient=False)
            running = self.loop.begin(load.run(30))
            until(lambda: len(load.acked) >= 1000, "the load is under way")
            gate.signal(signal.SIGTERM)
            self.assertEqual(idle.read()[:10], b"421 4.3.2 ")
            self.assertTrue(idle.is_closed())
            running.result(PATIENCE_S)
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)
            # All others are gone; the one in the middle of its message may still end it.
            self.assertIsNone(gate.popen.poll())
            reply = slow.say(b"a line\r\n.")
            self.assertTrue(reply.startswith(b"250 2.0.0 "), reply)
            began = time.monotonic()
            self.assertEqual(slow.read()[:10], b"421 4.3.2 ")
            self.assertEqual(gate.wait(), 0)
            self.assertLess(time.monotonic() - began, 5)
        acked = {small_id(number) for number in load.acked} | {"<slow@example.org>"}
        self.assertEqual(set(self.server.taken), acked)
        self.assertEqual(set(self.server.taken.values()), {1})
        self.assertEqual({reply[:4] for _, reply in load.refused} - {"421 "}, set())
        names = [line["event"] for line in gate.lines()]
        self.assertEqual(names.count("gateway.draining"), 1)
        self.assertEqual(names[-1], "gateway.stopped")
        done = gate.events("message.done")
        self.assertEqual(sum(line["outcome"] == "delivered" for line in done), len(acked))
        self.assertEqual(gate.crashed(), [])
        self.figures(f"{len(load.acked)} messages acknowledged by then, all and only they are there; exit code 0")

    def test_term_ends_in_time(self) -> None:
        """A client that never ends its message is cut off after the drain time; exit code 0."""
        gate = self.gateway(config(self.server.port, more='[timeouts]\ndrain = "1s"\n'))
        with Client(gate.port()) as client:
            client.hello()
            for line in (b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>", b"DATA"):
                client.say(line)
            client.send(b"Message-ID: <half@example.org>\r\n\r\nhalf")
            began = time.monotonic()
            gate.signal(signal.SIGTERM)
            self.assertEqual(gate.wait(), 0)
            self.assertLess(time.monotonic() - began, 6)
        self.assertEqual(self.server.taken, {})

    def test_second_term_stops_now(self) -> None:
        """The first waits, the second does not; exit code 0."""
        gate = self.gateway(config(self.server.port))
        with Client(gate.port()) as client:
            client.hello()
            for line in (b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>", b"DATA"):
                client.say(line)
            gate.signal(signal.SIGTERM)
            until(lambda: gate.events("gateway.draining"), "it drains")
            self.assertIsNone(gate.popen.poll())
            gate.signal(signal.SIGTERM)
            self.assertEqual(gate.wait(10), 0)

    def test_hup_reloads(self) -> None:
        """A running session keeps what it began with, a new one has the new file; a bad file changes nothing."""
        text = config(self.server.port)
        gate = self.gateway(text)
        port = gate.port()
        before = gate.events("config.applied")
        with Client(port) as old:
            self.assertIn(b"SIZE 10000000", old.hello())
            old.say(b"MAIL FROM:<a@example.org>")
            self.assertTrue(old.say(b"RCPT TO:<b@example.net>").startswith(b"250"))
            changed = text.replace('["example.net"]', '["example.com"]') + '[limits]\nmessage_size = "1 MB"\n'
            gate.write(changed)
            gate.signal(signal.SIGHUP)
            until(lambda: len(gate.events("config.applied")) > len(before), "the file is read")
            reply = old.say(b"DATA")
            self.assertTrue(reply.startswith(b"354"), reply)
            self.assertTrue(old.say(BODY + b".").startswith(b"250 "))
            self.assertEqual(gate.port(), port)
            with Client(port) as new:
                self.assertIn(b"SIZE 1000000", new.hello())
                new.say(b"MAIL FROM:<a@example.org>")
                self.assertTrue(new.say(b"RCPT TO:<b@example.net>").startswith(b"550 5.7.1"))
                self.assertTrue(new.say(b"RCPT TO:<b@example.com>").startswith(b"250"))
            # The old one still has the old file.
            self.assertTrue(old.message(BODY).startswith(b"250 "))
            gate.write(changed.replace('backend = "mail"', 'backend = "mial"'))
            gate.signal(signal.SIGHUP)
            (failed,) = until(lambda: gate.events("config.reload_failed"), "the bad file is refused")
            self.assertIn("mial", str(failed))
            with Client(port) as new:
                new.hello()
                self.assertTrue(new.message(BODY, recipients=[b"b@example.com"]).startswith(b"250 "))
            self.assertTrue(old.message(BODY).startswith(b"250 "))
        self.assertEqual(self.server.taken["<by-hand@example.org>"], 4)
        self.assertEqual(gate.crashed(), [])

    def test_hup_under_load(self) -> None:
        """Ten reloads while messages flow: every message is acknowledged, and there once."""
        text = config(self.server.port)
        gate = self.gateway(text)
        load = Load(gate.port(), 3000)
        running = self.loop.begin(load.run(20))
        for number in range(10):
            until(lambda: len(load.acked) >= 200 * number, "the load goes on")
            count = len(gate.events("config.applied"))
            gate.write(text + f"[limits]\nrecipients = {500 + number}\n")
            gate.signal(signal.SIGHUP)
            until(lambda: len(gate.events("config.applied")) > count, "the file is read")
        running.result(PATIENCE_S)
        self.assertEqual(load.refused, {})
        self.assertEqual(load.lost_connections, 0)
        self.assertEqual(len(self.server.taken), 3000)
        self.assertEqual(set(self.server.taken.values()), {1})
        self.assertEqual(gate.crashed(), [])
        self.figures("10 reloads under 3000 messages, none refused, none twice")

    def test_usr1_opens_the_log_anew(self) -> None:
        """After a rotation lines go to a new file; none is lost between the two."""
        log = self.folder / "gate.log"
        gate = Gateway(self.folder, config(self.server.port, more=f'[log]\nfile = "{log}"\n'))
        gate.output = log
        self.start(gate)
        load = Load(gate.port(), 2000)
        running = self.loop.begin(load.run(10))
        until(lambda: len(load.acked) >= 500, "the load is under way")
        rotated = log.rename(self.folder / "gate.log.1")
        gate.signal(signal.SIGUSR1)
        until(log.exists, "the new file is there")
        running.result(PATIENCE_S)

        def done(path: Path) -> list[dict[str, Any]]:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            return [line for line in lines if line["event"] == "message.done"]

        until(lambda: len(done(rotated)) + len(done(log)) == 2000, "all lines are written")
        self.assertGreater(len(done(log)), 0)
        self.assertEqual(len(gate.events("log.reopened")), 1)
        self.assertEqual(gate.events("log.dropped"), [])
        self.figures(f"{len(done(rotated))} lines before the rotation, {len(done(log))} behind it")

    def test_usr2_tells_the_state(self) -> None:
        """A summary in the log."""
        gate = self.gateway(config(self.server.port))
        gate.signal(signal.SIGUSR2)
        (state,) = until(lambda: gate.events("gateway.state"), "the state is told")
        self.assertEqual((state["state"], state["sessions"]), ("accepting", 0))
