"""Commands about held mail and the outbox."""

from __future__ import annotations

import argparse
import sys
from typing import Any
from urllib.parse import quote, urlencode

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import Failed, complain, say, say_json, say_list, tell_unaudited

_HELD = (("ID", "id"), ("AT", "at"), ("CLASS", "held_as"), ("STATE", "state"), ("FROM", "sender"), ("TO", "whom"),
         ("SUBJECT", "subject"), ("BY", "by"))  # fmt: skip
_LETTERS = (("ID", "id"), ("KIND", "kind"), ("STATE", "state"), ("TO", "whom"), ("TRIES", "tries"), ("DUE", "due"),
            ("TOLD", "told"))  # fmt: skip


def held(args: argparse.Namespace) -> None:
    """Held mail, the newest first, and how much there is of each class."""
    asked = {"limit": str(args.limit)}
    for name in ("held_as", "state", "recipient", "sender", "subject"):
        if getattr(args, name):
            asked[name] = getattr(args, name)
    if args.asked:
        asked["asked"] = "yes"
    found = Gateway(args.config).ask("GET", f"/quarantine?{urlencode(asked)}")
    if args.json:
        say_json(found)
        return
    for one in found["items"]:
        one["whom"] = [who["address"] for who in one["recipients"]]
        one["by"] = f"{one['filter']}: {one['reason']}"
    say_list(found, _HELD, False)
    totals = [f"{one['count']} {one['held_as']} {one['state']}, {one['octets'] >> 10} KiB" for one in found["totals"]]
    if totals:
        say(f"in all: {'; '.join(totals)}")
    if found["has_more"]:
        complain(f"{len(found['items'])} of {found['total']}; see --limit")


def show(args: argparse.Namespace) -> None:
    """One held message: why, for whom, until when."""
    one = Gateway(args.config).ask("GET", f"/quarantine/{quote(args.id, safe='')}")
    if args.json:
        say_json(one)
        return
    say(f"{one['id']}: {one['state']}, class {one['held_as']}, since {one['at']}, until {one['expires']}")
    say(f"  from {one['sender'] or '<>'} ({one['author']}), client {one['client_ip']} at {one['listener']}")
    say(f"  subject {one['subject']!r}, {one['octets']} octets, SHA-256 {one['digest']}")
    say(f"  by {one['filter']}: {one['reason']}{': ' + one['detail'] if one['detail'] else ''}")
    for who in one["recipients"]:
        say(f"  to {who['address']}: {who['state']}{' (' + who['reply'] + ')' if who['reply'] else ''}")
    if one["asked"]:
        say(f"  {one['asked_by']} asked for it at {one['asked']}")
    say(f"  reference {one['message']}")


def content(args: argparse.Namespace) -> None:
    """The octets of a held message, to the standard output. Who reads them is in the audit."""
    asked = {"sealed": "no", **({"reason": args.reason} if args.reason else {})}
    octets = Gateway(args.config).fetch(f"/quarantine/{quote(args.id, safe='')}/content?{urlencode(asked)}")
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()


def release(args: argparse.Namespace) -> None:
    """Deliver held mail to those for whom it waits."""
    if args.recipient and len(args.id) != 1:
        raise Failed("--recipient is for one message")
    if len(args.id) == 1:
        body: dict[str, Any] = {"again": args.again}
        if args.recipient:
            body["recipients"] = args.recipient
        _tell(args, Gateway(args.config).ask("POST", f"/quarantine/{quote(args.id[0], safe='')}/release", body))
    elif args.again:
        raise Failed("--again is for one message")
    else:
        _many(args, "release")


def delete(args: argparse.Namespace) -> None:
    """Delete held mail."""
    _many(args, "delete")


def deny(args: argparse.Namespace) -> None:
    """Say no to those who asked for held mail; it stays held."""
    _many(args, "deny")


def _many(args: argparse.Namespace, action: str) -> None:
    _tell(args, Gateway(args.config).ask("POST", "/quarantine", {"action": action, "ids": args.id}))


def _tell(args: argparse.Namespace, found: Any) -> None:
    tell_unaudited(found)
    if args.json:
        say_json(found)
        return
    for one in found["items"]:
        say(f"{one['id']}: {'done' if one['done'] else 'nothing to do: ' + one['why']}")
    if not any(one["done"] for one in found["items"]):
        raise Failed("nothing was done")


def forward(args: argparse.Namespace) -> None:
    """Send a held message as it came to somebody else; it stays held."""
    found = Gateway(args.config).ask("POST", f"/quarantine/{quote(args.id, safe='')}/forward", {"to": args.to})
    _said(args, found, f"{args.id} goes to {', '.join(args.to)}")


def outbox(args: argparse.Namespace) -> None:
    """What the gateway has still to deliver by itself: releases, redirected mail, copies, reports."""
    found = Gateway(args.config).ask("GET", f"/outbox?limit={args.limit}")
    if not args.json:
        for one in found["items"]:
            one["whom"] = [f"{who['address']} ({who['state']})" for who in one["recipients"]]
    say_list(found, _LETTERS, args.json)


def try_letter(args: argparse.Namespace) -> None:
    """Try a letter now."""
    _said(args, Gateway(args.config).ask("POST", f"/outbox/{quote(args.id, safe='')}/try", {}), f"{args.id} is tried")


def cancel(args: argparse.Namespace) -> None:
    """Take a letter back; a release is held again."""
    found = Gateway(args.config).ask("POST", f"/outbox/{quote(args.id, safe='')}/cancel", {})
    _said(args, found, f"{args.id} is taken back")


def _said(args: argparse.Namespace, found: Any, words: str) -> None:
    tell_unaudited(found)
    if args.json:
        say_json(found)
    else:
        say(words)
