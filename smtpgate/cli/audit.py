"""The audit at a terminal: by the running gateway; its chain is looked at where none runs, too."""

from __future__ import annotations

import argparse
import sys
from typing import Any
from urllib.parse import urlencode

from smtpgate.cli import offline
from smtpgate.cli.access import either
from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import EXIT_REFUSED, Failed, say, say_json, say_list

_FILTERS = ("actor", "kind", "action", "target", "result", "source", "time_from", "time_to", "q")


def audit_list(args: argparse.Namespace) -> None:
    """List what was done, the newest first."""
    found = Gateway(args.config).ask("GET", f"/audit?{urlencode({'limit': args.limit, **_filters(args)})}")
    rows = [{**one, "who": f"{one['actor_kind']} {one['actor']}"} for one in found["items"]]
    columns = (
        ("SEQ", "seq"),
        ("TIME", "time"),
        ("WHO", "who"),
        ("FROM", "source"),
        ("ACTION", "action"),
        ("TARGET", "target"),
        ("RESULT", "result"),
        ("DETAIL", "detail"),
    )
    say_list(found if args.json else {**found, "items": rows}, columns, args.json)


def _filters(args: argparse.Namespace) -> dict[str, str]:
    return {name: getattr(args, name) for name in _FILTERS if getattr(args, name)}


def audit_verify(args: argparse.Namespace) -> None:
    """Look at the whole chain; exit code 1 where it is not as it was written."""
    found = either(args, lambda gateway: gateway.ask("GET", "/audit/verify"), offline.verify_audit)
    if args.json:
        say_json(found)
    else:
        for step in found["clock_steps"]:
            say(f"the clock was set back by {step['seconds']:g} s before row {step['seq']}")
        if found["is_intact"]:
            say(f"the audit is whole: {found['rows']} rows")
    if not found["is_intact"]:
        raise Failed(f"the audit is not as it was written: {found['reason']}", EXIT_REFUSED)


def audit_export(args: argparse.Namespace) -> None:
    """Write the audit to the standard output, the newest first."""
    gateway = Gateway(args.config)
    cursor: str | None = ""
    while cursor is not None:
        query = {"format": args.format, **({"cursor": cursor} if cursor else {}), **_filters(args)}
        octets, headers = gateway.fetch_with_headers(f"/audit/export?{urlencode(query)}")
        if args.format == "csv" and cursor:
            octets = octets.partition(b"\r\n")[2]
        # What steers a terminal is escaped in both forms (`admin.api_audit`).
        sys.stdout.write(octets.decode("utf-8"))
        cursor = headers.get("X-Next-Cursor")
    sys.stdout.flush()


def options(verbs: Any, verb: Any, group: Any, whole: Any) -> None:
    """The commands about the audit."""
    audit = group(verbs, "audit", "Who did what: list, verify, export.")
    listed, exported = verb("list", audit_list, audit), verb("export", audit_export, audit)
    verb("verify", audit_verify, audit)
    listed.add_argument(
        "--limit", type=whole(500), default=50, metavar="N", help="how many to list, at most 500; without it 50"
    )
    exported.add_argument(
        "--format", choices=("jsonl", "csv"), default="jsonl", help="lines of JSON, or CSV; without it jsonl"
    )
    for one in (listed, exported):
        one.add_argument("--actor", metavar="NAME", help="who")
        one.add_argument("--kind", choices=("user", "token", "cli", "link", "system"), help="which kind of actor")
        one.add_argument("--action", metavar="WORD", help="what: a whole action, or what stands before its dot")
        one.add_argument("--target", metavar="TEXT", help="a part of what it was done to")
        one.add_argument("--result", choices=("ok", "denied", "failed"), help="how it ended")
        one.add_argument("--source", metavar="IP", help="where it came from")
        one.add_argument("--from", dest="time_from", metavar="TIME", help="not before: 2026-11-27T12:00:00Z, or a day")
        one.add_argument("--to", dest="time_to", metavar="TIME", help="before: the same")
        one.add_argument("--text", dest="q", metavar="TEXT", help="a part of who, target or detail")
