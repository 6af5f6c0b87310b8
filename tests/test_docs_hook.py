"""The hook of the documents, as a process of its own, asked by the filter over a real socket."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from smtpgate.filters.engines import hook
from tests.test_real_engines import CLEAN, EngineCase

DOCS = Path(__file__).parent.parent / "docs"
SECRET = "0123456789abcdef" * 2


class HookExampleTests(EngineCase):
    """docs/examples/size_hook.py and docs/hook.md."""

    def program(self) -> tuple[int, Path]:
        """Started; its port, and the file of its secret."""
        secret = self.folder / "hook.secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        command = [sys.executable, str(DOCS / "examples" / "size_hook.py"), "0", str(secret)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        found = re.search(r"\d+", process.stdout.readline())
        assert found is not None
        return int(found[0]), secret

    async def test_it_does_what_it_says(self) -> None:
        """Many recipients wait, bulk gets a field, the rest passes; a wrong secret is a failure."""
        port, secret = self.program()
        bench = self.bench(hook.factory, f'servers = "http://127.0.0.1:{port}/"\nsecret_file = "{secret}"')
        self.assertEqual(await self.action(bench, CLEAN), "accept", self.failed(bench))
        many = [f"user{number}@example.net" for number in range(21)]
        verdict = await bench.message(CLEAN, recipients=many)
        self.assertEqual((verdict.action, verdict.decided_by.reason), ("defer", "hook-many"))
        wrong = self.folder / "wrong.secret"
        wrong.touch(0o600)
        wrong.write_text(SECRET[::-1])
        bench = self.bench(hook.factory, f'servers = "http://127.0.0.1:{port}/"\nsecret_file = "{wrong}"')
        self.assertEqual(await self.action(bench, CLEAN), "defer")
        self.assertIn("status 403", str(self.failed(bench)))

    def test_the_question_of_the_document_is_what_is_sent(self) -> None:
        """Key by key."""
        shown = json.loads(re.search(r"```json\n(.*?)```", (DOCS / "hook.md").read_text(), re.DOTALL)[1])  # type: ignore[index]
        asked: list[dict[str, Any]] = []
        from smtpgate.testing import Gateway, use

        gateway = Gateway(use(hook.factory, 'servers = "http://127.0.0.1:1/"'))

        def answer(method: str, url: str, headers: Any, body: bytes) -> Any:
            asked.append(json.loads(body))
            raise AssertionError("seen")

        gateway.http.answer = answer
        client = gateway.connect()
        client.helo()
        client.message()
        (told,) = asked
        self.assertEqual(told.keys(), shown.keys())
        self.assertEqual(told["session"].keys(), shown["session"].keys())
        self.assertEqual(told["envelope"].keys(), shown["envelope"].keys())
