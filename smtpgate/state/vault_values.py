"""Held messages and letters as rows of the index, and back; what cannot be read of one row stops no other."""

from __future__ import annotations

import json
from typing import Any, Final

import attrs
import sqlalchemy as sa

from smtpgate.policy.held import DAMAGED, GATEWAY, Addressee, Held, Letter
from smtpgate.state.tables import storable

_PARSED: Final = ("recipients", "facts", "params")
_NUMBERS: Final = ("at", "expires", "due", "score", "asked", "octets", "tries")


def row_of(value: Held | Letter) -> dict[str, Any]:
    """As it is written."""
    row = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    row["recipients"] = [attrs.asdict(one) for one in value.recipients]
    for name in _PARSED:
        if name in row:
            row[name] = json.dumps(row[name], separators=(",", ":"), default=dict)
    row["state"] = value.state
    return {name: storable(one) if isinstance(one, str) else one for name, one in row.items()}


def _parsed(row: sa.RowMapping) -> tuple[dict[str, Any], str]:
    """A row as values, and what is wrong with it: what cannot be read of one is left empty, and stops no other."""
    made, wrong = dict(row), []
    for name in _PARSED:
        if name not in made:
            continue
        try:
            value = json.loads(made[name])
            made[name] = tuple(map(_addressee, value)) if name == "recipients" else _table(value)
        except (TypeError, ValueError, RecursionError) as error:
            wrong.append(f"{name}: {error}"[:200])
            made[name] = () if name == "recipients" else {}
    for name, value in made.items():
        if name in _PARSED:
            continue
        if type(value) not in ((int, float) if name in _NUMBERS else (str,)):
            wrong.append(f"{name}: {value!r}"[:200])
            made[name] = 0 if name in _NUMBERS else str(value)
    if wrong and made["recipients"]:
        wrong.append(f"it was for {', '.join(one.address for one in made['recipients'][:20])}")
    return made, "; ".join(wrong)


def _addressee(value: Any) -> Addressee:
    made = Addressee(**_table(value))
    _table(made.params)
    for text in (made.address, made.state, made.reply):
        if type(text) is not str:
            raise TypeError(f"{text!r} is no text")
    return made


def _table(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise TypeError(f"{str(value)[:40]!r} is no table")
    return value


def message_of(row: sa.RowMapping) -> Held:
    """A held message; of a row that is damaged one that `is_damaged`."""
    made, wrong = _parsed(row)
    del made["state"]
    if wrong:
        # Nobody can say any more to whom it may go, and over what: it is for a person to look at.
        said = f"its row in the index is damaged ({wrong}); it was held by {made['filter']}: {made['reason']}"
        made |= {"recipients": (), "facts": {}, "filter": GATEWAY, "reason": DAMAGED, "detail": said}
    return Held(**made)


def letter_of(row: sa.RowMapping) -> Letter:
    """A letter; of a row that is damaged one in that state."""
    made, wrong = _parsed(row)
    if wrong:
        # What it was is told beside: it makes a difference whether a server may have it.
        said = f"its row in the index is damaged ({wrong}); it was {made['state']}"
        made |= {"recipients": (), "state": DAMAGED, "told": said}
    return Letter(**made)
