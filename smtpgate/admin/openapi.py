"""The API document (OpenAPI 3.1), made from the routes and the models that check and answer: it cannot lag
behind.

Served at /api/v1/openapi.json; a page of the documents is written from it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from smtpgate import __version__
from smtpgate.admin.routes import Route

_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")
_WORDS = {
    400: "a parameter of the query is unknown or will not do (`errors` names it), or the body is not JSON",
    401: "nobody is logged in, or the token is not valid",
    403: "the role has no such permission, or the request was made by another site's page",
    404: "there is no such thing, or not any more",
    409: "it cannot be done now",
    412: "somebody changed it meanwhile; `current` is how it is now",
    413: "the body is over 1 MiB",
    415: "the body is not application/json",
    421: "the Host header is not one of ours",
    422: "the body has faults; `errors` lists them all",
    428: "If-Match is wanted: which version is changed",
    429: "too many; Retry-After says when",
    503: "what it takes is not to be had now: a store cannot be read, or the audit cannot be written",
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "where in the body"},
                    "parameter": {"type": "string", "description": "which parameter of the query"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}


def build(routes: Iterable[Route]) -> dict[str, Any]:
    """The document over all routes of kind "api"."""
    told = [route for route in routes if route.kind == "api"]
    shown = {route.path for route in told if route.method == "GET"}
    schemas = _schemas(told)
    paths: dict[str, dict[str, Any]] = {}
    for route in told:
        path = _VARIABLE.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, route.path in shown)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "smtpgate",
            "version": __version__,
            "description": "Everything that the pages show and do. Times: RFC 3339, UTC. Durations: _ms or _s.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "sgt_<id>_<secret>"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-sg",
                    "description": "a browser's session; unsafe methods also need X-CSRF-Token",
                },
            },
        },
    }


def _schemas(routes: list[Route]) -> dict[str, Any]:
    models: dict[tuple[type[BaseModel], str], None] = {}
    for route in routes:
        if route.body is not None:
            models[route.body, "validation"] = None
        if route.answer is not None:
            models[route.answer, "serialization"] = None
    _, document = models_json_schema(list(models), ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    found: dict[str, Any] = document.get("$defs", {})
    return found


def _headers(route: Route, is_versioned: bool) -> list[tuple[str, str]]:
    if route.method == "GET":
        return [("If-None-Match", "the ETag of an answer: 304 where it is the same still")]
    if route.method == "POST":
        return [("Idempotency-Key", "given again within a day, the first answer comes, and nothing is done")]
    return [("If-Match", "the ETag of what is changed, from its GET, or *")] if is_versioned else []


def _operation(route: Route, is_versioned: bool) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _VARIABLE.findall(route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": param.meaning, **param.schema()}
        for name, param in route.parameters.items()
    ]
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    statuses = [400, 401, 403, 404, 421, 429, 503]
    if route.method != "GET":
        statuses += [409, 413, 415, 422]
    parameters += [
        {"name": name, "in": "header", "description": words, "schema": {"type": "string"}}
        for name, words in _headers(route, is_versioned)
    ]
    if is_versioned and route.method in ("PUT", "PATCH", "DELETE"):
        statuses += [412, 428]
    operation: dict[str, Any] = {
        "operationId": route.serve.__name__,
        "summary": route.summary,
        "description": f"{(route.serve.__doc__ or '').strip()}\n\nPermission: `{route.permission}`.",
        "parameters": parameters,
        "responses": {
            str(route.status): _good(route),
            **{str(status): {"description": _WORDS[status], "content": problem} for status in sorted(statuses)},
        },
        "x-permission": route.permission,
    }
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _good(route: Route) -> dict[str, Any]:
    if route.answer is None:
        kind = "text/event-stream" if route.path.endswith("/events") else "application/json"
        return {"description": route.summary, "content": {kind: {"schema": {}}}}
    schema = {"$ref": f"#/components/schemas/{route.answer.__name__}"}
    return {"description": route.summary, "content": {"application/json": {"schema": schema}}}
