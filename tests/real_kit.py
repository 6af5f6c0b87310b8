"""Real mail servers, real clients and a real gateway process for tests, each a private instance in a folder of its own.

Tests are blocking and read from top to bottom. Every wait has a condition and a deadline; every process is ended by
its id when the test is over, however it ended (SMTPGATE_KEEP=1 leaves its logs in /tmp/kept-TEST). What a test needs
and the machine lacks skips it, with the name of the Debian package, or fails it where SMTPGATE_REQUIRE_REAL=1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import random
import re
import shutil
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import trustme
from twisted.trial.unittest import SkipTest, SynchronousTestCase

#: Longest wait for a process to come up or to go down, or for one reply.
PATIENCE_S = 30.0
#: Where Debian puts what a shell of a user does not see.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/postfix/sbin"
_PACKAGES = {
    "postfix": "postfix",
    "smtp-source": "postfix",
    "dovecot": "dovecot-lmtpd",
    "swaks": "swaks",
    "haproxy": "haproxy",
}
MASTER = "/usr/lib/postfix/sbin/master"
GATE = "gate.example.com"
_FIELD = re.compile(rb"([!-9;-~]+):[^\n]*\n(?:[ \t][^\n]*\n)*")


def say(line: str) -> None:
    """A figure for whoever reads the output of the tests."""
    print(line, file=sys.__stderr__, flush=True)


def need(*programs: str) -> None:
    """Skip, or fail where the real things are required, when a program is missing or we are not root."""
    missing = [program for program in programs if shutil.which(program, path=_PATH) is None]
    if "dovecot" in programs and not Path("/usr/lib/dovecot/lmtp").exists():
        missing.append("dovecot")
    lines = [f"missing: Debian package {_PACKAGES[program]}" for program in missing]
    if not lines and programs and os.geteuid() != 0:
        lines = ["must run as root: mail servers change their user"]
    if not lines:
        return
    if os.environ.get("SMTPGATE_REQUIRE_REAL") == "1":
        raise AssertionError(lines[0])
    raise SkipTest(lines[0])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """Wait until this holds, and return what it returned; AssertionError when it never does."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return value


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def run(*command: object, timeout: float = 60.0, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its output as text."""
    words = [str(word) for word in command]
    environ = {**os.environ, "PATH": _PATH, **more.pop("env", {})}
    return subprocess.run(words, text=True, capture_output=True, timeout=timeout, env=environ, **more)


class Process:
    """A program in a process group of its own, with its output in a file."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *command: object,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.output = folder / f"{name}.out"
        with self.output.open("ab") as output:
            self.popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
                env={**os.environ, "PATH": _PATH, **(env or {})},
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    def text(self) -> str:
        """What it has written."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def is_up(self, port: int) -> bool:
        """Whether it listens; AssertionError with its words when it has ended."""
        if self.popen.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.popen.returncode}:\n{self.text()[-3000:]}")
        return listens(port)

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        self.popen.send_signal(number)

    def wait(self, seconds: float = PATIENCE_S) -> int:
        """Wait for its end; the exit code."""
        return self.popen.wait(seconds)

    def stop(self) -> None:
        """End it and what it started."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(10)


class Authority:
    """A certificate authority for one test: `ca` is its certificate, `issue` gives PEM files with key and chain."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str) -> Path:
        """Key and certificate of a host in one file."""
        made = self._ca.issue_cert(name, key_type=trustme.KeyType.ECDSA)
        path = self._folder / f"{name}.pem"
        path.touch(0o600)
        path.write_bytes(made.private_key_and_cert_chain_pem.bytes())
        return path

    def context(self) -> ssl.SSLContext:
        """A client that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.ca))


