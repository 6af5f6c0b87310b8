"""The security checklist, the gateway as a process: files that it leaves, and what of the admin side may fail.

31, the admin side sheds first; mail is answered, each message -> `test_S_31_mail_goes_on_in_a_flood`
32, a failing bind at a reload, a store that is gone: mail goes on -> `FailureTests`
32, a failing bind at the start -> `test_S_32_no_bind_no_start`
32, no rule, ban, limit or certificate locks out -> `test_S_32_the_local_socket_is_open_to_its_owner`
35, modes of all files and folders, whatever the umask is -> `test_S_35_all_that_is_left_is_private`
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import stat
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from tests.admin_kit import PASSWORD
from tests.real_kit import PATIENCE_S, Gateway, RealCase, free_port, run, until
from tests.script_kit import Client
from tests.test_real_process import ADMIN, BODY, config

HELD = """
[[rules]]
name = "held"
when = "'hold' in header('x-way')"
action = "quarantine"
"""
SMTPGATE = Path(sys.executable).with_name("smtpgate")


class ProcessCase(RealCase):
    """A gateway with pages and an owner."""

    def setUp(self) -> None:
        super().setUp()
        (self.server,) = self.fast_servers(self.background(), 1, 0)
        self.admin = free_port()

    def begin(self, top: str = "", more: str = HELD, admin: str = ADMIN, **how: Any) -> Gateway:
        """It runs."""
        self.text = config(self.server.port, top, admin.format(port=self.admin) + more)
        gate = self.gateway(self.text, **how)
        made = run(SMTPGATE, "--config", gate.config, "--json", "token", "add", "t", "--role", "owner")
        self.assertEqual(made.returncode, 0, made.stderr)
        self.token = json.loads(made.stdout)["token"]
        return gate

    def ask(self, method: str, path: str, value: Any = None, token: str | None = None) -> tuple[int, bytes]:
        """A call."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE_S)
        head = {"Authorization": f"Bearer {self.token if token is None else token}", "If-Match": "*"}
        body = None
        if value is not None:
            head["Content-Type"] = "application/json"
            body = json.dumps(value)
        try:
            connection.request(method, path, body, head)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def mail(self, gate: Gateway, content: bytes = BODY) -> None:
        """A message goes its way."""
        with Client(gate.port()) as client:
            client.hello()
            self.assertEqual(client.message(content)[:3], b"250")


class FileTests(ProcessCase):
    """What is left on the disk."""

    def test_S_35_all_that_is_left_is_private(self) -> None:
        """After real work of a process that was started without a umask: mail, held mail, a large one in the spool,
        users, tokens, revisions, a draft, a case, a backup, the log. Nobody else reads a file or enters a folder; the
        socket is for owner and group."""
        program = self.folder / "twistd"
        program.write_text(f'#!/bin/sh\numask 000\nexec "{Path(sys.executable).with_name("twistd")}" "$@"\n')
        program.chmod(0o755)
        managed = ADMIN.replace("[admin]", '[admin]\nconfig = "managed"')
        more = HELD + '[log]\nfile = "gate.log"\n'
        self.patch(
            Gateway,
            "text",
            lambda gate: (gate.folder / "gate.log").read_text() if (gate.folder / "gate.log").exists() else "",
        )
        gate = self.begin(more=more, admin=managed, twistd=program)
        self.mail(gate)
        self.mail(gate, b"X-Way: hold\r\n" + BODY)
        self.mail(gate, BODY + b"x" * 70 + (b"\r\n" + b"y" * 70) * 40_000 + b"\r\n")
        order = {"name": "bea", "role": "helpdesk", "password": PASSWORD}
        self.assertEqual(self.ask("POST", "/api/v1/users", order)[0], 201)
        text = json.loads(self.ask("GET", "/api/v1/config/revisions/1")[1])["text"]
        order = {"text": f"{text}\n# another\n", "base": 1, "message": "why"}
        self.assertEqual(self.ask("POST", "/api/v1/config/apply", order)[0], 200)
        self.ask("PUT", "/api/v1/config/draft", {"text": text, "base": 2})
        self.ask("POST", "/api/v1/searches", {"name": "s", "query": "x"})
        mail = base64.b64encode(BODY).decode()
        self.ask("POST", "/api/v1/test/cases", {"name": "c", "message_base64": mail})
        made = run(
            SMTPGATE, "--config", gate.config, "backup", "create", self.folder / "backup.tar", preexec_fn=_no_umask
        )
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        made = run(SMTPGATE, "--config", gate.config, "bundle", self.folder / "bundle.tgz", preexec_fn=_no_umask)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        state = gate.folder / "var"
        found, sockets = {}, {}
        for path in (
            state,
            *state.rglob("*"),
            self.folder / "backup.tar",
            self.folder / "bundle.tgz",
            gate.folder / "gate.log",
        ):
            mode = path.lstat().st_mode
            (sockets if stat.S_ISSOCK(mode) else found)[str(path)] = oct(stat.S_IMODE(mode))
        wanted = {path: "0o700" if Path(path).is_dir() else "0o600" for path in found}
        # Whoever collects logs is in its group.
        wanted[str(gate.folder / "gate.log")] = "0o640"
        self.assertEqual({path: mode for path, mode in found.items() if mode != wanted[path]}, {})
        self.assertGreater(len(found), 8, found)
        self.assertEqual(len(sockets), 1)
        self.assertLessEqual(set(sockets.values()), {"0o660", "0o600"})
        gate.signal(15)
        self.assertEqual(gate.wait(), 0)
        # What is made anew by the next start too.
        later = {str(path): oct(stat.S_IMODE(path.lstat().st_mode) & 0o077) for path in state.rglob("*")}
        self.assertEqual(set(later.values()), {"0o0"}, later)


