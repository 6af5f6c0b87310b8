"""The jobs of child processes, by name: `child` runs them, nothing else is run there."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Where each is: "module:function", called with the content (a buffer) and the request (plain), answers plain values.
JOBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "examine": "smtpgate.examine.look:look",
        "signatures": "smtpgate.examine.signatures:verify",
        "known": "smtpgate.examine.known:find",
        "search": "smtpgate.examine.dlp.search:search",
        "patterns": "smtpgate.examine.patterns:scan",
        "edit": "smtpgate.edits.plan:edit",
        "sameness": "smtpgate.examine.sameness:digest",
        "view": "smtpgate.examine.viewing:view",
        "page": "smtpgate.examine.viewing:page",
    }
)
