"""Commands about policy: which rules there are, and how often each was true."""

from __future__ import annotations

import argparse

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import say_list

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