def _no_umask() -> None:
    import os

    os.umask(0)


class FailureTests(ProcessCase):
    """What of the admin side may fail."""

    def test_S_32_the_admin_side_fails_and_mail_goes_on(self) -> None:
        """A port that is taken at a reload: the old configuration, listeners and pages go on. A database that is taken
        away or is no database any more: mail goes on, the pages say so, and a plugin that raises at every message is
        passed over as its policy says. The gateway answers on its socket all the while."""
        gate = self.begin()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            # That of the pages holds from the next start on; that of mail is bound before anything is changed.
            listening = f'listen = ["tcp:{port}:interface=127.0.0.1"]'
            for text, code in (
                (self.text.replace(f"tcp:{self.admin}:", f"tcp:{port}:"), 0),
                (self.text.replace('listen = ["tcp:0:interface=127.0.0.1"]', listening), 1),
            ):
                gate.write(text)
                made = run(SMTPGATE, "--config", gate.config, "reload")
                self.assertEqual(made.returncode, code, made.stdout + made.stderr)
                self.assertNotIn("Traceback", made.stdout + made.stderr)
                self.mail(gate)
                self.assertEqual(self.ask("GET", "/api/v1/me")[0], 200)
        gate.write(self.text)
        state = gate.folder / "var"
        for name in sorted(path.name for path in state.glob("smtpgate.sqlite*")):
            (state / name).write_bytes(b"this is no database" * 500)
        for _ in range(3):
            self.mail(gate)
        statuses = Counter(
            self.ask("GET", path)[0]
            for path in ("/", "/messages", "/quarantine", "/access", "/audit", "/config", "/api/v1/messages", "/livez")
        )
        self.assertEqual(set(statuses), {503}, statuses)
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE_S)
        self.addCleanup(connection.close)
        connection.request("GET", "/livez")
        self.assertEqual(connection.getresponse().status, 200)
        self.mail(gate)
        made = run(SMTPGATE, "--config", gate.config, "status")
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        self.assertEqual(gate.popen.poll(), None)

    def test_S_32_no_bind_no_start(self) -> None:
        """A port of the pages that is taken at the start: the exit code says so, at once, and no mail was taken."""
        with socket.create_server(("127.0.0.1", self.admin)):
            gate = Gateway(self.folder, config(self.server.port, more=ADMIN.format(port=self.admin)))
            self.addCleanup(gate.stop)
            self.assertEqual(gate.wait(), 4)
        self.assertNotIn("Traceback", gate.text())

    def test_S_32_the_local_socket_is_open_to_its_owner(self) -> None:
        """A ban of loopback, a list that blocks it, a rule that refuses all, a limit of one connection, a certificate
        that is gone: the command line is heard, and takes it back."""
        more = (
            HELD + '[[rules]]\nname = "all"\naction = "reject"\n[limits]\nconnections = 1\nconnections_per_client = 1\n'
        )
        gate = self.begin(more=more)
        for path, order in (
            ("/api/v1/bans", {"key": "127.0.0.0/8", "minutes": 60, "reason": "x"}),
            ("/api/v1/bans", {"key": "::/0", "minutes": 60, "reason": "x"}),
            ("/api/v1/lists", {"kind": "block-client", "entry": "127.0.0.1"}),
            ("/api/v1/lists", {"kind": "block-client", "entry": "0.0.0.0/0"}),
        ):
            self.assertIn(self.ask("POST", path, order)[0], (201, 409, 422), order)
        # As many wrong logins as lock an account.
        for _ in range(30):
            self.ask("GET", "/api/v1/me", token=f"sgt_00000000_{'x' * 43}")
        with contextlib.ExitStack() as stack:
            # All that one address may have.
            for _ in range(70):
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection(("127.0.0.1", self.admin), PATIENCE_S))
            for words in (("status",), ("bans",), ("user", "list"), ("reload",)):
                made = run(SMTPGATE, "--config", gate.config, *words)
                self.assertEqual(made.returncode, 0, f"{words}: {made.stdout}{made.stderr}")
        broken = self.text.replace('tls = "off"', 'tls = "required"\ncertificates = ["gone.pem"]', 1)
        gate.write(broken)
        self.assertNotEqual(run(SMTPGATE, "--config", gate.config, "reload").returncode, 0)
        gate.write(self.text)
        self.assertEqual(run(SMTPGATE, "--config", gate.config, "reload").returncode, 0)


