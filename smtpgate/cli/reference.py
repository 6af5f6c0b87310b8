"""The document about the built-in filters, written from their factories: `python -m smtpgate.cli.reference`.

What a filter does is said at the head of its module, what a key means at its field; a test holds that docs/filters.md
is what this module would write.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smtpgate.config.reference import rows
from smtpgate.filters.base import STAGES
from smtpgate.plugins import builtin

DOCS = Path("docs/filters.md")

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
    yield (inspect.getdoc(module) or "").replace("``", "`")
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


if __name__ == "__main__":
    sys.stdout.write(documentation())
