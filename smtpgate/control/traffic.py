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
from smtpgate.proxy.warden import BANNED4, BANNED6, keys_of
from smtpgate.traffic.bans import Ban
from smtpgate.traffic.classes import CLASSES
from smtpgate.traffic.pressure import ACTIONS, LEVELS, TABLE
from smtpgate.traffic.reputation import LEAST

#: Keys of one limit that are shown, and senders of a list.
FULLEST = 10
WORST = 50
#: Keys of a limit by several things that are searched for one of them.
LOOKED_AT = 1000
LONGEST_S = 365 * 86400.0

#: Bits that stand before IPv4 in the clothes of IPv6 (RFC 4291 section 2.5.5.2).
MAPPED = 96

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
            reception.warden.bans.holding(self._engine.wall()),
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

    def bans(self, most: int) -> tuple[list[BanView], int]:
        """Those that hold, the newest first, and how many there are in all."""
        bans, now = self._reception.warden.bans, self._engine.wall()
        return [self._ban(ban) for ban in bans.newest(most, now)], bans.holding(now)

    async def find_bans(self, most: int, wanted: str) -> tuple[list[BanView], int]:
        """Of those that hold, what somebody looks for, and how many fit.

        :param wanted: a part of key, reason, evidence or maker, or an address or a network that a ban is over; "": all
        """
        if not wanted:
            return self.bans(most)
        bans, now = self._reception.warden.bans, self._engine.wall()
        holding = bans.newest(bans.holding(now), now)
        found: list[Ban] = await self._engine.in_thread(_matching, holding, wanted)
        return [self._ban(ban) for ban in found[:most]], len(found)

    def _ban(self, ban: Ban) -> BanView:
        is_held = self._current().settings.bans.mode == "enforce" and not self._reception.warden.is_exempt(ban.key)
        next_s = self._reception.warden.bans.earned_s(ban.times + 1) if ban.times else 0.0
        return BanView(ban.key, ban.reason, ban.evidence, ban.since, ban.until, ban.by, ban.times, is_held, next_s)

    def sender(self, asked: str) -> SenderView:
        """What is known of an address, a host's name, a domain or a mailbox."""
        asked = asked.strip().lower()
        warden, admission, now = self._reception.warden, self._reception.admission, self._engine.wall()
        network = _network(asked)
        address = str(network[0]) if network is not None and network.num_addresses == 1 else ""
        traffic_class = reason = ""
        banned: Sequence[str] = ()
        if address:
            asked, banned = address, keys_of(address)
            traffic_class, reason = self._class_of(address)
        elif network is not None:
            asked = str(network)
            banned = list(dict.fromkeys((asked, *keys_of(str(network[0]))[1:])))
            banned = [key for key in banned if network.subnet_of(ipaddress.ip_network(key))]  # type: ignore[arg-type]
        bans = [ban for key in banned if (ban := warden.bans.get(key, now)) is not None]
        reputation = admission.reputation
        domain = asked.rpartition("@")[2]
        is_known = False
        if reputation is not None and network is None:
            is_known = reputation.correspondents.knows(asked.rpartition("@")[0], domain, now)
        return SenderView(
            asked,
            traffic_class,
            reason,
            network is not None and warden.is_exempt(asked),
            is_known,
            tuple(self._records(_record_keys(asked, address), now)),
            tuple(self._ban(ban) for ban in bans),
            tuple(self._met_by(asked, address)),
        )

    def _class_of(self, address: str) -> tuple[str, str]:
        """What a connection would be, and why: on the first listener, and where that is another on others."""
        admission, first = self._reception.admission, ("", "")
        others = []
        for name, listener in self._current().settings.listeners.items():
            standing = admission.of_client(address, listener)
            found = standing.name, standing.reason
            if not first[0]:
                first = found
            elif found != first:
                others.append(f"on {name} {standing.name}: {standing.reason}")
        return first[0], "; ".join([first[1], *others])

    def _records(self, keys: Sequence[str], now: float) -> Iterator[RecordView]:
        reputation = self._reception.admission.reputation
        for key in keys if reputation is not None else ():
            record = reputation.records.get(key)
            if record is not None:
                yield _record(key, record, now)

    def _met_by(self, asked: str, address: str) -> Iterator[tuple[str, KeyView]]:
        """The limits that count something for it: by it alone, or by it and something else (of many the fullest)."""
        domain = asked.rpartition("@")[2]
        for rule in self._current().limits.rules:
            limit = rule.limit
            values = {asked, domain}
            if address:
                values = {address, network_of(address, limit.prefix4, limit.prefix6)}
            if len(limit.by) == 1:
                keys = [key for key in sorted(values) if rule.knows(key)]
            else:
                keys = [key for key in rule.fullest(LOOKED_AT) if values & set(key.split(" "))][:FULLEST]
            for key in keys:
                yield limit.name, self._key(rule, key)

    def check_sender(self, key: str) -> str:
        """The key of a record; raises Unknown where nothing is known of that sender.

        :param key: as `sender` shows it, as "address 192.0.2.7"; the address alone will do
        """
        reputation = self._reception.admission.reputation
        network = _network(key)
        if network is not None:
            single = network.num_addresses == 1
            key = f"address {network[0]}" if single else f"network {network}"
        if reputation is None or reputation.records.get(key) is None:
            raise views.Unknown(f"nothing is known of {key}")
        return key

    def worst(self, most: int = WORST) -> list[RecordView]:
        """The senders with most bad points."""
        reputation, now = self._reception.admission.reputation, self._engine.wall()
        if reputation is None:
            return []
        worst = reputation.records.worst(now, most)
        return [_record(key, record, now) for key, record in worst if record.bad(now) > LEAST]

    # Do

    def ban(self, key: str, reason: str, seconds: float, actor: views.Actor) -> BanView:
        """Keep an address or a network out, for just so long; raises Refused where that cannot be."""
        key = self.check_ban(key, seconds)
        made = self._reception.warden.ban(key, reason or "by hand", f"asked for by {actor.name}", seconds, actor.name)
        assert made is not None
        self._did(actor, "ban.set", key, views.lasting(reason or "by hand", seconds / 60))
        return self._ban(made)

    def check_ban(self, text: str, seconds: float) -> str:
        """The key of a ban that may be set; raises Invalid or Refused."""
        key = self.ban_key(text)
        if not 60 <= seconds <= LONGEST_S:
            raise views.Invalid("a ban lasts from one minute to a year")
        if self._current().settings.bans.mode == "off":
            raise views.Refused("bans are off ([bans] mode)")
        if self._reception.warden.is_exempt(key):
            raise views.Refused(f"{key} is never banned: it is of the house")
        return key

    def is_exempt(self, key: str) -> bool:
        """Whether an address, or all of a network, is never kept out."""
        return self._reception.warden.is_exempt(key)

    @staticmethod
    def ban_key(text: str) -> str:
        """An address or a network as bans are kept; raises Invalid for what is none."""
        network = _network(text)
        if network is None:
            raise views.Invalid(f"{text.strip()!r} is no address and no network as 192.0.2.0/24")
        if network.num_addresses == 1:
            return str(network.network_address)
        sizes = BANNED4 if network.version == 4 else BANNED6
        if network.prefixlen not in sizes:
            known = ", ".join(f"/{bits}" for bits in sizes)
            raise views.Invalid(f"{network} cannot be banned: networks of {known} can be, and single addresses")
        return str(network)

    def lift(self, key: str, actor: views.Actor) -> None:
        """Let it in again; raises Unknown where it is not banned."""
        key = self.check_lift(key)
        self._reception.warden.lift(key, actor.name)
        self._did(actor, "ban.lift", key)

    def check_lift(self, text: str) -> str:
        """The key of a ban that holds; raises Unknown where there is none."""
        try:
            key = self.ban_key(text)
        except views.Invalid:
            raise views.Unknown(f"{text} is not banned") from None
        if self._reception.warden.bans.get(key, self._engine.wall()) is None:
            raise views.Unknown(f"{key} is not banned")
        return key

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
        key = self.check_sender(key)
        self._reception.admission.reputation.records.forget(key)
        self._did(actor, "sender.forget", key)


