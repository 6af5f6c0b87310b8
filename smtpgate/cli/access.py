"""Users, tokens and logins of browsers: by the running gateway; users and tokens also where none runs, in the state
folder itself under its lock.
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
from smtpgate.control.entries import TOKEN_DAYS, TOKEN_DAYS_DEFAULT, check_grant
from smtpgate.control.roles import ROLES, SCOPES
from smtpgate.control.views import Invalid


def user_add(args: argparse.Namespace) -> None:
    """Make a user."""
    body = {"name": args.name, "role": args.role, "domains": args.domain, "addresses": args.address}
    if args.invite:
        found = Gateway(args.config).ask("POST", "/users", body)
        _invited(args, found["invitation"], found)
        return
    password = _password(args.password_file)
    body["password"] = password
    ask = lambda gateway: gateway.ask("POST", "/users", body)  # noqa: E731
    if args.address:
        found = ask(Gateway(args.config))
    else:
        found = either(args, ask, offline.add_user, args.name, args.role, password, args.domain)
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


def _invited(args: argparse.Namespace, invitation: Any, found: Any) -> None:
    if args.json:
        say_json(found)
        return
    link = invitation["link"]
    # The gateway knows its address only where the configuration says it (admin.public_url).
    say(f"(the address of the admin pages){link}" if link.startswith("/") else link)


def user_invite(args: argparse.Namespace) -> None:
    """Print a link by which a user sets a password, once and within a day."""
    found = Gateway(args.config).ask("POST", f"/users/{quote(args.name, safe='')}/invitation", {})
    _invited(args, found, found)


def user_drop_totp(args: argparse.Namespace) -> None:
    """Take the one-time codes of a user away, who has lost them; its sessions end."""
    found = Gateway(args.config).ask("DELETE", f"/users/{quote(args.name, safe='')}/totp")
    _done(args, found, f"user {args.name} logs in without a one-time code")


def user_change(args: argparse.Namespace) -> None:
    """Give a user another role or other domains, or shut them out; its sessions end."""
    domains = [] if args.all_domains else args.domain or None
    addresses = [] if args.no_addresses else args.address or None
    if args.role is None and domains is None and args.is_disabled is None and addresses is None:
        known = "--role, --domain, --all-domains, --address, --no-addresses, --disable or --enable"
        raise Failed(f"say what is to be other: {known}", EXIT_USAGE)
    place = f"/users/{quote(args.name, safe='')}"
    body = {"role": args.role, "domains": domains, "is_disabled": args.is_disabled, "addresses": addresses}
    ask = lambda gateway: gateway.ask("PATCH", place, body)  # noqa: E731
    if addresses is not None:
        found = ask(Gateway(args.config))
    else:
        found = either(args, ask, offline.change_user, args.name, args.role, domains, args.is_disabled)
    _done(args, found, f"user {args.name} changed")


def user_password(args: argparse.Namespace) -> None:
    """Give a user another password; its sessions end."""
    password = _password(args.password_file)
    place = f"/users/{quote(args.name, safe='')}/password"
    ask = lambda gateway: gateway.ask("POST", place, {"password": password})  # noqa: E731
    found = either(args, ask, offline.set_password, args.name, password)
    _done(args, found, f"user {args.name} has another password")


def user_remove(args: argparse.Namespace) -> None:
    """Remove a user; its sessions end."""
    place = f"/users/{quote(args.name, safe='')}"
    found = either(args, lambda gateway: gateway.ask("DELETE", place), offline.remove_user, args.name)
    _done(args, found, f"user {args.name} removed")


def user_list(args: argparse.Namespace) -> None:
    """List the users."""
    found = either(args, lambda gateway: gateway.ask("GET", "/users"), offline.list_users)
    columns = (
        ("NAME", "name"),
        ("ROLE", "role"),
        ("DOMAINS", "domains"),
        ("ADDRESSES", "addresses"),
        ("DISABLED", "is_disabled"),
        ("CODES", "has_codes"),
        ("CREATED", "created"),
    )
    say_list(found, columns, args.json)


def token_add(args: argparse.Namespace) -> None:
    """Make a token and print it, this once."""
    grant = (args.role or "", args.scope, args.domain, args.network, args.days)
    try:
        checked = check_grant(args.name, *grant)
    except Invalid as error:
        raise Failed(str(error)) from None
    names = ("role", "scopes", "domains", "networks", "days")
    body = {"name": args.name, **dict(zip(names, grant, strict=True)), "role": args.role}
    found = either(args, lambda gateway: gateway.ask("POST", "/tokens", body), offline.add_token, args.name, checked)
    if args.json:
        say_json(found)
    else:
        say(found["token"])


def token_list(args: argparse.Namespace) -> None:
    """List the tokens in force."""
    found = either(args, lambda gateway: gateway.ask("GET", "/tokens"), offline.list_tokens)
    columns = (
        ("ID", "id"),
        ("NAME", "name"),
        ("ROLE", "role"),
        ("DOMAINS", "domains"),
        ("NETWORKS", "networks"),
        ("EXPIRES", "expires"),
        ("LAST_USED", "last_used"),
    )
    say_list(found, columns, args.json)


def token_revoke(args: argparse.Namespace) -> None:
    """Revoke a token at once."""
    place = f"/tokens/{quote(args.id, safe='')}"
    found = either(args, lambda gateway: gateway.ask("DELETE", place), offline.revoke_token, args.id)
    _done(args, found, f"token {args.id} revoked")


def session_list(args: argparse.Namespace) -> None:
    """List the logins of browsers."""
    found = Gateway(args.config).ask("GET", "/auth/sessions")
    columns = (("ID", "id"), ("USER", "user"), ("FROM", "address"), ("LOGIN", "login"), ("SEEN", "seen"))
    say_list(found, columns, args.json)


def session_end(args: argparse.Namespace) -> None:
    """End one login, or all of a user."""
    if bool(args.id) is bool(args.user):
        raise Failed("give the id of a session, or --user NAME", EXIT_USAGE)
    place = f"/users/{quote(args.user, safe='')}/sessions" if args.user else f"/auth/sessions/{quote(args.id, safe='')}"
    found = Gateway(args.config).ask("DELETE", place)
    _done(args, found, f"the sessions of {args.user} have ended" if args.user else f"session {args.id} has ended")


def either(args: argparse.Namespace, ask: Callable[[Gateway], Any], call: Callable[..., Any], *values: Any) -> Any:
    """Ask the running gateway; where none runs, open its state folder."""
    try:
        return ask(Gateway(args.config))
    except Unreachable as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        try:
            return call(state_dir(args.config), *values)
        except (offline.Refusal, Invalid, OSError) as refused:
            raise Failed(str(refused)) from None


def options(verbs: Any, verb: Any, group: Any, whole: Any) -> None:
    """The commands about who may come in."""
    users = group(verbs, "user", "Who can log in to the pages and the API: add, change, list, remove.")
    one = verb("add", user_add, users)
    one.add_argument("name", metavar="NAME")
    one.add_argument("--role", required=True, choices=tuple(ROLES), help="what it may do")
    _password_file(one)
    one.add_argument(
        "--invite", action="store_true", help="no password: print a link by which the user sets one, within a day"
    )
    _several(one, "--domain", "DOMAIN", "a domain that it is limited to; may be given again")
    _several(one, "--address", "ADDRESS", "an address whose held mail is theirs; while a gateway runs")
    one = verb("change", user_change, users)
    one.add_argument("name", metavar="NAME")
    one.add_argument("--role", choices=tuple(ROLES), help="what it may do")
    _several(one, "--domain", "DOMAIN", "a domain that it is limited to, in place of those before; may be given again")
    one.add_argument("--all-domains", action="store_true", help="it is limited to none")
    _several(one, "--address", "ADDRESS", "an address whose held mail is theirs, in place of those before")
    one.add_argument("--no-addresses", action="store_true", help="no held mail is theirs")
    state = one.add_mutually_exclusive_group()
    state.add_argument(
        "--disable", dest="is_disabled", action="store_const", const=True, help="it cannot log in, until --enable"
    )
    state.add_argument("--enable", dest="is_disabled", action="store_const", const=False, help="it can log in again")
    one = verb("password", user_password, users)
    one.add_argument("name", metavar="NAME")
    _password_file(one)
    verb("invite", user_invite, users).add_argument("name", metavar="NAME")
    verb("drop-totp", user_drop_totp, users).add_argument("name", metavar="NAME")
    verb("list", user_list, users)
    verb("remove", user_remove, users).add_argument("name", metavar="NAME")
    tokens = group(verbs, "token", "What programs log in with: add, list, revoke.")
    one = verb("add", token_add, tokens)
    one.add_argument("name", metavar="NAME", help="what it is for")
    one.add_argument("--role", choices=tuple(ROLES), help="what it may do")
    _several(
        one, "--scope", "SCOPE", "one thing that it may do, in place of a role; may be given again", choices=SCOPES
    )
    _several(one, "--domain", "DOMAIN", "a domain that it is limited to; may be given again")
    _several(one, "--network", "CIDR", "a network that it may be used from; may be given again")
    one.add_argument(
        "--days",
        type=whole(TOKEN_DAYS),
        default=TOKEN_DAYS_DEFAULT,
        metavar="N",
        help=f"how long it holds, at most {TOKEN_DAYS}; without it {TOKEN_DAYS_DEFAULT}",
    )
    verb("list", token_list, tokens)
    verb("revoke", token_revoke, tokens).add_argument("id", metavar="ID", help="as `token list` shows it")
    logins = group(verbs, "session", "Logins of browsers: list, end.")
    verb("list", session_list, logins)
    one = verb("end", session_end, logins)
    one.add_argument("id", metavar="ID", nargs="?", default="", help="as `session list` shows it")
    one.add_argument("--user", metavar="NAME", default="", help="all of this user, in place of one")


def _password_file(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file with the password; without it the terminal asks"
    )


def _several(one: argparse.ArgumentParser, option: str, metavar: str, words: str, **more: Any) -> None:
    one.add_argument(option, action="append", default=[], metavar=metavar, help=words, **more)
