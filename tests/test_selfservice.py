"""Refusals with a link: what the sender hears, what makes a message the same, and that it passes once."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.config.loader import loads
from smtpgate.control import SYSTEM
from smtpgate.control.views import Refused
from smtpgate.examine.sameness import digest
from smtpgate.policy import event as told
from smtpgate.state.database import Database
from smtpgate.state.ticket_store import TicketStore
from smtpgate.wiring import rules_of
from tests.admin_kit import CONFIG, HOSTILE, ApiCase, Desk
from tests.edit_kit import Workshop
from tests.script_kit import DROP, Backend
from tests.test_admin_quarantine import Inline
from tests.vault_kit import VaultCase, VaultGateway

RULES = """
[[rules]]
name = "secret"
when = "subject.contains('secret')"
action = "reject"
reply = "550 5.7.1 Nothing secret"
self_service = "{mode}"
"""
ADMIN = '[admin]\npublic_url = "https://gate.example.com"\ntrusted_hosts = ["gate.example.com"]\n'


def mail(words: str, *files: bytes, **more: str) -> bytes:
    """A message of one program or another."""
    made = EmailMessage()
    made["From"], made["To"] = "ann@example.org", "b@example.net"
    cte = more.pop("cte", "quoted-printable")
    for name, value in {"Subject": "secret", "Message_ID": "<1@example.org>", **more}.items():
        made[name.replace("_", "-")] = value
    made.set_content(words, cte=cte)
    for octets in files:
        made.add_attachment(octets, "application", "octet-stream", filename=f"{len(octets)}.bin")
    return made.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class SamenessTests(SynchronousTestCase):
    """What is the same message to a person."""

    def test_sent_again_by_another_program(self) -> None:
        """With other fields, boundaries and encodings it is the same; with another word or file it is not."""
        files = (b"\x00\x01" * 50, b"more")
        first = digest(mail("Grüße, this is a text.", *files), {})
        again = mail("Grüße,  this is\na text.", *files[::-1], Message_ID="<2@x>", X_Mailer="another", cte="base64")
        self.assertEqual(digest(again, {})["digest"], first["digest"])
        self.assertTrue(first["is_whole"])
        for other in (mail("Grüße, this is another text.", *files), mail("Grüße, this is a text.", files[0]),
                      mail("Grüße, this is a text.", files[0], b"MORE")):  # fmt: skip
            self.assertNotEqual(digest(other, {})["digest"], first["digest"])


class Store:
    """Tickets over a database of a test."""

    def __init__(self, case: Any, wall: Any) -> None:
        self.wall = wall
        self.database = Database(case.folder / "tickets.sqlite")
        self.database.open()
        case.addCleanup(self.database.close)
        self.store = TicketStore(Inline(self.database), bytes(32), lambda: wall())  # type: ignore[arg-type]


class WireTests(VaultCase):
    """Through the running gateway."""

    def run_mode(self, mode: str, script: Any, backend: Backend | None = None, more: str = "") -> Deferred[Any]:
        """A gateway with such a rule."""
        behind = backend or Backend()
        self.addCleanup(behind.close)
        text = self.config(behind.port, top=ADMIN) + RULES.format(mode=mode) + more
        workshop, shadow = Workshop(), Workshop(is_shadow=True)
        self.ahead_s = 0.0
        tickets = Store(self, lambda: workshop.wall())
        import time

        workshop.wall = lambda: time.time() + self.ahead_s  # type: ignore[attr-defined]
        workshop.tickets = tickets.store  # type: ignore[attr-defined]
        workshop.settings.public_url = "https://gate.example.com"
        uses = rules_of(loads(text, "/nowhere/gate.toml"), workshop, shadow)  # type: ignore[arg-type]

        def run(gateway: VaultGateway) -> None:
            gateway.control.tickets.store = tickets.store
            gateway.control.tickets._wall = workshop.wall  # type: ignore[attr-defined]
            script(gateway, behind)

        return self.run_script(text, run, uses)

    def test_a_reason(self) -> Deferred[Any]:
        """Refused with a link; a reason given, what is the same message passes, once; another does not."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            content = mail("The secret plan.")
            reply = self.send(gateway, b"b", content=content)
            self.assertRegex(
                reply,
                rb"^550 5\.7\.1 Nothing secret: if it must go, see https://gate\.example\.com/why/\S{22} \S+\r\n$",
            )
            id = reply.split(b"/why/")[1].split()[0].decode()
            self.assertEqual(self.send(gateway, b"b", content=content).split(b"/why/")[1].split()[0].decode(), id)
            control = gateway.control.tickets
            ticket = gateway.in_reactor(lambda: control.say(id, "the board wants it", SYSTEM))
            self.assertEqual(
                (ticket.state, ticket.sender, ticket.recipients), ("granted", "ann@example.org", ("b@example.net",))
            )
            again = mail("The secret  plan.", Message_ID="<another@example.org>", cte="base64")
            self.assertEqual(self.send(gateway, b"c", content=again)[:3], b"550")
            self.assertEqual(self.send(gateway, b"b", content=mail("The secret plans."))[:3], b"550")
            self.assertEqual(
                self.send(gateway, b"b", content=mail("The secret plan.", Subject="more secret"))[:3], b"550"
            )
            self.assertEqual(self.send(gateway, b"b", sender=b"eve@example.org", content=again)[:3], b"550")
            self.assertEqual(self.send(gateway, b"b", content=again)[:3], b"250")
            self.assertEqual(len(backend.messages), 1)
            self.assertTrue(gateway.until(lambda: gateway.in_reactor(lambda: control.ticket(id)).state == "used"))
            reply = self.send(gateway, b"b", content=again)
            self.assertEqual(reply[:3], b"550")
            self.assertNotIn(id.encode(), reply)
            passed = [
                one.transaction for one in gateway.told(told.TransactionEnded) if one.transaction.outcome == "delivered"
            ]
            self.assertIn("the board wants it", passed[0].findings[-1].detail)

        return self.run_mode("reason", script)

    def test_deferred_meanwhile(self) -> Deferred[Any]:
        """A server that defers it costs nobody the ticket."""
        return self.tried_again(b"451 4.3.0 Later")

    def test_an_answer_that_is_lost(self) -> Deferred[Any]:
        """Nor does one whose answer is lost: the sender's server comes again, and is not refused."""
        return self.tried_again(DROP)

    def tried_again(self, said: Any) -> Deferred[Any]:
        """The server says that to the first try with a ticket."""
        backend = Backend(once=[(b"DOT", said)])

        def script(gateway: VaultGateway, backend: Backend) -> None:
            content = mail("The secret plan.")
            id = self.send(gateway, b"b", content=content).split(b"/why/")[1].split()[0].decode()
            gateway.in_reactor(lambda: gateway.control.tickets.say(id, "it must", SYSTEM))
            self.assertEqual(self.send(gateway, b"b", content=content)[:3], b"451")
            self.assertEqual(self.send(gateway, b"b", content=content)[:3], b"250")
            self.assertEqual(self.send(gateway, b"b", content=content)[:3], b"550")

        return self.run_mode("reason", script, backend)

    def test_a_release(self) -> Deferred[Any]:
        """What a ticket let pass and another rule holds is released without another one; what the rule never let pass
        stays held, and no release makes a ticket or uses one up."""
        more = '[[rules]]\nname = "hold"\nwhen = "subject.contains(\'wait\')"\naction = "quarantine"\n'

        def script(gateway: VaultGateway, backend: Backend) -> None:
            control, content = gateway.control.tickets, mail("The secret plan.", Subject="secret, wait")
            asked = self.send(gateway, b"b", b"c", content=content).split(b"/why/")[1].split()[0].decode()
            gateway.in_reactor(lambda: control.say(asked, "the board wants it", SYSTEM))
            self.assertEqual(self.send(gateway, b"b", b"c", content=content)[:3], b"250")
            self.assertTrue(gateway.until(lambda: gateway.in_reactor(lambda: control.ticket(asked)).state == "used"))
            (held,) = gateway.held()
            tickets = gateway.in_reactor(lambda: control.recent((), 9))
            for address in ("b@example.net", "c@example.net"):
                gateway.in_reactor(lambda to=address: gateway.control.quarantine.release([held.id], SYSTEM, [to]))
                self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 2)
            bare = {name: value for name, value in held.facts.items() if name != "lifted"}
            other = attrs.evolve(held, id=gateway.vault.fresh_id(), key="", facts=bare)
            gateway.in_reactor(gateway.vault.keep, [other], [])
            gateway.in_reactor(lambda: gateway.control.quarantine.release([other.id], SYSTEM))
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 2)
            found = gateway.in_reactor(gateway.vault.get, other.id)
            self.assertEqual({one.state for one in found.recipients}, {"held"})
            self.assertNotIn("/why/", found.recipients[0].reply)
            self.assertEqual(gateway.in_reactor(lambda: control.recent((), 9)), tickets)

        return self.run_mode("reason", script, more=more)

    def test_approval(self) -> Deferred[Any]:
        """It passes when somebody has said so, and not before; what was denied says so; other rules stand."""
        more = '[[rules]]\nname = "never"\nwhen = "sender == \'x@example.org\'"\naction = "reject"\n'

        def script(gateway: VaultGateway, backend: Backend) -> None:
            content = mail("The secret plan.")
            id = self.send(gateway, b"b", content=content).split(b"/why/")[1].split()[0].decode()
            control = gateway.control.tickets
            self.assertEqual(gateway.in_reactor(lambda: control.say(id, "please", SYSTEM)).state, "asked")
            self.assertRaises(Refused, gateway.in_reactor, lambda: control.say(id, "again", SYSTEM))
            self.assertIn(b"somebody is asked; see", self.send(gateway, b"b", content=content))
            ticket = gateway.in_reactor(lambda: control.ticket(id))
            gateway.in_reactor(lambda: control.deny(ticket, SYSTEM))
            self.assertIn(b"denied", self.send(gateway, b"b", content=content))
            gateway.in_reactor(lambda: control.grant(ticket, SYSTEM))
            self.assertEqual(self.send(gateway, b"b", content=content)[:3], b"250")
            self.assertRaises(Refused, gateway.in_reactor, lambda: control.grant(ticket, SYSTEM))
            id = self.send(gateway, b"b", sender=b"x@example.org", content=content)
            self.assertNotIn(b"/why/", id[:40])
            self.assertEqual(len(backend.messages), 1)

        return self.run_mode("approval", script, more=more)

    def test_a_reason_that_is_no_longer_enough(self) -> Deferred[Any]:
        """The rule asks for approval by now: what its sender alone has said lets nothing pass."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            content = mail("The secret plan.")
            control, store = gateway.control.tickets, gateway.control.tickets.store

            def refused() -> Any:
                reply = self.send(gateway, b"b", content=content)
                self.assertEqual(reply[:3], b"550")
                return gateway.in_reactor(lambda: control.ticket(reply.split(b"/why/")[1].split()[0].decode()))

            for state, by in (("open", ""), ("granted", "its sender")):
                first = refused()
                earlier = attrs.evolve(first, mode="reason", state=state, decided_by=by)
                gateway.in_reactor(lambda earlier=earlier: store.put(earlier))
                second = refused()
                self.assertEqual((second.mode, second.state, second.id != first.id), ("approval", "open", True))
            earlier = attrs.evolve(second, mode="reason", state="granted", decided_by="ann")
            gateway.in_reactor(lambda: store.put(earlier))
            self.assertEqual(self.send(gateway, b"b", content=content)[:3], b"250")

        return self.run_mode("approval", script)

    def test_its_time_ends(self) -> Deferred[Any]:
        """What was granted is so for three days."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            content = mail("The secret plan.")
            id = self.send(gateway, b"b", content=content).split(b"/why/")[1].split()[0].decode()
            gateway.in_reactor(lambda: gateway.control.tickets.say(id, "it must", SYSTEM))
            self.ahead_s = 3 * 86400.0 + 1
            reply = self.send(gateway, b"b", content=content)
            self.assertEqual(reply[:3], b"550")
            self.assertNotIn(id.encode(), reply)

        return self.run_mode("reason", script)


