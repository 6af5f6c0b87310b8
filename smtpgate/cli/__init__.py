"""The `smtpgate` command: the gateway's managers at a terminal.

It speaks to the running gateway over `control.sock` in its state folder; no rule, certificate or login can
lock it out. `check-config` and `explain` need no gateway; `user` and `token` also work while none runs.

Exit codes: 0 done, 1 refused or unreachable, 2 usage, 3 configuration. What peers wrote is printed escaped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smtpgate import __version__
from smtpgate.cli import access, commands
from smtpgate.cli.terminal import EXIT_OK, EXIT_REFUSED, EXIT_USAGE, Failed, shown

ROLES = ("owner", "admin", "operator", "helpdesk", "auditor")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    top = argparse.ArgumentParser(prog="smtpgate", description="Look at and manage an smtpgate gateway.")
    top.add_argument("--version", action="version", version=f"smtpgate {__version__}")
    top.add_argument("--config", "-c", type=Path, metavar="FILE", help="the configuration file of the gateway")
    top.add_argument("--json", action="store_true", help="print JSON")
    verbs = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def verb(name: str, run: Any, into: Any = verbs) -> argparse.ArgumentParser:
        words = (run.__doc__ or "").strip()
        made: argparse.ArgumentParser = into.add_parser(name, help=words, description=words, parents=[common])
        made.set_defaults(run=run)
        return made

    verb("check-config", commands.check_config).add_argument("file", type=Path)
    one = verb("explain", commands.explain)
    one.add_argument("--listener", required=True)
    one.add_argument("--client", default="192.0.2.1", help="address of the client")
    one.add_argument("--sender", default="", help="envelope sender; empty for the null sender")
    one.add_argument("--recipient", required=True)
    one.add_argument("--user", default="")
    one.add_argument("--sni", default="")
    one = verb("send-test", commands.send_test)
    one.add_argument("--to", required=True, metavar="ADDR")
    one.add_argument("--from", dest="sender", metavar="ADDR")
    one.add_argument("--listener", default="", help="which listener; without it the first of role mx")
    verb("status", commands.status)
    verb("sessions", commands.sessions)
    verb("backends", commands.backends)
    verb("filters", commands.filters)
    for name in ("drain", "ready"):
        one = verb(name, commands.server_verb)
        one.add_argument("backend")
        one.add_argument("server")
        one.add_argument("--reason", default="")
    verb("reload", commands.reload)
    verb("stop", commands.stop)
    verb("show", commands.show).add_argument("id", help="reference id of a session or a message")
    _access(verbs, verb)
    return top


def _access(verbs: Any, verb: Any) -> None:
    users = verbs.add_parser("user", help="who can log in").add_subparsers(required=True, metavar="ACTION")
    one = verb("add", access.user_add, users)
    one.add_argument("name")
    one.add_argument("--role", required=True, choices=ROLES)
    one.add_argument("--password-file", type=Path, help="file with the password; without it the terminal asks")
    verb("list", access.user_list, users)
    verb("remove", access.user_remove, users).add_argument("name")
    tokens = verbs.add_parser("token", help="what programs log in with").add_subparsers(required=True, metavar="ACTION")
    one = verb("add", access.token_add, tokens)
    one.add_argument("name")
    one.add_argument("--role", required=True, choices=ROLES)
    one.add_argument("--days", type=_days, default=365, help="how long it holds, at most 3660")
    verb("list", access.token_list, tokens)
    verb("revoke", access.token_revoke, tokens).add_argument("id")


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 3660:
        raise argparse.ArgumentTypeError(f"{text} is no number of days from 1 to 3660")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    top = parser()
    args = top.parse_args(argv)
    if args.command != "check-config" and args.config is None:
        top.error("give the configuration file of the gateway with --config FILE")
    try:
        args.run(args)
    except Failed as failed:
        for line in str(failed).splitlines():
            sys.stderr.write(f"smtpgate: {shown(line)}\n")
        return failed.code
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_REFUSED
    return EXIT_OK


__all__ = ["EXIT_USAGE", "main", "parser"]
