"""`make restarts`: restarts and reloads under steady load, with sockets that a service manager holds.

Prints the figures; ends with 1 where a message was lost or came twice, a connect was refused, a reload
was not put to work, or the log tells of a fault.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.restarts import trial


def main() -> None:
    """Twenty restarts and fifty reloads, unless others are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--per-second", type=float, default=100.0, help="messages that are due in a second")
    parser.add_argument("--connections", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smtpgate-") as folder:
        seen = trial(
            Path(folder),
            args.restarts,
            args.reloads,
            per_second=args.per_second,
            connections=args.connections,
            told=lambda line: print(line, flush=True),
        )
    for line in seen.lines():
        print(line)
    sys.exit(0 if seen.is_good else 1)


if __name__ == "__main__":
    main()
