"""Where filter factories are found: `builtin` lists ours, other packages drop modules of their own in.

A module below `smtpgate/plugins/` in any folder of the Python path is a plugin module, where that folder has no
`__init__.py`; every object in it that provides `IFilterFactory` is a factory. A module that cannot be imported, or
whose factory does not keep the contract, is named with its reason, never skipped in silence: a configuration that asks
for a filter of it is refused with that reason (`twisted.plugin.getPlugins` would log and go on, and would write a cache
that is read back as a pickle).
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from twisted.plugin import pluginPackagePaths

from smtpgate.filters.base import faults
from smtpgate.interfaces import IFilterFactory
from smtpgate.policy.standing import Source

__path__.extend(pluginPackagePaths(__name__))
__all__ = ["TwoOfOneName", "find_factories", "sources"]


class TwoOfOneName(Exception):
    """Two factories have one name; the text names both."""


def find_factories() -> tuple[dict[str, Any], dict[str, str]]:
    """All factories by name, and the modules that failed with the reason. Raises TwoOfOneName."""
    found: dict[str, Any] = {}
    places: dict[str, str] = {}
    failed: dict[str, str] = {}
    for info in pkgutil.iter_modules(__path__):
        try:
            module = importlib.import_module(f"{__name__}.{info.name}")
        except (Exception, SystemExit) as error:
            failed[info.name] = f"{type(error).__name__}: {error}"
            continue
        for thing in vars(module).values():
            if isinstance(thing, type) or not IFilterFactory.providedBy(thing):
                continue
            wrong = faults(thing)
            if wrong:
                failed[info.name] = "; ".join(wrong)
                continue
            place = f"{module.__name__} ({module.__file__})"
            if found.get(thing.name, thing) is not thing:
                raise TwoOfOneName(f"two filters are named {thing.name}: in {places[thing.name]} and in {place}")
            found[thing.name] = thing
            places[thing.name] = place
    return found, failed


def sources(factories: Mapping[str, Any]) -> dict[str, Source]:
    """Where factories that were found come from. Reads what is installed of packages; for the start."""
    out = {}
    for info in pkgutil.iter_modules(__path__):
        module = sys.modules.get(f"{__name__}.{info.name}")
        for thing in vars(module).values() if module is not None else ():
            name = getattr(thing, "name", None)
            if isinstance(name, str) and factories.get(name) is thing:
                is_ours = info.name == "builtin"
                version = "" if is_ours else _version(module, thing)
                out[name] = Source(module.__name__, str(module.__file__ or ""), version, is_ours)  # type: ignore[union-attr]
    return out


def _version(module: Any, factory: Any) -> str:
    """What the factory, its module or the package that has its file says; "" where none does."""
    for said in (getattr(factory, "version", None), getattr(module, "__version__", None)):
        if isinstance(said, str) and said:
            return said[:100]
    file = Path(module.__file__ or "")
    for package in metadata.distributions():
        for one in package.files or ():
            if one.name == file.name and Path(str(package.locate_file(one))) == file:
                return package.version
    return ""
