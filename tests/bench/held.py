"""How long a list of held mail takes, over a million rows: `python -m tests.bench.held [rows]`.

Rows are written as the vault writes them; what is timed is what the page asks for: the messages that fit, how many they
are, and the totals. Each figure is the longest of five, so that nothing is cached by luck alone.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smtpgate.policy.held import CLASSES, Addressee, Held
from smtpgate.state import vault_rows as rows
from smtpgate.state.database import Database

ROWS = 1_000_000
ROUNDS = 5
#: Written at a time.
BATCH = 5000
_STATES = ("held",) * 8 + ("released", "refused")


def make(number: int, begun: float) -> Held:
    """One of them."""
    at = begun + number * 2.0
    who = number % 5000
    return Held(
        id=rows.fresh_id(at),
        at=at,
        expires=at + 30 * 86400,
        held_as=CLASSES[number % 5],
        message=f"01K8FEKHS62Q808T53AJ{number:06d}.1",
        listener="mx",
        direction="in",
        client_ip=f"192.0.{number % 256}.{number % 251}",
        sender=f"sender{number % 20000}@example{number % 700}.org",
        recipients=(Addressee(f"user{who}@example.net", state=_STATES[number % 10]), Addressee("all@example.net")),
        subject=f"Message {number} about invoices and parcels",
        author=f"Sender {number % 20000} <sender{number % 20000}@example{number % 700}.org>",
        message_id=f"<{number}@example.org>",
        filter="rules",
        reason=f"rule-{number % 40}",
        detail=f"rule rule-{number % 40}, of security@example.net",
        octets=4000 + number % 60000,
        digest="0" * 64,
        body=rows.fresh_id(at),
        key=f"{number:040x}/rules/rule-{number % 40}",
        facts={"listener": "mx", "role": "mx", "client_ip": "192.0.2.7", "helo": "mail.example.org", "params": {}},
    )


QUESTIONS: Mapping[str, Mapping[str, Any]] = {
    "the newest": {},
    "of one class": {"held_as": "phishing"},
    "of one state": {"state": "refused"},
    "of one recipient": {"recipient": "user4711@example.net"},
    "of a recipient of all": {"recipient": "all@example.net"},
    "of a class and a state": {"held_as": "spam", "state": "held"},
    "part of a sender": {"sender": "sender1999@"},
    "part of a subject that none has": {"subject": "nothing like it"},
}


def main() -> None:
    """Fill, then ask."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    folder = Path(tempfile.mkdtemp(prefix="smtpgate-held-"))
    try:
        database = Database(folder / "held.sqlite")
        database.open()
        begun = time.time() - count * 2.0
        for first in range(0, count, BATCH):
            database.now(rows.keep, [make(number, begun) for number in range(first, min(first + BATCH, count))], [])
        print(f"{count} rows, {(folder / 'held.sqlite').stat().st_size >> 20} MiB")
        for name, wanted in QUESTIONS.items():
            longest = {"list": 0.0, "count": 0.0}
            for _ in range(ROUNDS):
                for what, ask in (
                    ("list", lambda wanted=wanted: database.look_now(rows.search, wanted, 51, "")),
                    ("count", lambda wanted=wanted: database.look_now(rows.count, wanted)),
                ):
                    began = time.perf_counter()
                    ask()
                    longest[what] = max(longest[what], time.perf_counter() - began)
            print(f"{name:34} list {longest['list'] * 1000:7.1f} ms   count {longest['count'] * 1000:7.1f} ms")
        began = time.perf_counter()
        database.look_now(rows.totals)
        print(f"{'totals':34} {(time.perf_counter() - began) * 1000:.1f} ms")
        database.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
