"""Held mail, letters, tickets and events for those who are limited to domains: in the database as in the records."""

from __future__ import annotations

from itertools import product
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from smtpgate.policy import event as told
from smtpgate.policy.held import Addressee, Letter
from smtpgate.policy.reach import Reach
from smtpgate.policy.ticket import Ticket
from smtpgate.state.ticket_store import TicketStore
from tests.admin_kit import make_session
from tests.test_admin_quarantine import QuarantineCase

#: Addresses in and out of example.net and bücher.example, near misses among them.
ADDRESSES = (
    "b@example.net",
    "B@EXAMPLE.NET",
    "b@mail.example.net",
    "b@example.net.org",
    "b@notexample.net",
    "b@example_net",
    '"x@example.net"@example.com',
    "b@bücher.example",
    "b@xn--bcher-kva.example",
    "b@example.com",
    "",
)
DOMAINS = ("example.net", "xn--bcher-kva.example")


class HeldCase(QuarantineCase):
    """A quarantine manager of some domains."""

    def setUp(self) -> None:
        super().setUp()
        self.limited = self.manager("quarantine-manager", DOMAINS)

    def manager(self, role: str, domains: tuple[str, ...]) -> str:
        body = {"name": "t", "role": role, "domains": list(domains)}
        return str(self.desk.post_json("/api/v1/tokens", body, token=self.owner).json()["token"])

    def do(self, path: str, body: Any, status: int) -> Any:
        """An order of theirs."""
        answer = self.desk.post_json(f"/api/v1{path}", body, token=self.limited)
        self.assertEqual(answer.status, status, answer.text)
        return answer.json()

    def states(self, id: str) -> dict[str, str]:
        """What is to become of it, by recipient."""
        found = self.successResultOf(self.vault.get(id))
        return {one.address: one.state for one in found.recipients}


class HeldTests(HeldCase):
    """The quarantine."""

    def test_the_database_draws_the_line_where_records_do(self) -> None:
        """Each address as sender and as recipient, either way; lists, counts, totals and single messages agree."""
        reach, inside = Reach(DOMAINS), {}
        for sender, to, direction in product(ADDRESSES, ADDRESSES[:-1], ("in", "out")):
            id = self.hold(sender=sender, direction=direction, recipients=(Addressee(to),))
            inside[id] = reach.held(self.successResultOf(self.vault.get(id)))
        self.assertEqual(set(inside.values()), {True, False})
        seen: list[str] = []
        cursor = ""
        while True:
            page = self.asked(f"/quarantine?limit=50{cursor}", self.limited).json()
            self.assertEqual(page["total"], sum(inside.values()))
            self.assertEqual(sum(one["count"] for one in page["totals"]), sum(inside.values()))
            seen += [one["id"] for one in page["items"]]
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        self.assertEqual(seen, [id for id in reversed(inside) if inside[id]])
        for id in list(inside)[::13]:
            answer = self.asked(f"/quarantine/{id}", self.limited)
            self.assertEqual(answer.status, 200 if inside[id] else 404, id)

    def test_S_05_nothing_is_done_beyond(self) -> None:
        """A message of others is not there, for no verb."""
        id = self.hold(recipients=(Addressee("eve@example.com"),))
        missing = id[:-1] + ("a" if id[-1] != "a" else "b")
        for verb, body in (("release", {}), ("delete", {}), ("deny", {}), ("forward", {"to": ["b@example.net"]})):
            said = [self.do(f"/quarantine/{one}/{verb}", body, 404)["detail"] for one in (id, missing)]
            self.assertEqual(said[0].replace(id, ""), said[1].replace(missing, ""))
        self.assertEqual(self.asked(f"/quarantine/{id}/content", self.limited).status, 404)
        found = self.do("/quarantine", {"action": "delete", "ids": [id]}, 200)
        self.assertFalse(found["items"][0]["done"])
        self.assertEqual(self.states(id), {"eve@example.com": "held"})
        self.assertEqual([row["action"] for row in self.desk.users.rows], ["token.add"])

    def test_a_message_for_theirs_and_others(self) -> None:
        """It is released to theirs, even where others are named; and not deleted."""
        ours, theirs = "b@example.net", "eve@example.com"
        id = self.hold(recipients=(Addressee(ours), Addressee(theirs)))
        shown = self.asked(f"/quarantine/{id}", self.limited).json()
        self.assertEqual([one["address"] for one in shown["recipients"]], [ours])
        for verb in ("delete", "deny"):
            outcome = self.do(f"/quarantine/{id}/{verb}", {}, 200)["items"][0]
            self.assertFalse(outcome["done"])
            self.assertIn("others", outcome["why"])
        self.do(f"/quarantine/{id}/release", {"recipients": [theirs, ours.upper()]}, 200)
        self.assertEqual(self.states(id), {ours: "sending", theirs: "held"})

    def test_many_by_filter(self) -> None:
        """What fits is what is in reach; the count says so."""
        ids = [self.hold("b"), self.hold("c"), self.hold(recipients=(Addressee("eve@example.com"),))]
        order = {"action": "delete", "filter": {"held_as": "spam"}}
        self.do("/quarantine", {**order, "expected_count": 3}, 409)
        self.do("/quarantine", {**order, "expected_count": 2}, 200)
        self.assertEqual([one["id"] for one in self.get("/quarantine")["items"]], ids[2:])

    def test_letters(self) -> None:
        """Listed where one of theirs gets it; tried and cancelled where nobody else does."""
        for name, whom in (("m1", ["b@example.net"]), ("m2", ["b@example.net", "e@example.com"]), ("m3", ["e@x.com"])):
            letter = Letter(
                id=name,
                kind="release",
                at=1.0,
                expires=4e9,
                body="x",
                octets=1,
                sender="a@example.net",
                recipients=tuple(Addressee(one, state="waiting") for one in whom),
                held="",
                message="",
                state="waiting",
            )
            self.successResultOf(self.vault.keep([], [letter]))
        found = self.asked("/outbox", self.limited).json()["items"]
        self.assertEqual([one["id"] for one in found], ["m2", "m1"])
        for name, status in (("m1", 200), ("m2", 404), ("m3", 404), ("m4", 404)):
            self.do(f"/outbox/{name}/try", {}, status)
        for name, status in (("m2", 404), ("m3", 404), ("m1", 200)):
            self.do(f"/outbox/{name}/cancel", {}, status)
        self.assertEqual([one["id"] for one in self.get("/outbox")["items"]], ["m3", "m2"])


