"""The detectors for people: what each finds, how sure it is, and the vectors that it is held to.

`smtpgate detectors` lists them, and docs/dlp.md has the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smtpgate.rules.searching import CATALOGUE, DICTIONARIES, Detector


def catalogue() -> list[dict[str, Any]]:
    """All that come along, in their order; dictionaries last."""
    rows = [_row(one) for one in CATALOGUE.values()]
    for name, one in DICTIONARIES.items():
        about = f"dictionary of {len(one.terms)} terms, from a score of {one.threshold:g} on"
        levels = {"alone": "high", "with_evidence": "high", "good": [], "bad": []}
        rows.append({"name": name, "group": "dictionary", "country": "", "about": about, **levels})
    return rows


def _row(one: Detector) -> dict[str, Any]:
    return {
        "name": one.name,
        "group": one.group,
        "country": one.country,
        "about": one.about,
        "alone": _alone(one),
        "with_evidence": one.near,
        "good": list(one.good),
        "bad": list(one.bad),
    }


def _alone(one: Detector) -> str:
    """How sure its forms are by themselves, the surest first; "" where it needs evidence."""
    levels = {one.level} if one.pattern else set(one.forms.values())
    return ", ".join(level for level in ("high", "medium", "low") if level in levels)


def markdown() -> Iterator[str]:
    """Their table."""
    yield "| detector | group | what it finds | by itself | with evidence |"
    yield "|---|---|---|---|---|"
    for row in catalogue():
        alone = row["alone"] or "nothing"
        yield f"| `{row['name']}` | {row['group']} | {row['about']} | {alone} | {row['with_evidence']} |"
