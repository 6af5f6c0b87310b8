"""From the tables of filters to their values; see `build`. The options of each are judged by the filter's own class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs
from pydantic import BaseModel, ValidationError

from smtpgate.config import model, schema
from smtpgate.config.default_set import DEFAULT_SET
from smtpgate.config.position import Document
from smtpgate.config.problem import Fault, Where, one_of, quoted
from smtpgate.config.validation import faults_of


class FilterFactory(Protocol):
    """What the loader needs of a filter's factory."""

    @property
    def name(self) -> str:
        """The name that `use` gives."""

    @property
    def options(self) -> type[BaseModel] | None:
        """The class of the filter's own keys; None when it has none."""

    @property
    def category(self) -> str:
        """What it looks for, of `policy.verdict.CATEGORIES`."""

    @property
    def roles(self) -> frozenset[str]:
        """Roles of the listeners that the filter is made for."""


@attrs.frozen
class Plugins:
    """The filters found, by name, and the plugin modules that could not be imported, with reasons."""

    factories: Mapping[str, FilterFactory] = attrs.field(factory=dict)
    failed: Mapping[str, str] = attrs.field(factory=dict)


def filter_use(
    number: int,
    table: schema.FilterTable,
    document: Document,
    base: Path,
    plugins: Plugins,
    faults: list[Fault],
) -> model.FilterUse:
    """One filter of the file, with its options judged by its own class."""
    where = ("filters", number)
    factory = plugins.factories.get(table.use)
    options: object = None
    if factory is None:
        faults.append(_unknown_filter(table.use, where, plugins))
    else:
        options, wrong = _options(factory, table.options, (*where, "options"), base)
        faults += [attrs.evolve(fault, keys=("use",)) for fault in wrong]
        if table.roles and not factory.roles.issuperset(table.roles):
            faults.append(
                Fault(
                    (*where, "roles"),
                    f"the filter {quoted(table.use)} is not made for all of these",
                    "its roles are " + ", ".join(sorted(factory.roles)),
                    keys=("use",),
                )
            )
    return model.FilterUse(
        number=number + 1,
        line=document.place(where)[0],
        use=table.use,
        name=table.name or table.use,
        roles=frozenset(table.roles) if table.roles is not None else None,
        mode=table.mode,
        on_error=table.on_error,
        options=options,
        slots=table.slots,
    )


def doubts(uses: Iterable[model.FilterUse], plugins: Plugins) -> list[Fault]:
    """What the options of filters say of themselves and of the chain (`filters.base.Options.doubts`)."""
    # Whoever breaks the contract is told of it when the filter is built.
    known = {
        use.name: getattr(plugins.factories[use.use], "category", "policy")
        for use in uses
        if use.use in plugins.factories
    }
    found: list[Fault] = []
    for use in uses:
        doubts_of = getattr(use.options, "doubts", None)
        if use.number and doubts_of is not None:
            found += [
                attrs.evolve(fault, where=("filters", use.number - 1, "options", *fault.where), keys=("use",))
                for fault in doubts_of(known)
            ]
    return found


def with_set(
    filter_set: str, given: tuple[model.FilterUse, ...], plugins: Plugins, faults: list[Fault]
) -> tuple[model.FilterUse, ...]:
    """The filters of the set, those of the file in the places of theirs or behind them."""
    if filter_set == "none":
        return given
    by_name = {use.name: use for use in given}
    uses = []
    for name, mode in DEFAULT_SET:
        factory = plugins.factories.get(name)
        if name in by_name:
            uses.append(by_name[name])
        elif factory is None:
            faults.append(attrs.evolve(_unknown_filter(name, (), plugins), where=("filter_set",), keys=("filters",)))
        else:
            options = factory.options() if factory.options is not None else None
            uses.append(model.FilterUse(0, 0, name, mode=mode, options=options))
    return (*uses, *(use for use in given if use not in uses))


def _unknown_filter(use: str, where: Where, plugins: Plugins) -> Fault:
    hint = one_of(use, sorted(plugins.factories), "no filters were found")
    if plugins.failed:
        failed = "; ".join(f"{module}: {reason}" for module, reason in sorted(plugins.failed.items()))
        hint += f"; could not be imported: {failed}"
    elif plugins.factories and not hint.startswith("did you mean"):
        hint += "; a plugin of yours is found where its package is installed beside the gateway (docs/plugins.md)"
    return Fault((*where, "use"), f"no filter {quoted(use)}", hint, keys=())


def _options(
    factory: FilterFactory, raw: dict[str, Any], where: Where, base: Path
) -> tuple[BaseModel | None, list[Fault]]:
    options = factory.options
    if options is None:
        names = [str(name) for name in raw]
        return None, [Fault((*where, name), "unknown key", "this filter has no options", is_key=True) for name in names]
    # Unknown keys are errors everywhere, also where a plugin's author did not think of it; "allow" is meant.
    extra: Literal["forbid"] | None = None if options.model_config.get("extra") == "allow" else "forbid"
    try:
        # A plugin resolves relative paths with the context, as we do: against the folder of the file.
        return options.model_validate(raw, extra=extra, context={"base": base}), []
    except ValidationError as error:
        return None, faults_of(error, options, raw, where)
