"""`smtpgate doctor`: what of this machine is not ready for mail, each with one line that mends it.

Each check looks for itself and gives findings; none changes anything. What takes long (the DNS, servers) is tried side
by side, each within `WAIT_S`. The checks of the file are those of check-config.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import resource
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import attrs
from cryptography import x509

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.probes import WAIT_S, Line, names, provider, scanner, scanners, server, servers
from smtpgate.cli.terminal import EXIT_CONFIG, Failed, say, say_json
from smtpgate.config.endpoint import parse_listen
from smtpgate.config.loader import ConfigErrors, load
from smtpgate.config.model import Settings
from smtpgate.config.problem import count
from smtpgate.config.unreadable import UNREADABLE

#: The disk: below the first no spool file is begun (`spool.full`), below the second it is time to look.
LEAST_OCTETS, FEW_OCTETS = 64 * 2**20, 2**30
#: A certificate is renewed 30 days before its end by the clients of ACME; what is left of 14 was not.
RENEW_DAYS = 14
#: A backup that is older was forgotten: once a day is usual, and a week is what held mail may lie.
BACKUP_DAYS = 7
#: Descriptors of a session, and of all else (docs/operation.md, Descriptors).
_PER_SESSION, _BESIDE = 2, 128
#: adjtimex(2): the clock is not held by anything.
_TIME_ERROR = 5


def doctor(args: argparse.Namespace) -> None:
    """What of this machine is not ready for mail: each finding with one line that mends it."""
    lines = list(examine(args.config))
    worst = max((("ok", "warn", "fail").index(line.state) for line in lines), default=0)
    if args.json:
        say_json({"state": ("ok", "warn", "fail")[worst], "items": [attrs.asdict(line) for line in lines]})
    for line in lines if not args.json else ():
        say(f"{line.state:4}  {line.check:12}  {line.text}")
        if line.fix:
            say(f"{'':20}{line.fix}")
    if worst == 2:
        raise SystemExit(1)


MORE = (
    "Exit code 0: nothing fails, perhaps with warnings. 1: something fails. 3: the configuration has errors, and "
    "nothing else was looked at. Run it as the gateway's user, or as root: what it may not see is a warning."
)


def examine(config: Path) -> Iterator[Line]:
    """All findings, in the order of the checks; raises Failed where there is no good configuration."""
    from smtpgate.plugins import find_factories

    try:
        settings = load(config, *find_factories())
    except ConfigErrors as errors:
        raise Failed(f"{errors}\nmend the configuration first", EXIT_CONFIG) from None
    yield _configuration(config, settings)
    is_running = _is_running(config)
    yield (
        Line("gateway", "ok", "it runs, and answers")
        if is_running
        else Line("gateway", "warn", "none runs", f"twistd -n --pidfile= smtpgate --config {config}")
    )
    checks: list[Callable[[], Iterator[Line]]] = [
        lambda: ports(settings, is_running),
        lambda: open_files(settings),
        lambda: names(settings),
        clock,
        lambda: modes(config, Path(os.path.normpath(settings.state_dir))),
        lambda: disk(Path(os.path.normpath(settings.state_dir))),
        lambda: backups(Path(os.path.normpath(settings.state_dir))),
        lambda: certificates(settings),
        lambda: pages(settings),
        *((lambda name=name, one=one: server(settings, name, one)) for name, one in servers(settings)),
        *((lambda name=name, place=place: scanner(name, place)) for name, place in scanners(settings)),
        *((lambda one=one: provider(one)) for one in settings.sso.values()),
    ]
    with ThreadPoolExecutor(16) as pool:
        for found in list(pool.map(lambda check: list(check()), checks)):
            yield from found


def _configuration(config: Path, settings: Settings) -> Line:
    if not settings.warnings:
        return Line("config", "ok", f"{config}: no errors, no warnings")
    return Line("config", "warn", f"{config}: {count(settings.warnings)}", f"smtpgate check-config {config}")


def _is_running(config: Path) -> bool:
    try:
        Gateway(config).ask("GET", "/overview")
    except Failed:
        return False
    return True


def ports(settings: Settings, is_running: bool) -> Iterator[Line]:
    """Each TCP port: does a running gateway answer there, or could one be bound?"""
    places = [(f"listener {name}", text) for name, one in settings.listeners.items() for text in one.listen]
    if settings.admin.listen is not None:
        places.append(("admin", settings.admin.listen))
    for what, text in places:
        endpoint = parse_listen(text)
        if endpoint.kind != "tcp" or not endpoint.port:
            continue
        host = endpoint.interface or "0.0.0.0"
        if is_running:
            yield _answers(what, text, host, endpoint.port)
        else:
            yield _free(what, text, host, endpoint.port)


def _answers(what: str, text: str, host: str, port: int) -> Line:
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    try:
        socket.create_connection((near, port), WAIT_S).close()
    except OSError as error:
        return Line("ports", "fail", f"{what}: {text} does not answer: {error}", "smtpgate reload, or start it anew")
    return Line("ports", "ok", f"{what}: {text} answers")


def _free(what: str, text: str, host: str, port: int) -> Line:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            fix = "stop what has it: ss -ltnp"
            if error.errno == errno.EACCES:
                fix = "start it by etc/smtpgate.service, which may bind low ports, or take a port above 1023"
            elif error.errno == errno.EADDRNOTAVAIL:
                fix = "this machine has no such address: change `interface`"
            return Line("ports", "fail", f"{what}: {text} cannot be bound: {error.strerror}", fix)
    return Line("ports", "ok", f"{what}: {text} is free")


def open_files(settings: Settings) -> Iterator[Line]:
    """Whether the hard limit of open files, to which the gateway raises its own, holds for all connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.limits.connections * _PER_SESSION + _BESIDE
    if hard not in (resource.RLIM_INFINITY, -1) and hard < wanted:
        text = f"{hard} here; limits.connections = {settings.limits.connections} takes {wanted}"
        yield Line("open files", "warn", text, f"LimitNOFILE={wanted} in the unit, or fewer limits.connections")
    else:
        yield Line("open files", "ok", f"{hard if hard >= 0 else 'no limit'}; {wanted} are enough")


