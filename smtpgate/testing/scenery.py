"""From the head of a golden session (`head`) to the gateway in memory that it is played in.

Filters and tables are written down as an operator writes them and go through the configuration's own checks; what these
complain of is put back to the line of the script, or of the configuration file that the script takes its filters from.
`build` raises `BadScript` with all of it.
"""

from __future__ import annotations

import datetime
import json
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, fail, succeed

from smtpgate.config.default_set import DEFAULT_SET
from smtpgate.config.position import BadSyntax, Document, read
from smtpgate.config.problem import ConfigErrors, Problem, Where, dotted, one_of, quoted
from smtpgate.interfaces import HTTPFailed
from smtpgate.net.http import Response
from smtpgate.testing import Gateway, Used
from smtpgate.testing.head import Complaint, HTTPAnswer
from smtpgate.testing.script import BadScript, Script

#: Tables of the configuration that a script may have too.
TABLES: Final = ("limits", "timeouts", "content", "scores", "replies")
_PART: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\[([0-9]+)\]|([A-Za-z0-9_-]+)')


@attrs.frozen
class Found:
    """The filters that there are (`plugins.find_factories`), and the modules that failed with the reason."""

    factories: Mapping[str, Any]
    failed: Mapping[str, str]


@attrs.frozen
class _Source:
    """Where tables were written."""

    path: Path
    document: Document
    tree: Mapping[str, Any]

    def complaint(self, where: Where, text: str, is_key: bool = False) -> Complaint:
        """Something wrong there."""
        return Complaint(self.path, self.document.place(where, is_key)[0], text)


@attrs.frozen
class _Table:
    """A table of `[[filters]]` and its place; () for one that only a name stands for."""

    keys: Mapping[str, Any]
    where: Where


def build(script: Script, found: Found) -> Gateway:
    """The gateway of a script; raises BadScript."""
    own = _Source(script.path, script.document, script.document.tree)
    named = script.head.filters
    filters = _file(script, named) if isinstance(named, str) else own
    wrong: list[Complaint] = []
    used: list[Used] = []
    places: list[Where] = []
    for table in _tables(filters, wrong):
        one = _used(table, filters, found, wrong)
        if one is None or filters is not own and script.head.role not in one.factory.roles:
            continue
        used.append(one)
        places.append(table.where)
    sources = {key: own if key in own.tree else filters for key in TABLES}
    config = "".join(_config(key, source, wrong) for key, source in sources.items())
    if wrong:
        raise BadScript(wrong)
    head = script.head
    domains = head.domains if head.domains is not None else _domains(filters)
    try:
        gateway = Gateway(*used, role=head.role, domains=domains, now=head.now, config=config, zones=script.zones)
    except ConfigErrors as errors:
        raise BadScript(
            [
                _complaint(problem, sources | {"filters": filters}, places, own)
                for problem in errors.problems
                if problem.is_error
            ]
        ) from None
    except (Exception, SystemExit) as error:
        raise BadScript([filters.complaint(("filters",), raised(error))]) from None
    gateway.children.fails = head.children
    gateway.backend.answers = {str(verb): text for verb, text in head.backend.items()}
    gateway.http.answer = _Answers(head.http, gateway.clock)
    return gateway


