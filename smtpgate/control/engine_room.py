"""The engine room: filters as they run now, what was said of them for a while, how the engines that they ask stand, and
which plugins there are.

A filter may be put into shadow, switched on or off, or given another time for a call, for a day at the most: what is
to last longer belongs in the configuration, where a check looks at it and others see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import ensureDeferred

from smtpgate.control import views
from smtpgate.control.views import Actor, FilterView, Invalid, Refused, Unknown, lasting
from smtpgate.interfaces import IEngine, ServiceFailed
from smtpgate.policy.standing import ServerStanding, Source
from smtpgate.proxy.pipeline import STAGES
from smtpgate.proxy.revision import Engine, Revision
from smtpgate.proxy.tuning import Tuner, TuningFailed, Tunings
from smtpgate.proxy.tuning import Tuning as Tuning

#: Longest that something is said of a filter.
MOST_MINUTES: Final = 24 * 60
#: Times that a call may be given, seconds: more than `filters.base.faults` allows is nonsense here too.
LEAST_S, MOST_S = 0.05, 300.0
#: Somebody must be able to read why, years later.
REASON_LETTERS: Final = 500
#: How long an engine may take to say how old what it looks for is.
ASK_S: Final = 15.0
MODES: Final = ("enforce", "shadow", "off")
_COUNTED: Final = frozenset({"filter_fail_open_total", "plugin_errors_total"})


@attrs.frozen
class Standing:
    """How one filter stands. Times are seconds since the epoch.

    :ivar is_up: False where all servers that it asks are left alone
    :ivar servers: those that it asks; none for one that asks nobody
    :ivar signatures_at: when what its engine looks for was made; 0.0 where the engine does not say
    :ivar trouble: why the last question for that had no answer
    :ivar errors: failures since the start, by where; `fail_open`: those after which mail went on unchecked
    """

    name: str
    is_up: bool = True
    servers: tuple[ServerStanding, ...] = ()
    signatures_at: float = 0.0
    trouble: str = ""
    errors: Mapping[str, int] = attrs.field(factory=dict)
    fail_open: int = 0


@attrs.frozen
class PluginView:
    """One factory of filters.

    :ivar used_as: names of the filters of the file that it makes, with their modes now
    """

    name: str
    source: Source
    stages: tuple[str, ...]
    roles: tuple[str, ...]
    category: str
    on_error: str
    budget_s: float
    needs_message: bool
    used_as: tuple[tuple[str, str], ...]


@attrs.define
class _Signatures:
    made_at: float = 0.0
    trouble: str = ""


class EngineRoom:
    """Of one gateway.

    :ivar sources: where factories come from, by name; set by whoever has found them
    """

    def __init__(
        self,
        engine: Engine,
        current: Callable[[], Revision],
        factories: Mapping[str, Any],
        failed: Mapping[str, str],
        did: Callable[[Actor, str, str, str], None],
        changed: Callable[[], None],
        count: Callable[[frozenset[str]], Mapping[str, Any]],
    ) -> None:
        """
        :param failed: why modules of plugins are not here
        :param changed: chains are others now
        :param count: counts by name and labels (`observe.metrics.Metrics.kept`)
        """
        self.tunings = Tunings(engine.clock, engine.wall, current, engine.tell, changed)
        self.sources: Mapping[str, Source] = {}
        self.failed = failed
        self._engine = engine
        self._current = current
        self._factories = factories
        self._did = did
        self._count = count
        self._signatures: dict[str, _Signatures] = {}
        self._is_asking = False

    # Look

    def filters(self) -> list[FilterView]:
        """All filters in their order as they are used, those that are off too."""
        revision = self._current()
        tuner = revision.tuner
        named = {use.name: use.use for use in revision.settings.filters}
        uses = {use.name: use for door in revision.doors.values() for use in door.chain.uses}
        if tuner is not None:
            uses = {use.name: use for use in tuner.uses}
        order = [*(name for name in uses if name not in named), *(name for name in named if name in uses)]
        return [self._view(tuner, uses[name], named.get(name, name)) for name in order]

    def _view(self, tuner: Tuner | None, use: Any, factory: str) -> FilterView:
        tuning = self.tunings.of(use.name)
        made = use
        if tuner is not None:
            made = tuner.at_work.get(use.name, use)
            if use.name in tuner.failed:
                # It was told, and the filter runs as configured.
                tuning = None
        view = views.filter_view(made)
        may = tuner is not None and tuner.use(use.name) is not None
        return attrs.evolve(
            view, use=factory, tuning=tuning, is_tunable=may, own_mode=use.mode, own_budget_s=use.budget_s
        )

    def find(self, name: str) -> FilterView:
        """One filter; raises Unknown."""
        for view in self.filters():
            if view.name == name:
                return view
        raise Unknown(f"no filter {name}")

    def standings(self) -> dict[str, Standing]:
        """How all filters stand."""
        counts = self._count(_COUNTED)
        errors: dict[str, dict[str, int]] = {}
        for (name, hook), count in counts.get("plugin_errors_total", {}).items():
            if count:
                errors.setdefault(name, {})[hook] = count
        opened = {labels[0]: count for labels, count in counts.get("filter_fail_open_total", {}).items()}
        out = {}
        for name, made in self._made():
            known = self._signatures.get(name, _Signatures())
            servers: tuple[ServerStanding, ...] = ()
            if IEngine.providedBy(made):
                try:
                    servers = tuple(made.standing())
                    wrong = next((one for one in servers if not isinstance(one, ServerStanding)), None)
                    if wrong is not None:
                        raise TypeError(f"{wrong!r} is no ServerStanding")
                except Exception as error:
                    # A stranger's filter takes away what is known of itself, and of no other.
                    servers, known = (), _Signatures(known.made_at, repr(error)[:REASON_LETTERS])
            is_up = not servers or any(one.state != "down" for one in servers)
            more = (errors.get(name, {}), opened.get(name, 0))
            out[name] = Standing(name, is_up, servers, known.made_at, known.trouble, *more)
        return out

    def _made(self) -> Iterator[tuple[str, Any]]:
        """The filters at work with their names; of those that are off the one that would be."""
        revision = self._current()
        uses = {use.name: use for use in (revision.tuner.uses if revision.tuner is not None else ())}
        uses.update({use.name: use for door in revision.doors.values() for use in door.chain.uses})
        for name, use in uses.items():
            yield name, use.filter

    def plugins(self) -> list[PluginView]:
        """All factories, those that are used first."""
        modes = {view.name: view.mode for view in self.filters()}
        used: dict[str, list[tuple[str, str]]] = {}
        for use in self._current().settings.filters:
            used.setdefault(use.use, []).append((use.name, modes.get(use.name, use.mode)))
        found = [self._plugin(name, one, tuple(used.get(name, ()))) for name, one in self._factories.items()]
        return sorted(found, key=lambda one: (not one.used_as, one.source.is_builtin, one.name))

    def _plugin(self, name: str, factory: Any, used_as: tuple[tuple[str, str], ...]) -> PluginView:
        stages = tuple(stage for stage in STAGES if stage in factory.stages)
        source = self.sources.get(name, Source("", "", "", False))
        return PluginView(
            name,
            source,
            stages,
            tuple(sorted(factory.roles)),
            factory.category,
            factory.on_error,
            factory.budget_s,
            factory.needs_message,
            used_as,
        )

    def schema(self, name: str) -> dict[str, Any]:
        """The JSON schema of a plugin's own table; raises Unknown."""
        if name not in self._factories:
            raise Unknown(f"no plugin {name}")
        options = self._factories[name].options
        return dict(options.model_json_schema()) if options is not None else {"type": "object", "properties": {}}

    # Watch

    async def ask_engines(self) -> None:
        """Ask all engines how old what they look for is. For now and then; it waits for them, for each so long, and is
        not done beside itself.
        """
        if self._is_asking:
            return
        self._is_asking = True
        try:
            await self._ask_engines(dict(self._made()))
        finally:
            self._is_asking = False

    async def _ask_engines(self, made: Mapping[str, Any]) -> None:
        clock: Any = self._engine.clock
        for name, one in made.items():
            if not IEngine.providedBy(one):
                continue
            try:
                found = await ensureDeferred(one.signatures()).addTimeout(ASK_S, clock)
            except Exception as error:
                # A stranger's filter may fail in its own way; those behind it are asked all the same.
                words = str(error) if isinstance(error, ServiceFailed) else repr(error)
                self._signatures.setdefault(name, _Signatures()).trouble = words[:REASON_LETTERS]
            else:
                self._signatures[name] = _Signatures(found or 0.0)
        self._signatures = {name: one for name, one in self._signatures.items() if name in made}

    # Do

    def planned(
        self, name: str, mode: str | None, budget_s: float | None, reason: str, minutes: int, by: str = ""
    ) -> Tuning:
        """What would be said of a filter, checked whole. None leaves what holds now.

        :param mode: "" as configured; `budget_s`: 0.0 as configured
        Raises Unknown, Invalid, Refused.
        """
        view = self.find(name)
        tuner = self._current().tuner
        use = tuner.use(name) if tuner is not None else None
        if tuner is None or use is None:
            raise Refused(f"{name} is no filter of the configuration: only those can run otherwise for a while")
        if not reason.strip():
            raise Invalid("reason: say why, for those who find it so")
        if not 1 <= minutes <= MOST_MINUTES:
            raise Invalid(f"minutes: 1 to {MOST_MINUTES}; what is to last longer belongs in the configuration")
        held = view.tuning
        wanted: Any = mode if mode is not None else held.mode if held is not None else ""
        seconds = budget_s if budget_s is not None else held.budget_s if held is not None else 0.0
        if wanted not in ("", *MODES):
            raise Invalid(f"mode: one of {', '.join(MODES)}")
        if seconds and not LEAST_S <= seconds <= MOST_S:
            raise Invalid(f"timeout: {LEAST_S:g} to {MOST_S:g} seconds")
        if wanted == use.mode:
            wanted = ""
        if seconds == use.budget_s:
            seconds = 0.0
        if not wanted and not seconds:
            raise Invalid(f"{name} would run as configured: take back what was said of it")
        now = self._engine.wall()
        tuning = Tuning(reason.strip()[:REASON_LETTERS], now, now + minutes * 60.0, wanted, seconds, by)
        try:
            tuner.tuned(use, tuning)
        except TuningFailed as error:
            raise Refused(str(error)) from None
        return tuning

    def tune(self, name: str, tuning: Tuning, actor: Actor) -> None:
        """Let it run so from now on: for sessions that begin."""
        self.tunings.tune(name, tuning)
        minutes = round((tuning.until - tuning.since) / 60)
        self._did(actor, "filter.tune", name, lasting(f"{words_of(tuning)}: {tuning.reason}", minutes))

    def tuning(self, name: str) -> Tuning:
        """What was said of one; raises Unknown."""
        found = self.tunings.of(name)
        if found is None:
            raise Unknown(f"nothing is said of filter {name}")
        return found

    def take_back(self, name: str, actor: Actor) -> None:
        """As configured again; raises Unknown."""
        self.tuning(name)
        self.tunings.restore_one(name)
        self._did(actor, "filter.tune", name, "as configured")


def words_of(tuning: Tuning) -> str:
    """What was said, in a few words."""
    parts: list[str] = [f"mode {tuning.mode}"] if tuning.mode else []
    return ", ".join([*parts, f"{tuning.budget_s:g} s for a call"] if tuning.budget_s else parts)
