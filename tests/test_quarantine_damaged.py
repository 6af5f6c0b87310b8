"""Rows of the index that cannot be read: each is put aside and told, and stops no other."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import Deferred

from smtpgate.control import SYSTEM
from smtpgate.control.views import Refused, Unknown
from smtpgate.policy.held import DAMAGED
from smtpgate.policy.ticket import Ticket
from smtpgate.state.ticket_store import TicketStore
from tests.script_kit import Backend, without_trace
from tests.test_quarantine_killed import REDIRECT
from tests.test_quarantine_wire import HOLD
from tests.vault_kit import MAIL, VaultCase, VaultGateway

#: What a bad disk, or a hand, leaves of a column.
SPOILT = (
    ("recipients", "'[{'"),
    ("recipients", "'{}x'"),
    ("recipients", "'[[]]'"),
    ("recipients", """'[{"address":5}]'"""),
    ("recipients", "CAST(x'5b7b22ff' AS TEXT)"),
    ("facts", "'[]'"),
    ("facts", "x'00ff'"),
    ("facts", "'" + "[" * 100_000 + "'"),
    ("octets", "'many'"),
    ("message", "x'ff'"),
)


TAKEN = (b"RCPT TO:<b@", b"250 2.1.5 yes")
LATER = (b"RCPT", b"450 4.2.0 later")


class DamagedTests(VaultCase):
    """Beside each of them one that is well."""

    timeout = 240

    def spoil(self, gateway: VaultGateway, table: str, id: str, **columns: str) -> None:
        """Write over columns of one row."""
        said = ", ".join(f"{name} = {value}" for name, value in columns.items())

        def write(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"UPDATE {table} SET {said} WHERE id = ?", (id,))

        gateway.in_reactor(gateway.database.run, write)

    def release(self, gateway: VaultGateway, *ids: str) -> list[Any]:
        """By a manager."""
        found: list[Any] = gateway.in_reactor(lambda: gateway.control.quarantine.release(ids, SYSTEM))
        return found

    def test_held(self) -> Deferred[Any]:
        """It is shown, goes nowhere by itself, and can be deleted; the others are found and released."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            for column, value in SPOILT:
                self.send(gateway, b"b", subject=b"secret one")
                self.send(gateway, b"b", subject=b"secret two")
                well, bad = gateway.held()
                before = len(backend.messages)
                self.spoil(gateway, "held", bad.id, **{column: value})
                found = {one.id: one for one in gateway.held()}
                self.assertEqual(found[well.id], well)
                self.assertTrue(found[bad.id].is_damaged, (column, value[:40]))
                self.assertIn(column, found[bad.id].detail)
                with self.assertRaises(Refused):
                    gateway.in_reactor(
                        lambda id=bad.id: gateway.control.quarantine.forward(id, ["x@example.net"], SYSTEM)
                    )
                outcomes = self.release(gateway, bad.id, well.id)
                self.assertEqual([one.done for one in outcomes], [False, True])
                self.assertIn("damaged", outcomes[0].why)
                self.assertTrue(gateway.posted())
                self.assertEqual(len(backend.messages), before + 1)
                gone = gateway.in_reactor(lambda: gateway.control.quarantine.delete([well.id, bad.id], SYSTEM))
                self.assertTrue(all(one.done for one in gone))
                self.assertEqual(gateway.files(), [])

        return self.talk(HOLD, script)

    def test_held_on_its_way(self) -> Deferred[Any]:
        """Nobody knows what of it was judged: it is not delivered, and not on its way for ever."""
        backend = Backend(once=[TAKEN, LATER])

        def script(gateway: VaultGateway, _: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (one,) = gateway.held()
            self.release(gateway, one.id)
            self.assertTrue(gateway.tried(1))
            self.spoil(gateway, "held", one.id, facts="'?'")
            gateway.later(1000.0)
            self.assertTrue(gateway.posted())
            self.assertEqual(backend.messages, [])
            self.assertEqual([row.id for row in gateway.held(state="held")], [one.id])
            self.assertTrue(gateway.told_of("outbox.failed"))

        return self.talk(HOLD, script, backend)

    def test_letters(self) -> Deferred[Any]:
        """Of one that is mail of somebody the octets are held; the others arrive; it is told once."""
        backend = Backend(once=[(b"RCPT TO:<x@", LATER[1])] * 2 * len(SPOILT))

        def script(gateway: VaultGateway, _: Backend) -> None:
            for number in range(len(SPOILT) * 2):
                self.assertEqual(self.send(gateway, b"b", subject=b"away")[:3], b"250", number)
            self.assertTrue(gateway.tried(2 * len(SPOILT)))
            bad = gateway.letters()[::2]
            for one, (column, value) in zip(bad, SPOILT, strict=True):
                self.spoil(gateway, "letters", one.id, **{column: value})
            with self.assertRaises(Unknown):
                gateway.in_reactor(lambda: gateway.control.quarantine.cancel(bad[0].id, SYSTEM))
            self.assertEqual(len([one for one in gateway.letters() if one.state == DAMAGED]), len(SPOILT))
            gateway.later(1000.0)
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), len(SPOILT))
            self.assertEqual(len(gateway.told_of("outbox.damaged")), len(SPOILT))
            held = gateway.held(held_as="undelivered")
            self.assertEqual(len(held), len(SPOILT))
            for one in held:
                octets = gateway.in_reactor(lambda id=one.id: gateway.control.quarantine.content(id))
                if "octets" not in one.detail:
                    self.assertEqual(without_trace(octets), MAIL % b"away")
                self.assertIn("damaged", one.detail)

        return self.talk(REDIRECT, script, backend)

    def test_a_release_and_a_restart(self) -> Deferred[Any]:
        """A server may have it: it waits for a word, and says so; what came with it goes on."""
        backend = Backend(once=[TAKEN] * 2 + [LATER] * 2)

        def script(gateway: VaultGateway, _: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret one")
            self.send(gateway, b"b", subject=b"secret two")
            self.release(gateway, *(one.id for one in gateway.held()))
            self.assertTrue(gateway.tried(2))
            bad, well = gateway.letters()
            self.spoil(gateway, "letters", bad.id, recipients="'?'", state="'committing'")

        def again(gateway: VaultGateway, _: Backend) -> None:
            gateway.later(1000.0)
            self.assertTrue(gateway.posted())
            self.assertEqual(sorted(one.state for one in gateway.held()), ["released", "unknown"])
            self.assertEqual(len(backend.messages), 1)
            self.assertEqual(len(gateway.told_of("outbox.damaged")), 1)

        done = self.talk(HOLD, script, backend)
        return done.addCallback(lambda _: self.talk(HOLD, again, backend))

    def test_tickets(self) -> Deferred[Any]:
        """A ticket is known by its key; whom it was for is for people to read."""

        def script(gateway: VaultGateway, _: Backend) -> None:
            store = TicketStore(gateway.database, b"x" * 32)
            for name in ("one", "two"):
                ticket = Ticket(
                    id=name,
                    key=name,
                    rule="r",
                    mode="reason",
                    at=1.0,
                    expires=9e9,
                    message=name,
                    sender="ann@example.org",
                    recipients=("b@example.net",),
                    subject="",
                    text="",
                )
                gateway.in_reactor(store.put, ticket)
            self.spoil(gateway, "tickets", "one", recipients="'[1'", subject="CAST(x'ff41' AS TEXT)")
            found = {one.id: one for one in gateway.in_reactor(store.recent, (), 9)}
            self.assertEqual(found["two"].recipients, ("b@example.net",))
            self.assertIn("damaged", found["one"].recipients[0])
            self.assertEqual(found["one"].subject, "\\xffA")
            self.assertEqual(gateway.in_reactor(store.find, "one").id, "one")

        return self.talk("", script)
