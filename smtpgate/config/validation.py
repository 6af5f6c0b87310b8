"""From a parsed file to the schema's tables, with every fault in words.

`validate` judges a whole file, `faults_of` puts any pydantic error into our words and is used for the options
of filters too, so that a plugin's author gets the same messages with the right path.

A file with one bad key shall still hear about its bad routes. So a bad value is taken out and the rest is
judged again without it; the key is remembered as tainted, and the checks hold their tongue about everything
that rests on it. A fault that only follows from another one is worse than none. All else is told, in the same
table too.
"""

from __future__ import annotations

import copy
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import attrs
from pydantic import BaseModel, ValidationError

from smtpgate.config.problem import BadValue, Fault, Where, dotted, nearest, quoted
from smtpgate.config.schema import File

#: Stands in for a required key that is missing, so that the rest of its table can be judged.
STAND_INS: dict[str, Any] = {
    "listen": ["tcp:0"],
    "address": "unix:/nowhere",
    "backend": "",
    "use": "",
    "action": "note",
    "name": "nameless",
    "level": "encrypted",
    "patterns": ["nothing"],
}
#: Taking out a bad value can bring out a missing one, and that a bad table: three rounds, and some to spare.
_ROUNDS = 6

_WRONG_TYPE = {
    "int_type": ("is not a whole number", "write a number without quotes"),
    "float_type": ("is not a number", "write a number without quotes"),
    "bool_type": ("is not true or false", "write true or false, without quotes"),
    "int_parsing": ("is not a whole number", "write a number without quotes"),
    "int_from_float": ("is not a whole number", "write it without a fraction"),
    "float_parsing": ("is not a number", "write a number without quotes"),
    "bool_parsing": ("is not true or false", "write true or false, without quotes"),
    "string_type": ("is not text", "write it in quotes"),
    "list_type": ("is not a list", "write it in square brackets"),
    "finite_number": ("is not a number to count with", "write one with digits"),
    "dict_type": ("is not a table", ""),
    "model_type": ("is not a table", ""),
    "model_attributes_type": ("is not a table", ""),
}


@attrs.frozen
class Validated:
    """The outcome: the tables as far as they make sense, all faults, and the keys that may mean something else."""

    file: File | None
    faults: tuple[Fault, ...]
    tainted: frozenset[Where]


def validate(tree: dict[str, Any]) -> Validated:
    """Judge a parsed file. `file` is None only when not even a part makes sense."""
    faults: list[Fault] = []
    tainted: set[Where] = set()
    rest = tree
    for _ in range(_ROUNDS):
        try:
            return Validated(File.model_validate(rest), tuple(faults), frozenset(tainted))
        except ValidationError as error:
            if not faults:
                faults = faults_of(error, File, tree)
                tainted = {path for fault in faults for path in _tainted_by(fault, tree)}
            rest = _without(error, rest)
    return Validated(None, tuple(faults), frozenset(tainted))


def faults_of(error: ValidationError, model: type[BaseModel], raw: object, base: Where = ()) -> list[Fault]:
    """The faults of a pydantic error over a raw value that stands at `base`."""
    faults = []
    for found in error.errors(include_url=False):
        where = _in_raw(found["loc"], raw)
        message, hint = _in_words(found, model, where, base)
        wrong = found.get("ctx", {}).get("error")
        if isinstance(wrong, BadValue) and wrong.key:
            where = (*where, wrong.key)
        faults.append(Fault((*base, *where), message, hint, is_key=found["type"] == "extra_forbidden"))
    return faults


def _in_raw(location: tuple[int | str, ...], raw: object) -> Where:
    """A location of pydantic without what the file does not have: tags of unions, unbracketed entries."""
    where: list[int | str] = []
    for number, part in enumerate(location):
        is_last = number == len(location) - 1
        if isinstance(raw, dict):
            if part in raw:
                raw = raw[part]
            elif not is_last:
                continue
            where.append(part)
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
            where.append(part)
    return tuple(where)


