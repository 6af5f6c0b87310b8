"""The API document (OpenAPI 3.1), made from the routes and the models that check and answer: it cannot lag
behind.

Served at /api/v1/openapi.json; a page of the documents is written from it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from smtpgate import __version__
from smtpgate.admin import examples
from smtpgate.admin.problem import PROBLEMS
from smtpgate.admin.routes import Route

_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")
_WORDS = {
    400: "a parameter of the query is unknown or will not do (`errors` names it), or the body is not JSON",
    401: "nobody is logged in, or the token is not valid",
    403: "the role has no such permission, or the request was made by another site's page",
    404: "there is no such thing, or not any more",
    409: "it cannot be done now",
    410: "it was here, and is not kept any more",
    412: "somebody changed it meanwhile; `current` is how it is now",
    413: "the body is over 1 MiB",
    415: "the body is not application/json",
    421: "the Host header is not one of ours",
    422: "the body has faults (`errors` lists them all), or what is asked for does not go together",
    428: "If-Match is wanted: which version is changed",
    429: "too many; Retry-After says when",
    503: "what it takes is not to be had now: a store cannot be read, or the audit cannot be written",
}
#: What content there was of a message is kept for a while.
_KEPT = "/api/v1/messages/<id>/"
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


#: Verbs that say in their body which version they were made of.
_BASED = frozenset({"/api/v1/config/apply", "/api/v1/config/rollback"})
#: What good answers are, where they are not JSON; * stands for what a message or a part of one is.
_MEDIA: dict[str, tuple[str, ...]] = {
    "/api/v1/events": ("text/event-stream",),
    "/api/v1/audit/export": ("application/x-ndjson", "text/csv"),
    "/api/v1/system/bundle": ("application/gzip",),
    "/api/v1/lists/export": ("text/csv",),
    "/api/v1/rules/export": ("application/toml",),
    "/api/v1/config/export": ("application/toml",),
    "/api/v1/tasks/<id>/result": ("application/json", "application/jsonl", "text/csv"),
    "/api/v1/quarantine/<id>/content": ("message/rfc822", "application/octet-stream", "application/zip"),
    "/api/v1/quarantine/<id>/parts/<number>": ("application/octet-stream", "application/zip"),
    "/api/v1/messages/<id>/raw": ("message/rfc822", "application/octet-stream", "application/zip"),
    "/api/v1/messages/<id>/parts/<number>": ("application/octet-stream", "application/zip"),
    "/api/v1/stats/top": ("application/json", "text/csv"),
    "/api/v1/stats/series": ("application/json", "text/csv"),
    "/api/v1/stats/distributions": ("application/json", "text/csv"),
    "/api/v1/stats/reports": ("application/json", "text/csv"),
}
#: What a dry run answers in place of the change.
_PLANNED: dict[str, Any] = {
    "type": "object",
    "description": "What a dry run would have done; nothing is done.",
    "required": ["is_dry_run", "would"],
    "additionalProperties": False,
    "properties": {
        "is_dry_run": {"const": True},
        "would": {
            "type": "object",
            "required": ["action", "target", "detail"],
            "properties": {
                "action": {"type": "string"},
                "target": {"type": "string"},
                "detail": {"type": "string"},
                "before": {},
                "after": {},
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
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, route.path in shown, schemas)
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
            "schemas": {**schemas, "Problem": _PROBLEM, "Planned": _PLANNED},
            "responses": {f"Refused{status}": _refused(status) for status in sorted(_WORDS)},
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


def _operation(route: Route, is_versioned: bool, schemas: dict[str, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": examples.of_name(name)}
        for name in _VARIABLE.findall(route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": param.meaning, **_shown(name, param.schema())}
        for name, param in route.parameters.items()
    ]
    statuses = [400, 401, 403, 404, 409, 421, 422, 429, 503]
    if route.method != "GET":
        statuses += [413, 415]
    parameters += [
        {"name": name, "in": "header", "description": words, "schema": {"type": "string"}}
        for name, words in _headers(route, is_versioned)
    ]
    if route.path.startswith(_KEPT):
        statuses.append(410)
    if route.method == "POST" and route.path in _BASED:
        statuses += [412, 428]
    if is_versioned and route.method in ("PUT", "PATCH", "DELETE"):
        statuses += [412, 428]
    operation: dict[str, Any] = {
        "operationId": route.serve.__name__,
        "summary": route.summary,
        "description": f"{(route.serve.__doc__ or '').strip()}\n\nPermission: `{route.permission}`.",
        "parameters": parameters,
        "responses": {
            **_good(route, schemas),
            **{str(status): {"$ref": f"#/components/responses/Refused{status}"} for status in sorted(statuses)},
        },
        "security": [{"token": [route.permission]}, {"cookie": [route.permission]}],
        "x-permission": route.permission,
    }
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        content = {"schema": schema, "example": examples.of_schema(schema, schemas)}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _shown(name: str, schema: Mapping[str, object]) -> dict[str, Any]:
    """A parameter of a query, with what it could be."""
    inner: Any = schema["schema"]
    return {**schema, "example": examples.of_schema(inner, {}, name)}


def _refused(status: int) -> dict[str, Any]:
    slug = next(slug for slug, problem in PROBLEMS.items() if problem.status == status)
    example = {
        "type": f"/problems/{slug}",
        "title": PROBLEMS[slug].title,
        "status": status,
        "detail": PROBLEMS[slug].meaning,
        "request_id": examples.of_name("request_id"),
    }
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    return {"description": _WORDS[status], "content": {"application/problem+json": content}}


def _good(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    """The good answers by status: that of the route, that of a dry run, that of a task."""
    media = _MEDIA.get(route.path, ("application/json",))
    schema: dict[str, Any] = {}
    if route.answer is not None:
        schema = {"$ref": f"#/components/schemas/{route.answer.__name__}"}
    example = examples.of_schema(schema, schemas) if route.answer is not None else {}
    found = {kind: {"schema": schema, "example": example} if kind == "application/json" else {} for kind in media}
    answers: dict[str, Any] = {str(route.status): {"description": route.summary, "content": found}}
    if route.changes:
        planned = {"$ref": "#/components/schemas/Planned"}
        if route.status == 200 and route.answer is not None:
            found["application/json"]["schema"] = {"anyOf": [schema, planned]}
        elif route.status != 200:
            content = {"application/json": {"schema": planned, "example": examples.of_schema(_PLANNED, schemas)}}
            answers["200"] = {"description": "what a dry run would have done", "content": content}
    if route.may_wait:
        task = {"$ref": "#/components/schemas/TaskModel"}
        content = {"application/json": {"schema": task, "example": examples.of_schema(task, schemas)}}
        answers["202"] = {"description": "begun as a task (Prefer: respond-async)", "content": content}
    return answers
