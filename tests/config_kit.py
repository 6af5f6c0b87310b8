"""What the tests of the configuration share: filters to name, trees to judge, texts to compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from pydantic import BaseModel, ConfigDict, Field

from smtpgate.config import loader
from smtpgate.config.build_filters import FilterFactory
from smtpgate.config.model import Backend, Listener, Route, Server, Settings
from smtpgate.config.patterns import AddressList, DomainList, NetworkList, PatternList
from smtpgate.config.problem import ConfigErrors, Fault, Problem, dotted
from smtpgate.config.surroundings import Folder, ReadFile

TESTS = Path(__file__).parent


class SpfOptions(BaseModel):
    """Options of a filter as a plugin's author would write them."""

    model_config = ConfigDict(extra="forbid")

    lookups: int = Field(10, ge=1, le=10)
    skip: list[str] = []


class Factory:
    """The least that the loader needs of a filter's factory."""

    def __init__(self, name: str, options: type[BaseModel] | None, roles: frozenset[str]) -> None:
        self.name = name
        self.options = options
        self.roles = roles
        self.category = "policy"


FACTORIES: dict[str, FilterFactory] = {
    "spf": Factory("spf", SpfOptions, frozenset({"mx"})),
    "clamav": Factory("clamav", None, frozenset({"mx", "submission"})),
}
FAILED = {"smtpgate.plugins.broken": "ImportError: No module named 'nothing'"}


def load(path: Path) -> Settings:
    """Load a file with the filters above, whoever runs the tests, wherever, and with what umask."""

    def read_file(path: Path) -> ReadFile:
        return attrs.evolve(real(path), mode=0o600)

    real = loader._read_file
    with (
        mock.patch.object(loader, "_look_at_folder", lambda _: Folder()),
        mock.patch.object(loader, "_read_file", read_file),
    ):
        return loader.load(path, FACTORIES, FAILED)


def complaint(path: Path) -> str:
    """All that is wrong with a file, as printed, with paths shortened to their last part."""
    try:
        load(path)
    except ConfigErrors as error:
        return f"{error}\n".replace(f"{path.parent}/", "")
    return "no error\n"


def dump(settings: Settings, folder: Path) -> str:
    """A tree as text, with paths shortened to what they are below a folder."""
    shown = json.dumps(_plain(settings), indent=2, ensure_ascii=False)
    return f"{shown}\n".replace(f"{folder}/", "")


def _plain(value: object) -> object:
    if isinstance(value, Problem):
        return str(value)
    kind: Any = type(value)
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind) if field.name[0] != "_"]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, AddressList | DomainList | NetworkList | PatternList | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def backend(name: str = "mail", *servers: str, **given: object) -> Backend:
    """A backend that tells its servers who the client is, so that nothing is to be said about it."""
    given.setdefault("client_info", "xclient")
    made = tuple(server(address) for address in servers or ("mail.example.net:25",))
    return Backend(name, made, **given)  # type: ignore[arg-type]


def server(address: str) -> Server:
    """A server by its address."""
    if address.startswith("unix:"):
        return Server(address, "", None, address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return Server(address, host.strip("[]"), int(port))


def listener(name: str = "mx", *listen: str, **given: object) -> Listener:
    """A listener without TLS, so that nothing is to be said about certificates."""
    given.setdefault("tls", "off")
    return Listener(name, listen or ("tcp:25",), **given)  # type: ignore[arg-type]


def tree(
    listeners: list[Listener] | None = None,
    backends: list[Backend] | None = None,
    routes: list[Route] | None = None,
    **given: object,
) -> Settings:
    """A tree that no check finds fault with, but for what is given otherwise."""
    given.setdefault("hostname", "gate.example.com")
    given.setdefault("state_dir", Path("/var/lib/smtpgate"))
    given.setdefault("local_domains", DomainList(["example.net"]))
    doors = [listener()] if listeners is None else listeners
    groups = [backend()] if backends is None else backends
    ways = [Route(1, 10, backend="mail")] if routes is None else routes
    return Settings(
        listeners={one.name: one for one in doors},
        backends={one.name: one for one in groups},
        routes=tuple(ways),
        **given,  # type: ignore[arg-type]
    )


def said(check: Callable[[Settings], Iterator[Fault]], judged: Settings) -> list[tuple[str, str]]:
    """What a check says about a tree: the key, and 'error' or 'warning'."""
    return [(dotted(fault.where), fault.severity) for fault in check(judged)]
