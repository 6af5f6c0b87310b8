"""Room in the quarantine for one more message.

What may go for it is the oldest of classes that say so: of those of the message first, then of the largest. So spam
that strangers send never keeps out what must be held. Letters need no room there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smtpgate.config.model_quarantine import Quarantine
from smtpgate.interfaces import StoreFailed


async def make_room(vault: Any, quarantine: Quarantine, classes: Sequence[str], octets: int) -> None:
    """Raises StoreFailed where there is none, and nothing may go for it.

    :param classes: in which the message is held; none: it needs no room
    :param octets: its size
    """
    if not classes:
        return
    totals = await vault.totals()
    used = sum(row["octets"] for row in totals)
    lacking = used + octets - quarantine.size_octets
    if lacking <= 0:
        return
    there: dict[str, int] = {}
    for row in totals:
        if row["state"] != "sending" and quarantine.of(row["held_as"]).full == "oldest":
            there[row["held_as"]] = there.get(row["held_as"], 0) + row["octets"]
    if sum(there.values()) >= lacking:
        for name in sorted(there, key=lambda name: (name not in classes, -there[name])):
            while lacking > 0:
                gone = await vault.withdraw(await vault.oldest(name, lacking))
                if not gone:
                    break
                lacking = sum(row["octets"] for row in await vault.totals()) + octets - quarantine.size_octets
    if lacking > 0:
        raise StoreFailed(f"the quarantine is full ({used >> 20} MiB)")
