"""The documents about the configuration, written from the schema.

`python -m smtpgate.config.reference --docs` writes docs/configuration.md and `--sample` etc/smtpgate.toml,
below the current folder; `--json-schema` prints the JSON schema. A test holds that the files in the tree are
what this module would write, so a key is documented where it is declared and nowhere else.

The sample shows every key: those that a first start needs as they would be used, all others commented out.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from smtpgate.config import schema
from smtpgate.config.table import Table
from smtpgate.config.tables_dlp import DetectorTable, DictionaryTable, PackTable
from smtpgate.config.tables_history import HistoryTable
from smtpgate.config.tables_policy import GroupTable, RuleTable
from smtpgate.config.tables_signing import DKIMKeyTable, SMIMEKeyTable
from smtpgate.config.tables_sso import ProviderGroupTable, ProviderTable
from smtpgate.config.tables_traffic import (
    BansTable,
    ClassesTable,
    ClassTable,
    ConcurrencyLimitTable,
    PressureTable,
    RateLimitTable,
)
from smtpgate.config.values import Kind

DOCS = Path("docs/configuration.md")
SAMPLE = Path("etc/smtpgate.toml")

#: Tables in the order of the documents: title, table, and the key under which the file has it.
TABLES: Sequence[tuple[str, type[Table], str]] = (
    ("Before the first table", schema.File, ""),
    ("`[log]`", schema.LogTable, "log"),
    ("`[admin]`", schema.AdminTable, "admin"),
    ("`[sso.NAME]`", ProviderTable, "sso"),
    ("`[[sso.NAME.groups]]`", ProviderGroupTable, "sso.NAME.groups"),
    ("`[limits]`", schema.LimitsTable, "limits"),
    ("`[timeouts]`", schema.TimeoutsTable, "timeouts"),
    ("`[listeners.NAME]`", schema.ListenerTable, "listeners"),
    ("`[backends.NAME]`", schema.BackendTable, "backends"),
    ("An entry of `servers`", schema.ServerTable, "servers"),
    ("`[[routes]]`", schema.RouteTable, "routes"),
    ("`[classes]`", ClassesTable, "classes"),
    ("`[classes.NAME]`: trusted, known, unknown, suspect", ClassTable, "classes.NAME"),
    ("`[bans]`", BansTable, "bans"),
    ("`[pressure]`", PressureTable, "pressure"),
    ("`[[rate_limits]]`", RateLimitTable, "rate_limits"),
    ("`[[concurrency_limits]]`", ConcurrencyLimitTable, "concurrency_limits"),
    ("`[history]`", HistoryTable, "history"),
    ("`[[rules]]`", RuleTable, "rules"),
    ("`[groups.NAME]`", GroupTable, "groups"),
    ("`[[packs]]`", PackTable, "packs"),
    ("`[[detectors]]`", DetectorTable, "detectors"),
    ("`[[dictionaries]]`", DictionaryTable, "dictionaries"),
    ("`[[dkim_keys]]`", DKIMKeyTable, "dkim_keys"),
    ("`[[smime_keys]]`", SMIMEKeyTable, "smime_keys"),
    ("`[resolver]`", schema.ResolverTable, "resolver"),
    ("`[content]`", schema.ContentTable, "content"),
    ("`[scores]`", schema.ScoresTable, "scores"),
    ("`[[filters]]`", schema.FilterTable, "filters"),
)

#: What the sample sets, by header of its table; a header may come twice.
SHOWN: Sequence[tuple[str, type[Table], Mapping[str, str]]] = (
    (
        "",
        schema.File,
        {
            "hostname": '"gate.example.com"',
            "state_dir": '"/var/lib/smtpgate"',
            "local_domains": '["example.net", "*.example.org"]',
        },
    ),
    ("[log]", schema.LogTable, {}),
    ("[admin]", schema.AdminTable, {}),
    ("[limits]", schema.LimitsTable, {}),
    ("[timeouts]", schema.TimeoutsTable, {}),
    ("[listeners.mx]", schema.ListenerTable, {"listen": '["tcp:25"]', "role": '"mx"'}),
    (
        "[listeners.submission]",
        schema.ListenerTable,
        {"listen": '["tcp:587"]', "role": '"submission"', "tls": '"required"', "auth": '"relay"'},
    ),
    ("[backends.mail]", schema.BackendTable, {"servers": '["mail.example.net:25"]', "tls": '"verify"'}),
    (
        "[[routes]]",
        schema.RouteTable,
        {"listener": '"mx"', "recipient": '["example.net", "*.example.org"]', "backend": '"mail"'},
    ),
    ("[[routes]]", schema.RouteTable, {"listener": '"submission"', "backend": '"mail"'}),
    ("[resolver]", schema.ResolverTable, {}),
    ("[content]", schema.ContentTable, {}),
    ("[scores]", schema.ScoresTable, {}),
    ("#[[filters]]", schema.FilterTable, {}),
)

INTRODUCTION = """\
<!-- Written by python -m smtpgate.config.reference --docs; change the schema, not this file. -->
# Configuration

