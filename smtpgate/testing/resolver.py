"""A resolver for tests (`interfaces.IResolver`): it answers from zones that the test writes, never from the network.

    names = FakeResolver({
        "example.net": {"MX": "10 mail.example.net", "TXT": "v=spf1 mx -all"},
        "mail.example.net": {"A": ["192.0.2.7", "192.0.2.8"], "ttl": 60},
        "*.list.example": {"A": "127.0.0.2"},
        "broken.example": "servfail",
        "late.example": {"A": "192.0.2.9", "delay": 1.5},
        "half.example": {"A": "192.0.2.9", "faults": {"TXT": "timeout"}},
    }, clock)

The same may stand in a TOML file, and zones may be master files or their text (RFC 1035 section 5). Aliases are
followed, wildcards hold (RFC 4592), and a name below which there are others exists. Names and records look as those of
the real resolver do (`net.records`). `asked` tells what was asked.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from smtpgate.interfaces import IResolver
from smtpgate.net.records import plain_name, record, tlsa
from smtpgate.policy.names import STATUSES, Answer

Zones = str | Path | Mapping[str, Any]

#: What is said of a record that names no time to live.
TTL: Final = 300
_ALIASES: Final = 8
_WORDS: Final = {"servfail": "failed", "refused": "failed", **{word: word for word in STATUSES if word != "ok"}}


@attrs.define
class _Name:
    """What stands at one name.

    :ivar rest: how it answers for kinds of which it has no records
    """

    records: dict[str, list[Any]] = attrs.field(factory=dict)
    faults: dict[str, str] = attrs.field(factory=dict)
    rest: str = "nodata"
    delay_s: float = 0.0
    ttl: int = TTL
    is_authentic: bool | None = None


@implementer(IResolver)
class FakeResolver:
    """Answers from zones.

    :ivar asked: each question, as (name, kind), in order; the name as it would have been asked
    :ivar waiting: questions not answered yet, with a clock
    """

    def __init__(
        self,
        zones: Zones | Iterable[Zones] = (),
        clock: Any = None,
        *,
        timeout_s: float = 3.0,
        is_authentic: bool = False,
    ) -> None:
        """
        Raises ValueError for a zone that cannot be read.

        :param zones: a table by name, a path to a file (.toml, else a master file), the text of a master file,
            or several of these
        :param clock: a `twisted.internet.task.Clock`; without it answers come at once, a time-out too
        :param timeout_s: after which a name that is silent is answered "timeout"
        :param is_authentic: of names that do not say `authentic`
        """
        self.asked: list[tuple[str, str]] = []
        self.waiting = 0
        self._clock = clock
        self._timeout_s = timeout_s
        self._is_authentic = is_authentic
        self._names: dict[str, _Name] = {}
        self._parents: set[str] = set()
        for zone in (zones,) if isinstance(zones, str | Path | Mapping) else zones:
            self.add(zone)

    def add(self, zone: Zones) -> None:
        """Add names; those of a table stand in place of what they were. Raises ValueError."""
        if isinstance(zone, Mapping):
            for name, what in zone.items():
                self._put(name, _read_name(name, what))
        elif isinstance(zone, Path) and zone.suffix == ".toml":
            self.add(tomllib.loads(zone.read_text(encoding="utf-8")))
        else:
            self._add_master(zone.read_text(encoding="utf-8") if isinstance(zone, Path) else zone)

    def _add_master(self, text: str) -> None:
        import dns.exception
        import dns.rdatatype
        import dns.zone

        try:
            # Its own $ORIGIN says where it begins; one without needs whole names.
            origin = re.search(r"^\$ORIGIN\s+(\S+)", text, re.MULTILINE)
            zone = dns.zone.from_text(text, origin=origin[1] if origin else ".", relativize=False, check_origin=False)
        except (dns.exception.DNSException, ValueError) as error:
            raise ValueError(f"no master file: {error}") from error
        for owner, node in zone.items():
            name = owner.to_text(omit_final_dot=True).lower()
            found = self._names.get(name) or _Name()
            for rdataset in node:
                kind = dns.rdatatype.to_text(rdataset.rdtype)
                found.records[kind] = [record(kind, rdata) for rdata in rdataset]
                found.ttl = rdataset.ttl
            self._put(name, found)

    def _put(self, name: str, what: _Name) -> None:
        plain = plain_name(name)
        if plain is None:
            raise ValueError(f"{name!r} is no name of the DNS")
        if what.delay_s and self._clock is None:
            raise ValueError(f"{name}: a delay needs a clock")
        self._names[plain] = what
        while plain:
            plain = plain.partition(".")[2]
            self._parents.add(plain)

    def lookup(self, name: str, kind: str) -> Deferred[Answer]:
        """Ask for records."""
        plain = plain_name(name)
        if plain is None:
            return succeed(Answer("nxdomain"))
        self.asked.append((plain, kind))
        answer, delay_s = self._answer(plain, kind)
        if answer.status == "timeout":
            delay_s = self._timeout_s
        if self._clock is None or not delay_s:
            return succeed(answer)
        return self._later(answer, delay_s)

    def _later(self, answer: Answer, delay_s: float) -> Deferred[Answer]:
        def fire(answer: Answer) -> None:
            self.waiting -= 1
            waiter.callback(answer)

        def cancel(_: object) -> None:
            self.waiting -= 1
            call.cancel()

        self.waiting += 1
        waiter: Deferred[Answer] = Deferred(cancel)
        answer = answer if delay_s < self._timeout_s else Answer("timeout")
        call = self._clock.callLater(min(delay_s, self._timeout_s), fire, answer)
        return waiter

    def _answer(self, name: str, kind: str) -> tuple[Answer, float]:
        is_authentic, ttl, delay_s = True, TTL, 0.0
        for _ in range(_ALIASES):
            found = self._find(name)
            if found is None:
                return Answer("nodata" if name in self._parents else "nxdomain", ttl=ttl), delay_s
            ttl, delay_s = min(ttl, found.ttl), delay_s + found.delay_s
            is_authentic = is_authentic and (self._is_authentic if found.is_authentic is None else found.is_authentic)
            if kind in found.faults:
                return Answer(found.faults[kind]), delay_s
            records = found.records.get(kind)
            if records:
                return Answer("ok", tuple(records), is_authentic, ttl), delay_s
            alias = found.records.get("CNAME")
            if not alias:
                is_sure = is_authentic and found.rest in ("nodata", "nxdomain")
                return Answer(found.rest, is_authentic=is_sure, ttl=ttl), delay_s
            name = alias[0]
        return Answer("failed"), delay_s

    def _find(self, name: str) -> _Name | None:
        found = self._names.get(name)
        while found is None and name and name not in self._parents:
            name = name.partition(".")[2]
            found = self._names.get(f"*.{name}")
            if name in self._names:
                # What exists hides the wildcards above it.
                break
        return found


def _read_name(name: str, what: Any) -> _Name:
    if isinstance(what, str):
        return _Name(rest=_word(name, what))
    if isinstance(what, list):
        return _read_list(name, what)
    if not isinstance(what, Mapping):
        raise ValueError(f"{name}: {what!r} is neither a table nor a word")
    found = _Name()
    for key, value in what.items():
        if key.isupper():
            several = isinstance(value, list) and not _is_mx(value)
            found.records[key] = [_value(key, one) for one in (value if several else [value])]
        elif key == "faults":
            found.faults = {kind: _word(name, word) for kind, word in value.items()}
        elif key == "status":
            found.rest = _word(name, value)
        elif key == "delay":
            found.delay_s = float(value)
        elif key == "ttl":
            found.ttl = int(value)
        elif key == "authentic":
            found.is_authentic = bool(value)
        else:
            raise ValueError(f"{name}: {key!r} is neither a kind of record nor status, faults, delay, ttl or authentic")
    return found


def _read_list(name: str, what: list[Any]) -> _Name:
    """The form of the public test suite for SPF: one table for each record, and words for the rest."""
    found = _Name()
    for one in what:
        if isinstance(one, str):
            found.rest = _word(name, one)
            continue
        for kind, value in one.items():
            if kind == "TXT" and isinstance(value, list):
                value = "".join(value)
            found.records.setdefault(kind, []).append(_value(kind, value))
    return found


def _word(name: str, word: Any) -> str:
    if not isinstance(word, str) or word.lower() not in _WORDS:
        raise ValueError(f"{name}: {word!r} is none of {', '.join(_WORDS)}")
    return _WORDS[word.lower()]


def _is_mx(value: list[Any]) -> bool:
    return len(value) == 2 and isinstance(value[0], int) and isinstance(value[1], str)


def _value(kind: str, value: Any) -> Any:
    """A record as a test writes it, in the shape of an answer. Raises ValueError."""
    if kind in ("TXT", "SPF"):
        return value if isinstance(value, bytes) else str(value).encode()
    if isinstance(value, list | tuple):
        value = " ".join(str(one) or "." for one in value)
    if kind == "TLSA":
        usage, selector, matching, *data = str(value).split()
        return tlsa(bytes((int(usage), int(selector), int(matching))) + bytes.fromhex("".join(data)))
    import dns.exception
    import dns.name
    import dns.rdata

    try:
        rdata = dns.rdata.from_text("IN", kind, str(value), origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{value!r} is no {kind} record: {error}") from error
    return record(kind, rdata)
