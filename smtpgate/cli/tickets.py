"""Commands about tickets: refusals that their senders may do something about."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import say, say_json, say_list, tell_unaudited
from smtpgate.policy.ticket import STATES

_TICKETS = (("REFERENCE", "message"), ("AT", "at"), ("STATE", "state"), ("RULE", "rule"), ("FROM", "sender"),
            ("TO", "recipients"), ("REASON", "reason"), ("BY", "decided_by"))  # fmt: skip


def tickets(args: argparse.Namespace) -> None:
    """Refusals with a link: who asks for what to pass, and what was decided."""
    state = f"&state={args.state}" if args.state else ""
    say_list(Gateway(args.config).ask("GET", f"/tickets?limit={args.limit}{state}"), _TICKETS, args.json)


def grant(args: argparse.Namespace) -> None:
    """Let a refused message pass once, when it is sent again."""
    _decide(args, "grant", "may pass once, when it is sent again")


def deny(args: argparse.Namespace) -> None:
    """Say no to who asks for a refused message to pass."""
    _decide(args, "deny", "may not pass")


def _decide(args: argparse.Namespace, verb: str, words: str) -> None:
    found = Gateway(args.config).ask("POST", f"/tickets/{quote(args.reference, safe='')}/{verb}", {})
    tell_unaudited(found)
    if args.json:
        say_json(found)
    else:
        say(f"{args.reference} {words}")


def add(verbs: Any, verb: Any, whole: Any) -> None:
    """The options of all of them."""
    words = "Refusals that their senders may do something about: list, grant, deny."
    actions = verbs.add_parser("ticket", help=words, description=words).add_subparsers(required=True, metavar="ACTION")
    one = verb("list", tickets, actions)
    one.add_argument("--state", default="", choices=STATES, help="only this state")
    one.add_argument("--limit", type=whole(500), default=50, metavar="N", help="at most 500; without it 50")
    for name, run in (("grant", grant), ("deny", deny)):
        verb(name, run, actions).add_argument("reference", metavar="REFERENCE", help="as `ticket list` shows it")
