"""What all tables of the configuration file share, and how a key with its description is written."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


def key(default: Any, description: str, *, shown: str = "", example: str = "") -> Any:
    """A key with its default and description.

    `shown` is said in place of the default where that depends on other keys; `example` is what the sample
    shows.
    """
    extra: dict[str, Any] = {}
    if shown:
        extra["x-shown-default"] = shown
    if example:
        extra["x-toml-example"] = example
    arguments: dict[str, Any] = {"description": description, "json_schema_extra": extra or None}
    if isinstance(default, list | dict):
        extra["default"] = default
        return Field(default_factory=lambda: type(default)(default), **arguments)
    return Field(default, **arguments)


REQUIRED: Any = ...


class Table(BaseModel):
    """What all tables share: strict types, no unknown keys, defaults judged like everything else."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_default=True)
