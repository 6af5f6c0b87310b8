"""`smtpgate backup` and `smtpgate restore`: a state folder as one file, and back. They work while the gateway runs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from smtpgate import __version__
from smtpgate.cli.gateway import state_dir
from smtpgate.cli.terminal import EXIT_USAGE, Failed, say, say_json

_WORDS = "Backups of the state folder: held mail, history, users, revisions, secrets, and the configuration file."


def add(verbs: Any, verb: Any) -> None:
    """Their parsers."""
    made = verbs.add_parser("backup", help=_WORDS, description=_WORDS)
    actions = made.add_subparsers(required=True, metavar="ACTION")
    verb("create", create, actions).add_argument("file", type=Path, metavar="FILE", help="the file to make")
    verb("verify", verify, actions).add_argument("file", type=Path, metavar="FILE", help="a backup")
    one = verb("restore", restore)
    one.add_argument("file", type=Path, metavar="FILE", help="a backup")
    one.add_argument("--into", type=Path, metavar="DIR", help="the folder to make, for state/ and smtpgate.toml")
    one.add_argument("--dry-run", action="store_true", help="read all of it, and write nothing")


def create(args: argparse.Namespace) -> None:
    """Write a backup, while the gateway runs or not; the file is there whole or not at all."""
    from smtpgate.state import backup
    from smtpgate.state.folder import StateError

    if args.config is None:
        raise Failed("give the configuration file of the gateway with --config FILE", EXIT_USAGE)
    try:
        found = backup.create(state_dir(args.config), args.config, args.file, __version__)
    except StateError as error:
        raise Failed(str(error)) from None
    _tell(args, found, f"{args.file} is written")


def verify(args: argparse.Namespace) -> None:
    """Read a whole backup, and say whether it is whole."""
    from smtpgate.state import backup

    try:
        found = backup.verify(args.file)
    except backup.BadBackup as error:
        raise Failed(str(error)) from None
    _tell(args, found, f"{args.file} is whole")


def restore(args: argparse.Namespace) -> None:
    """Unpack a backup into a folder of its own; what is damaged is refused, and nothing is written over."""
    from smtpgate.state import backup
    from smtpgate.state.folder import StateError

    if args.into is None and not args.dry_run:
        raise Failed("give a folder with --into DIR, or --dry-run", EXIT_USAGE)
    try:
        if args.dry_run:
            found = backup.verify(args.file)
            if args.into is not None and args.into.exists() and any(args.into.iterdir()):
                raise Failed(f"{args.into} is not empty; give a folder of its own")
        else:
            found = backup.restore(args.file, args.into)
    except (backup.BadBackup, StateError, OSError) as error:
        raise Failed(str(error)) from None
    if args.dry_run:
        _tell(args, found, f"{args.file} is whole; nothing is written")
        return
    _tell(args, found, f"{args.into} is written")
    if not args.json:
        say(
            f"next: give {args.into / 'state'} to the gateway's user, and its place to `state_dir` of the configuration"
        )


def _tell(args: argparse.Namespace, found: Any, words: str) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.at))
    if args.json:
        say_json({"at": at, "version": found.version, "files": found.files, "octets": found.octets})
        return
    say(f"{words}: {found.files} files, {found.octets} octets, of {at}, by version {found.version}")
