"""Settings as they may be shown: plain values, with every secret replaced by ***."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from pydantic import BaseModel, SecretBytes, SecretStr

from smtpgate.config.masking import HIDDEN, is_secret_name, masked, masked_urls
from smtpgate.config.model import Secret, Settings


def settings(tree: Settings) -> dict[str, Any]:
    """The whole tree."""
    skipped = ("warnings", "path", "digest")
    return {
        field.name: plain(getattr(tree, field.name)) for field in attrs.fields(Settings) if field.name not in skipped
    }


def plain(value: object) -> Any:
    """Any value of the tree as JSON has it."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return masked_urls(value)
    if isinstance(value, Secret | SecretStr | SecretBytes):
        return HIDDEN
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel):
        return _mapping({name: getattr(value, name) for name in type(value).model_fields})
    kind: Any = type(value)
    if attrs.has(kind):
        return _mapping({field.name: getattr(value, field.name) for field in attrs.fields(kind)})
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, frozenset | set):
        return sorted(plain(one) for one in value)
    if hasattr(value, "__iter__"):
        return [plain(one) for one in value]
    return str(value)


def _mapping(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): _of_key(str(name), value) for name, value in values.items()}


def _of_key(name: str, value: Any) -> Any:
    if is_secret_name(name) and value:
        return HIDDEN
    return masked(name, value) if isinstance(value, str) else plain(value)
