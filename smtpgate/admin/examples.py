"""Examples for the API document, made from the schemas that check and answer, so that each is one that is valid.

What a field is called says what stands in it (`_BY_NAME`); what it may be says the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: By the name of a field, a parameter or a part of a path, where it is a text.
_BY_NAME: Final[Mapping[str, str]] = {
    "id": "01J9UK7Q0000000000000000AA.1",
    "name": "ann",
    "pool": "mail",
    "backend": "mail",
    "server": "192.0.2.25:25",
    "listener": "mx",
    "key": "192.0.2.9",
    "ip": "192.0.2.9",
    "address": "192.0.2.9",
    "client_ip": "192.0.2.9",
    "cidr": "192.0.2.0/24",
    "network": "192.0.2.0/24",
    "domain": "example.org",
    "domains": "example.org",
    "networks": "192.0.2.0/24",
    "scopes": "messages:read",
    "role": "helpdesk",
    "mail_from": "ann@example.org",
    "sender": "ann@example.org",
    "recipient": "bob@example.net",
    "recipients": "bob@example.net",
    "rcpt": "bob@example.net",
    "to": "bob@example.net",
    "password": "correct horse battery",
    "current": "the one before that",
    "code": "123456",
    "reason": "asked for in ticket 4711",
    "comment": "another server for example.net",
    "message": "another server for example.net",
    "subject": "Hello",
    "helo": "mail.example.org",
    "text": 'hostname = "gate.example.com"\n',
    "namespace": "smtpgate.proxy",
    "level": "debug",
    "kind": "terms",
    "number": "1",
    "digest": "9f86d081884c7d65",
    "q": "from:example.org",
    "filter": "from:example.org",
    "time": "2026-11-27T05:00:00.000Z",
    "type": "/problems/not-found",
    "title": "Not found",
    "detail": "there is nothing here",
    "request_id": "9f86d081884c7d65",
}
_BY_FORMAT: Final[Mapping[str, str]] = {
    "date": "2026-11-27",
    "date-time": "2026-11-27T05:00:00Z",
    "uri": "https://example.org/",
}
#: How deep an example goes; what lies deeper and may be left out is left out.
_DEPTH: Final = 6


def of_name(name: str) -> str:
    """A text for a field or a part of a path."""
    return _BY_NAME.get(name, "thing")


def of_schema(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """A value that a schema permits.

    :param schemas: those that `$ref` names
    :param name: what the field is called
    """
    if "$ref" in schema:
        return of_schema(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth)
    for word in ("examples", "enum"):
        if schema.get(word):
            return schema[word][0]
    for word in ("const", "default"):
        if schema.get(word) is not None:
            return schema[word]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            some = [one for one in schema[word] if one.get("type") != "null"] or schema[word]
            return of_schema(some[0], schemas, name, depth)
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return _object(schema, schemas, depth)
    if kind == "array":
        return _array(schema, schemas, name, depth)
    if kind == "string":
        text = _BY_FORMAT.get(schema.get("format", ""), of_name(name))
        return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), "x")
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        return max(least, min(1, schema.get("maximum", 1)))
    return True if kind == "boolean" else None


def _object(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> dict[str, Any]:
    wanted = schema.get("required", ())
    return {
        name: of_schema(one, schemas, name, depth + 1)
        for name, one in schema.get("properties", {}).items()
        if name in wanted or depth < _DEPTH and one.get("default") is None and "default" not in one
    }


def _array(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int) -> list[Any]:
    least = schema.get("minItems", 0)
    if "prefixItems" in schema:
        return [of_schema(one, schemas, name, depth + 1) for one in schema["prefixItems"]]
    if depth >= _DEPTH and not least:
        return []
    return [of_schema(schema.get("items", {}), schemas, name, depth + 1)] * max(1, least)