class Gateway(Process):
    """`twistd smtpgate` with a configuration file of its own; its log is read as events."""

    def __init__(self, folder: Path, config: str, *, twistd: Path | None = None, env: dict[str, str] | None = None):
        """
        :param config: the file without `hostname` and `state_dir`; without an `[admin]` table there are no pages
        """
        self.folder = folder / f"gate{time.monotonic_ns()}"
        self.folder.mkdir()
        self.config = self.folder / "gate.toml"
        self.write(config)
        program = twistd or Path(sys.executable).with_name("twistd")
        command = (program, "-n", "--pidfile=", "smtpgate", "--config", self.config)
        super().__init__(self.folder, "gateway", *command, env=env)

    def write(self, config: str) -> None:
        """Write the configuration file."""
        if "[admin]" not in config:
            config += '\n[admin]\nlisten = "off"\n'
        self.config.write_text(f'hostname = "{GATE}"\nstate_dir = "{self.folder / "var"}"\n{config}')

    def ready(self) -> Gateway:
        """Wait until it serves."""
        until(lambda: self._has_started(), "the gateway starts")
        return self

    def _has_started(self) -> bool:
        if self.popen.poll() is not None:
            raise AssertionError(f"gateway ended with {self.popen.returncode}:\n{self.text()[-3000:]}")
        return bool(self.events("gateway.started"))

    def lines(self) -> Iterator[dict[str, Any]]:
        """The log."""
        for line in self.text().splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Lines of the log by event."""
        return [line for line in self.lines() if line["event"] in names]

    def port(self, listener: str = "front") -> int:
        """Where a listener listens."""
        (started,) = self.events("gateway.started")
        words = [place.split() for place in started["listeners"]]
        return next(int(address.rpartition(":")[2]) for name, address in words if name == listener)

    def crashed(self) -> list[dict[str, Any]]:
        """Lines of the log that tell of faults of ours."""
        bad = ("session.crashed", "journal.failed", "ledger.failed", "history.failed", "log.dropped")
        return [line for line in self.lines() if line["event"] in bad or line["event"] == "log" and "error" in line]


class Postfix(Process):
    """A Postfix of its own: stock but for what is given, every service outside of a chroot, mail in Maildirs."""

    def __init__(self, folder: Path, name: str, main: str = "", users: Sequence[str] = ("@example.net",)) -> None:
        """
        :param main: further lines of main.cf
        :param users: addresses that have a mailbox; "@domain" is one for all that are not named
        """
        self.base = folder / name
        self.conf, self.queue, self.mail = (self.base / part for part in ("etc", "queue", "mail"))
        for path in (self.conf, self.queue, self.base / "data", self.mail):
            path.mkdir(parents=True)
        self.port = free_port()
        owner = pwd.getpwnam("nobody")
        shutil.chown(self.mail, "nobody")
        shutil.chown(self.base / "data", "postfix")
        self.log = self.base / "postfix.log"
        mailboxes = self.conf / "mailboxes"
        # virtual(8) takes the part behind the blank as a path below mail/; the slash at its end asks for a Maildir.
        mailboxes.write_text("".join(f"{user} {_mailbox(user)}/\n" for user in users))
        domains = sorted({user.rpartition("@")[2] for user in users})
        self.settings = f"""
compatibility_level = 3.6
config_directory = {self.conf}
queue_directory = {self.queue}
data_directory = {self.base / "data"}
mail_owner = postfix
maillog_file = {self.log}
maillog_file_prefixes = {self.base}
myhostname = {name}.example.com
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
local_header_rewrite_clients =
alias_maps =
local_recipient_maps =
notify_classes =
virtual_mailbox_domains = {" ".join(domains)}
virtual_mailbox_base = {self.mail}
virtual_mailbox_maps = texthash:{mailboxes}
virtual_uid_maps = static:{owner.pw_uid}
virtual_gid_maps = static:{owner.pw_gid}
virtual_minimum_uid = 1
virtual_transport = virtual
"""
        self.configure(main)
        (self.conf / "master.cf").write_text(self._services())
        made = run("postfix", "-c", self.conf, "check")
        if made.returncode:
            raise AssertionError(f"postfix check: {made.stderr}")
        super().__init__(self.base, "master", MASTER, "-d", "-c", self.conf)

    def _services(self) -> str:
        lines = [f"127.0.0.1:{self.port} inet n - n - - smtpd"]
        for line in Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
            words = line.split()
            if len(words) == 8 and not line.startswith(("#", " ")) and words[1] != "inet" and words[7] != "pipe":
                words[4] = "n"
                lines.append(" ".join(words))
        return "\n".join(lines) + "\n"

    def configure(self, main: str) -> None:
        """Write main.cf anew: the kit's own lines, then these."""
        (self.conf / "main.cf").write_text(self.settings + main)

    def reload(self) -> None:
        """Have it read its configuration."""
        made = run("postfix", "-c", self.conf, "reload")
        if made.returncode:
            raise AssertionError(f"postfix reload: {made.stderr}")

    def ready(self) -> Postfix:
        """Wait until it listens."""
        until(lambda: self.is_up(self.port), f"{self.name} of {self.base.name} listens")
        return self

    def logged(self, pattern: str) -> list[str]:
        """Lines of its log that match."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if re.search(pattern, line)]

    def queued(self) -> list[dict[str, Any]]:
        """What lies in its queue."""
        made = run("postqueue", "-c", self.conf, "-j")
        if made.returncode:
            raise AssertionError(f"postqueue: {made.stderr}")
        return [json.loads(line) for line in made.stdout.splitlines()]

    def messages(self, address: str = "*") -> list[bytes]:
        """What lies in a mailbox, or in all."""
        return [path.read_bytes() for path in sorted(self.mail.glob(f"{_mailbox(address)}/new/*"))]


def _mailbox(user: str) -> str:
    return f"any{user}" if user.startswith("@") else user


class Dovecot(Process):
    """A Dovecot of its own that speaks LMTP on a port. Users are in a file, mail is in Maildirs."""

    def __init__(self, folder: Path, certificate: Path, users: dict[str, str], name: str = "dovecot") -> None:
        """
        :param users: address to extra fields of the userdb, such as a quota rule
        """
        self.base = folder / name
        self.base.mkdir()
        self.port = free_port()
        self.mail = self.base / "mail"
        self.mail.mkdir()
        owner = pwd.getpwnam("nobody")
        shutil.chown(self.mail, "nobody")
        passwd = self.base / "users"
        ids = f"{owner.pw_uid}:{owner.pw_gid}"
        passwd.write_text(
            "".join(f"{user}:{{PLAIN}}x:{ids}::{self.mail}/{user}::{more}\n" for user, more in users.items())
        )
        self.log = self.base / "dovecot.log"
        conf = self.base / "dovecot.conf"
        conf.write_text(f"""
