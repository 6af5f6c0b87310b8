"""Commands about traffic: who has what, what limits are near, who is kept out, what is known of a sender."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import Failed, say, say_json, say_list, table, tell_unaudited

CLASSES = ("trusted", "known", "unknown", "suspect")


def traffic(args: argparse.Namespace) -> None:
    """Whose mail goes first: the pressure, and what each class has of sessions, slots and memory."""
    view = Gateway(args.config).ask("GET", "/traffic")
    if args.json:
        say_json(view)
        return
    pressure = view["pressure"]
    because = f", because of {pressure['reason']}" if pressure["reason"] else ""
    mode = "" if pressure["mode"] == "enforce" else f" (mode {pressure['mode']})"
    say(f"pressure {pressure['name']}{because}{mode}")
    for name, what in pressure["sheds"].items():
        say(f"  {name}: {', '.join(what)}")
    rows = []
    for one in view["resources"]:
        is_memory = one["kind"] == "memory"
        unit = 2**20 if is_memory else 1
        cells = [f"{sum(one['used'].values()) // unit}/{one['capacity'] // unit}"]
        for name in CLASSES:
            used, promised, waiting = (one[what][name] for what in ("used", "promised", "waiting"))
            cells.append(f"{used // unit}/{promised // unit}{f' +{waiting}' if waiting else ''}")
        rows.append(["memory (MiB)" if is_memory else f"{one['kind']} {one['name']}".strip(), *cells])
    table(["OF", "IN_USE", *(name.upper() for name in CLASSES)], rows)
    say(f"{view['paced']} replies wait, {view['bans']} bans hold, {view['senders']} senders are remembered")


def limits(args: argparse.Namespace) -> None:
    """Rate and concurrency limits, and the keys that are nearest to each."""
    found = Gateway(args.config).ask("GET", "/limits")
    if args.json:
        say_json(found)
        return
    for view in found["items"]:
        about = f"; {view['about']}" if view["about"] else ""
        mode = "" if view["mode"] == "enforce" else f" ({view['mode']})"
        say(f"{view['name']}: {view['count']} by {', '.join(view['by'])}: {view['allows']}{about}{mode}")
        met = ", ".join(f"{number} {word}" for word, number in view["met"].items()) or "never met"
        say(f"  {view['keys']} keys, {met}")
        for key in view["fullest"]:
            room = f"room in {key['wait_s']:.0f} s" if key["wait_s"] else "room now"
            say(f"  {key['part'] * 100:4.0f} %  {key['key']}, {room}")
    if not found["items"]:
        say("none")


def simulate(args: argparse.Namespace) -> None:
    """What a limit would have done to the mail of the last hours; nothing is changed."""
    body: dict[str, Any] = {"hours": args.hours}
    if args.file is not None:
        try:
            body["text"] = args.file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise Failed(f"{args.file}: cannot be read: {error}") from None
    else:
        body["name"] = args.name
    found = Gateway(args.config).ask("POST", "/limits/simulate", body)
    if args.json:
        say_json(found)
        return
    if not found["sessions"]:
        say("there is no history of that time")
        return
    cut = "; there is more history than is played at once" if found["is_cut"] else ""
    say(f"{found['since']} to {found['until']}: {found['sessions']} sessions, {found['messages']} messages{cut}")
    classes = ", ".join(f"{name} {number}" for name, number in found["by_class"].items())
    say(f"told to come back {found['held']} of {found['asked']} times{f' ({classes})' if classes else ''}")
    say(f"  of these had been delivered: {found['held_delivered']}")
    say(f"reply made to wait {found['paced']} times, {found['paced_s']:.1f} s in all")
    if found["leaves_out"]:
        say("the history has no connections that did nothing, which this limit counts too: it would be met more often")
    if found["keys"]:
        table(["WHOSE", "HELD", "PACED"], [[one["key"], one["held"], one["paced"]] for one in found["keys"]])
    for reference in found["examples"]:
        say(f"  {reference}")


def free(args: argparse.Namespace) -> None:
    """Forget what one key has used of a rate limit: it may send at once."""
    place = f"/limits/{quote(args.limit, safe='')}/free"
    _done(args, "POST", place, {"key": args.key}, f"{args.limit}: {args.key} is free")


_BANS = (("WHOM", "key"), ("UNTIL", "until"), ("REASON", "reason"), ("EVIDENCE", "evidence"), ("BY", "by"),
         ("TIMES", "times"), ("KEPT_OUT", "is_held"))  # fmt: skip


def bans(args: argparse.Namespace) -> None:
    """Who may not come in: why, on what evidence, until when."""
    say_list(Gateway(args.config).ask("GET", f"/bans?limit={args.limit}"), _BANS, args.json)


def ban(args: argparse.Namespace) -> None:
    """Keep an address or a network out for a while."""
    body = {"key": args.key, "reason": args.reason, "minutes": args.minutes}
    _done(args, "POST", "/bans", body, f"{args.key} is banned for {args.minutes} minutes")


def unban(args: argparse.Namespace) -> None:
    """Let a banned address or network in again."""
    _done(args, "DELETE", f"/bans/{quote(args.key, safe='')}", None, f"{args.key} may come in again")


def sender(args: argparse.Namespace) -> None:
    """What is known of an address, a host's name, a domain or a mailbox: class, reputation, bans, limits."""
    view = Gateway(args.config).ask("GET", f"/senders/known?asked={quote(args.who, safe='')}")
    if args.json:
        say_json(view)
        return
    if view["traffic_class"]:
        never = "; never banned" if view["is_exempt"] else ""
        say(f"class {view['traffic_class']}: {view['class_reason']}{never}")
    if view["is_correspondent"]:
        say("our users write there")
    for one in view["bans"]:
        held = "" if one["is_held"] else " (but not kept out)"
        say(f"{one['key']} is banned{held} until {one['until']}: {one['reason']} ({one['evidence']}), by {one['by']}")
    for one in view["limits"]:
        say(f"limit {one['limit']}: {one['state']['part'] * 100:.0f} % in use")
    for one in view["records"]:
        lines = ", ".join(f"{reason} {points:.1f}" for reason, points in one["lines"])
        word = one["standing"] or "too little to say"
        say(f"{one['key']}: {word}, {one['bad']:.1f} bad of {one['sample']:.1f} points ({lines})")
    if not (view["traffic_class"] or view["is_correspondent"] or view["bans"] or view["limits"] or view["records"]):
        say("nothing is known of it")


def forget(args: argparse.Namespace) -> None:
    """Forget what is known of a sender: an address, or a key as `sender` shows it, as "dkim example.org"."""
    _done(args, "POST", "/senders/forget", {"key": args.key}, f"{args.key}: forgotten")


def _done(args: argparse.Namespace, method: str, place: str, body: dict[str, Any] | None, words: str) -> None:
    found = Gateway(args.config).ask(method, place, body)
    tell_unaudited(found)
    if args.json:
        say_json(found)
    else:
        say(words)
