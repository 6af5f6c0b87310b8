"""`smtpgate demo`: a gateway to look at, with a mail sink behind it, and nothing left when it ends.

The gateway is a child process with a configuration of its own in a temporary folder. We read its log for the code of
the first visit, hand on the signals that we get, and take the folder away when it is over. Were we killed ourselves,
the kernel ends the child (PR_SET_PDEATHSIG, prctl(2)); the folder then stays in the system's folder for such.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smtpgate.cli.terminal import Failed, complain, say, say_json, shown

#: For mail; and for the pages: not 8025, where Mailpit has its own, and not 8080, where many things are.
PORT, ADMIN_PORT = 2525, 8525
DOMAIN = "example.net"
_PR_SET_PDEATHSIG = 1
_CODE = re.compile(r": ([A-Za-z0-9_-]{20,})$")
#: What the child says where it cannot begin: enough for all the problems of a file.
_LAST_OCTETS = 8000

_CONFIG = """\
# The configuration of `smtpgate demo`; for your own begin with `smtpgate init`.

hostname = "demo.localhost"
state_dir = "state"
local_domains = ["{domain}", "example.com", "example.org", "localhost"]
# Programs are refused, spam is marked; see docs/filters.md.
filter_set = "default"

# The default of 10000 needs more open files than many a desk allows.
[limits]
connections = 200

# With "managed" it can be changed on the pages.
[admin]
config = "managed"
listen = "tcp:{admin_port}:interface=127.0.0.1"

[listeners.mx]
listen = ["tcp:{port}:interface=127.0.0.1"]

[backends.sink]
servers = ["unix:{folder}/sink.sock"]
tls = "required"

[[routes]]
backend = "sink"
"""


MORE = (
    "It needs no network, no configuration and no rights, listens on 127.0.0.1 alone, and keeps all it has in a "
    "temporary folder, which is gone when it ends (Ctrl-C or SIGTERM). Once the first code is too old another one is "
    "printed."
)


def options(one: argparse.ArgumentParser) -> None:
    """Those of `demo`."""
    for name, port, words in (("--port", PORT, "for mail"), ("--admin-port", ADMIN_PORT, "of the pages")):
        one.add_argument(name, type=_port, default=port, metavar="N", help=f"port {words}; without it {port}")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no port from 1 to 65535")
    return int(text)


def demo(args: argparse.Namespace) -> None:
    """Try it: a gateway with a mail sink behind it and pages to look at; nothing is left when it ends."""
    if args.port == args.admin_port:
        raise Failed("the two ports must differ")
    # The path of a unix socket holds some hundred octets (unix(7)), so the folder must not lie deep.
    folder = Path(tempfile.mkdtemp(prefix="smtpgate-demo-", dir=_base()))
    try:
        with _signals():
            _run(folder, args)
    except KeyboardInterrupt:
        pass
    finally:
        # The child is over by now. Nothing of it may stay, also where something in it cannot be read.
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise Failed(f"{folder} could not be taken away wholly; remove it by hand")


def _base() -> str:
    found = tempfile.gettempdir()
    return found if len(found) < 60 else "/tmp"


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end it as Ctrl-C does, also where a shell has us begin with SIGINT ignored."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _with_parent() -> None:
    """In the child, before it becomes the gateway: end when we do."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _run(folder: Path, args: argparse.Namespace) -> None:
    config = folder / "demo.toml"
    values = {"domain": DOMAIN, "port": args.port, "admin_port": args.admin_port, "folder": folder}
    config.write_text(_CONFIG.format(**values), "utf-8")
    # Not `-m`, and with -P: no module of the folder where somebody stands takes the place of ours.
    program = "from twisted.scripts.twistd import run; run()"
    command = [sys.executable, "-P", "-c", program, "-n", "--pidfile=", "smtpgate", "--config", str(config)]
    with (folder / "trouble").open("wb+") as trouble:
        child = subprocess.Popen(
            [*command, "--sink", f"unix:{folder}/sink.sock:mode=600"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=trouble,
            cwd=folder,
            start_new_session=True,
            preexec_fn=_with_parent,
        )
        try:
            _follow(child, config, args)
        finally:
            _end(child)
        if child.returncode not in (0, None):
            trouble.seek(0)
            complain(trouble.read()[-_LAST_OCTETS:].decode("utf-8", "replace").strip())
            hint = "; --port and --admin-port take others" if child.returncode == 4 else ""
            raise Failed(f"the gateway ended with exit code {child.returncode}{hint}")


def _follow(child: subprocess.Popen[bytes], config: Path, args: argparse.Namespace) -> None:
    """Read the log until the gateway ends."""
    assert child.stdout is not None
    code, has_started, is_told = "", False, False
    for line in child.stdout:
        told = _event(line)
        has_started = has_started or told.get("event") == "gateway.started"
        if told.get("event") == "admin.setup":
            found = _CODE.search(str(told.get("msg", "")))
            code = found[1] if found else ""
            if is_told:
                _tell(args, code, config, is_again=True)
        if has_started and code and not is_told:
            is_told = True
            _tell(args, code, config)


def _event(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _tell(args: argparse.Namespace, code: str, config: Path, is_again: bool = False) -> None:
    url = f"http://127.0.0.1:{args.admin_port}/setup?code={code}"
    following = f"smtpgate --config {config} send-test --to bob@{DOMAIN}"
    if args.json:
        say_json({"admin": url, "smtp": f"127.0.0.1:{args.port}", "next": following, "config": str(config)})
    else:
        say(f"admin page  {url}")
        if not is_again:
            say(f"mail        127.0.0.1:{args.port}")
            say(f"next        {following}")
    # Whoever reads this is often a program behind a pipe.
    sys.stdout.flush()


def _end(child: subprocess.Popen[bytes]) -> None:
    """Stop it: drain once, and then at once; a demo holds nothing that is worth waiting for."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            break
        child.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            child.wait(5)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()
