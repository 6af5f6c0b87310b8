"""Held mail and letters while two things happen at once: nothing answered with 250 is lost, nothing goes out twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.threads import deferToThread

from smtpgate.control import SYSTEM
from smtpgate.control.views import Unknown
from smtpgate.interfaces import StoreFailed
from smtpgate.policy.held import Letter
from smtpgate.proxy.outbox import Outbox
from smtpgate.state.bodies import Bodies
from smtpgate.state.vault import Vault
from tests.script_kit import STALL, Backend, Client, without_trace
from tests.test_quarantine_killed import REDIRECT
from tests.test_quarantine_wire import HOLD
from tests.vault_kit import MAIL, VaultCase, VaultGateway


class Gate:
    """A call of the vault whose answer waits until it is let through."""

    def __init__(self, gateway: VaultGateway, name: str, wanted: Callable[..., bool] = lambda *args: True) -> None:
        self._gateway = gateway
        self._place: Any = gateway.vault
        self._name = name
        self._wanted = wanted
        self._call = getattr(self._place, name)
        self._open: Deferred[None] = Deferred()
        self.came = threading.Event()
        gateway.in_reactor(setattr, self._place, name, self._wrapped)

    def _wrapped(self, *args: Any, **more: Any) -> Any:
        done = self._call(*args, **more)
        if self.came.is_set() or not self._wanted(*args):
            return done

        def written(result: Any) -> Any:
            self.came.set()
            return self._open.addCallback(lambda _: result)

        return done.addCallback(written)

    def let_through(self) -> None:
        """Now."""
        self._gateway.in_reactor(self._open.callback, None)


class RaceTests(VaultCase):
    """Each of them, step by step."""

    def release(self, gateway: VaultGateway, id: str) -> Any:
        """By a manager."""
        (outcome,) = gateway.in_reactor(lambda: gateway.control.quarantine.release([id], SYSTEM))
        return outcome

    def test_a_client_that_breaks_off_while_it_is_written(self) -> Deferred[Any]:
        """The row is there, and nobody was told. Its retry hears 250 only where the octets are there too."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gate = Gate(gateway, "keep")
            client = Client(gateway.port())
            client.hello()
            client.say(b"MAIL FROM:<ann@example.org>")
            client.say(b"RCPT TO:<b@example.net>")
            client.say(b"DATA")
            client.send(MAIL % b"secret" + b".\r\n")
            self.assertTrue(gate.came.wait(30))
            client.reset()
            self.assertTrue(gateway.until(gateway.idle))
            self.assertTrue(gateway.until(lambda: bool(gateway.files()) == bool(gateway.held())))
            self.assertEqual(self.send(gateway, b"b", subject=b"secret")[:3], b"250")
            (held,) = gateway.held()
            octets = gateway.in_reactor(lambda: gateway.control.quarantine.content(held.id))
            self.assertEqual(without_trace(octets), MAIL % b"secret")

        return self.talk(HOLD, script)

    def comes_again(self, action: str, names: tuple[bytes, ...], check: Callable[..., None]) -> Deferred[Any]:
        """A client that hangs up behind its end of data, and comes again; for b it is taken, for c it is delivered."""
        rules = f"""
[[rules]]
name = "for-b"
when = "recipient == 'b@example.net'"
action = "{action}"
{'to = ["away@example.net"]' if action == "redirect" else ""}
[[rules]]
name = "report"
action = "journal"
to = ["archive@example.net"]
[[rules]]
name = "all"
action = "copy"
"""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            gate = Gate(gateway, "keep")
            client = Client(gateway.port())
            client.hello()
            client.say(b"MAIL FROM:<ann@example.org>")
            for name in names:
                client.say(b"RCPT TO:<" + name + b"@example.net>")
            client.say(b"DATA")
            client.send(MAIL % b"x" + b".\r\n")
            self.assertTrue(gate.came.wait(30))
            client.close()
            sessions = gateway.control.reception.sessions
            self.assertTrue(gateway.until(lambda: all(one.front.gone for one in sessions.values())))
            gate.let_through()
            self.assertTrue(gateway.until(gateway.idle))
            self.assertTrue(gateway.posted())
            before = (gateway.held(), len(backend.messages))
            self.assertEqual(self.send(gateway, *names)[:9], b"250 2.0.0")
            self.assertTrue(gateway.posted())
            self.assertEqual((gateway.held(), len(backend.messages)), before)
            check(gateway, backend)

        return self.talk(rules, script)

    def test_a_redirected_message_comes_again(self) -> Deferred[Any]:
        """It was redirected, reported and copied once, and is not once more."""
        return self.comes_again(
            "redirect", (b"b",), lambda gateway, backend: self.assertEqual(len(backend.messages), 2)
        )

    def test_one_taken_for_some_comes_again(self) -> Deferred[Any]:
        """Held for one and delivered to the other, and reported: each once."""

        def check(gateway: VaultGateway, backend: Backend) -> None:
            self.assertEqual(sorted(one.held_as for one in gateway.held()), ["copy", "policy"])
            self.assertEqual(len(backend.messages), 2)

        return self.comes_again("quarantine", (b"b", b"c"), check)

    def test_a_letter_tried_while_it_arrives(self) -> Deferred[Any]:
        """A manager has looked at it, and it is delivered before the order is written: it does not go again."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            self.release(gateway, held.id)
            self.assertTrue(gateway.tried(1))
            (letter,) = gateway.letters()
            gate = Gate(gateway, "letters")
            orders: list[Any] = []

            def order() -> None:
                orders.append(ensureDeferred(gateway.control.quarantine.try_letter(letter.id, SYSTEM)))
                orders[0].addErrback(lambda failure: failure.trap(Unknown))

            gateway.in_reactor(order)
            gateway.later(301.0)
            self.assertTrue(gateway.until(lambda: gateway.held()[0].state == "released"))
            gate.let_through()
            gateway.in_reactor(lambda: orders[0])
            gateway.in_reactor(gateway.outbox.wake)
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 1)

        backend = Backend(once=[(rb"RCPT", b"250 2.1.5 Ok"), (rb"RCPT", b"451 4.2.0 Later")])
        return self.talk(HOLD, script, backend)

    def test_a_letter_taken_back_while_it_is_sent(self) -> Deferred[Any]:
        """Its server has not its end yet: it never gets it. Released again it arrives once."""
        backend = Backend()

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            gate = Gate(gateway, "open")
            self.release(gateway, held.id)
            self.assertTrue(gate.came.wait(30))
            (letter,) = gateway.letters()
            gateway.in_reactor(lambda: gateway.control.quarantine.cancel(letter.id, SYSTEM))
            self.assertEqual((gateway.letters(), gateway.held()[0].state), ([], "held"))
            gate.let_through()
            self.assertTrue(gateway.until(lambda: not gateway.outbox.is_busy))
            self.assertEqual((backend.messages, gateway.letters(), gateway.held()[0].state), ([], [], "held"))
            self.assertTrue(self.release(gateway, held.id).done)
            self.assertTrue(gateway.posted())
            self.assertEqual((len(backend.messages), gateway.held()[0].state), (1, "released"))

        return self.talk(HOLD, script, backend)

    def test_a_server_that_is_dead(self) -> Deferred[Any]:
        """Letters to it are put off together once a few have found it so, and keep no others; what somebody wants
        tried is tried."""
        dead = Backend(greeting=STALL)
        self.addCleanup(dead.close)
        more = f"""
