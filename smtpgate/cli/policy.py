"""Commands about policy: which rules there are, how often each was true, and how TLS to the world fares."""

from __future__ import annotations

import argparse

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import say_json, say_list

_COLUMNS = (
    ("NAME", "name"),
    ("ACTION", "action"),
    ("MODE", "mode"),
    ("JUDGED_AT", "step"),
    ("HITS", "hits"),
    ("LAST_HIT", "last_hit"),
    ("OWNER", "owner"),
)


def rules(args: argparse.Namespace) -> None:
    """The rules in their order, and of how many messages each was true since the start."""
    say_list(Gateway(args.config).ask("GET", "/rules"), _COLUMNS, args.json)


_REPORTS = (("DOMAIN", "domain"), ("SUCCESSES", "successes"), ("FAILURES", "failures"), ("WANTED_AT", "wanted_at"))


def tls_report(args: argparse.Namespace) -> None:
    """How TLS to the servers of each domain fared on a day; with --json the reports as RFC 8460 has them."""
    found = Gateway(args.config).ask("GET", f"/tls-reports?date={args.date or ''}")
    if args.json:
        say_json([one["report"] for one in found["items"]])
        return
    for one in found["items"]:
        one["wanted_at"] = " ".join(one["wanted_at"])
    say_list(found, _REPORTS, False)
