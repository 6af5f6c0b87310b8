"""Whether the running server keeps what its API document says: each operation with requests that the document permits,
and with such that it does not, as an owner, as programs with few scopes, and as a stranger.

`make contract` runs it against a gateway of its own for ROUNDS rounds; a short form is in test_contract. Every answer
must be one that the operation documents: its status, its content type, its schema; a refusal must be a problem of the
list (RFC 9457) with that status and the request's id; never 500. What is sent follows from the seed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import jsonschema

from smtpgate.admin.problem import PROBLEMS
from tests.admin_kit import Answer

#: Texts that go where a text may go.
WORDS = (
    "",
    "a",
    "ann",
    "mail",
    "mx",
    "192.0.2.9",
    "b@example.net",
    "\u00fc\u202e\U0001f600",
    "x" * 300,
    "../..",
    "'\"<>&\r\n\0",
)
#: Those that may stand in a path: all else is refused before it is one.
PLAIN = tuple(one for one in WORDS if one and one.isprintable() and "/" not in one)
#: Operations that are only tried as a dry run: the gateway would be gone.
DRY = frozenset({"stop"})
#: Those whose answer goes on.
STREAMS = frozenset({"/api/v1/events"})


class Contract:
    """One run.

    :ivar faults: what was not as the document says
    :ivar asked: requests
    """

    def __init__(
        self, ask: Callable[..., Answer], document: Mapping[str, Any], known: Mapping[str, list[str]], seed: int
    ):
        """
        :param ask: method, path, body, headers, token
        :param known: by the name of a variable of paths: what there is
        """
        self._ask = ask
        self._schemas = document["components"]["schemas"]
        self._components = document["components"]
        self._known = known
        self._chance = random.Random(seed)
        self._validators: dict[str, Any] = {}
        self.paths: Mapping[str, Mapping[str, Any]] = document["paths"]
        self.faults: list[str] = []
        self.asked = 0

    # What is asked

    def round(self, owner: str, few: Mapping[str, str]) -> None:
        """Each operation once in each way.

        :param few: tokens by the one scope that each has
        """
        for path, operations in self.paths.items():
            for method, operation in operations.items():
                self._operation(method.upper(), path, operation, owner, few)
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                if method.lower() not in operations:
                    answer = self._send(method, self._path(path, {}), b"", {"If-Match": "*"}, owner)
                    # A name that may have a slash in it takes the verb for a part of it.
                    self._problem(f"{method} {path}", answer, (405, 404) if "/servers/{name}/" in path else (405,))

    def _operation(self, method: str, path: str, operation: Any, owner: str, few: Mapping[str, str]) -> None:
        where = f"{method} {path}"
        is_dry = operation["operationId"] in DRY
        permission = operation["x-permission"]
        query = [one for one in operation["parameters"] if one["in"] == "query"]
        body = self._body_schema(operation)
        head = {"If-Match": "*"} if method in ("PUT", "PATCH", "DELETE") else {}

        def send(given: Mapping[str, Any], value: Any, token: str, more: Mapping[str, str] | None = None) -> Answer:
            names = {**given, "dry_run": "1"} if is_dry else given
            octets = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
            headers = {**head, **({"Content-Type": "application/json"} if octets else {}), **(more or {})}
            return self._send(method, self._path(path, names), octets, headers, token)

        fits = None if body is None else self._value(body, 0)
        # As it is permitted, once as a dry run where there is one.
        if path not in STREAMS:
            some = {one["name"]: self._param(one) for one in query if self._chance.random() < 0.4}
            self._check(where, operation, send(some, fits, owner))
            if any(one["name"] == "dry_run" for one in query):
                self._check(where, operation, send({"dry_run": "1"}, fits, owner))
            if body is not None:
                example = operation["requestBody"]["content"]["application/json"]["example"]
                self._check(where, operation, send({"dry_run": "1"} if "dry_run" in str(query) else {}, example, owner))
        # Nobody, and somebody with a scope that is another.
        self._problem(where, send({}, fits, ""), (401,))
        for scope, token in few.items():
            if scope != permission and permission not in ("self", "public", "near"):
                self._problem(where, send({}, fits, token), (403,))
        # A query that is not as it should be.
        for wrong in ({"nonsense": "1"}, {one["name"]: "\x00\u202e" for one in query if self._is_bound(one)}):
            if wrong and not is_dry:
                self._problem(where, send(wrong, fits, owner), (400,))
        if method in ("PUT", "PATCH", "DELETE") and "428" in operation["responses"]:
            for header, statuses in (
                ({"If-Match": ""}, (428, 404, 409, 422)),
                ({"If-Match": '"old"'}, (412, 404, 409, 422)),
            ):
                self._problem(where, send({}, fits, owner, header), statuses)
        if body is not None:
            self._bodies(where, operation, body, fits, send, owner)

    def _bodies(self, where: str, operation: Any, body: Any, fits: Any, send: Any, owner: str) -> None:
        for octets, kind, statuses in (
            (b"{", "application/json", (400,)),
            (b"\xff", "application/json", (400,)),
            (b"{}", "text/plain", (415,)),
            (b"[" * 5000, "application/json", (400, 422)),
            (b"[]", "application/json", (422,)),
            (b'"x"', "application/json", (422,)),
        ):
            self._problem(where, send({}, octets, owner, {"Content-Type": kind}), (*statuses, 404))
        for wrong in self._wrong(body, fits):
            self._problem(where, send({}, wrong, owner), (422, 404))

    # How it is made

    def _path(self, path: str, query: Mapping[str, Any]) -> str:
        def fill(match: re.Match[str]) -> str:
            known = self._known.get(match[1], [])
            word = self._chance.choice(known) if known and self._chance.random() < 0.8 else self._chance.choice(PLAIN)
            return quote(word, safe=":@" if "/" not in word else "")

        filled = re.sub(r"\{(\w+)\}", fill, path)
        pairs = [
            f"{name}={quote(str(one), safe='')}"
            for name, value in query.items()
            for one in (value if isinstance(value, list) else [value])
        ]
        return f"{filled}?{'&'.join(pairs)}" if pairs else filled

    def _resolved(self, schema: Any) -> Any:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _body_schema(self, operation: Any) -> Any:
        if "requestBody" not in operation:
            return None
        return self._resolved(operation["requestBody"]["content"]["application/json"]["schema"])

    def _param(self, param: Any) -> Any:
        schema = param["schema"]
        if schema.get("type") == "array":
            items = [str(self._value(schema["items"], 0)) for _ in range(self._chance.randint(1, 2))]
            return items if param.get("explode", True) else ",".join(items)
        return str(self._value(schema, 0))

    @staticmethod
    def _is_bound(param: Any) -> bool:
        schema = param["schema"]
        return bool(
            "enum" in schema or "enum" in schema.get("items", {}) or schema.get("type") in ("integer", "number")
        )

    def _value(self, schema: Any, depth: int) -> Any:
        """Something that a schema permits."""
        schema = self._resolved(schema)
        chance = self._chance
        if "enum" in schema:
            return chance.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._value(chance.choice(schema[word]), depth)
        kind = schema.get("type", "string")
        if kind == "object":
            wanted = schema.get("required", ())
            return {
                name: self._value(one, depth + 1)
                for name, one in schema.get("properties", {}).items()
                if name in wanted or depth < 4 and chance.random() < 0.5
            }
        if kind == "array":
            least, most = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
            return [
                self._value(schema.get("items", {}), depth + 1) for _ in range(chance.randint(least, max(least, most)))
            ]
        if kind in ("integer", "number"):
            least, most = schema.get("minimum", -1), schema.get("maximum", 10**9)
            return chance.choice((least, most, chance.randint(int(least), int(most))))
        if kind == "boolean":
            return chance.random() < 0.5
        if kind == "null":
            return None
        if schema.get("format") == "date":
            return "2026-11-27"
        if schema.get("format") == "date-time":
            return "2026-11-27T05:00:00Z"
        word = chance.choice(WORDS)
        return word.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", len(word) + 300)]

    def _wrong(self, schema: Any, fits: Any) -> Iterator[Any]:
        """Bodies that a schema does not permit: something unknown, something missing, something of another type."""
        if not isinstance(fits, dict):
            return
        yield {**fits, "nonsense": 1}
        for name in schema.get("required", ()):
            yield {key: value for key, value in fits.items() if key != name}
        for name, one in schema.get("properties", {}).items():
            for wrong in (["x", 1], {"x": 1}, 1.5, "\u0000wrong", True, None):
                if not self._validator({**one}).is_valid(wrong):
                    yield {**fits, name: wrong}
                    break

    # What came

    def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str], token: str) -> Answer:
        self.asked += 1
        return self._ask(method, path, body=body, headers={k: v for k, v in headers.items() if v}, token=token)

    def _validator(self, schema: Any) -> Any:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            self._validators[key] = jsonschema.Draft202012Validator({"components": self._components, **schema})
        return self._validators[key]

    def _amiss(self, where: str, answer: Answer, why: str) -> None:
        self.faults.append(f"{where}: {answer.status} {why}"[:600])

    def _problem(self, where: str, answer: Answer, statuses: tuple[int, ...]) -> None:
        if answer.status not in statuses:
            self._amiss(where, answer, f"and not {statuses}: {answer.body[:300]!r}")
            return
        self._is_problem(where, answer)

    def _is_problem(self, where: str, answer: Answer) -> None:
        if answer.header("content-type") != "application/problem+json":
            self._amiss(where, answer, f"is of type {answer.header('content-type')}")
            return
        value = answer.json()
        slug = str(value["type"]).removeprefix("/problems/")
        if slug not in PROBLEMS or PROBLEMS[slug].status != answer.status or value["status"] != answer.status:
            self._amiss(where, answer, f"is a problem of no list: {value}")
        if value["request_id"] != answer.header("x-request-id"):
            self._amiss(where, answer, "has another id than its header")
        for error in self._validator({"$ref": "#/components/schemas/Problem"}).iter_errors(value):
            self._amiss(where, answer, f"is no problem: {error.message}")

    def _check(self, where: str, operation: Any, answer: Answer) -> None:
        documented = operation["responses"].get(str(answer.status))
        if documented is None:
            self._amiss(where, answer, f"is not in the document: {answer.body[:300]!r}")
            return
        if answer.status >= 400:
            self._is_problem(where, answer)
            return
        kind = answer.header("content-type").partition(";")[0]
        if kind not in documented["content"]:
            self._amiss(where, answer, f"is of type {kind}, and not one of {list(documented['content'])}")
            return
        if kind == "application/json":
            schema = documented["content"][kind]["schema"]
            for error in self._validator(schema).iter_errors(answer.json()):
                self._amiss(where, answer, f"{'/'.join(map(str, error.path))}: {error.message[:200]}")


def main() -> int:
    """A gateway of its own, and many rounds."""
    from tests.test_contract import ContractTests

    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=30)
    words.add_argument("--seed", type=int, default=1)
    given = words.parse_args()
    case = ContractTests("run_rounds")
    case.setUp()
    try:
        faults, asked = case.run_rounds(given.rounds, given.seed)
    finally:
        case.doCleanups()
    for fault in sorted(set(faults)):
        print(fault)
    print(f"{asked} requests, {len(faults)} not as documented")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
