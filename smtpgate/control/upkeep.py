"""What keeps the gateway running: the process and its folder, no new mail for a while, logs anew, a bundle for support.

The bundle is for those who help and have no business with mail: versions, the state, the configuration with its secrets
hidden, the newest lines of the log, metrics. Addresses stand in the log, so it is for a trusted hand; no content does.
"""

from __future__ import annotations

import io
import json
import platform
import tarfile
from bisect import bisect_left
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import attrs

from smtpgate import __version__
from smtpgate.config.hiding import hide
from smtpgate.control.views import Actor, Refused

if TYPE_CHECKING:
    from smtpgate.control import Control

#: Lines of the log in a bundle.
LINES: Final = 2000


@attrs.frozen
class Machine:
    """What of the process and its folder only the wiring sees.

    :ivar descriptors: open now; `descriptors_most`: that it may have; 0 where that is not known
    :ivar free_octets: on the disk of the state folder
    :ivar backup_at: of the last backup, seconds since the epoch; 0 for none
    """

    pid: int = 0
    descriptors: int = 0
    descriptors_most: int = 0
    memory_octets: int = 0
    database_octets: int = 0
    free_octets: int = 0
    backup_at: float = 0.0
    backup_octets: int = 0


@attrs.frozen
class Place:
    """Where a listener listens."""

    listener: str
    endpoint: str
    address: str


@attrs.frozen
class SystemView:
    """The gateway as a process.

    :ivar lag_s: how late a timer of a hundred is at most, since the start; None without any
    :ivar kept: what is kept, and for how long, seconds
    """

    version: str
    python: str
    hostname: str
    started: float
    is_draining: bool
    sessions: int
    machine: Machine
    places: tuple[Place, ...]
    lag_s: float | None
    kept: Mapping[str, float]


class Upkeep:
    """One gateway, looked after.

    :ivar machine: looks at process and folder; blocks, so it runs in a thread
    :ivar places: where the listeners listen
    :ivar backup: writes a backup and gives its file and octets; blocks. None where there is no folder
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self.machine: Callable[[], Machine] = Machine
        self.places: Callable[[], tuple[Place, ...]] = tuple
        self.lag: Callable[[], Any] = lambda: None
        self.backup: Callable[[], tuple[str, int]] | None = None

    async def look(self) -> SystemView:
        """All of it."""
        control = self._control
        machine: Machine = await control.engine.in_thread(self.machine)
        settings = control.settings
        return SystemView(
            __version__,
            platform.python_version(),
            settings.hostname,
            control.started,
            control.reception.is_draining,
            len(control.reception.sessions),
            machine,
            self.places(),
            percentile(self.lag(), 0.99),
            {f"quarantine {name}": one.keep_s for name, one in settings.quarantine.classes.items()},
        )

    def drain(self, actor: Actor, reason: str) -> None:
        """No new mail until `undrain`: new clients and idle ones hear 421 4.3.2, what is in flight ends."""
        reception = self._control.reception
        if reception.is_draining:
            raise Refused("the gateway drains already")
        self._control._did(actor, "drain", "gateway", reason)
        reception.drain()

    def undrain(self, actor: Actor) -> None:
        """Mail again. Raises Refused where it stops for good."""
        self.check_undrain()
        self._control._did(actor, "undrain", "gateway")
        self._control.reception.is_draining = False

    def check_undrain(self) -> None:
        """Raises Refused where there is nothing to take back."""
        reception = self._control.reception
        if not reception.is_draining:
            raise Refused("the gateway does not drain")
        if reception.on_idle is not None:
            raise Refused("the gateway is about to stop: that is not taken back")

    def reopen_logs(self, actor: Actor) -> None:
        """Open the log file anew, as USR1 does."""
        self._control._did(actor, "reopen_logs", "log")
        if self._control.reopen_logs is not None:
            self._control.reopen_logs()

    def check_backup(self) -> None:
        """Raises Refused where nothing can be backed up."""
        if self.backup is None:
            raise Refused("there is no state folder to back up")

    async def back_up(self, actor: Actor) -> tuple[str, int]:
        """Write a backup beside what it is of, while mail flows; its file and its octets. Raises Refused."""
        self.check_backup()
        assert self.backup is not None
        self._control._did(actor, "backup", "gateway")
        made: tuple[str, int] = await self._control.engine.in_thread(self.backup)
        return made

    def _log(self) -> str:
        journal = self._control.logs.journal
        lines = journal.ring.lines()[-LINES:] if journal is not None else ()
        # The code of the first visit is as good as a password.
        return "".join(f"{text.rstrip()}\n" for _, _, text in lines if "admin.setup" not in text)

    async def bundle(self, actor: Actor) -> bytes:
        """A gzipped tar for support: nothing secret, no content."""
        control = self._control
        view = await self.look()
        parts: dict[str, Any] = {
            "system.json": _plain(view),
            "overview.json": _plain(control.overview()),
            "servers.json": [_plain(one) for one in control.servers()],
            "problems.json": [str(one) for one in (*control.problems, *control.settings.warnings)],
            "plugins.json": {"found": sorted(control._factories), "failed": dict(control._failed_plugins)},
            "log.txt": self._log(),
        }
        text = control.configuration.active.text
        self._control._did(actor, "bundle", "gateway")
        packed: bytes = await control.engine.in_thread(_packed, parts, text, view.started)
        return packed


def _packed(parts: Mapping[str, Any], config: str, at: float) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, value in {**parts, "smtpgate.toml": hide(config)}.items():
            text = value if isinstance(value, str) else json.dumps(value, indent=1, default=str)
            octets = text.encode("utf-8", "replace")
            info = tarfile.TarInfo(f"smtpgate-bundle/{name}")
            info.size, info.mode, info.mtime = len(octets), 0o600, int(at)
            archive.addfile(info, io.BytesIO(octets))
    return out.getvalue()


def _plain(view: Any) -> Any:
    return attrs.asdict(view, value_serializer=lambda _, __, value: str(value) if _is_odd(value) else value)


def _is_odd(value: object) -> bool:
    return not isinstance(
        value, str | int | float | bool | list | tuple | dict | Mapping | type(None)
    ) and not attrs.has(type(value))


def percentile(histogram: Any, part: float) -> float | None:
    """The upper bound of the bucket in which that part of all values has come; None without any."""
    if histogram is None or not sum(histogram.counts):
        return None
    at = bisect_left(list(accumulate(histogram.counts)), part * sum(histogram.counts))
    return float(histogram.bounds[min(at, len(histogram.bounds) - 1)])


__all__ = ["Machine", "Place", "SystemView", "Upkeep", "percentile"]