def clock() -> Iterator[Line]:
    """Whether something holds the clock: adjtimex(2), which asks and changes nothing where `modes` is 0."""
    # Larger than struct timex of any Linux.
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    if state == _TIME_ERROR:
        yield Line("clock", "warn", "nothing holds the clock", "run chrony or systemd-timesyncd")
    elif state < 0:
        yield Line("clock", "warn", "the kernel does not say whether the clock is held", "look at `chronyc tracking`")
    else:
        yield Line("clock", "ok", f"it is held; {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")


def modes(config: Path, state_dir: Path) -> Iterator[Line]:
    """Who may read and write what is ours."""
    try:
        found = config.stat()
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield Line("modes", "fail", f"{config} can be written by others", f"chmod go-w {config}")
        else:
            yield Line("modes", "ok", f"{config}: mode {stat.S_IMODE(found.st_mode):04o}")
        if not state_dir.exists():
            yield Line("modes", "ok", f"{state_dir}: not there yet; the gateway makes it")
            return
        found = state_dir.stat()
    except OSError as error:
        yield Line("modes", "warn", f"cannot be looked at: {error}", "run it as the gateway's user, or as root")
        return
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Line("modes", "fail", f"{state_dir} is open to others", f"chmod 0700 {state_dir}")
    elif os.geteuid() not in (0, found.st_uid):
        yield Line("modes", "warn", f"{state_dir} belongs to uid {found.st_uid}", "run it as that user, or as root")
    else:
        yield Line("modes", "ok", f"{state_dir}: mode {stat.S_IMODE(found.st_mode):04o}")


def disk(state_dir: Path) -> Iterator[Line]:
    """Room where the state folder lies, or will lie."""
    place = next(one for one in (state_dir, *state_dir.parents) if one.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / 2**30:.1f} GiB free at {place}"
    if free < LEAST_OCTETS:
        yield Line("disk", "fail", text, "make room: messages that must be spooled are deferred with 452 4.3.1")
    elif free < FEW_OCTETS:
        yield Line("disk", "warn", text, "make room, or shorten what is kept")
    else:
        yield Line("disk", "ok", text)


def backups(state_dir: Path) -> Iterator[Line]:
    """How old the last backup is, of those that `smtpgate backup create` made."""
    from smtpgate.state.backup import last

    found, fix = last(state_dir), "smtpgate --config FILE backup create FILE, once a day, kept on another machine"
    if found is None:
        yield Line("backup", "warn", "none was made", fix)
        return
    days = (datetime.now(UTC).timestamp() - found[0]) / 86400
    text = f"the last one is {days:.1f} days old, {found[1]} octets"
    yield Line("backup", "warn", text, fix) if days > BACKUP_DAYS else Line("backup", "ok", text)


def certificates(settings: Settings) -> Iterator[Line]:
    """Each listener's certificates: there, and for how long."""
    for name, listener in settings.listeners.items():
        if listener.tls == "off":
            continue
        if not listener.certificates:
            text = f"listener {name}: self-signed, no client can verify it"
            yield Line("tls", "warn", text, f'listeners.{name}.certificates = ["gate.pem"], as of an ACME client')
        for path in listener.certificates:
            yield _certificate(name, path)


def _certificate(name: str, path: Path) -> Line:
    try:
        left = x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc - datetime.now(UTC)
    except (OSError, *UNREADABLE) as error:
        return Line("tls", "warn", f"listener {name}: {path} cannot be read: {error}", "run it as the gateway's user")
    text = f"listener {name}: {path} holds for {left.days} days"
    if left.total_seconds() < 0:
        return Line("tls", "fail", f"listener {name}: {path} is over", "renew it, then: smtpgate reload")
    return (
        Line("tls", "warn", text, "renew it, then: smtpgate reload")
        if left.days < RENEW_DAYS
        else Line("tls", "ok", text)
    )


def pages(settings: Settings) -> Iterator[Line]:
    """The admin pages: never over the network in clear."""
    admin = settings.admin
    if admin.listen is None:
        yield Line("admin", "ok", "no pages")
        return
    is_local = parse_listen(admin.listen).is_local
    if not is_local:
        text = f"{admin.listen} can be reached from the network, in clear"
        yield Line("admin", "fail", text, "listen on loopback, and put a proxy with TLS in front (docs/admin.md)")
    elif urlsplit(admin.public_url).scheme == "https":
        yield Line("admin", "ok", f"over TLS at {admin.public_url}")
    else:
        text = f"{admin.listen}: only this machine reaches the pages"
        yield Line("admin", "warn", text, "for others a proxy with TLS in front, and admin.public_url (docs/admin.md)")


__all__ = ["MORE", "Line", "doctor", "examine"]
