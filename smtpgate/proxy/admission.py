"""Which class a session is of, and what that class may have now.

The class comes from the configuration (networks), from the login, from reputation, and from whom our own users write to
(`proxy.reputation`). It is judged when the client is known, when it has logged in, and when its sender is proved, and
only gets better within a session. `pressure` says what is shed (`traffic.pressure`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from smtpgate.config.model import Listener, Settings
from smtpgate.policy.event import Happened
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.smtp.reply import Reply
from smtpgate.tasks import Clock
from smtpgate.traffic.classes import KNOWN, RANK, SUSPECT, TRUSTED, UNKNOWN
from smtpgate.traffic.pressure import NOTHING, Pressure, Reading

#: How often the pressure is measured.
LOOK_S: Final = 0.25
#: The greeting of a class that is delayed waits so long: under the patience of any mail server (RFC 5321: 5 minutes).
DELAY_S: Final = 2.0
#: When to come back, as the level says.
_BACK_S: Final = (0, 30, 60, 120, 300)


@attrs.frozen
class Standing:
    """The class of a session, and why.

    :ivar reason: a sentence for the page
    """

    name: str
    reason: str


STRANGER: Final = Standing(UNKNOWN, "nothing is known of it")


class Admission:
    """The classes of one gateway."""

    def __init__(self, clock: Clock, settings: Callable[[], Settings], tell: Callable[[Any], None]) -> None:
        """
        :param settings: those at work
        """
        self._clock = clock
        self._settings = settings
        self._tell = tell
        #: What is known of senders; a `proxy.reputation.Reputation`, where there is one.
        self.reputation: Any = None
        self.pressure = Pressure(0.1)
        self._calm = Pressure(0.1)
        self.reading = Reading()
        self._measure: Callable[[float], Reading] | None = None
        self._call: Any = None
        self._due = 0.0

    # Classes

    def of_client(self, address: str, listener: Listener) -> Standing:
        """A client, by its address and by what was configured."""
        classes = self._settings().classes
        # A look at the entries costs no call, and most lists are empty.
        if listener.relay_from.entries and listener.relay_from.contains(address):
            return Standing(TRUSTED, "in relay_from of its listener")
        for name in (TRUSTED, SUSPECT, KNOWN):
            networks = classes[name].client
            if networks.entries and networks.contains(address):
                return Standing(name, f"in classes.{name}.client")
        if self.reputation is not None:
            standing: Standing | None = self.reputation.of_client(address)
            if standing is not None:
                return standing
        return STRANGER

    def of_sender(self, transaction: Transaction) -> Standing | None:
        """A sender whose domain is proved; None where that says nothing."""
        if self.reputation is None:
            return None
        standing: Standing | None = self.reputation.of_sender(transaction)
        return standing

    # Pressure

    def start(self, measure: Callable[[float], Reading]) -> None:
        """Measure from now on.

        :param measure: gives a reading; it is told the reactor's lag
        """
        self._measure = measure
        self._schedule()

    def _schedule(self) -> None:
        self._due = self._clock.seconds() + LOOK_S
        self._call = self._clock.callLater(LOOK_S, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        assert self._measure is not None
        settings = self._settings().pressure
        self.pressure.lag_s = settings.lag_s
        self.reading = self._measure(max(0.0, now - self._due))
        if settings.mode == "off":
            self._schedule()
            return
        before = self.pressure.name
        if self.pressure.feel(self.reading, now):
            name, reason = self.pressure.name, self.pressure.reason
            message = f"pressure is {name}{f': {reason}' if reason else ''}"
            self._tell(Happened("pressure.changed", "warning", message, (("before", before), ("after", name))))
        self._schedule()

    def close(self) -> None:
        """Measure no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def sheds(self, name: str) -> frozenset[str]:
        """What is shed of a class now."""
        pressure = self.pressure
        if not pressure.level or self._settings().pressure.mode != "enforce":
            return NOTHING
        return pressure.sheds(name)

    def errors(self, session: Session, most: int) -> int:
        """How many errors a session may make, where it would be `most`. People who log in may make them all."""
        if session.role != "mx":
            return most
        if self._settings().pressure.mode != "enforce":
            return self._calm.budget(session.traffic_class, most)
        return self.pressure.budget(session.traffic_class, most)

    def patience(self, session: Session, seconds: float) -> float:
        """How long its next command is waited for, where it would be `seconds`."""
        if not self.pressure.level or session.role != "mx" or self._settings().pressure.mode != "enforce":
            return seconds
        return self.pressure.patience(session.traffic_class, seconds)

    def busy_reply(self, code: int) -> Reply:
        """What a client hears that is shed."""
        seconds = _BACK_S[self.pressure.level] or 30
        return Reply(code, "4.3.2", (f"Too busy now; come back in {seconds} seconds",))


def is_better(name: str, than: str) -> bool:
    """Whether a class deserves more than another."""
    return RANK[name] < RANK[than]
