"""Commands about the configuration: its revisions, what differs, another text put to work, confirmed and taken back."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from smtpgate.cli.gateway import Answered, Gateway
from smtpgate.cli.terminal import EXIT_CONFIG, Failed, complain, say, say_json, say_list, shown, tell_unaudited
from smtpgate.config.loader import ConfigErrors, read_text

_HISTORY = (("REVISION", "number"), ("ID", "id"), ("STATE", "state"), ("TIME", "time"), ("BY", "author"),
            ("CAME_BY", "way"), ("WHY", "message"))  # fmt: skip
_ABOUT: Final = (
    "The configuration and its revisions: show, history, diff, check, apply, confirm, rollback, export, import."
)


def show(args: argparse.Namespace) -> None:
    """Print the text that is at work, or that of a revision, with *** for each secret."""
    gateway = Gateway(args.config)
    number = args.revision or gateway.ask("GET", "/config")["number"]
    if args.origin:
        found = gateway.ask("GET", f"/config/revisions/{number}/blame")
        if args.json:
            say_json(found)
            return
        names = [f"{one['number']} {one['author']} {(one['time'] or '')[:10]}" for one in found["items"]]
        width = max(map(len, names), default=0)
        for name, one in zip(names, found["items"], strict=True):
            _line(f"{shown(name).ljust(width)}  {one['text']}")
        return
    found = gateway.ask("GET", f"/config/revisions/{number}")
    if args.json:
        say_json(found)
    else:
        _text(found["text"])


def _line(text: str) -> None:
    sys.stdout.write(shown(text.replace("\t", "    ")) + "\n")


def _text(text: str) -> None:
    """A text with its tabs and lines; whatever else could steer a terminal is escaped."""
    lines = ["\t".join(map(shown, line.split("\t"))) for line in text.split("\n")]
    sys.stdout.write("\n".join(lines) + ("" if text.endswith("\n") or not text else "\n"))


def history(args: argparse.Namespace) -> None:
    """The newest revisions, and whether the file differs from them."""
    found = Gateway(args.config).ask("GET", f"/config/revisions?limit={args.limit}")
    say_list(found, _HISTORY, args.json)
    if args.json:
        return
    if found["pending_seconds"]:
        complain(f"revision {found['active']} waits to be confirmed for {found['pending_seconds']:.0f} s more")
    if found["fallback"]:
        complain(f"begun on the last known good: {found['fallback']}")
    if found["is_drifted"]:
        complain("the file differs from what was last taken out of it: smtpgate config diff")


def diff(args: argparse.Namespace) -> None:
    """What differs: of the file to what is at work, of a revision to what is at work, or of one to another."""
    gateway = Gateway(args.config)
    if args.a is None:
        found = gateway.ask("GET", "/config/drift")
        if found["problem"]:
            raise Failed(found["problem"], EXIT_CONFIG)
    else:
        other = args.b or gateway.ask("GET", "/config")["number"]
        found = gateway.ask("GET", f"/config/diff?a={args.a}&b={other}")
    if args.json:
        say_json(found)
    else:
        _text(found["diff"])


def apply(args: argparse.Namespace) -> None:
    """Put a text to work, where revisions rule; where it has errors nothing changes."""
    gateway = Gateway(args.config)
    base = args.base or gateway.ask("GET", "/config")["number"]
    order = {"text": _read(args.file), "base": base, "message": args.message, "confirm_within": args.confirm}
    try:
        found = gateway.ask("POST", f"/config/apply{'?dry_run=1' if args.dry_run else ''}", order)
    except Answered as refused:
        _refused(refused, args.file)
        raise
    _done(args, found, "it could be put to work" if args.dry_run else _applied(gateway, args.confirm))


def _applied(gateway: Gateway, minutes: int) -> str:
    number = gateway.ask("GET", "/config")["number"]
    if not minutes:
        return f"revision {number} is at work"
    return f"revision {number} is at work for {minutes} min: keep it with smtpgate config confirm {number}"


def _refused(refused: Answered, file: Path) -> None:
    """Say more than the one line: each problem, or where the merged text is."""
    value = refused.value
    if refused.status == 422:
        for one in value.get("errors", ()):
            say(f"{file}: {one['message']}")
        raise Failed("the running configuration is unchanged", EXIT_CONFIG) from None
    if refused.status == 412 and "merged" in value:
        place = file.with_name(f"{file.name}.merged")
        try:
            # What was sent may have secrets.
            with open(place, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
                output.write(value["merged"])
        except OSError as error:
            raise Failed(f"{value['detail']}; the merged text cannot be written to {place}: {error.strerror}") from None
        say(f"both changes are in {place}" + ("" if value["is_clean"] else "; choose where it has marks"))
        raise Failed(f"look at it, then apply it with --base {value['current']}") from None


def _done(args: argparse.Namespace, found: Mapping[str, Any], words: str) -> None:
    tell_unaudited(found)
    if args.json:
        say_json(found)
    else:
        say(words)


def confirm(args: argparse.Namespace) -> None:
    """Keep a revision that waits to be confirmed."""
    found = Gateway(args.config).ask("POST", "/config/confirm", {"revision": args.revision})
    _done(args, found, f"revision {args.revision} stays")


def rollback(args: argparse.Namespace) -> None:
    """Put an older revision to work again, as a new one."""
    gateway = Gateway(args.config)
    order = {"revision": args.revision, "message": args.message, "confirm_within": args.confirm}
    _done(args, gateway.ask("POST", "/config/rollback", order), _applied(gateway, args.confirm))


def export(args: argparse.Namespace) -> None:
    """Write the text that is at work, or that of a revision, without its secrets."""
    gateway = Gateway(args.config)
    number = args.revision or gateway.ask("GET", "/config")["number"]
    octets = gateway.fetch(f"/config/export?revision={number}")
    if args.file is None:
        sys.stdout.write(octets.decode())
    else:
        try:
            with args.file.open("xb") as output:
                output.write(octets)
        except OSError as error:
            raise Failed(f"{args.file}: cannot be written: {error.strerror}") from None
    complain(f"this is revision {number}: apply what you make of it with --base {number}")


def take_over(args: argparse.Namespace) -> None:
    """Put the configuration file itself to work as a revision, where revisions rule and it differs."""
    gateway = Gateway(args.config)
    number = gateway.ask("GET", "/config")["number"]
    order = {"text": _read(args.config), "base": number, "message": args.message, "confirm_within": args.confirm}
    try:
        found = gateway.ask("POST", "/config/apply", order)
    except Answered as refused:
        _refused(refused, args.config)
        raise
    _done(args, found, _applied(gateway, args.confirm))


def _read(file: Path) -> str:
    try:
        return read_text(file)
    except ConfigErrors as errors:
        raise Failed(str(errors), EXIT_CONFIG) from None


def against_running(args: argparse.Namespace) -> None:
    """For `check-config --diff`: what the file would change of the gateway that runs."""
    found = Gateway(args.config or args.file).ask("POST", "/config/validate", {"text": _read(args.file)})
    for one in found["changes"]:
        say(f"{one['how']}: {one['key']} (line {one['line']})")
    for key in found["restart"]:
        say(f"holds only after a restart: {key}")
    if args.diff:
        _text(found["diff"])
    if not found["changes"] and not found["diff"]:
        say("it is what is at work")
    if not found["is_valid"]:
        raise Failed("the gateway would refuse it", EXIT_CONFIG)


def add(verbs: Any, verb: Any, whole: Any) -> None:
    """The options of all of them."""
    made = verbs.add_parser("config", help=_ABOUT, description=_ABOUT)
    inner = made.add_subparsers(required=True, metavar="ACTION")
    number = {"type": whole(10**9), "metavar": "N", "help": "number of a revision"}
    one = verb("show", show, inner)
    one.add_argument("revision", nargs="?", default=0, **number)
    one.add_argument("--origin", action="store_true", help="with the revision that brought each line, and its author")
    verb("history", history, inner).add_argument(
        "--limit", type=whole(500), default=50, metavar="N", help="how many, at most 500; without it 50"
    )
    one = verb("diff", diff, inner)
    one.add_argument("a", nargs="?", **number)
    one.add_argument("b", nargs="?", default=0, **number)
    one = verb("apply", apply, inner)
    one.add_argument("file", type=Path, metavar="FILE", help="the text")
    one.add_argument(
        "--base", default=0, **{**number, "help": "the revision that it was made of; without it the one at work"}
    )
    one.add_argument("--dry-run", action="store_true", help="check it all and do nothing")
    _reason(one, whole, "", True)
    verb("confirm", confirm, inner).add_argument("revision", **number)
    one = verb("rollback", rollback, inner)
    one.add_argument("revision", **number)
    _reason(one, whole, "", False)
    one = verb("export", export, inner)
    one.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a new file; without it, printed")
    one.add_argument("--revision", default=0, **number)
    _reason(verb("import", take_over, inner), whole, "taken over from the file", False)


def _reason(one: Any, whole: Any, default: str, is_needed: bool) -> None:
    one.add_argument("--message", "-m", required=is_needed, default=default, metavar="TEXT", help="why; kept with it")
    one.add_argument(
        "--confirm", type=whole(60), default=0, metavar="MINUTES", help="take it back unless it is confirmed within"
    )


def check_options(one: Any) -> None:
    """The options of check-config."""
    one.add_argument("file", type=Path, metavar="FILE")
    one.add_argument("--strict", action="store_true", help="warnings are errors too")
    one.add_argument(
        "--against-running",
        action="store_true",
        help="which keys it would change of the gateway that runs: --config names its file",
    )
    one.add_argument("--diff", action="store_true", help="the same, and the lines that differ")
