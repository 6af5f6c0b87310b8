"""What limits cost with ten thousand keys and with a million, and what memory they take: `python -m tests.bench.keys`.

Messages of senders that are all different go through the limits alone; the same number of them is timed with few keys
known and with many, and the difference is held against what a whole message costs in the engine, without sockets. A
table a hundred times as large is looked up as often, but no longer lies in the processor's cache. Memory is what the
process has more when the keys are all there.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable

from twisted.internet.task import Clock

from smtpgate.config.loader import loads
from smtpgate.net.allocator import resident_octets
from smtpgate.policy.transaction import Recipient, Session, Transaction
from smtpgate.proxy.limit_memory import Limiter
from smtpgate.proxy.limiter import Limits
from smtpgate.smtp.address import Path
from smtpgate.testing import Gateway

CONFIG = """
hostname = "gate.example.com"
local_domains = ["example.net"]
[limits]
rate_keys = {keys}
[listeners.mx]
listen = ["tcp:0:interface=127.0.0.1"]
tls = "off"
[backends.mail]
servers = ["127.0.0.1:1"]
tls = "off"
[[routes]]
backend = "mail"
[[rate_limits]]
name = "per-sender"
count = "messages"
by = ["sender"]
rate = "1000/1d"
[[rate_limits]]
name = "recipients-per-sender"
count = "recipients"
by = ["sender"]
rate = "1000/1d"
"""
FEW, MANY = 10_000, 1_000_000
MESSAGES, ROUNDS = 20_000, 7
#: Most that a message may cost more with many keys, as a part of what it costs in the engine; and octets of a key.
MOST, OCTETS = 0.03, 400


def fill(limiter: Limiter, keys: int) -> list[str]:
    """Stamps of so many senders in each limit; their addresses."""
    names = [f"user{number}@d{number % 997}.example" for number in range(keys)]
    for stamps in limiter.stamps.values():
        for number, name in enumerate(names):
            stamps.put(name, 3600.0 + number % 1000, 0.0)
        while stamps.changed(0.0, 5.0, 5000):
            pass
    return names


def rounds(limits: Limits, names: list[str]) -> Callable[[], float]:
    """A function that times one round: CPU seconds of `MESSAGES` messages."""
    facts = Session("id", "mx", "mx")
    chance = random.Random(7)
    to = Path(b"b@example.net", "b", "example.net")

    def run() -> float:
        paths = []
        for _ in range(MESSAGES):
            name = chance.choice(names)
            local, _, domain = name.partition("@")
            paths.append(Path(name.encode(), local, domain))
        began = time.process_time()
        for path in paths:
            transaction = Transaction("id.1", facts, path, {})
            limits.mail(transaction)
            recipient = Recipient(to, {})
            limits.rcpt(transaction, recipient, "mail")
            recipient.state, transaction.outcome = "delivered", "delivered"
            limits.ended(transaction)
        return time.process_time() - began

    return run


def message() -> float:
    """CPU seconds of a message through the engine in memory, twenty of a connection."""
    gateway = Gateway()
    body = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 27 + b".\r\n"
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(50):
            client = gateway.connect()
            client.send(b"EHLO client.example.org\r\n")
            for _ in range(20):
                client.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
                client.send(body)
            client.send(b"QUIT\r\n")
        found.append((time.process_time() - began) / 1000)
        assert len(gateway.backend.messages) == 1000
        gateway.backend.messages.clear()
    return min(found)


def main() -> int:
    """Measure and print; 1 where it is not as promised."""
    made, used = {}, {}
    for keys in (FEW, MANY):
        gc.collect()
        before = resident_octets()
        limiter = Limiter(Clock())
        limits = limiter.limits(loads(CONFIG.format(keys=2 * keys + 100)))
        limits.begin()
        names = fill(limiter, keys)
        own = sum(map(sys.getsizeof, names)) + sys.getsizeof(names)
        made[keys] = rounds(limits, names)
        used[keys] = (resident_octets() - before - own, sum(map(len, limiter.stamps.values())), limiter)
    gc.collect()
    gc.freeze()
    times: dict[int, list[float]] = {keys: [] for keys in made}
    for _ in range(ROUNDS):
        # In turn, so that what else the machine does falls on both.
        for keys, run in made.items():
            times[keys].append(run())
    cost = {keys: min(found) / MESSAGES * 1e6 for keys, found in times.items()}
    whole = message() * 1e6
    more = (cost[MANY] - cost[FEW]) / whole
    octets = used[MANY][0] / used[MANY][1]
    for keys in made:
        print(f"keys: {keys:>9,} senders, two limits: {cost[keys]:5.1f} microseconds of CPU a message")
    print(
        f"keys: a whole message in the engine: {whole:.0f}; a hundred times the keys: {more:+.1%} (at most {MOST:.0%})"
    )
    size = used[MANY][0] / 2**20
    print(f"keys: {used[MANY][1]:,} keys take {size:.0f} MiB, {octets:.0f} octets each (at most {OCTETS})")
    limiter = Limiter(Clock())
    limiter.limits(loads(CONFIG.format(keys=FEW))).begin()
    fill(limiter, MANY // 10)
    held = sum(map(len, limiter.stamps.values()))
    print(f"keys: of {2 * MANY // 10:,} keys with room for {FEW:,} there are {held:,}")
    is_good = more <= MOST and octets <= OCTETS and held <= FEW
    print(f"keys: {'as promised' if is_good else 'NOT AS PROMISED'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
