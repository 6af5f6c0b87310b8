"""Who sends and gets most, and which rules and reasons decide most, in bounded memory (`policy.sketch`).

Names of strangers are kept here, in the state folder, and shown to people who log in; they are never labels of metrics.
The running hour is in memory and is written every few minutes; killed, the process loses those.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, Final

from twisted.internet.defer import ensureDeferred
from zope.interface import implementer

from smtpgate.interfaces import IWatcher, StoreFailed
from smtpgate.observe import words
from smtpgate.policy import event as told
from smtpgate.policy.event import Happened
from smtpgate.policy.sketch import Row, Sketch
from smtpgate.policy.transaction import Transaction
from smtpgate.tasks import Clock

HOUR_S: Final = 3600
#: The running hour is written so often.
SAVE_S: Final = 300.0
#: Names of each kind that are told apart in an hour, and that are written of it.
COUNTED: Final = 500
WRITTEN: Final = 200
#: Different domains of one message that are counted, and letters of a name.
DOMAINS: Final = 20
LETTERS: Final = 255
#: Whom mail of one client is counted under: addresses that one host or customer has (RFC 6177; /24 as Postfix' and
#: rspamd's rate limits have it).
PREFIX4, PREFIX6 = 24, 64
#: Addresses of which the network is remembered.
_NETWORKS: Final = 10_000

KINDS: Final = ("client", "sender", "recipient", "user", "rule", "reason")
_PLACES: Final = {
    "accept": 0, "tag": 0, "redirect": 0, "quarantine": 1, "discard": 1, "defer": 2, "reject": 3,
}  # fmt: skip
_RULES: Final = "rules"


@implementer(IWatcher)
class Talkers:
    """The counts of the running hour.

    :ivar hour: when it began
    """

    #: The kinds of events that it hears of.
    hears = frozenset({told.TransactionEnded})

    def __init__(self, clock: Clock, wall: Callable[[], float], store: Any, tell: Callable[[Any], None]) -> None:
        """
        :param store: an `interfaces.ITalkerStore`
        """
        self._clock = clock
        self._wall = wall
        self._store = store
        self._tell = tell
        self._sketches = {kind: Sketch(COUNTED) for kind in KINDS}
        self._networks: dict[str, str] = {}
        self._call: Any = None
        self._is_failing = False
        self.hour = int(wall()) // HOUR_S * HOUR_S

    def start(self) -> None:
        """Take over what was written of this hour, and count from now on."""
        self.hour = int(self._wall()) // HOUR_S * HOUR_S
        for kind, sketch in self._sketches.items():
            for _, rows, floor in self._store.load_now(kind, self.hour):
                sketch.merge(rows, floor)
        self._call = self._clock.callLater(SAVE_S, self._again)

    def hear(self, event: Any) -> None:
        """A message has ended."""
        transaction: Transaction = event.transaction
        hour = int(self._wall()) // HOUR_S * HOUR_S
        if hour != self.hour:
            self._turn(hour)
        place = _PLACES.get(words.verdict_of(transaction), 4)
        session = transaction.session
        sketches = self._sketches
        sketches["client"].add(self._network(session.client_ip), place)
        sketches["sender"].add(_name(transaction.sender.domain) or "<>", place)
        recipients = transaction.recipients
        if len(recipients) == 1:
            sketches["recipient"].add(_name(recipients[0].path.domain), place)
        else:
            for domain in list(dict.fromkeys(_name(one.path.domain) for one in recipients))[:DOMAINS]:
                sketches["recipient"].add(domain, place)
        if session.user:
            sketches["user"].add(session.user[:LETTERS].encode("utf-8", "backslashreplace").decode(), place)
        if place or transaction.verdict is not None:
            reason, _ = words.reason_of(transaction)
            if reason:
                sketches["reason"].add(reason, place)
        if transaction.findings:
            for rule in {one.reason for one in transaction.findings if one.filter == _RULES and not one.is_shadow}:
                sketches["rule"].add(rule, place)

    def _network(self, address: str) -> str:
        known = self._networks.get(address)
        if known is None:
            if len(self._networks) >= _NETWORKS:
                self._networks.clear()
            known = self._networks[address] = network_of(address)
        return known

    def _turn(self, hour: int) -> None:
        """Another hour begins: what is left of the last is written as it is."""
        ensureDeferred(self._save(self.hour, self._rows()))
        self._sketches = {kind: Sketch(COUNTED) for kind in KINDS}
        self.hour = hour

    def rows(self, kind: str) -> tuple[list[Row], int]:
        """The running hour: names with their counts, the largest first, and the floor."""
        sketch = self._sketches[kind]
        return list(sketch.rows()), sketch.floor

    def _rows(self) -> dict[str, tuple[list[Row], int]]:
        return {kind: (list(one.rows())[:WRITTEN], one.left_out(WRITTEN)) for kind, one in self._sketches.items()}

    def _again(self) -> None:
        self._call = self._clock.callLater(SAVE_S, self._again)
        hour = int(self._wall()) // HOUR_S * HOUR_S
        if hour != self.hour:
            self._turn(hour)
        else:
            ensureDeferred(self._save(self.hour, self._rows()))

    async def _save(self, hour: int, rows: dict[str, tuple[list[Row], int]]) -> None:
        try:
            await self._store.put(hour, rows)
            if self._is_failing:
                self._is_failing = False
                self._tell(Happened("talkers.works", "info", "who sends most is kept again"))
        except StoreFailed as error:
            if not self._is_failing:
                self._is_failing = True
                message = f"who sends most is not kept; the running hour is in memory: {error}"
                self._tell(Happened("talkers.failing", "error", message[:500]))

    async def close(self) -> None:
        """Write what there is."""
        if self._call is None:
            return
        self._call.cancel()
        self._call = None
        await self._save(self.hour, self._rows())


def network_of(address: str) -> str:
    """The network that an address is counted under; what is no address under "local"."""
    try:
        prefix = PREFIX6 if ip_address(address).version == 6 else PREFIX4
    except ValueError:
        return "local"
    return str(ip_network(f"{address.partition('%')[0]}/{prefix}", strict=False))


def _name(domain: str) -> str:
    """A domain as it is counted; what is no Unicode is spelled out."""
    name = domain[:LETTERS].lower()
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()