class TicketTests(HeldCase):
    """Tickets."""

    def test_the_database_draws_the_line_where_records_do(self) -> None:
        """Listed, and decided on, where sender or recipient is theirs."""
        store = TicketStore(self.inline, b"secret", self.desk.control.engine.wall)  # type: ignore[arg-type]
        self.desk.control.tickets.store = store
        reach, inside = Reach(DOMAINS), {}
        pairs = list(product(ADDRESSES, ADDRESSES[:-1]))
        for number, (sender, to) in enumerate(pairs):
            message = f"01K8FEKHS62Q808T53AJ8RJD8S.{number}"
            ticket = Ticket(
                f"t{number}", f"k{number}", "r", "approval", float(number), 4e9, message, sender, (to,), state="asked"
            )
            self.successResultOf(store.put(ticket))
            inside[message] = reach.ticket(ticket)
        found = self.asked("/tickets?limit=500", self.limited).json()["items"]
        self.assertEqual({one["message"] for one in found}, {one for one, is_in in inside.items() if is_in})
        for message in list(inside)[::7]:
            self.do(f"/tickets/{message}/deny", {}, 200 if inside[message] else 404)


class EventTests(HeldCase):
    """The stream of events."""

    def test_messages_of_theirs_alone(self) -> None:
        """Of a message with others' recipients nothing is told, and of backends and configuration neither."""
        channel, transport = self.desk.open()
        head = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.limited}\r\n\r\n"
        channel.dataReceived(head.encode())
        for id, to in (
            ("01J9UK7Q0000000000000000AA", ("b@example.net",)),
            ("01J9UK7Q0000000000000000BB", ("b@example.net", "e@example.com")),
            ("01J9UK7Q0000000000000000CC", ("e@example.com",)),
        ):
            facts = make_session(id, recipients=to)
            self.desk.control.hear(told.TransactionEnded(facts.transactions[0]))
        self.desk.control.hear(told.ServerChanged("mail", "127.0.0.1:2600", "up", "down", "gone"))
        self.desk.clock.advance(0.3)
        text = transport.value().decode()
        self.assertEqual(text.count("event: "), 1, text)
        self.assertIn("01J9UK7Q0000000000000000AA.1", text)
        channel.connectionLost(Failure(ConnectionLost()))
