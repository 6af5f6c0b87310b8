"""How what a filter asks stands: a frozen value for each of its servers."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen
class ServerStanding:
    """One server of an engine, as its breaker sees it.

    :ivar state: up; down: it is left alone; due: the next message tries it again
    :ivar failures: in a row
    :ivar retry_s: seconds until it may be asked again; 0.0 where it may
    """

    endpoint: str
    state: Literal["up", "down", "due"]
    failures: int
    busy: int
    retry_s: float


@attrs.frozen
class Source:
    """Where a plugin comes from.

    :ivar version: of its package, or what it says of itself; "" where nothing does
    """

    module: str
    file: str
    version: str
    is_builtin: bool
