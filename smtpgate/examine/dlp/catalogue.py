"""All detectors that there are, by name: the tables of this room joined."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from smtpgate.examine.dlp.detector import Detector
from smtpgate.examine.dlp.identity import EUROPE
from smtpgate.examine.dlp.payment import PAYMENT
from smtpgate.examine.dlp.secrets import SECRETS
from smtpgate.examine.dlp.world import WORLD

CATALOGUE: Final[Mapping[str, Detector]] = MappingProxyType(
    {one.name: one for one in (*PAYMENT, *EUROPE, *WORLD, *SECRETS)}
)