base_dir = {self.base}/run
state_dir = {self.base}/state
log_path = {self.log}
protocols = lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
mail_location = maildir:~/Maildir
first_valid_uid = 1
postmaster_address = postmaster@example.net
mail_plugins = quota
protocol lmtp {{
  mail_plugins = quota
}}
passdb {{
  driver = passwd-file
  args = username_format=%u {passwd}
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {passwd}
}}
plugin {{
  quota = maildir:User quota
  quota_grace = 0
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")
        super().__init__(self.base, "dovecot", "dovecot", "-F", "-c", conf)

    def ready(self) -> Dovecot:
        """Wait until it listens."""
        until(lambda: self.is_up(self.port), "dovecot listens")
        return self

    def queued(self) -> list[dict[str, Any]]:
        """LMTP has no queue: what was answered is in its mailbox."""
        return []

    def messages(self, address: str = "*@*") -> list[bytes]:
        """What was delivered to an address, or to all."""
        return [path.read_bytes() for path in sorted(self.mail.glob(f"{address}/Maildir/new/*"))]


class RealCase(SynchronousTestCase):
    """A test with processes. `programs` are those that the class needs."""

    programs: Sequence[str] = ()

    def setUp(self) -> None:
        need(*self.programs)
        # Short, since sockets of unix live in it, and open to the users that mail servers change to.
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-real-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.addCleanup(self._keep)
        self.began = time.monotonic()

    def _keep(self) -> None:
        """SMTPGATE_KEEP=1 leaves a copy of the folder, with all logs, in /tmp."""
        if os.environ.get("SMTPGATE_KEEP") == "1":
            shutil.copytree(self.folder, f"/tmp/kept-{self.id()}", dirs_exist_ok=True, ignore=_no_sockets)

    def start(self, process: Any) -> Any:
        """Have a process ended with the test, and wait until it serves."""
        self.addCleanup(process.stop)
        return process.ready()

    def gateway(self, config: str, **more: Any) -> Gateway:
        """Start a gateway."""
        gateway: Gateway = self.start(Gateway(self.folder, config, **more))
        return gateway

    def background(self) -> Background:
        """Start a loop that ends with the test."""
        background = Background()
        self.addCleanup(background.close)
        return background

    def fast_servers(self, background: Background, count: int, thought_s: float) -> list[FastServer]:
        """Start some servers there."""
        servers = [FastServer(thought_s) for _ in range(count)]
        for server in servers:
            background.do(server.start())
            self.addCleanup(background.loop.call_soon_threadsafe, server.close)
        return servers

    def figures(self, text: str) -> None:
        """Print what was measured, with the time that it took."""
        say(f"    {self.id().rpartition('.')[2]}: {text} [{time.monotonic() - self.began:.1f} s]")


def _no_sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder, name).is_dir() or Path(folder, name).is_file())]


