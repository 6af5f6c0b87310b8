"""The running server against its own API document: a short form of `make contract`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema

from smtpgate.admin.permission import PERMISSIONS
from tests.admin_kit import ApiCase
from tests.contract import Contract
from tests.real_kit import RealCase, free_port, run, until
from tests.script_kit import Client
from tests.test_real_process import ADMIN, config
from tests.web_kit import Wire

HOLD = """
[[rules]]
name = "held"
when = "'hold' in header('x-way')"
action = "quarantine"
"""
SECRET = "a-planted-secret-that-nobody-may-see"


class DocumentTests(ApiCase):
    """What the document has."""

    def test_each_operation_has_scopes_examples_and_problems(self) -> None:
        """And each example is one that its schema permits."""
        document = self.get("/openapi.json")
        components = document["components"]
        count = 0
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                where = f"{method} {path}"
                scopes = {scope for one in operation["security"] for some in one.values() for scope in some}
                self.assertEqual(scopes, {operation["x-permission"]}, where)
                self.assertIn(operation["x-permission"], PERMISSIONS)
                for parameter in operation["parameters"]:
                    if parameter["in"] != "header":
                        self.assertIn("example", parameter, where)
                for status in ("400", "401", "403", "404", "421", "429", "503"):
                    self.assertIn(status, operation["responses"], where)
                contents = [operation.get("requestBody", {}).get("content", {})]
                for status, response in operation["responses"].items():
                    if "$ref" in response:
                        response = components["responses"][response["$ref"].rpartition("/")[2]]
                        self.assertIn("example", response["content"]["application/problem+json"], where)
                    self.assertTrue(response["description"], f"{where} {status}")
                    contents.append(response["content"])
                for content in contents:
                    for kind, one in content.items():
                        if kind.endswith("json") and one.get("schema"):
                            jsonschema.Draft202012Validator({"components": components, **one["schema"]}).validate(
                                one["example"]
                            )
                            count += 1
        self.assertGreater(count, 1000)


class ContractTests(RealCase):
    """A gateway that is a process."""

    def serve(self) -> None:
        """One with a message that was sent, one that is held, an owner's token and some of few scopes."""
        (server,) = self.fast_servers(self.background(), 1, 0)
        admin = free_port()
        self.gate = self.gateway(config(server.port, more=ADMIN.format(port=admin) + HOLD))
        self.wire = Wire(admin)
        with Client(self.gate.port()) as client:
            client.hello()
            for way in (b"go", b"hold"):
                client.message(
                    b"Message-ID: <%b@example.org>\r\nX-Way: %b\r\nSubject: hello\r\n\r\nHello.\r\n" % (way, way)
                )
        password = Path(self.folder, "password")
        password.write_text(SECRET)
        self.command("user", "add", "ann", "--role", "owner", "--password-file", password)
        self.owner = self.token("owner", "--role", "owner")

    def command(self, *words: object) -> str:
        """The command line."""
        made = run(Path(sys.executable).with_name("smtpgate"), "--config", self.gate.config, *words)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        return made.stdout

    def token(self, name: str, *words: object) -> str:
        """A token's text."""
        (text,) = [word for word in self.command("token", "add", name, *words).split() if word.startswith("sgt_")]
        return text

    def known(self) -> dict[str, list[str]]:
        """What there is, by the names that paths have for it."""
        sessions = until(lambda: self.listed("/messages"), "the messages are in the history")
        held = until(lambda: self.listed("/quarantine"), "one is held")
        ids = [str(one["id"]) for one in (*sessions, *held)]
        return {
            "id": [*ids, *(one.partition(".")[0] for one in ids)],
            "pool": ["mail"],
            "name": ["ann", *(str(one["name"]) for one in self.listed("/backends"))],
            "number": ["1", "2"],
            "key": ["192.0.2.9"],
            "namespace": ["smtpgate", "smtpgate.proxy"],
            "kind": ["terms", "files"],
            "message": ids,
        }

    def listed(self, path: str) -> list[dict[str, object]]:
        """The items of a list."""
        found: list[dict[str, object]] = self.wire.ask("GET", f"/api/v1{path}", token=self.owner).json()["items"]
        return found

    def run_rounds(self, rounds: int, seed: int) -> tuple[list[str], int]:
        """Serve, and ask; the faults, and how many requests that were."""
        self.serve()
        few = {scope: self.token(scope.replace(":", "-"), "--scope", scope) for scope in ("stats:read", "test:run")}
        document = self.wire.ask("GET", "/api/v1/openapi.json", token=self.owner).json()
        contract = Contract(self.wire.ask, json.loads(json.dumps(document)), self.known(), seed)
        for _ in range(rounds):
            contract.round(self.owner, few)
        return contract.faults + [str(one) for one in self.gate.crashed()], contract.asked

    def test_the_server_keeps_its_document(self) -> None:
        """Every operation, permitted and not, as an owner, with few scopes, and as a stranger."""
        faults, asked = self.run_rounds(1, 7)
        self.assertEqual(sorted(set(faults)), [])
        self.assertGreater(asked, 1200)