[backends.dead]
servers = ["127.0.0.1:{dead.port}"]
tls = "off"
[[rules]]
name = "away"
when = "subject == 'away'"
action = "redirect"
to = ["x@example.net"]
backend = "dead"
"""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            for _ in range(12):
                self.send(gateway, b"b", subject=b"away")
            self.send(gateway, b"b", subject=b"secret")
            self.release(gateway, gateway.held()[0].id)
            self.assertTrue(gateway.tried(12))
            self.assertTrue(gateway.until(lambda: backend.messages and len(gateway.letters()) == 12))
            self.assertLess(len(dead.connections), 12)
            before = len(dead.connections)
            letter = gateway.letters()[0]
            gateway.in_reactor(lambda: gateway.control.quarantine.try_letter(letter.id, SYSTEM))

            def now() -> Letter:
                return next(one for one in gateway.letters() if one.id == letter.id)

            self.assertTrue(gateway.until(lambda: now().tries > letter.tries))
            self.assertGreater(len(dead.connections), before)
            self.assertIn("4.4.1", now().told)

        return self.talk(HOLD + more, script, timeouts="greeting = 1")


class StoreTests(VaultCase):
    """The index cannot be written for a while, or a letter is never well."""

    def failing(self, gateway: VaultGateway, name: str, times: int = 1) -> None:
        """A call of the vault fails so often."""
        call = getattr(gateway.vault, name)
        left = [times]

        def wrapped(*args: Any, **more: Any) -> Any:
            if left[0]:
                left[0] -= 1
                return fail(StoreFailed("database is locked"))
            return call(*args, **more)

        gateway.in_reactor(setattr, gateway.vault, name, wrapped)

    def hurry(self, gateway: VaultGateway) -> None:
        """What rests for a minute is woken."""

        def woken() -> None:
            for call in list(gateway.outbox._resting.values()):
                call.reset(0)

        self.assertTrue(gateway.until(lambda: gateway.outbox._resting))
        gateway.in_reactor(woken)

    def test_what_a_server_said_is_not_forgotten(self) -> Deferred[Any]:
        """It has the message, and that cannot be written: it is written once it can be, and nothing is sent again."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            self.failing(gateway, "done", 2)
            gateway.in_reactor(lambda: gateway.control.quarantine.release([held.id], SYSTEM))
            for _ in range(2):
                self.hurry(gateway)
            self.assertTrue(gateway.posted())
            self.assertEqual((gateway.held()[0].state, len(backend.messages)), ("released", 1))
            self.assertEqual(len(gateway.told_of("outbox.failing")), 1)

        return self.talk(HOLD, script)

    def test_a_start_without_the_index(self) -> Deferred[Any]:
        """What an earlier process left is taken up once it can be read, and nothing is sent before."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret 1")
            self.send(gateway, b"b", subject=b"secret 2")
            second, first = gateway.held()
            gateway.in_reactor(gateway.outbox.close, lambda: None)
            quarantine = gateway.control.quarantine
            gateway.in_reactor(lambda: quarantine.release([first.id, second.id], SYSTEM))
            (letter,) = (one for one in gateway.letters() if one.held == first.id)
            gateway.in_reactor(gateway.vault.go_on, attrs.evolve(letter, state="committing"), {})
            self.failing(gateway, "begin_anew")
            gateway.outbox = gateway.engine.outbox = Outbox(gateway.engine, gateway.vault, gateway.control.current)
            gateway.in_reactor(lambda: ensureDeferred(gateway.outbox.start()) and None)
            self.assertTrue(gateway.until(lambda: gateway.outbox._resting))
            gateway.in_reactor(gateway.outbox.wake)
            gateway.settle()
            self.assertEqual((len(gateway.letters()), backend.messages), (2, []))
            self.hurry(gateway)
            self.assertTrue(gateway.posted())
            self.assertEqual([one.state for one in gateway.held()], ["released", "unknown"])
            self.assertEqual(len(backend.messages), 1)

        return self.talk(HOLD, script)

    def test_reports_go_when_the_index_is_back(self) -> Deferred[Any]:
        """That their message was delivered could not be written: they do not wait for the next start."""
        rule = """
