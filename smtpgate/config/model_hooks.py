"""The settings about calls out, as the program holds them; see `model`."""

from __future__ import annotations

import attrs

from smtpgate.config.patterns import NO_NETWORKS, NetworkList

#: What webhooks hear of by topic; other words are names of events.
TOPICS = ("message", "alert", "backend", "config", "log")


@attrs.frozen
class Webhook:
    """One address that is called when something happens.

    :ivar secret: signs its calls
    :ivar events: topics, or names of events, where * stands for any rest
    :ivar outcomes: of messages; none: all
    :ivar networks: where it may be beside public addresses
    """

    name: str
    url: str
    secret: bytes = attrs.field(repr=False)
    events: tuple[str, ...] = ("alert",)
    outcomes: frozenset[str] = frozenset()
    networks: NetworkList = NO_NETWORKS
    timeout_s: float = 10.0
    keep_s: float = 86400.0
    queue: int = 10_000

    def wants(self, topic: str, name: str) -> bool:
        """Whether it hears of an event."""
        return topic in self.events or any(
            name == one or one.endswith("*") and name.startswith(one[:-1]) for one in self.events
        )


@attrs.frozen
class AlertMail:
    """Who gets mail about what is wrong.

    :ivar after_s: what is over sooner is not told; `repeat_s`: what lasts is told again after so long
    :ivar is_all: what will hurt mail, too
    """

    mail: tuple[str, ...] = ()
    after_s: float = 60.0
    repeat_s: float = 4 * 3600.0
    is_all: bool = False
