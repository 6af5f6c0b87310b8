"""The packs: rules that come along, with their conditions, replies and thresholds. `build_dlp` makes rules of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from smtpgate.config.tables_dlp import PackTable
from smtpgate.rules.searching import CATALOGUE, EUROPE


@attrs.frozen
class Pack:
    """One of them.

    :ivar test: condition on one match, `m`; {least} is put in
    :ivar note: what it is, for people
    """

    test: str
    least: int
    text: str
    note: str

    def when(self, table: PackTable) -> str:
        """The condition."""
        least = table.least if table.least is not None else self.least
        sure = f"m.confidence == '{table.confidence}'"
        return f"matches.exists(m, {self.test.format(least=least, sure=sure)})"


def _one_of(names: list[str]) -> str:
    return "m.detector in [" + ", ".join(f"'{name}'" for name in names) + "]"


def _people(countries: frozenset[str]) -> list[str]:
    """Detectors of numbers of people there, and the line of a passport."""
    groups = ("identity", "tax", "health")
    never = ("eu-vat", "gb-vat", "us-ein", "us-npi", "us-dea")
    return [
        name
        for name, one in CATALOGUE.items()
        if one.group in groups and one.country in countries and name not in never
    ] + ["mrz"]


_MANY: Final = "{sure} && m.distinct >= {least}"
PACKS: Final[Mapping[str, Pack]] = MappingProxyType(
    {
        "payment-data": Pack(
            f"m.detector == 'card' && {_MANY}",
            1,
            "The message holds numbers of payment cards, which may not be sent by mail",
            "payment cards",
        ),
        "eu-personal-data": Pack(
            f"{_one_of(_people(EUROPE | {'GB'}))} && {_MANY}",
            3,
            "The message holds numbers of persons, which may not be sent by mail",
            "national identity, insurance and tax numbers of people in Europe",
        ),
        "us-personal-data": Pack(
            f"{_one_of(_people(frozenset({'US'})))} && {_MANY}",
            3,
            "The message holds numbers of persons, which may not be sent by mail",
            "social security, taxpayer and Medicare numbers of people in the US",
        ),
        "health-terms": Pack(
            "m.detector == 'health' && {sure} && m.score >= {least}.0",
            10,
            "The message holds words about somebody's health, which may not be sent by mail",
            "words of health in several languages",
        ),
        "secrets": Pack(
            f"m.group == 'secret' && {_MANY}",
            1,
            "The message holds keys, tokens or passwords, which may not be sent by mail",
            "keys, tokens and passwords of services",
        ),
    }
)
