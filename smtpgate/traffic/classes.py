"""The classes of mail, from the most deserving down, and what each is promised.

Trusted are users who logged in, networks of the house and what the operator named; known are senders that behaved well
for long, and those whom our own users write to; suspect are those that did not behave; all others are unknown. Exim's
smtp_accept_reserve is the ancestor of the guaranteed shares, Cisco's sender groups that of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

TRUSTED: Final = "trusted"
KNOWN: Final = "known"
UNKNOWN: Final = "unknown"
SUSPECT: Final = "suspect"

#: From the most deserving down.
CLASSES: Final = (TRUSTED, KNOWN, UNKNOWN, SUSPECT)
RANK: Final[Mapping[str, int]] = MappingProxyType({name: rank for rank, name in enumerate(CLASSES)})

#: Part of each resource that is always there for a class.
SHARES: Final[Mapping[str, float]] = MappingProxyType({TRUSTED: 0.4, KNOWN: 0.3, UNKNOWN: 0.2, SUSPECT: 0.05})
#: How long a session waits in line for a slot of a backend, seconds. A client that hears 451 soon comes again; one that
#: waits holds a session.
WAITS: Final[Mapping[str, float]] = MappingProxyType({TRUSTED: 5.0, KNOWN: 5.0, UNKNOWN: 2.5, SUSPECT: 1.0})
