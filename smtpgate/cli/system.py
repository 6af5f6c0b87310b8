"""Commands about the process: how it is, mail again after a drain, a bundle for support, versions, password hashes."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from smtpgate import __version__
from smtpgate.cli.gateway import Gateway, Unreachable
from smtpgate.cli.terminal import Failed, say, say_json, tell_unaudited

#: Shorter ones are guessed (NIST SP 800-63B has 8 at least where nothing else is asked).
_SHORTEST = 8


def add(verb: Any) -> None:
    """Their parsers."""
    verb("system", system)
    verb("undrain", undrain)
    verb("bundle", bundle).add_argument("file", type=Path, metavar="FILE", help="the file to make, a gzipped tar")
    verb("version", version)
    words = "a file whose first line is the password; without it the first line of standard input"
    verb("hash-password", hash_password).add_argument("--password-file", type=Path, metavar="F", help=words)


def system(args: argparse.Namespace) -> None:
    """The gateway as a process: uptime, listeners, descriptors, memory, the last backup."""
    view = Gateway(args.config).ask("GET", "/system")
    if args.json:
        say_json(view)
        return
    say(f"smtpgate {view['version']}, process {view['pid']}, up {view['uptime_s']:.0f} s")
    say(f"mail         {'none is taken' if view['is_draining'] else 'is taken'}, {view['sessions']} sessions")
    for one in view["listeners"]:
        say(f"listener     {one['listener']} on {one['address']}")
    lag = "-" if view["lag_p99_ms"] is None else f"{view['lag_p99_ms']:g} ms"
    say(f"late timers  99 of 100 under {lag}")
    say(f"descriptors  {view['descriptors']} of {view['descriptors_most'] or 'no limit'}")
    say(f"memory       {view['memory_octets'] / 2**20:.1f} MiB")
    say(f"database     {view['database_octets'] / 2**20:.1f} MiB, {view['free_octets'] / 2**30:.1f} GiB free")
    say(f"backup       {view['backup'] or 'none'}")


def undrain(args: argparse.Namespace) -> None:
    """Take mail again after `drain` without a backend."""
    _do(args, "undrain", {}, "mail is taken again")


def drain_all(args: argparse.Namespace) -> None:
    """Take no mail until `undrain`; what is in flight ends."""
    _do(args, "drain", {"reason": args.reason}, "no mail is taken until `smtpgate undrain`")


def _do(args: argparse.Namespace, what: str, body: dict[str, Any], done: str) -> None:
    found = Gateway(args.config).ask("POST", f"/system/{what}", body)
    tell_unaudited(found)
    if args.json:
        say_json(found)
    else:
        say(done)


def bundle(args: argparse.Namespace) -> None:
    """A bundle for support: versions, state, the newest lines of the log, the configuration without its secrets."""
    octets = Gateway(args.config).fetch("/system/bundle")
    try:
        with open(os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(octets)
    except OSError as error:
        raise Failed(f"{args.file}: cannot be written: {error.strerror}") from None
    if args.json:
        say_json({"file": str(args.file), "octets": len(octets)})
    else:
        say(f"{args.file} is written: {len(octets)} octets")


def version(args: argparse.Namespace) -> None:
    """Versions: of this program, of Python and Twisted, and of the gateway that runs where --config names one."""
    found = {"smtpgate": __version__, "python": platform.python_version(), "twisted": version_of("twisted")}
    if args.config is not None:
        try:
            found["running"] = Gateway(args.config).ask("GET", "/overview")["version"]
        except Unreachable:
            found["running"] = "none"
    if args.json:
        say_json(found)
        return
    for name, value in found.items():
        say(f"{name:9} {value}")


def hash_password(args: argparse.Namespace) -> None:
    """A line's end for the `password_file` of a listener (name:HASH): the argon2 hash of a password."""
    from smtpgate.state.passwords import hash_password as hashed

    try:
        text = args.password_file.read_text("utf-8") if args.password_file is not None else sys.stdin.readline()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"the password cannot be read: {error}") from None
    password = text.partition("\n")[0].rstrip("\r")
    if len(password) < _SHORTEST:
        raise Failed(f"a password has at least {_SHORTEST} letters")
    made = hashed(password)
    if args.json:
        say_json({"hash": made})
    else:
        say(made)
