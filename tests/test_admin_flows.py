"""Tests of smtpgate.admin.flows: what is held of logins under way has bounds, and nobody fills it for others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.flows import FLOW_S, FORMS, MOST, PER_NETWORK, Flow, Flows


class Visitor:
    """A browser with a jar for the one cookie."""

    is_secure = True

    def __init__(self, flows: Flows, network: str = "192.0.2.0/24") -> None:
        self.flows, self.network, self.jar = flows, network, ""

    def cookie(self, name: str, value: str, age: int = 0, same: str = "") -> str:
        self.jar = value
        return ""

    def sent_cookie(self, name: str) -> str:
        return self.jar

    def begin(self, now: float = 0.0, **more: Any) -> str:
        """The state."""
        caller: Any = self
        flow = Flow("corp", "https://id.example.com", "", now, self.network, **more)
        return self.flows.begin(caller, flow)[0]

    def back(self, state: str) -> str:
        """The ticket; "" where the login is not under way any more."""
        caller: Any = self
        flow = self.flows.back(caller, "corp", state)
        return self.flows.ticket(flow) if flow is not None else ""

    def ends(self, ticket: str) -> bool:
        """Whether it can be gone on with."""
        caller: Any = self
        return self.flows.end(caller, "corp", ticket) is not None


class FlowTests(SynchronousTestCase):
    """By hand, without HTTP."""

    def setUp(self) -> None:
        self.time = SimpleNamespace(now=0.0)
        self.flows = Flows(lambda: self.time.now)

    def test_S_13_one_network_fills_nothing(self) -> None:
        """Neither with logins that went away nor with such as came back and went no further."""
        for _ in range(MOST + 1):
            stranger = Visitor(self.flows)
            self.assertTrue(stranger.back(stranger.begin()))
            self.assertLessEqual(len(self.flows), PER_NETWORK)
        other = Visitor(self.flows, "198.51.100.0/24")
        self.assertTrue(other.ends(other.back(other.begin())))

    def test_S_13_many_networks_lock_nobody_out(self) -> None:
        """Whoever has most of them makes room; one who has a single login keeps it."""
        person = Visitor(self.flows, "198.51.100.0/24")
        state = person.begin()
        for number in range(MOST // PER_NETWORK + 3):
            for _ in range(PER_NETWORK):
                Visitor(self.flows, f"2001:db8:0:{number:x}::/64").begin(1.0)
            self.assertLessEqual(len(self.flows), MOST)
        self.time.now = 2.0
        late = Visitor(self.flows, "203.0.113.0/24")
        self.assertTrue(late.ends(late.back(late.begin(2.0))))
        self.assertTrue(person.ends(person.back(state)))

    def test_the_newest_of_a_network_stays(self) -> None:
        """Whether it is there or back."""
        first = Visitor(self.flows)
        state = first.begin(0.0)
        self.time.now = 1.0
        second = Visitor(self.flows)
        ticket = second.back(second.begin(1.0))
        self.time.now = 2.0
        for _ in range(PER_NETWORK - 1):
            last = Visitor(self.flows)
            newest = last.begin(2.0)
        self.assertEqual(first.back(state), "")
        self.assertTrue(second.ends(ticket))
        self.assertTrue(last.ends(last.back(newest)))

    def test_forms_that_wait(self) -> None:
        """So many of one person, from wherever they come; the oldest goes, and nothing else does."""
        plain, other = Visitor(self.flows), Visitor(self.flows)
        states = [plain.begin(user="carla"), other.begin(user="dora", carried="y")]
        held = []
        for number in range(FORMS + 2):
            visitor = Visitor(self.flows, f"198.51.{number}.0/24")
            held.append((visitor, visitor.begin(user="carla", carried="x" * 1000)))
        self.assertEqual([bool(one.back(state)) for one, state in held], [False] * 2 + [True] * FORMS)
        self.assertTrue(plain.back(states[0]))
        self.assertTrue(other.back(states[1]))

    def test_what_is_old_is_forgotten(self) -> None:
        """There and back; and what began after now, before a clock was set back."""
        visitor = Visitor(self.flows)
        visitor.back(visitor.begin(0.0))
        visitor.begin(0.0)
        self.time.now = FLOW_S
        visitor.begin(FLOW_S)
        self.assertEqual(len(self.flows), 1)
        self.time.now = 1.0
        visitor.begin(1.0)
        self.assertEqual(len(self.flows), 1)