def smtp(port: int, source: str = "127.0.0.1") -> smtplib.SMTP:
    """Python's client, which asks for the gateway's certificate when it begins TLS."""
    client = smtplib.SMTP("127.0.0.1", port, "client.example.org", PATIENCE_S, (source, 0))
    client._host = GATE  # type: ignore[attr-defined]
    return client


def split_trace(stored: bytes) -> tuple[list[bytes], bytes]:
    """A delivered message: the fields that servers put on top, unfolded, and the rest.

    The rest begins at the first field that is none of theirs.
    """
    fields, at = [], 0
    while (match := _FIELD.match(stored, at)) and match[1].lower() in (
        b"return-path",
        b"x-original-to",
        b"delivered-to",
        b"received",
    ):
        fields.append(re.sub(rb"\s+", b" ", match[0]).strip())
        at = match.end()
    return fields, stored[at:]


class FastSink(asyncio.Protocol):
    """One connection to a `FastServer`: a small SMTP server that takes everything after a moment of thought."""

    def __init__(self, server: FastServer) -> None:
        self.server = server
        self.buffer = b""
        #: "idle", "rcpt" and "dot" while the reply to those is due, "promised" behind a 250 to RCPT.
        self.stage = "idle"
        self.is_content = False
        self.timer: asyncio.TimerHandle | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Greet."""
        self.transport = transport
        self.server.connections.add(self)
        transport.write(b"220 fast.example.net ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not said."""
        self.server.connections.discard(self)
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Octets of the gateway."""
        self.buffer += data
        if self.timer is None:
            self.go_on()

    def later(self, reply: bytes, stage: str) -> None:
        """Answer in a moment, and read no further until then."""
        self.timer = asyncio.get_running_loop().call_later(self.server.thought(), self.answer, reply, stage)

    def answer(self, reply: bytes, stage: str) -> None:
        """The moment is over."""
        self.timer = None
        self.stage = stage
        self.transport.write(reply)
        self.go_on()

    def go_on(self) -> None:
        """Take what lies in the buffer, up to a reply that is due."""
        while self.timer is None:
            if self.is_content:
                end = self.buffer.find(b"\r\n.\r\n")
                if end < 0:
                    return
                content, self.buffer = self.buffer[: end + 2], self.buffer[end + 5 :]
                self.is_content = False
                self.server.take(content)
                self.stage = "dot"
                self.later(b"250 2.0.0 queued\r\n", "idle")
                return
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                return
            self.buffer = rest
            self.command(line[:4].upper())

    def command(self, verb: bytes) -> None:
        """One command."""
        if verb == b"EHLO":
            self.transport.write(b"250-fast.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000\r\n")
        elif verb == b"MAIL":
            self.stage = "rcpt"
            self.transport.write(b"250 2.1.0 ok\r\n")
        elif verb == b"RCPT":
            self.later(b"250 2.1.5 ok\r\n", "promised")
        elif verb == b"DATA":
            self.is_content = True
            self.transport.write(b"354 go on\r\n")
        elif verb == b"QUIT":
            self.transport.write(b"221 2.0.0 bye\r\n")
            self.transport.close()
        else:
            self.stage = "idle"
            self.transport.write(b"250 2.0.0 ok\r\n")


class FastServer:
    """A mail server in an asyncio loop that can be killed and come back on its port.

    :ivar taken: how often each message came whole, by Message-ID; what was taken stays, as in a real queue
    :ivar killed: connections that were cut, by the stage that each was in
    """

    _ID = re.compile(rb"^Message-ID: (<[^>]*>)", re.MULTILINE)

    def __init__(self, thought_s: float = 0.0) -> None:
        """
        :param thought_s: longest time before the replies to RCPT and to the dot
        """
        self.port = free_port()
        self.taken: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        self.connections: set[FastSink] = set()
        self.kills = 0
        self._thought_s = thought_s
        self._random = random.Random(self.port)
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Future[None] | None = None

    def thought(self) -> float:
        """How long it thinks now."""
        return self._random.random() * self._thought_s

    def take(self, content: bytes) -> None:
        """A message came whole: from here on it is delivered, whether or not that can still be said."""
        match = self._ID.search(content)
        assert match is not None, content[:300]
        self.taken[match[1].decode()] += 1

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: FastSink(self), "127.0.0.1", self.port, backlog=200)

    def listen_soon(self) -> None:
        """The same, from a callback of the loop."""
        self._starting = asyncio.ensure_future(self.start())

    def kill(self) -> None:
        """Gone from one moment to the next: no listening socket, every connection reset."""
        self.kills += 1
        self.killed.update(connection.stage for connection in self.connections)
        self.close()

    def close(self) -> None:
        """The same, as the end of a test."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            sock = connection.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.transport.abort()
        self.connections.clear()


