"""The office over a gateway at work: a session is seen while it runs, and ended by an administrator."""

from __future__ import annotations

import socket
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import blockingCallFromThread

from smtpgate.admin.site import Office
from smtpgate.testing.ports import Table
from tests.admin_kit import Desk, MemoryHistory, MemoryUsers
from tests.gateway_kit import GatewayCase, TestGateway


class LiveTests(GatewayCase):
    """One client, looked at by its id."""

    def test_a_session_is_seen_and_ended(self) -> Deferred[Any]:
        """List, record, page and kill, with the facts of the engine itself."""
        return self.run_script(self.config(9), self.look)

    def look(self, gateway: TestGateway) -> None:
        desk = Desk.__new__(Desk)
        desk.control, desk.users, desk.history = gateway.control, MemoryUsers(), MemoryHistory()
        desk.control.history = desk.history
        desk.clock, desk.sites = Pump(), {}  # type: ignore[assignment]
        token = desk.token("owner")

        def ask(method: str, path: str, **more: Any) -> Any:
            return blockingCallFromThread(reactor, desk.ask, method, path, token=token, **more)

        table, say = Table(time.time), lambda code: None
        desk.office = blockingCallFromThread(
            reactor, Office, gateway.control, desk.users, None, reactor, maybeDeferred, say, table
        )
        with socket.create_connection(("127.0.0.1", gateway.port()), 5) as client:
            client.settimeout(10)
            heard = client.recv(1000)
            client.sendall(b"EHLO <b>evil</b>.example\r\n")
            heard = client.recv(4000)
            self.assertIn(b"250", heard)
            (row,) = ask("GET", "/api/v1/sessions").json()["items"]
            record = ask("GET", f"/api/v1/sessions/{row['id']}").json()
            self.assertTrue(record["is_live"])
            self.assertIn("EHLO", [step["what"] for step in record["timeline"]])
            page = ask("GET", f"/sessions/{row['id']}").text
            self.assertIn("&lt;b&gt;evil", page)
            self.assertNotIn("<b>evil", page)
            headers = {"Content-Type": "application/json"}
            killed = ask("POST", f"/api/v1/sessions/{row['id']}/kill", body=b"{}", headers=headers)
            self.assertEqual(killed.status, 200)
            self.assertTrue(client.recv(1000).startswith(b"421"))
        blockingCallFromThread(reactor, desk.office.close)


class Pump:
    """Stands for the clock of a desk where the reactor has its own."""

    def pump(self, times: list[float]) -> None:
        """Nothing to do."""
