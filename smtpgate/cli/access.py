"""Users and tokens: by the running gateway, and where none runs in the state folder itself, under its
lock.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smtpgate.cli import offline
from smtpgate.cli.gateway import Gateway, Unreachable, state_dir
from smtpgate.cli.terminal import EXIT_USAGE, Failed, say, say_json, say_list


def user_add(args: argparse.Namespace) -> None:
    """Make a user."""
    password = _password(args.password_file)
    body = {"name": args.name, "role": args.role, "password": password}
    ask = lambda gateway: gateway.ask("POST", "/users", body)  # noqa: E731
    found = _either(args, ask, "add_user", args.name, args.role, password)
    _done(args, found, f"user {args.name} added with role {args.role}")


def _done(args: argparse.Namespace, found: Any, text: str) -> None:
    if args.json:
        say_json(found)
    else:
        say(text)


def _password(file: Path | None) -> str:
    if file is None:
        if not sys.stdin.isatty():
            raise Failed("give the password with --password-file FILE", EXIT_USAGE)
        return getpass.getpass("Password: ")
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise Failed(f"{file}: cannot be read: {error}") from None


def user_remove(args: argparse.Namespace) -> None:
    """Remove a user; its sessions end."""
    place = f"/users/{quote(args.name, safe='')}"
    found = _either(args, lambda gateway: gateway.ask("DELETE", place), "remove_user", args.name)
    _done(args, found, f"user {args.name} removed")


def user_list(args: argparse.Namespace) -> None:
    """List the users."""
    found = _either(args, lambda gateway: gateway.ask("GET", "/users"), "list_users")
    say_list(found, (("NAME", "name"), ("ROLE", "role"), ("CREATED", "created")), args.json)


def token_add(args: argparse.Namespace) -> None:
    """Make a token and print it, this once."""
    body: dict[str, Any] = {"name": args.name, "role": args.role, "days": args.days}
    found = _either(
        args,
        lambda gateway: gateway.ask("POST", "/tokens", body),
        "add_token",
        args.name,
        args.role,
        args.days,
    )
    if args.json:
        say_json(found)
    else:
        say(found["token"])


def token_list(args: argparse.Namespace) -> None:
    """List the tokens in force."""
    found = _either(args, lambda gateway: gateway.ask("GET", "/tokens"), "list_tokens")
    columns = (
        ("ID", "id"),
        ("NAME", "name"),
        ("ROLE", "role"),
        ("EXPIRES", "expires"),
        ("LAST_USED", "last_used"),
    )
    say_list(found, columns, args.json)


def token_revoke(args: argparse.Namespace) -> None:
    """Revoke a token at once."""
    place = f"/tokens/{quote(args.id, safe='')}"
    found = _either(args, lambda gateway: gateway.ask("DELETE", place), "revoke_token", args.id)
    _done(args, found, f"token {args.id} revoked")


def _either(args: argparse.Namespace, ask: Callable[[Gateway], Any], call: str, *values: Any) -> Any:
    """Ask the running gateway; where none runs, open its state folder."""
    try:
        return ask(Gateway(args.config))
    except Unreachable as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        try:
            return getattr(offline, call)(state_dir(args.config), *values)
        except (offline.Refusal, OSError) as refused:
            raise Failed(str(refused)) from None