class FloodTests(ProcessCase):
    """Much of everything on the admin side."""

    def test_S_31_mail_goes_on_in_a_flood(self) -> None:
        """More readers, searches, logins and connections than there is room for, while mail comes: each message is
        answered, none is refused; what is too much of the admin side is told to come back or is closed, and when it is
        over the pages answer as before."""
        gate = self.begin()
        stop = threading.Event()
        statuses: Counter[int] = Counter()
        lock = threading.Lock()

        def note(status: int) -> None:
            with lock:
                statuses[status] += 1

        def pester(number: int) -> None:
            path = ("/api/v1/messages?q=a%20b", "/api/v1/audit/export", "/messages", "/stats", "/api/v1/overview")
            while not stop.is_set():
                try:
                    note(self.ask("GET", path[number % len(path)])[0])
                except (OSError, http.client.HTTPException):
                    note(0)

        def guess() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError, http.client.HTTPException):
                    note(self.ask("GET", "/login")[0])

        threads = [threading.Thread(target=pester, args=(number,), daemon=True) for number in range(10)]
        threads += [threading.Thread(target=guess, daemon=True) for _ in range(2)]
        readers: list[socket.socket] = []
        for thread in threads:
            thread.start()
        try:
            head = "GET /api/v1/events?topics=session HTTP/1.1\r\nHost: localhost\r\n"
            head += f"Authorization: Bearer {self.token}\r\n\r\n"
            for _ in range(80):
                with contextlib.suppress(OSError):
                    sock = socket.create_connection(("127.0.0.1", self.admin), PATIENCE_S)
                    readers.append(sock)
                    sock.sendall(head.encode())
            replies = []
            with Client(gate.port()) as client:
                client.hello()
                for _ in range(100):
                    replies.append(client.message(BODY)[:3])
            self.assertEqual(Counter(replies), {b"250": 100})
        finally:
            stop.set()
            for sock in readers:
                sock.close()
            for thread in threads:
                thread.join(PATIENCE_S)
        self.assertLessEqual(set(statuses), {0, 200, 303, 429, 503}, statuses)
        until(lambda: self.ask("GET", "/api/v1/overview")[0] == 200, "the pages answer")
        self.assertEqual(self.server.taken, {"<by-hand@example.org>": 100})
        self.assertEqual(gate.crashed(), [])
