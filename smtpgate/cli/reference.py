"""The document about the built-in filters, written from their factories: `python -m smtpgate.cli.reference`.

What a filter does is said at the head of its module, what a key means at its field; a test holds that docs/filters.md
is what this module would write.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from smtpgate.config.reference import rows
from smtpgate.filters.base import STAGES
from smtpgate.plugins import builtin

DOCS = Path("docs/filters.md")
_OURS = re.compile(r"\s\((?:`[\w.]+`(?:, )?)?(?:B-\d+)?\)")

_INTRODUCTION = """\
<!-- Written by python -m smtpgate.cli.reference; change the filters, not this file. -->
# The filters

Each is put to work by a table in the configuration; they run in the order of the file:

```toml
[[filters]]
use = "dnsbl"            # a name from this page
mode = "shadow"          # first look what it would do; then "enforce"
[filters.options]        # the keys of its own table below
```

A list that you write takes the place of the one that is shipped; `check-config` says what would be lost by that.

How findings become a decision, and what the words for actions and categories mean, is in [plugins.md](plugins.md):
these filters use nothing that a plugin could not.

"""


def documentation() -> str:
    """The text of docs/filters.md."""
    return _INTRODUCTION + "\n".join(
        line for name in sorted(builtin.__all__) for line in _section(getattr(builtin, name))
    )


def _section(factory: Any) -> Iterator[str]:
    yield f"## `{factory.name}`"
    yield ""
    module = inspect.getmodule(factory.make)
    # Names of our own modules and of cases are for who reads the code.
    yield _OURS.sub("", (inspect.getdoc(module) or "").replace("``", "`"))
    yield ""
    stages = ", ".join(stage for stage in STAGES if stage in factory.stages)
    yield (
        f"Roles: {', '.join(sorted(factory.roles))}. Stages: {stages}. Category: {factory.category}. "
        f"When it fails: {factory.on_error}. Longest wait: {factory.budget_s:g} s."
    )
    yield ""
    if factory.options is not None and factory.options.model_fields:
        yield from rows(factory.options)
        yield ""
        for name, field in factory.options.model_fields.items():
            yield from _entries(name, field.annotation)


def _entries(name: str, annotation: Any) -> Iterator[str]:
    """The keys of the tables in a list."""
    tables = [one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, BaseModel)]
    for table in tables if get_origin(annotation) is list else ():
        yield f"Each of `{name}` is a table:"
        yield ""
        yield from rows(table)
        yield ""


if __name__ == "__main__":
    sys.stdout.write(documentation())