[[rules]]
name = "report"
when = "subject == 'report'"
action = "journal"
to = ["x@example.net"]
"""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.failing(gateway, "settle")
            self.assertEqual(self.send(gateway, b"b", subject=b"report")[:3], b"250")
            self.assertEqual([one.state for one in gateway.letters()], ["pending"])
            self.hurry(gateway)
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 2)

        return self.talk(rule, script)

    def test_a_clock_that_is_stepped_back(self) -> Deferred[Any]:
        """Letters that wait for a time that is years ahead now go all the same, and so do those that the gateway was
        stopped before."""
        backend = Backend(once=[(b"RCPT TO:<x@", b"450 4.2.0 later")])

        def script(gateway: VaultGateway, _: Backend) -> None:
            gateway.ahead_s = 10 * 365 * 86400.0
            self.send(gateway, b"b", subject=b"away")
            self.assertTrue(gateway.tried(1))
            gateway.later(0.0)
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 1)
            gateway.ahead_s = 10 * 365 * 86400.0
            gateway.in_reactor(setattr, gateway.vault, "settle", lambda *_, **more: fail(StoreFailed("no")))
            self.send(gateway, b"b", subject=b"report")
            self.assertEqual([one.state for one in gateway.letters()], ["pending"])

        def again(gateway: VaultGateway, _: Backend) -> None:
            self.assertTrue(gateway.posted())
            self.assertEqual(len(backend.messages), 3)

        done = self.talk(REDIRECT, script, backend)
        return done.addCallback(lambda _: self.talk(REDIRECT, again, backend))

    def test_a_listener_that_is_gone(self) -> Deferred[Any]:
        """What came by it is judged and routed as by another of its role; where there is none it stays held."""
        backend = Backend()
        self.addCleanup(backend.close)

        def hold(gateway: VaultGateway) -> None:
            for subject in (b"secret one", b"secret never"):
                self.send(gateway, b"b", subject=subject)

        def release(gateway: VaultGateway) -> None:
            ids = [one.id for one in gateway.held(state="held")]
            gateway.in_reactor(lambda: gateway.control.quarantine.release(ids, SYSTEM))
            self.assertTrue(gateway.posted())

        def nobody(gateway: VaultGateway) -> None:
            release(gateway)
            self.assertEqual((backend.messages, [one.state for one in gateway.held()]), ([], ["held", "held"]))
            self.assertIn("no listener of role mx", gateway.held()[0].recipients[0].reply)

        def renamed(gateway: VaultGateway) -> None:
            release(gateway)
            self.assertEqual([one.state for one in gateway.held()], ["held", "released"])
            self.assertIn("rules: no", gateway.held()[0].recipients[0].reply)

        text = self.config(backend.port) + HOLD
        no = '[[rules]]\nname = "no"\nwhen = "subject.contains(\'never\')"\naction = "reject"\n'
        # The login of a listener for users comes from its backend.
        other = text.replace('role = "mx"', 'role = "submission"\nauth = "off"\nrelay_from = ["127.0.0.1/32"]')
        done = self.run_script(text, hold, self.rules(text))
        done.addCallback(lambda _: self.run_script(other, nobody, self.rules(other)))
        new = text.replace("[listeners.front]", "[listeners.gate]") + no
        return done.addCallback(lambda _: self.run_script(new, renamed, self.rules(new)))

    def test_a_backend_that_is_gone(self) -> Deferred[Any]:
        """From the configuration: its letters wait, and go when it is there again."""
        behind, other = Backend(), Backend(once=[(b"RCPT", b"450 4.2.0 later")])
        self.addCleanup(behind.close)
        self.addCleanup(other.close)
        bare = self.config(behind.port) + REDIRECT
        named = bare.replace('action = "redirect"', 'action = "redirect"\nbackend = "other"')
        named += f'[backends.other]\nservers = ["127.0.0.1:{other.port}"]\ntls = "off"\n'

        def begin(gateway: VaultGateway) -> None:
            self.send(gateway, b"b", subject=b"away")
            self.assertTrue(gateway.tried(1))

        def without(gateway: VaultGateway) -> None:
            gateway.later(1000.0)
            self.assertTrue(gateway.tried(1))
            self.assertIn("no backend other", gateway.letters()[0].told)
            self.assertEqual((gateway.held(), behind.messages), ([], []))

        def back(gateway: VaultGateway) -> None:
            gateway.later(10_000.0)
            self.assertTrue(gateway.posted())
            self.assertEqual((len(other.messages), behind.messages), (1, []))

        done = self.run_script(named, begin, self.rules(named))
        done.addCallback(lambda _: self.run_script(bare, without, self.rules(bare)))
        return done.addCallback(lambda _: self.run_script(named, back, self.rules(named)))

    def test_a_clock_that_is_stepped_back_at_the_start(self) -> Deferred[Any]:
        """By years: what is written while the files are swept is as old as what a dead process left, and stays."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            old = gateway.in_reactor(gateway.vault.begin)
            gateway.in_reactor(old.finish)
            vault = Vault(gateway.database, Bodies(self.folder), deferToThread)
            half, whole = gateway.in_reactor(vault.begin), gateway.in_reactor(vault.begin)
            gateway.in_reactor(whole.finish)
            self.assertEqual(gateway.in_reactor(vault.sweep, time.time() + 10 * 365 * 86400.0), 1)
            gateway.in_reactor(half.finish)
            for one in (half, whole):
                gateway.in_reactor(vault.open, one.name).close()
            with self.assertRaises(StoreFailed):
                gateway.in_reactor(vault.open, old.name)

        return self.talk(HOLD, script)

    def test_a_file_that_cannot_be_removed(self) -> Deferred[Any]:
        """What was asked for is done and said so; the file is told of, and the others go."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            for number in range(3):
                self.send(gateway, b"b", subject=b"secret %d" % number)
            held = gateway.held()
            path = self.folder / "held" / held[1].body[-2:] / held[1].body
            path.unlink()
            path.mkdir()
            ids = [one.id for one in held]
            found = gateway.in_reactor(lambda: gateway.control.quarantine.delete(ids, SYSTEM))
            self.assertEqual([one.done for one in found], [True, True, True])
            self.assertEqual((gateway.held(), gateway.files()), ([], []))
            self.assertEqual(len(gateway.told_of("quarantine.failed")), 1)

        return self.talk(HOLD, script)

    def test_a_fault_that_stays(self) -> Deferred[Any]:
        """Not even the failure can be written down: no busy loop comes of it."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            self.send(gateway, b"b", subject=b"secret")
            (held,) = gateway.held()
            gateway.in_reactor(setattr, gateway.vault, "open", lambda name: fail(ValueError("a fault")))
            gateway.in_reactor(setattr, gateway.vault, "go_on", lambda *args: fail(ValueError("another")))
            gateway.in_reactor(lambda: gateway.control.quarantine.release([held.id], SYSTEM))
            self.assertTrue(gateway.until(lambda: gateway.outbox._resting))
            gateway.in_reactor(gateway.outbox.wake)
            gateway.settle()
            self.assertEqual(len(gateway.told_of("outbox.broke")), 2)
            self.assertEqual(gateway.held()[0].state, "sending")

        return self.talk(HOLD, script)

    def test_letters_that_are_never_well(self) -> Deferred[Any]:
        """Their files are cut: they are tried later each time, and those behind them arrive."""

        def script(gateway: VaultGateway, backend: Backend) -> None:
            for number in range(6):
                self.send(gateway, b"b", subject=b"secret %d" % number)
            held = gateway.held()
            for one in held[:5]:
                path = self.folder / "held" / one.body[-2:] / one.body
                path.write_bytes(path.read_bytes()[:-5])
            quarantine = gateway.control.quarantine
            gateway.in_reactor(lambda: quarantine.release([one.id for one in held], SYSTEM))
            self.assertTrue(gateway.until(lambda: len(backend.messages) == 1 and not gateway.outbox.is_busy))
            self.assertTrue(gateway.until(lambda: len(gateway.letters()) == 5))
            self.assertEqual({one.tries for one in gateway.letters()}, {1})
            gateway.later(3 * 86400.0)
            self.assertTrue(gateway.posted())
            self.assertEqual({one.state for one in gateway.held()}, {"held", "released"})
            self.assertIn("shorter", gateway.held()[0].recipients[0].reply)

        return self.talk(HOLD, script)