def _resource(kind: str, name: str, shares: Any, waiting: Mapping[str, int], unit: int = 1) -> ResourceView:
    used = {one: shares.used[one] * unit for one in CLASSES}
    promised = {one: shares.promised(one) * unit for one in CLASSES}
    return ResourceView(kind, name, shares.capacity * unit, used, promised, dict(waiting))


def _matching(bans: Sequence[Ban], wanted: str) -> list[Ban]:
    network, text = _network(wanted), wanted.casefold()
    return [
        ban
        for ban in bans
        if text in " ".join((ban.key, ban.reason, ban.evidence, ban.by)).casefold() or _is_over(ban.key, network)
    ]


def _is_over(key: str, network: Network | None) -> bool:
    """Whether what is banned holds an address or a network."""
    banned = _network(key)
    if network is None or banned is None or banned.version != network.version:
        return False
    return network.subnet_of(banned)  # type: ignore[arg-type]


def _network(text: str) -> Network | None:
    """An address or a network, in the form in which counters and bans have it; None for what is none."""
    text = text.strip().lower()
    if "%" in text:
        # A zone means something on one machine only, and no client has one that could be matched.
        return None
    try:
        found: Network = ipaddress.ip_network(text)
    except ValueError:
        return None
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    if mapped is not None and found.prefixlen >= MAPPED:
        # IPv4 in the clothes of IPv6: all clients have the plain form.
        return ipaddress.ip_network((mapped, found.prefixlen - MAPPED))
    return found


def _record_keys(asked: str, address: str) -> list[str]:
    if address:
        return [f"address {address}", f"network {network_of(address, 24, 64)}"]
    domain = asked.rpartition("@")[2]
    keys = [asked, f"network {asked}", f"sender {domain}", f"dkim {domain}", f"name {house_of(domain)}"]
    return list(dict.fromkeys(keys))


def _record(key: str, record: Any, now: float) -> RecordView:
    size = NETWORK if key.startswith("network ") else 1.0
    return RecordView(key, record.standing(now, size), record.sample(now), record.bad(now), tuple(record.lines(now)))
