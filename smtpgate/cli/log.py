"""The log of the running gateway, as it grows."""

from __future__ import annotations

import argparse
import json
import sys
import time
from urllib.parse import urlencode

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import complain, say

#: The gateway is asked so often, and for so many lines at a time.
EVERY_S, LINES = 1.0, 500


def tail(args: argparse.Namespace) -> None:
    """Follow the log: its newest lines, and what comes after them, until it is interrupted."""
    gateway, after, limit = Gateway(args.config), 0, args.lines
    while True:
        query = {"after": after, "limit": limit, "filter": " ".join(args.filter), "level": args.level}
        found = gateway.ask("GET", f"/logs?{urlencode({name: value for name, value in query.items() if value})}")
        if after and found["left_out"]:
            complain(f"{found['left_out']} lines are left out")
        for line in found["items"]:
            if args.json:
                sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
            else:
                say(line["text"])
        sys.stdout.flush()
        if args.once:
            return
        after, limit = found["last"], LINES
        try:
            time.sleep(EVERY_S)
        except KeyboardInterrupt:
            return
