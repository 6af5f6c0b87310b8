"""The shelf's factories."""

from __future__ import annotations

from smtpgate.filters.access import factory as access
from smtpgate.filters.address import factory as address
from smtpgate.filters.helo import factory as helo
from smtpgate.filters.limits import factory as limits
from smtpgate.filters.loop import factory as loop
from smtpgate.filters.match import factory as match

__all__ = ["access", "address", "helo", "limits", "loop", "match"]