def small_message(number: int) -> bytes:
    """A small message, ready for the wire, with its terminator."""
    head = f"From: a@example.org\r\nTo: b@example.net\r\nSubject: {number}\r\nMessage-ID: {small_id(number)}\r\n\r\n"
    return head.encode() + b"a line of the body\r\n" * 5 + b".\r\n"


def small_id(number: int) -> str:
    """Its Message-ID."""
    return f"<{number}@failover.example.org>"


class Load:
    """Clients that send small messages as fast as they can, half of them with pipelining.

    :ivar acked: numbers of the messages that a 2yz was said to
    :ivar refused: replies that were no 2yz, by the command that they answered and their first words
    """

    def __init__(self, port: int, count: int, is_patient: bool = True) -> None:
        """
        :param is_patient: connect again when the connection is lost; else the client ends there
        """
        self.port = port
        self.is_patient = is_patient
        self.queue = deque(range(count))
        self.open = count
        self.acked: set[int] = set()
        #: Told how many were acknowledged, after each.
        self.on_ack: Callable[[int], None] = lambda count: None
        self.refused: Counter[tuple[str, str]] = Counter()
        self.lost_connections = 0

    async def run(self, connections: int) -> None:
        """All of it."""
        clients = [asyncio.ensure_future(self.client(bool(number % 2))) for number in range(connections)]
        try:
            await asyncio.gather(*clients)
        finally:
            for client in clients:
                client.cancel()

    async def client(self, is_pipelining: bool) -> None:
        """One client with its connection."""
        while self.open and (self.is_patient or not self.lost_connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                await reply_of(reader)
                writer.write(b"EHLO client.example.org\r\n")
                await reply_of(reader)
                await self.messages(reader, writer, is_pipelining)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.lost_connections += 1
            finally:
                writer.close()

    async def messages(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_pipelining: bool) -> None:
        """One message after the other until all are acknowledged."""
        while self.open:
            if not self.queue:
                await asyncio.sleep(0.01)
                continue
            number = self.queue.popleft()
            is_sent = False
            try:
                is_sent = await self.send(reader, writer, number, is_pipelining)
            finally:
                if is_sent:
                    self.open -= 1
                else:
                    self.queue.append(number)
        writer.write(b"QUIT\r\n")
        await reply_of(reader)

    async def send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, is_pipelining: bool
    ) -> bool:
        """One message; True when it was acknowledged."""
        envelope = (b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<b@example.net>\r\n", b"DATA\r\n")
        if is_pipelining:
            writer.write(b"".join(envelope))
            replies = [await reply_of(reader) for _ in envelope]
        else:
            replies = []
            for line in envelope:
                writer.write(line)
                replies.append(await reply_of(reader))
        for verb, reply in zip(("MAIL", "RCPT", "DATA"), replies):
            if reply[:1] not in "23":
                self.refused[verb, reply[:9]] += 1
        if replies[2].startswith("354"):
            writer.write(small_message(number))
            reply = await reply_of(reader)
            if reply.startswith("250"):
                self.acked.add(number)
                self.on_ack(len(self.acked))
                return True
            self.refused["dot", reply[:9]] += 1
        else:
            writer.write(b"RSET\r\n")
            await reply_of(reader)
        return False


async def reply_of(reader: asyncio.StreamReader) -> str:
    """One reply, its last line."""
    while True:
        line = await asyncio.wait_for(reader.readuntil(b"\r\n"), 30)
        if line[3:4] != b"-":
            return line.decode()


class Background:
    """An asyncio loop in a thread, for servers and clients that must go on while a test waits."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Start something there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def do(self, work: Coroutine[Any, Any, Any], seconds: float = PATIENCE_S) -> Any:
        """Do something there, and wait for it."""
        return self.begin(work).result(seconds)

    def close(self) -> None:
        """End it with all that runs in it."""
        self.do(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)
        self.loop.close()

    async def _cancel(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
