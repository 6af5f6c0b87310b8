"""The engines that are measured beside ours: SpamAssassin's spamd and rspamd, as Debian ships them, without network.

Each runs as a process of its own in a folder of its own on loopback, and is ended by whoever started it.
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from smtpgate.filters.base import Factory
from smtpgate.filters.engines import rspamd, spamd

PATIENCE_S: Final = 60.0
_SCORE: Final = re.compile(rb"^Spam: *\w+ *; *(-?[0-9.]+) */", re.MULTILINE)


def _weight(factory: Factory) -> float:
    """How much a point of the engine counts beside ours, where the operator says nothing."""
    weight: float = factory.options.model_fields["weight"].default
    return weight


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args} does not listen")


@contextmanager
def _running(command: list[str], port: int, output: Path) -> Iterator[None]:
    with output.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(port, process)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class Spamd:
    """`spamd -L`: SpamAssassin with its default rules, without tests that ask the network, untrained."""

    name = "SpamAssassin"
    weight = _weight(spamd.factory)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0

    @contextmanager
    def running(self) -> Iterator[Spamd]:
        """While it runs."""
        program = shutil.which("spamd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise RuntimeError("spamd is not installed")
        self._port = _free_port()
        site = self._folder / "site"
        shutil.copytree("/etc/spamassassin", site)
        (site / "zz.cf").write_text("use_bayes 0\nuse_auto_whitelist 0\nuse_txrep 0\nreport_safe 0\n")
        command = [program, "-L", "-x", "-i", "127.0.0.1", "-p", str(self._port), "-m", "2", "-u", "nobody"]
        command += [f"--siteconfigpath={site}", "-r", str(self._folder / "spamd.pid"), "-s", "stderr"]
        self._folder.chmod(0o755)
        with _running(command, self._port, self._folder / "spamd.log"):
            yield self

    def score(self, content: bytes) -> float:
        """What it says of one message."""
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE_S) as sock:
            sock.sendall(b"CHECK SPAMC/1.5\r\nContent-length: %d\r\n\r\n" % len(content) + content)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        found = _SCORE.search(answer)
        if found is None:
            raise RuntimeError(f"spamd answers {answer[:200]!r}")
        return float(found[1])


class Rspamd:
    """rspamd with Debian's configuration, without Redis, fuzzy storage and DNS, untrained."""

    name = "rspamd"
    weight = _weight(rspamd.factory)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0

    @contextmanager
    def running(self) -> Iterator[Rspamd]:
        """While it runs."""
        program = shutil.which("rspamd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise RuntimeError("rspamd is not installed")
        self._port = _free_port()
        config = self._folder / "config"
        shutil.copytree("/etc/rspamd", config)
        local = config / "local.d"
        local.mkdir(exist_ok=True)
        dead = _free_port()
        (local / "options.inc").write_text(
            f'dns {{ nameserver = ["127.0.0.1:{dead}"]; timeout = 0.05s; retransmits = 0; }}\n'
            f'pidfile = "{self._folder}/rspamd.pid";\nfilters = "chartable,dkim,regexp";\n'
        )
        (local / "worker-normal.inc").write_text(f'bind_socket = "127.0.0.1:{self._port}";\ncount = 2;\n')
        (local / "logging.inc").write_text(
            f'type = "file";\nfilename = "{self._folder}/rspamd.log";\nlevel = "error";\n'
        )
        for worker in ("controller", "proxy", "fuzzy"):
            (local / f"worker-{worker}.inc").write_text("enabled = false;\ncount = 0;\n")
        for module in ("rbl", "surbl", "fuzzy_check", "asn", "neural", "history_redis", "greylist", "ratelimit",
                       "mx_check", "spf", "dmarc", "arc", "dkim", "dkim_signing", "bayes"):  # fmt: skip
            (local / f"{module}.conf").write_text("enabled = false;\n")
        user = pwd.getpwnam("_rspamd")
        for path in [self._folder, *self._folder.rglob("*")]:
            os.chown(path, user.pw_uid, user.pw_gid)
        command = [program, "-f", "-c", str(config / "rspamd.conf"), "-u", "_rspamd", "-g", "_rspamd"]
        command += [
            "--var",
            f"DBDIR={self._folder}",
            "--var",
            f"RUNDIR={self._folder}",
            "--var",
            f"LOGDIR={self._folder}",
        ]
        command += ["--var", f"CONFDIR={config}", "--var", f"LOCAL_CONFDIR={config}"]
        with _running(command, self._port, self._folder / "rspamd.out"):
            yield self

    def score(self, content: bytes) -> float:
        """What it says of one message."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            connection.request("POST", "/checkv2", content)
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return float(answer["score"])


def scores(engine: Spamd | Rspamd, contents: Iterable[bytes]) -> list[float]:
    """Of many messages, in their order."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(engine.score, contents))