One TOML file (UTF-8) holds the whole configuration; `twistd smtpgate --config FILE` reads it, and a SIGHUP
reads it again. `smtpgate check-config FILE` tells everything that is wrong with it at once: file, line and
column, key, what is wrong, and what would be right. A file with errors is refused as a whole, and what runs
goes on unchanged; warnings do not stop it. Keys that are not known are errors.

- **size**: text with a unit, `"50 MiB"` or `"10 MB"`, or a whole number of octets.
- **time**: text with a unit, `"90s"`, `"5m"`, `"1h30m"`, or a number of seconds.
- **path**: absolute, or relative to the folder of the configuration file.
- **list**: in brackets; a list of one may be written without them: `listener = "mx"`.
- **domain**: `example.net` is that one domain, `*.example.org` is every domain below example.org but not
  example.org itself. Upper and lower case are the same, and so are `bücher.example` and
  `xn--bcher-kva.example`.
- **address**: a domain as above, `user@example.net`, `user@` (that user in any domain), or `<>`, the null
  sender.
- **network**: an address, or a network such as `192.0.2.0/24` or `2001:db8::/32`.
- **endpoint**: `tcp:25`, `tcp:25:interface=127.0.0.1`, `unix:/run/smtpgate/smtp.sock` or
  `systemd:domain=INET:index=0`. TLS is switched on with the key `tls`, never with `ssl:`.

Files with a key or a password must not be readable by others: mode 0600 for `credentials` and PEM files with
a private key; for `password_file` 0640 will do.
"""


def type_word(hint: Any) -> str:
    """The type of a key in a word, from its annotation."""
    origin = get_origin(hint)
    if origin is Annotated:
        words = [mark.word for mark in hint.__metadata__ if isinstance(mark, Kind)]
        return words[0] if words else type_word(get_args(hint)[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return type_word(next(one for one in get_args(hint) if one is not type(None)))
    if origin is list:
        return f"list of {type_word(get_args(hint)[0])}"
    return {bool: "`true`, `false`", int: "number", float: "number", str: "text"}.get(hint, "table")


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _toml(value: Any) -> str:
    """A default as the file would write it. There are texts, numbers, switches and empty lists."""
    return json.dumps(value, ensure_ascii=False)


def default_of(field: FieldInfo) -> str:
    """The default as TOML, or '' where it depends or is nothing."""
    value = field.get_default(call_default_factory=True) if not field.is_required() else None
    return "" if value is None else _toml(value)


def _is_table(hint: Any) -> bool:
    """True for a key that holds one of our tables, which has a section of its own."""
    if isinstance(hint, type):
        return issubclass(hint, Table)
    if get_origin(hint) is Annotated:
        return False
    return any(isinstance(one, type) and issubclass(one, Table) for one in get_args(hint))


def keys_of(table: type[BaseModel]) -> Iterator[tuple[str, Any, FieldInfo]]:
    """Name, type hint and field of each key that is no table of its own."""
    hints = get_type_hints(table, include_extras=True)
    for name, field in table.model_fields.items():
        if not _is_table(hints[name]):
            yield name, hints[name], field


def rows(table: type[BaseModel]) -> Iterator[str]:
    """The rows of a table of keys; of a filter's options too."""
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, hint, field in keys_of(table):
        default = default_of(field)
        shown = str(_extra(field).get("x-shown-default", ""))
        meaning = _markdown(field.description or "")
        said = shown or (f"`{default}`" if default else "required" if field.is_required() else "not set")
        yield f"| `{name}` | {type_word(hint)} | {said} | {meaning} |"


