"""Commands about sessions that somebody attends to: slow one down, write down what an address says, read it."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import say, say_json, say_list, tell_unaudited

_TRACES = (("ADDRESS", "address"), ("UNTIL", "until"), ("ON", "is_on"), ("BY", "by"), ("REASON", "reason"),
           ("SESSIONS", "sessions"))  # fmt: skip


def add(verb: Any, whole: Any) -> None:
    """Their parsers."""
    one = verb("trace", trace)
    one.add_argument("address", nargs="?", default="", metavar="IP", help="whose; without it those that are traced")
    one.add_argument("--minutes", type=whole(15), default=15, metavar="N", help="how long; without it 15")
    one.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the audit")
    one.add_argument("--end", action="store_true", help="listen no more, and forget what was heard")
    verb("transcript", transcript).add_argument("id", metavar="ID", help="reference id of a session or a message")
    one = verb("tarpit", tarpit)
    one.add_argument("id", metavar="ID", help="a session, as `sessions` lists it")
    one.add_argument("--seconds", type=whole(30), default=10, metavar="S", help="before each reply; without it 10")
    one.add_argument("--minutes", type=whole(60), default=10, metavar="N", help="how long; without it 10")


def trace(args: argparse.Namespace) -> None:
    """Write down commands and replies of the sessions that an address begins from now on: no logins, no content."""
    gateway = Gateway(args.config)
    if not args.address:
        say_list(gateway.ask("GET", "/traces"), _TRACES, args.json)
        return
    if args.end:
        _done(args, gateway.ask("DELETE", f"/traces/{quote(args.address, safe='')}"), f"{args.address}: forgotten")
        return
    body = {"address": args.address, "minutes": args.minutes, "reason": args.reason}
    _done(args, gateway.ask("POST", "/traces", body), f"{args.address} is listened to for {args.minutes} minutes")


def transcript(args: argparse.Namespace) -> None:
    """What was said in a session: every line where its address was traced, else as far as its record has it."""
    found = Gateway(args.config).ask("GET", f"/sessions/{quote(args.id.strip(), safe='')}/transcript")
    if args.json:
        say_json(found)
        return
    for line in found["items"]:
        say(f"{line['at_ms']:10.1f} ms  {line['who']:8} {line['text']}")
    if found["left_out"]:
        say(f"{found['left_out']} more were not kept")


def tarpit(args: argparse.Namespace) -> None:
    """Hold each reply of a live session back, for a while; its messages are taken as before."""
    body = {"seconds": float(args.seconds), "minutes": args.minutes}
    found = Gateway(args.config).ask("POST", f"/sessions/{quote(args.id.strip(), safe='')}/tarpit", body)
    _done(args, found, f"{args.id}: {args.seconds} s before each reply, for {args.minutes} minutes")


def _done(args: argparse.Namespace, found: Any, words: str) -> None:
    tell_unaudited(found)
    if args.json:
        say_json(found)
    else:
        say(words)