class PageTests(ApiCase):
    """The page of a link, and what managers see."""

    def setUp(self) -> None:
        import tempfile
        from pathlib import Path

        self.desk = Desk(CONFIG)
        self.owner = self.desk.token("owner")
        self.folder = Path(tempfile.mkdtemp(prefix="smtpgate-tickets-"))
        self.store = Store(self, self.desk.control.engine.wall).store
        self.desk.control.tickets.store = self.store
        self.desk.control.engine.in_thread = maybeDeferred

    def make(self, **more: Any) -> str:
        """A ticket; its id."""
        from smtpgate.policy.ticket import Ticket

        now = self.desk.control.engine.wall()
        values = {"id": self.store.fresh_id(), "key": "k", "rule": "secret", "mode": "approval", "at": now,
                  "expires": now + 1000, "message": "01K8FEKHS62Q808T53AJ8RJD8S.1", "sender": "ann@example.org",
                  "recipients": ("b@example.net",), "subject": "hello", "text": "Nothing secret"}  # fmt: skip
        ticket = Ticket(**{**values, **more})
        self.successResultOf(self.store.put(ticket))
        return str(ticket.id)

    def test_lists_keep_the_link_to_its_sender(self) -> None:
        """Managers name a ticket by the reference of the refusal; its id is in no list, and no page of theirs."""
        id = self.make()
        answer = self.desk.ask("GET", "/api/v1/tickets", token=self.owner)
        self.assertEqual(answer.json()["items"][0]["message"], "01K8FEKHS62Q808T53AJ8RJD8S.1")
        page = self.desk.ask("GET", "/tickets", token=self.owner)
        self.assertEqual(page.status, 200)
        self.assertNotIn(id, answer.text + page.text)
        self.assertEqual(self.post("/tickets/01K8FEKHS62Q808T53AJ8RJD8S.1/grant", {})["is_audited"], True)
        self.assertEqual(self.get("/tickets?state=granted")["items"][0]["decided_by"], "owner")
        self.post("/tickets/nothing/grant", {}, 404)
        self.post("/tickets/01K8FEKHS62Q808T53AJ8RJD8S.1/grant", {}, 409)

    def test_the_page_of_a_link(self) -> None:
        """It shows what was refused; a look does nothing; an id that is none leads nowhere."""
        for text in HOSTILE:
            id = self.make(subject=text, text=text, sender=text[:60], recipients=(text,))
            page = self.desk.ask("GET", f"/why/{id}")
            self.assertEqual(page.status, 200)
            self.assertNotIn("<script>window", page.text)
            self.assertNotIn("<img src=x", page.text)
        gone = self.desk.ask("GET", "/why/nothing")
        self.assertEqual((gone.status, "first page" in gone.text), (404, False))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self.desk.ask("POST", f"/why/{id}", body=b"reason=abcdef&csrf=x", headers=headers)
        self.assertEqual(answer.status, 403)
        self.assertEqual(self.successResultOf(self.store.get(id)).state, "open")

    def test_said_on_the_page(self) -> None:
        """A few words at least; once."""
        import re

        id = self.make(mode="reason")

        def press(reason: bytes) -> Any:
            page = self.desk.ask("GET", f"/why/{id}")
            cookie = page.header("set-cookie").partition(";")[0]
            csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
            if csrf is None:
                return page
            headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
            body = b"csrf=" + csrf[1].encode() + b"&reason=" + reason
            return self.desk.ask("POST", f"/why/{id}", body=body, headers=headers)

        self.assertEqual(press(b"no").status, 422)
        self.assertIn("Send the very same message again", press(b"the+board+wants+it").text)
        self.assertNotIn("<form action", press(b"once+more").text.partition("<main")[2])
        self.assertEqual(self.successResultOf(self.store.get(id)).reason, "the board wants it")
        self.assertEqual(self.desk.users.rows[-1]["action"], "ticket.use")