@attrs.frozen
class Explained:
    """A key for who writes it: `example` is TOML."""

    name: str
    type: str
    default: str
    meaning: str
    is_required: bool
    example: str


def explained(table: type[BaseModel]) -> tuple[Explained, ...]:
    """Each key of a table that is no table of its own."""
    found = []
    for name, hint, field in keys_of(table):
        extra = _extra(field)
        default, needed = default_of(field), field.is_required()
        said = str(extra.get("x-shown-default", "")) or default or ("" if needed else "not set")
        example = str(extra.get("x-toml-example", "")) or default or '""'
        found.append(Explained(name, type_word(hint), said, field.description or "", needed, example))
    return tuple(found)


def _markdown(text: str) -> str:
    return re.sub(r"([*|<])", r"\\\1", text)


def documentation() -> str:
    """The text of docs/configuration.md."""
    parts = [INTRODUCTION]
    for title, table, _ in TABLES:
        parts.append("\n".join([f"## {title}", "", _purpose(table), "", *rows(table), ""]))
    return "\n".join(parts)


def _purpose(table: type[BaseModel]) -> str:
    return " ".join((table.__doc__ or "").split())


def sample(
    values: Mapping[str, Mapping[str, str]] | None = None,
    heading: str = "# smtpgate: sample configuration, written by python -m smtpgate.config.reference --sample.",
) -> str:
    """The text of etc/smtpgate.toml; or, with values of one's own, of a first configuration.

    :param values: by header of a table what its keys are, as TOML; tables that the sample sets and this does not are
        left out
    """
    shown = SHOWN if values is None else _with(values)
    lines = [
        heading,
        "# A key that is commented out shows its default, or an example where it has none.",
        "# Check a change with: smtpgate check-config FILE",
    ]
    described: set[type[Table]] = set()
    for header, table, given in shown:
        lines += [""] if header else []
        is_first = table not in described
        described.add(table)
        if is_first and header:
            lines += _comment(_purpose(table))
        if header:
            lines.append(header)
        for name, _, field in keys_of(table):
            if is_first:
                lines += ["", *_comment(_about(field))]
            if name in given:
                lines.append(f"{name} = {given[name]}")
            elif is_first:
                default = default_of(field)
                example = str(_extra(field).get("x-toml-example", ""))
                lines.append(f"#{name} = {example if example and default in ('', '[]', '{}') else default or '...'}")
    return "\n".join(lines) + "\n"


def _with(values: Mapping[str, Mapping[str, str]]) -> list[tuple[str, type[Table], Mapping[str, str]]]:
    """The tables of the sample, each header once, with other values."""
    found: dict[str, tuple[str, type[Table], Mapping[str, str]]] = {}
    for header, table, given in SHOWN:
        if header in values or not given:
            found.setdefault(header, (header, table, values.get(header, {})))
    return list(found.values())


def _shown(field: FieldInfo) -> str:
    """The default, or an example where that says nothing."""
    default, example = default_of(field), str(_extra(field).get("x-toml-example", ""))
    return example if default in ("", "[]") else default


def _about(field: FieldInfo) -> str:
    shown = str(_extra(field).get("x-shown-default", ""))
    return f"{field.description} Default: {shown}." if shown else str(field.description)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def json_schema() -> str:
    """The JSON schema of the file, for editors and forms."""
    made = schema.File.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "smtpgate configuration"
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser("python -m smtpgate.config.reference", description=_purpose_of_module())
    parser.add_argument("--docs", action="store_true", help=f"write {DOCS}")
    parser.add_argument("--sample", action="store_true", help=f"write {SAMPLE}")
    parser.add_argument("--json-schema", action="store_true", help="print the JSON schema")
    wanted = parser.parse_args(arguments)
    if not (wanted.docs or wanted.sample or wanted.json_schema):
        parser.error("nothing to do; give --docs, --sample or --json-schema")
    if wanted.docs:
        DOCS.write_text(documentation(), encoding="utf-8")
    if wanted.sample:
        SAMPLE.write_text(sample(), encoding="utf-8")
    if wanted.json_schema:
        sys.stdout.write(json_schema())
    return 0


def _purpose_of_module() -> str:
    return (__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    raise SystemExit(main())
