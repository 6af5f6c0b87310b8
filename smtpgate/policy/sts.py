"""MTA-STS: the record in the DNS that says that there is a policy, and the policy.

RFC 8461 sections 3.1 (record), 3.2 (policy), 4.1 (which host is meant).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

MODES: Final = ("enforce", "testing", "none")
#: Longest life of a policy, seconds: about a year (RFC 8461 section 3.2).
MAX_AGE_S: Final = 31_557_600
#: Hosts of one policy; large providers name a handful, by wildcard.
HOSTS: Final = 100

_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_HOST: Final = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
#: One line of a policy (RFC 8461 section 3.2: sts-policy-field).
_FIELD: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:[ \t]*(.*?)[ \t]*")


class BadPolicy(ValueError):
    """A policy that breaks the grammar."""


@attrs.frozen
class Policy:
    """A policy.

    :ivar hosts: patterns of MX hosts, in lower case
    :ivar max_age_s: how long it holds
    """

    mode: str
    hosts: tuple[str, ...] = ()
    max_age_s: int = 0

    def has(self, host: str) -> bool:
        """Whether a host is meant: a wildcard stands for one label (RFC 8461 section 4.1)."""
        host = host.lower().rstrip(".")
        parent = host.partition(".")[2]
        return any(one == host or one.startswith("*.") and one[2:] == parent for one in self.hosts)

    @property
    def lines(self) -> tuple[str, ...]:
        """It as reports show it (RFC 8460 section 4.4)."""
        hosts = tuple(f"mx: {host}" for host in self.hosts)
        return ("version: STSv1", f"mode: {self.mode}", *hosts, f"max_age: {self.max_age_s}")


def record_id(texts: Iterable[bytes]) -> str | None:
    """The id of the one record among TXT records; None where there is none, or several, or it is wrong."""
    found = [text for text in texts if re.match(rb"v=STSv1[ \t]*;", text)]
    if len(found) != 1:
        return None
    fields: dict[str, str] = {}
    for part in found[0].decode("latin-1").split(";"):
        name, _, value = part.strip(" \t").partition("=")
        fields.setdefault(name, value)
    value = fields.get("id", "")
    return value if _ID.fullmatch(value) else None


def parse(octets: bytes) -> Policy:
    """Read a policy; raises BadPolicy. Of a field that comes twice the first counts, but for mx."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPolicy("it is not UTF-8") from None
    fields: dict[str, str] = {}
    hosts: list[str] = []
    for line in re.split(r"\r?\n", text):
        if not line.strip():
            continue
        found = _FIELD.fullmatch(line)
        if found is None:
            raise BadPolicy(f"{line[:60]!r} is no field")
        name, value = found[1], found[2]
        if name == "mx":
            hosts.append(value.lower().rstrip("."))
        else:
            fields.setdefault(name, value)
    if fields.get("version") != "STSv1":
        raise BadPolicy("its version is not STSv1")
    mode, age = fields.get("mode", ""), fields.get("max_age", "")
    if mode not in MODES:
        raise BadPolicy(f"mode {mode[:20]!r} is none of {', '.join(MODES)}")
    if not (age.isascii() and age.isdigit() and len(age) <= 10):
        raise BadPolicy(f"max_age {age[:20]!r} is no number of seconds")
    if mode != "none" and not hosts or len(hosts) > HOSTS:
        raise BadPolicy(f"it has {len(hosts)} hosts")
    wrong = next((host for host in hosts if _HOST.fullmatch(host) is None), None)
    if wrong is not None:
        raise BadPolicy(f"{wrong[:60]!r} is no pattern of a host")
    return Policy(mode, tuple(dict.fromkeys(hosts)), min(int(age), MAX_AGE_S))
