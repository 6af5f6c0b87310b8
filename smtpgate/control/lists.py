"""Allow and block lists as their managers see them: what there is, and how an entry is added and taken out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final

import attrs

from smtpgate.config.entry import parse_address, write_address
from smtpgate.config.problem import BadValue
from smtpgate.control import views
from smtpgate.control.traffic import Traffic
from smtpgate.proxy.lists import ALLOW_CLIENT, BLOCK_CLIENT, KINDS, Listed, Lists
from smtpgate.proxy.revision import Engine, Revision

__all__ = ["KINDS", "Listed", "ListView", "ManagedLists"]

#: Longest time of an entry that ends.
LONGEST_S: Final = 10 * 366 * 86400.0
#: Lines of a file that is taken in.
IMPORTED: Final = 10_000


@attrs.frozen
class ListView:
    """An entry of the configuration, which is changed there.

    :ivar where: the filter that has it
    """

    kind: str
    entry: str
    reason: str
    owner: str
    until: str
    where: str


class ManagedLists:
    """The lists of one gateway.

    :ivar book: what filters ask
    """

    def __init__(
        self, engine: Engine, current: Callable[[], Revision], did: Callable[..., None], traffic: Traffic
    ) -> None:
        self.book = Lists(engine.wall)
        self._engine = engine
        self._current = current
        self._did = did
        self._traffic = traffic

    # Look

    @property
    def is_asked(self) -> bool:
        """Whether a filter asks the lists: without one they have no effect."""
        return any(use.use == "lists" and use.mode == "enforce" for use in self._current().settings.filters)

    def entries(self, kind: str = "") -> list[Listed]:
        """Those that hold, the newest first."""
        return [one for one in self.book.all() if kind in ("", one.kind)]

    def configured(self) -> list[ListView]:
        """What filters of the configuration list by themselves: `access` and `address`."""
        found = []
        for use in self._current().settings.filters:
            options: Any = use.options
            if use.use == "access":
                for one in options.entries:
                    kind = {"accept": "allow-client"}.get(one.action, "block-client")
                    found += [ListView(kind, net, one.reason, one.owner, one.until, use.name) for net in one.clients]
            elif use.use == "address":
                for kind, entries in (
                    ("block-sender", options.blocked_senders),
                    ("block-recipient", options.blocked_recipients),
                ):
                    found += [ListView(kind, entry, "", "", "", use.name) for entry in entries]
        return found

    # Do

    def check(self, kind: str, entry: str, seconds: float) -> Listed:
        """An entry that may be added, without reason and source. Raises Invalid and Refused."""
        if kind not in KINDS:
            raise views.Invalid(f"kind is one of {', '.join(KINDS)}")
        if seconds and not 60 <= seconds <= LONGEST_S:
            raise views.Invalid("an entry lasts from one minute to ten years, or for good (0)")
        name = self.key(kind, entry)
        if kind == BLOCK_CLIENT and self._traffic.is_exempt(name):
            raise views.Refused(f"{name} is never kept out: it is of the house")
        if self.book.get(kind, name) is None and self.book.is_full:
            raise views.Refused("the lists are full; take something out first")
        now = self._engine.wall()
        return Listed(kind, name, "", "", now, now + seconds if seconds else 0.0)

    def key(self, kind: str, entry: str) -> str:
        """An entry in its usual form. Raises Invalid for what is none."""
        entry = entry.strip()
        if kind in (ALLOW_CLIENT, BLOCK_CLIENT):
            return _client(self._traffic.ban_key(entry))
        try:
            local, domain = parse_address(entry)
        except BadValue as error:
            raise views.Invalid(error.message) from None
        if not domain or domain.startswith("["):
            raise views.Invalid(f"{entry or 'nothing'} is no sender: give a mailbox, a domain or *.domain")
        if domain.startswith("*.") and domain.count(".") < 2:
            raise views.Invalid(f"{entry} would be a whole top-level domain")
        return write_address(local, domain)

    def add(self, kind: str, entry: str, seconds: float, reason: str, actor: views.Actor) -> Listed:
        """Add one, for so long or for good (0), in place of one for the same. Raises Invalid and Refused."""
        checked = self.check(kind, entry, seconds)
        before = self.book.get(kind, checked.entry)
        made = attrs.evolve(
            checked,
            reason=_line(reason, 200),
            source=f"{actor.kind} {actor.name}",
            hits=before.hits if before is not None else 0,
            last_hit=before.last_hit if before is not None else 0.0,
        )
        self.book.put(made)
        self._did(actor, "list.add", f"{kind} {made.entry}", views.lasting(made.reason, seconds / 60))
        return made

    def check_there(self, kind: str, entry: str) -> Listed:
        """One that is there. Raises Unknown and Invalid."""
        found = self.book.get(kind, self.key(kind, entry)) if kind in KINDS else None
        if found is None:
            raise views.Unknown(f"{entry} is not in {kind}")
        return found

    def remove(self, kind: str, entry: str, actor: views.Actor) -> None:
        """Take one out. Raises Unknown."""
        found = self.check_there(kind, entry)
        self.book.remove(kind, found.entry)
        self._did(actor, "list.remove", f"{kind} {found.entry}", "")

    def read(self, text: str) -> list[tuple[Listed, str]]:
        """The entries of a file with their reasons: a line for each, `kind,entry[,days[,reason]]`; # begins a comment.
        Raises Invalid with the line of what is wrong."""
        found = []
        lines = text.splitlines()
        if len(lines) > IMPORTED:
            raise views.Invalid(f"{IMPORTED} lines are the most")
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            kind, entry, days, reason = (*line.split(",", 3), "", "", "")[:4]
            # As it is written where a spreadsheet would take it for a formula.
            entry, reason = (_QUOTED.sub(r"\1", one.strip()) for one in (entry, reason))
            try:
                seconds = float(days) * 86400 if days.strip() else 0.0
                found.append((self.check(kind.strip(), entry, seconds), reason.strip()))
            except (views.Refused, ValueError) as error:
                raise views.Invalid(f"line {number}: {error}") from None
        return found


#: An apostrophe before what begins a formula.
_QUOTED: Final = re.compile(r"^'([=+@-])")


def _client(key: str) -> str:
    """As `proxy.warden.keys_of` writes it."""
    return str(ipaddress.ip_network(key)) if "/" in key else str(ipaddress.ip_address(key))


def _line(text: str, most: int) -> str:
    return "".join(letter for letter in text if letter.isprintable()).strip()[:most]