def _in_words(found: Any, model: type[BaseModel], where: Where, base: Where) -> tuple[str, str]:
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    # A bound of a number with a fraction comes as 10.0.
    bound = {name: int(at) if isinstance(at, float) and at.is_integer() else at for name, at in context.items()}
    if kind == "extra_forbidden":
        table = _table_at(model, where[:-1])
        known = list(table.model_fields) if table else []
        meant = nearest(str(where[-1]), known)
        return "unknown key", f'did you mean "{meant}"?' if meant else "known keys: " + ", ".join(known)
    if kind == "missing":
        table = _table_at(model, where[:-1])
        example = _example(table, str(where[-1])) if table else ""
        return "missing key", f"write {where[-1]} = {example}" if example else "this key is required"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"unknown value {quoted(value)}", "use one of " + ", ".join(choices)
    if kind == "value_error" and isinstance(context.get("error"), BadValue):
        return context["error"].message, context["error"].hint
    if kind in ("greater_than_equal", "greater_than"):
        least = f"the least is {bound['ge']}" if "ge" in bound else f"it must be more than {bound['gt']}"
        return f"{quoted(value)} is too small", least
    if kind in ("less_than_equal", "less_than"):
        most = f"the most is {bound['le']}" if "le" in bound else f"it must be less than {bound['lt']}"
        return f"{quoted(value)} is too large", most
    if kind == "too_short":
        return "an empty list", "at least one entry is needed"
    if kind in _WRONG_TYPE:
        message, hint = _WRONG_TYPE[kind]
        if kind == "list_type" and isinstance(value, dict):
            name = ".".join(str(part) for part in (*base, *where))
            return f"{name} is a list of tables, and this is one", f"write [[{name}]], in two brackets, for each"
        return f"{quoted(value)} {message}", hint or _table_hint(kind, (*base, *where))
    # What only a plugin's own model can bring. pydantic's sentences begin with a capital and "Input".
    message = str(found["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:], ""


def _table_hint(kind: str, where: Where) -> str:
    name = dotted(tuple(part for part in where if isinstance(part, str)))
    if where and isinstance(where[-1], int):
        return f"write [[{name}]] and its keys below it"
    if kind == "dict_type" and len(where) == 1:
        name += ".NAME"
    return f"write [{name}] and its keys below it"


def _example(table: type[BaseModel], name: str) -> str:
    field = table.model_fields.get(name)
    extra = field.json_schema_extra if field else None
    return str(extra.get("x-toml-example", "")) if isinstance(extra, dict) else ""


def _types_in(annotation: Any) -> Iterator[Any]:
    """The types an annotation may stand for, without Annotated and unions."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _types_in(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _types_in(one)
    else:
        yield annotation


def _table_at(model: type[BaseModel], where: Where) -> type[BaseModel] | None:
    """The table of the schema that stands at a path."""
    reached: list[Any] = [model]
    for part in where:
        following: list[Any] = []
        for one in reached:
            if isinstance(one, type) and issubclass(one, BaseModel):
                field = one.model_fields.get(str(part))
                following += _types_in(field.annotation) if field else []
            elif get_origin(one) in (list, tuple, set, dict):
                following += _types_in(get_args(one)[-1])
        reached = following
    return next((one for one in reached if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _tainted_by(fault: Fault, tree: dict[str, Any]) -> Iterator[Where]:
    """What is not to be judged because of a fault: its key, and the one that was meant where that is not given."""
    yield fault.where
    *above, name = fault.where
    table = _table_at(File, tuple(above)) if fault.is_key else None
    if table is None:
        return
    meant = nearest(str(name), table.model_fields)
    holder: Any = tree
    for part in above:
        holder = holder[part]
    if not meant:
        return
    if meant not in holder or not above and isinstance(holder[name], list):
        yield (*above, meant)
    elif not above and isinstance(holder[name], dict):
        # A [backend.mail] beside good [backends]: only what it holds is missed there.
        yield from ((meant, inner) for inner in holder[name])


def _without(error: ValidationError, tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of the tree without the bad values of an error, and with stand-ins for missing ones."""
    rest = copy.deepcopy(tree)
    for found in error.errors(include_url=False):
        where = _in_raw(found["loc"], tree)
        # Only whole keys are taken out: the entries of a list keep their numbers.
        while where and isinstance(where[-1], int):
            where = where[:-1]
        holder: Any = rest
        for part in where[:-1]:
            holder = holder.get(part) if isinstance(holder, dict) else _entry(holder, part)
        if not where or not isinstance(holder, dict):
            continue
        holder.pop(where[-1], None)
        if found["type"] == "missing" and where[-1] in STAND_INS:
            holder[where[-1]] = STAND_INS[str(where[-1])]
    return rest


def _entry(holder: Any, part: str | int) -> Any:
    if isinstance(holder, list) and isinstance(part, int) and part < len(holder):
        return holder[part]
    return None