def raised(error: BaseException) -> str:
    """An error that a filter raised, with the place."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _file(script: Script, named: str) -> _Source:
    """The configuration file that a script takes its filters from."""
    path = script.path.parent / named
    try:
        document = read(path.read_text(encoding="utf-8"))
    except BadSyntax as error:
        raise BadScript([Complaint(path, error.line, f"{error.reason}; {error.hint}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        line, _ = script.document.place(("filters",))
        raise BadScript([Complaint(script.path, line, f"filters: {path} cannot be read: {error}")]) from None
    return _Source(path, document, document.tree)


def _tables(source: _Source, wrong: list[Complaint]) -> list[_Table]:
    given = source.tree.get("filters", [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        wrong.append(source.complaint(("filters",), "filters: write [[filters]] and the keys of each below it"))
        return []
    tables = [_Table(table, ("filters", number)) for number, table in enumerate(given)]
    if source.tree.get("filter_set", "none") == "none":
        return tables
    # As the configuration itself puts them together.
    by_name = {table.keys.get("name", table.keys.get("use")): table for table in tables}
    first = [by_name.pop(name, _Table({"use": name, "mode": mode}, ())) for name, mode in DEFAULT_SET]
    return first + [table for table in tables if table not in first]


def _used(table: _Table, source: _Source, found: Found, wrong: list[Complaint]) -> Used | None:
    name = table.keys.get("use")
    factory = found.factories.get(name) if isinstance(name, str) else None
    if factory is None:
        hint = one_of(str(name), sorted(found.factories), "no filters were found")
        if found.failed:
            hint += "; could not be imported: " + "; ".join(
                f"{one}: {why}" for one, why in sorted(found.failed.items())
            )
        said = f"no filter {quoted(name)}; {hint}" if name is not None else "missing key use"
        wrong.append(source.complaint((*table.where, "use"), said))
        return None
    options = table.keys.get("options", {})
    if not isinstance(options, dict):
        wrong.append(source.complaint((*table.where, "options"), "options: write [filters.options] and its keys"))
        return None
    return Used(factory, _lines(options), _lines({k: v for k, v in table.keys.items() if k not in ("use", "options")}))


def _config(key: str, source: _Source, wrong: list[Complaint]) -> str:
    table = source.tree.get(key, {})
    if not isinstance(table, dict):
        wrong.append(source.complaint((key,), f"{key}: write [{key}] and its keys below it"))
        return ""
    return f"[{key}]\n{_lines(table)}" if table else ""


def _domains(source: _Source) -> list[str]:
    given = source.tree.get("local_domains", ["example.net"])
    return [str(one) for one in (given if isinstance(given, list) else [given])]


def _complaint(problem: Problem, sources: Mapping[str, _Source], places: list[Where], own: _Source) -> Complaint:
    """What the configuration says, put back to where it was written."""
    where = tuple(_part(*found) for found in _PART.findall(problem.key))
    said = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
    source = sources.get(str(where[0])) if where else None
    if source is None:
        return own.complaint(("domains",), f"{problem.key}: {said}")
    if where[0] == "filters" and len(where) > 1 and isinstance(where[1], int):
        where = (*(places[where[1]] or where[:2]), *where[2:])
    return source.complaint(where, f"{dotted(where)}: {said}", is_key=problem.message == "unknown key")


def _part(quoted_part: str, number: str, bare: str) -> str | int:
    if number:
        return int(number)
    return bare or str(json.loads(f'"{quoted_part}"'))


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{_toml(str(key))} = {_toml(value)}\n" for key, value in table.items())


def _toml(value: Any) -> str:
    """A value as TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return repr(value)


class _Answers:
    """The HTTP servers of a script."""

    def __init__(self, answers: list[HTTPAnswer], clock: Any) -> None:
        self._answers = answers
        self._clock = clock

    def __call__(self, method: str, url: str, headers: Any, body: bytes | None) -> Deferred[Any]:
        """Answer a request as the first entry for its address says."""
        for one in self._answers:
            if one.url == url and one.method in ("", method):
                return self._answer(one)
        return fail(HTTPFailed(f"the script has no [[http]] that answers {method} {url}"))

    def _answer(self, one: HTTPAnswer) -> Deferred[Any]:
        def reply(_: None) -> Any:
            if one.fails:
                raise HTTPFailed(one.fails)
            return Response(one.status, {name.lower(): text for name, text in one.headers.items()}, one.body.encode())

        if not one.delay:
            return succeed(None).addCallback(reply)
        waiting: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._clock.callLater(one.delay, waiting.callback, None)
        return waiting.addCallback(reply)
