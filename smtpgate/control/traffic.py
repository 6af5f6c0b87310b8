"""Traffic as its managers see it: what is shared out by class, what is limited, who is kept out, and what is known of a
sender; and what they may change of it while the gateway runs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from smtpgate.control import views
from smtpgate.control.traffic_views import (
    BanView,
    KeyView,
    LimitView,
    PressureView,
    RecordView,
    ResourceView,
    SenderView,
    TrafficView,
)
from smtpgate.proxy.limit_rules import Rule, about, network_of
from smtpgate.proxy.memory import PIECE
from smtpgate.proxy.reception import Reception
from smtpgate.proxy.reputation import NETWORK, house_of
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.warden import BANNED4, BANNED6
from smtpgate.traffic.bans import Ban
from smtpgate.traffic.classes import CLASSES
from smtpgate.traffic.pressure import ACTIONS, LEVELS, TABLE
from smtpgate.traffic.reputation import LEAST

#: Keys of one limit that are shown, and senders of a list.
FULLEST = 10
WORST = 50
LONGEST_S = 365 * 86400.0


class Traffic:
    """Look and do."""

    def __init__(
        self,
        engine: Engine,
        reception: Reception,
        current: Callable[[], Revision],
        did: Callable[..., None],
    ) -> None:
        """
        :param did: tells what somebody did: actor, action, target, detail
        """
        self._engine = engine
        self._reception = reception
        self._current = current
        self._did = did

    # Look

    def overview(self) -> TrafficView:
        """Classes and pressure."""
        reception, reputation = self._reception, self._reception.admission.reputation
        return TrafficView(
            self._pressure(),
            tuple(self._resources()),
            self._engine.pacer.waiting,
            len(reception.warden.bans.active(self._engine.wall())),
            len(reputation.records) if reputation is not None else 0,
            len(reputation.correspondents) if reputation is not None else 0,
        )

    def _pressure(self) -> PressureView:
        admission, mode = self._reception.admission, self._current().settings.pressure.mode
        pressure, reading = admission.pressure, admission.reading
        table = {
            level: {name: [one for one in ACTIONS if one in row[name]] for name in CLASSES if name in row}
            for level, row in TABLE.items()
        }
        return PressureView(
            mode,
            pressure.level,
            pressure.name,
            pressure.reason,
            reading.lag_s * 1000,
            reading.memory,
            reading.sessions,
            reading.backends,
            reading.filters,
            table[LEVELS[pressure.level]] if mode == "enforce" else {},
            table,
        )

    def _resources(self) -> Iterator[ResourceView]:
        revision, none = self._current(), dict.fromkeys(CLASSES, 0)
        shares = self._reception.shares
        shares.resize(revision.settings.limits.connections)
        yield _resource("sessions", "", shares, none)
        for pool in revision.pools.values():
            view = views.backend_view(pool, self._engine)
            yield ResourceView("backend", view.name, view.capacity, view.used, view.promised, none | dict(view.waiting))
        slots = {use.name: use.slots for door in revision.doors.values() for use in door.chain.uses}
        for name, one in slots.items():
            if one is not None:
                yield _resource("filter", name, one.shares, one.waiting_by_class)
        yield _resource("memory", "", self._engine.memory.shares, none, PIECE)

    def limits(self) -> list[LimitView]:
        """All limits, in the order of the file."""
        return [self._limit(rule) for rule in self._current().limits.rules]

    def _limit(self, rule: Rule) -> LimitView:
        limit, is_rate = rule.limit, rule.rate is not None
        return LimitView(
            limit.name,
            "rate" if is_rate else "concurrency",
            limit.count,
            tuple(limit.by),
            f"{limit.rate}, {limit.burst} at once" if is_rate else f"{limit.most} at a time",
            about(limit.when),
            limit.mode,
            len(rule.stamps) if is_rate else len(rule.counts),
            rule.stamps.evicted if is_rate else 0,
            tuple(self._key(rule, key) for key in rule.fullest(FULLEST)),
            dict(rule.met),
        )

    def _key(self, rule: Rule, key: str) -> KeyView:
        level, most, wait_s = rule.state(key, self._current().limits.now())
        return KeyView(key, level, level / most, wait_s)

    def bans(self) -> list[BanView]:
        """Those that hold, the newest first."""
        return [self._ban(ban) for ban in self._reception.warden.bans.active(self._engine.wall())]

    def _ban(self, ban: Ban) -> BanView:
        warden, mode = self._reception.warden, self._current().settings.bans.mode
        is_held = mode == "enforce" and ("/" in ban.key or not warden.is_exempt(ban.key))
        return BanView(ban.key, ban.reason, ban.evidence, ban.since, ban.until, ban.by, ban.times, is_held)

    def sender(self, asked: str) -> SenderView:
        """What is known of an address, a host's name, a domain or a mailbox."""
        asked = asked.strip().lower()
        warden, admission, now = self._reception.warden, self._reception.admission, self._engine.wall()
        address = _address(asked)
        traffic_class = reason = ""
        keys = [asked]
        if address:
            network = network_of(address, 24, 64)
            keys = [address, network]
            listener = next(iter(self._current().settings.listeners.values()))
            standing = admission.of_client(address, listener)
            traffic_class, reason = standing.name, standing.reason
            bans = [ban for ban in warden.bans.active(now) if _holds(ban.key, address)]
        else:
            bans = [ban for ban in warden.bans.active(now) if ban.key == asked]
        reputation = admission.reputation
        domain = asked.rpartition("@")[2]
        is_known = False
        if reputation is not None and not address:
            is_known = reputation.correspondents.knows(asked.rpartition("@")[0], domain, now)
        return SenderView(
            asked,
            traffic_class,
            reason,
            bool(address) and warden.is_exempt(address),
            is_known,
            tuple(self._records(_record_keys(asked, address), now)),
            tuple(self._ban(ban) for ban in bans),
            tuple(self._met_by(keys)),
        )

    def _records(self, keys: Sequence[str], now: float) -> Iterator[RecordView]:
        reputation = self._reception.admission.reputation
        for key in keys if reputation is not None else ():
            record = reputation.records.get(key)
            if record is not None:
                yield _record(key, record, now)

    def _met_by(self, keys: Sequence[str]) -> Iterator[tuple[str, KeyView]]:
        """The limits that count something for one of these keys alone."""
        for rule in self._current().limits.rules:
            for key in keys:
                if rule.knows(key):
                    yield rule.limit.name, self._key(rule, key)

    def check_sender(self, key: str) -> None:
        """Raises Unknown where nothing is known of a sender."""
        reputation = self._reception.admission.reputation
        if reputation is None or reputation.records.get(key) is None:
            raise views.Unknown(f"nothing is known of {key}")

    def worst(self, most: int = WORST) -> list[RecordView]:
        """The senders with most bad points."""
        reputation, now = self._reception.admission.reputation, self._engine.wall()
        if reputation is None:
            return []
        worst = reputation.records.worst(now, most)
        return [_record(key, record, now) for key, record in worst if record.bad(now) > LEAST]

    # Do

    def ban(self, key: str, reason: str, seconds: float, actor: views.Actor) -> BanView:
        """Keep an address or a network out; raises Refused where that cannot be."""
        key = self.ban_key(key)
        if not 60 <= seconds <= LONGEST_S:
            raise views.Invalid("a ban lasts from one minute to a year")
        made = self._reception.warden.ban(key, reason or "by hand", f"asked for by {actor.name}", seconds, actor.name)
        if made is None:
            off = self._current().settings.bans.mode == "off"
            raise views.Refused("bans are off ([bans] mode)" if off else f"{key} is never banned: it is of the house")
        self._did(actor, "ban.set", key, reason)
        return self._ban(made)

    @staticmethod
    def ban_key(text: str) -> str:
        """An address or a network as bans are kept; raises Invalid for what is none."""
        try:
            network = ipaddress.ip_network(text.strip())
        except ValueError:
            raise views.Invalid(f"{text.strip()!r} is no address and no network as 192.0.2.0/24") from None
        if network.num_addresses == 1:
            return str(network.network_address)
        sizes = BANNED4 if network.version == 4 else BANNED6
        if network.prefixlen not in sizes:
            known = ", ".join(f"/{bits}" for bits in sizes)
            raise views.Invalid(f"{network} cannot be banned: networks of {known} can be, and single addresses")
        return str(network)

    def lift(self, key: str, actor: views.Actor) -> None:
        """Let it in again; raises Unknown where it is not banned."""
        if not self._reception.warden.lift(key, actor.name):
            raise views.Unknown(f"{key} is not banned")
        self._did(actor, "ban.lift", key)

    def free(self, limit: str, key: str, actor: views.Actor) -> None:
        """Forget what one key has used of a rate limit."""
        self.rate_of(limit, key).stamps.forget(key)
        self._did(actor, "limit.free", limit, key)

    def rate_of(self, limit: str, key: str) -> Rule:
        """The rate limit that knows a key; raises Unknown where there is none."""
        rule = next((one for one in self._current().limits.rules if one.limit.name == limit), None)
        if rule is None:
            raise views.Unknown(f"no limit {limit}")
        if rule.rate is None:
            raise views.Refused(f"{limit} counts what is at work; it is free when that ends")
        if not rule.knows(key):
            raise views.Unknown(f"limit {limit} knows nothing of {key}")
        return rule

    def forget(self, key: str, actor: views.Actor) -> None:
        """Forget what is known of a sender: a key as `sender` shows it; raises Unknown where nothing is."""
        self.check_sender(key)
        self._reception.admission.reputation.records.forget(key)
        self._did(actor, "sender.forget", key)


def _resource(kind: str, name: str, shares: Any, waiting: Mapping[str, int], unit: int = 1) -> ResourceView:
    used = {one: shares.used[one] * unit for one in CLASSES}
    promised = {one: shares.promised(one) * unit for one in CLASSES}
    return ResourceView(kind, name, shares.capacity * unit, used, promised, dict(waiting))


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _holds(key: str, address: str) -> bool:
    """Whether a ban of that key is about that address."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(key)


def _record_keys(asked: str, address: str) -> list[str]:
    if address:
        return [f"address {address}", f"network {network_of(address, 24, 64)}"]
    domain = asked.rpartition("@")[2]
    keys = [asked, f"network {asked}", f"sender {domain}", f"dkim {domain}", f"name {house_of(domain)}"]
    return list(dict.fromkeys(keys))


def _record(key: str, record: Any, now: float) -> RecordView:
    size = NETWORK if key.startswith("network ") else 1.0
    return RecordView(key, record.standing(now, size), record.sample(now), record.bad(now), tuple(record.lines(now)))
