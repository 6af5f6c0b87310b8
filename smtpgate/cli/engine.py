"""Commands about the engine room: one filter as it runs and stands, another mode for a while, plugins."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from smtpgate.cli import attend
from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import EXIT_USAGE, Failed, say, say_json, say_list

MORE = (
    "With --mode or --timeout it runs so for --minutes, for sessions that begin from then on, over reloads and "
    "restarts; --as-configured ends that. Shadow: what it finds is recorded and decides nothing."
)
_PLUGINS = (("PLUGIN", "name"), ("VERSION", "version"), ("BUILT_IN", "is_builtin"), ("STAGES", "stages"),
            ("FILTERS", "filters"), ("CATEGORY", "category"))  # fmt: skip


def add(verb: Any, whole: Any) -> None:
    """Their parsers."""
    one = verb("filter", one_filter)
    one.epilog = MORE
    one.add_argument("name", metavar="NAME", help="as `filters` lists it")
    one.add_argument("--mode", choices=("enforce", "shadow", "off"), default="", help="how it is to run for a while")
    one.add_argument("--timeout", type=float, default=0.0, metavar="S", help="longest that one call may take, seconds")
    one.add_argument("--minutes", type=whole(1440), default=60, metavar="N", help="how long; without it 60")
    one.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the audit, and shown beside it")
    one.add_argument("--as-configured", action="store_true", help="end what was said of it")
    verb("plugins", plugins)
    attend.add(verb, whole)


def one_filter(args: argparse.Namespace) -> None:
    """One filter of the running gateway: how it runs and stands; or let it run otherwise for a while."""
    place = f"/filters/{quote(args.name, safe='')}"
    if args.as_configured:
        if args.mode or args.timeout:
            raise Failed("--as-configured ends what was said: leave --mode and --timeout out", EXIT_USAGE)
        _done(args, "DELETE", f"{place}/override", None, f"{args.name} runs as configured")
    elif args.mode or args.timeout:
        if not args.reason:
            raise Failed("say why with --reason", EXIT_USAGE)
        body: dict[str, Any] = {"reason": args.reason, "minutes": args.minutes}
        body.update({"mode": args.mode} if args.mode else {})
        body.update({"timeout_s": args.timeout} if args.timeout else {})
        _done(args, "PATCH", place, body, f"{args.name} runs so for {args.minutes} minutes")
    else:
        _show(args, Gateway(args.config).ask("GET", place))


def _done(args: argparse.Namespace, method: str, place: str, body: Any, words: str) -> None:
    found = Gateway(args.config).ask(method, place, body)
    if args.json:
        say_json(found)
    else:
        say(words)


def _show(args: argparse.Namespace, found: dict[str, Any]) -> None:
    if args.json:
        say_json(found)
        return
    say(f"{found['name']}: {found['mode']}, {found['budget_s']:g} s for a call, on failure {found['on_error']}")
    if found["tuning"] is not None:
        one = found["tuning"]
        say(f"not as configured ({found['own_mode']}, {found['own_budget_s']:g} s) until {one['until']}, "
            f"by {one['by']}: {one['reason']}")  # fmt: skip
    for server in found["servers"]:
        left = f", again in {server['retry_s']:g} s" if server["retry_s"] else ""
        say(f"  {server['endpoint']}: {server['state']}, {server['failures']} failures in a row{left}")
    if found["signatures"]:
        say(f"signatures of {found['signatures']}")
    if found["trouble"]:
        say(f"asked for their age: {found['trouble']}")
    failed = ", ".join(f"{count} at {where}" for where, count in found["errors"].items())
    say(f"failures since the start: {failed or 'none'}; {found['fail_open']} messages went on unchecked")


def plugins(args: argparse.Namespace) -> None:
    """Plugins that the running gateway has, those that are used first."""
    found = Gateway(args.config).ask("GET", "/plugins")
    if not args.json:
        for one in found["items"]:
            one["filters"] = [f"{use['name']} ({use['mode']})" for use in one["used_as"]]
    say_list(found, _PLUGINS, args.json)
    for one in found["failed"] if not args.json else ():
        say(f"{one['module']} cannot be used: {one['reason']}")
