"""A provider that is out of order, and people who try codes: who waits for what, how long, and what is kept of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin.issuer import FAILED_S, KEPT_S, UNKNOWN_KEY_S, Issuer
from smtpgate.admin.jose import Token, Untrusted
from smtpgate.admin.sso import AT_ONCE, AT_ONCE_OF_NETWORK, LONGEST_DELAY_S
from smtpgate.admin.throttle import FREE_FAILURES, FREE_NETWORK_FAILURES, network_of
from smtpgate.config.model_sso import Provider
from smtpgate.interfaces import HTTPFailed
from tests.test_admin_entry import Browser
from tests.test_admin_sso import SsoCase
from tests.web_kit import over_tcp

HERE = network_of("127.0.0.1")


class DelayTests(SsoCase):
    """Who waits."""

    def tries(self, times: int) -> list[int]:
        """The answers to so many logins."""
        return [self.log_in(Browser(self.wire)).status for _ in range(times)]  # type: ignore[arg-type]

    @over_tcp
    def test_S_13_a_provider_out_of_order_makes_nobody_wait(self) -> None:
        """Its errors, and a secret of ours that it does not take, are nobody's guesses."""
        times = FREE_FAILURES + 2
        for status, body in ((500, b"{}"), (400, b'{"error": "invalid_client"}'), (302, b"")):
            self.provider.statuses = {"/token": status}
            self.provider.bodies = {"/token": body}
            self.assertEqual(self.tries(times), [403] * times, status)
        self.provider.statuses = {}
        for body in (b"", b"{}", b'{"id_token": 7}'):
            self.provider.bodies = {"/token": body}
            self.assertEqual(self.tries(times), [403] * times, body)
        self.provider.bodies = {}
        self.provider.person["groups"] = []
        self.assertEqual(self.tries(times), [403] * times)
        self.provider.person["groups"] = ["mail-admins"]
        self.assertEqual(self.tries(1), [303])

    @over_tcp
    def test_S_13_who_tries_codes_waits_a_little(self) -> None:
        """However many they were; and after that everybody of the network comes in."""
        self.provider.said = {"code": "never-given"}
        self.assertEqual(self.tries(FREE_FAILURES + 1), [403] * FREE_FAILURES + [429])
        for _ in range(FREE_NETWORK_FAILURES):
            self.on_reactor(self.desk.clock.advance, LONGEST_DELAY_S)
            self.assertEqual(self.tries(1), [403])
        self.provider.said = {}
        self.assertEqual(self.tries(1), [429])
        self.on_reactor(self.desk.clock.advance, LONGEST_DELAY_S)
        self.assertEqual(self.tries(1), [303])

    @over_tcp
    def test_S_13_tokens_that_do_not_verify_count(self) -> None:
        """As wrong codes do."""

        def another(header: Any, claims: Any) -> None:
            claims["nonce"] = "x"

        self.provider.bend = another
        self.assertEqual(self.tries(FREE_FAILURES + 1), [403] * FREE_FAILURES + [429])

    @over_tcp
    def test_S_13_one_network_does_not_take_all_turns(self) -> None:
        """So many at once of one, so many of all; and who is done makes room."""
        logins = self.desk.office.logins
        for others, status in (
            ({HERE: AT_ONCE_OF_NETWORK}, 429),
            ({"198.51.100.0/24": AT_ONCE_OF_NETWORK}, 303),
            ({f"198.51.{number}.0/24": 1 for number in range(AT_ONCE)}, 429),
        ):
            logins._exchanges = Counter(others)
            answer = self.log_in(Browser(self.wire))  # type: ignore[arg-type]
            self.assertEqual(answer.status, status, others)
            self.assertEqual(answer.header("retry-after"), "6" if status == 429 else "")
            self.assertEqual(logins._exchanges, Counter(others))


class Line:
    """A client whose answers come when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Deferred[Any]]] = []
        self.asked = 0

    def request(self, method: str, url: str, *more: Any) -> Deferred[Any]:
        """One that waits."""
        self.asked += 1
        found: Deferred[Any] = Deferred()
        self.waiting.append((url, found))
        return found

    def answer(self, value: Any) -> None:
        """To the oldest."""
        _, found = self.waiting.pop(0)
        found.callback(SimpleNamespace(status=200, headers={}, body=json.dumps(value).encode()))

    def fail(self) -> None:
        """The oldest has no answer."""
        self.waiting.pop(0)[1].errback(HTTPFailed("no answer"))


class KeptTests(SynchronousTestCase):
    """What is kept of a provider."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.line = Line()
        self.provider = Provider("corp", "https://id.example.com", "smtpgate", "s")
        self.issuer = Issuer(self.provider, self.line, maybeDeferred, lambda: self.now)

    def ask(self, work: Coroutine[Any, Any, Any]) -> list[Any]:
        """Begin; what comes of it will be in the list."""
        found: list[Any] = []
        ensureDeferred(work).addErrback(lambda failure: failure.value).addCallback(found.append)
        return found

    def describe(self) -> None:
        """It says who it is."""
        base = self.provider.issuer
        places = {"authorization_endpoint": f"{base}/a", "token_endpoint": f"{base}/t", "jwks_uri": f"{base}/k"}
        self.line.answer({"issuer": base, **places})

    def known(self, *names: str) -> None:
        """It has said who it is, and shown its keys."""
        found = self.ask(self.issuer.keys())
        self.describe()
        self.line.answer({"keys": [{"kid": one} for one in names]})
        self.assertEqual(len(found), 1)

    def token(self, name: str) -> Token:
        return Token("RS256", name, {}, b"", b"")

    def test_S_13_who_waits_for_a_dead_provider_waits_once(self) -> None:
        """However long it took: the others hear of the same failure, and the next asks anew a while later."""
        found = [self.ask(self.issuer.description()) for _ in range(5)]
        self.now += 10 * FAILED_S
        self.line.fail()
        self.assertEqual([type(one) for (one,) in found], [HTTPFailed] * 5)
        self.assertEqual((self.line.asked, self.line.waiting), (1, []))
        self.now += FAILED_S
        (again,) = [self.ask(self.issuer.description())]
        self.describe()
        self.assertEqual(again[0].token, "https://id.example.com/t")

    def test_S_13_the_same_for_its_keys(self) -> None:
        """They are asked for by all who come back."""
        found = [self.ask(self.issuer.keys()) for _ in range(5)]
        self.describe()
        self.now += 10 * FAILED_S
        self.line.fail()
        self.assertEqual([type(one) for (one,) in found], [HTTPFailed] * 5)
        self.assertEqual((self.line.asked, self.line.waiting), (2, []))
        self.now += FAILED_S
        again = self.ask(self.issuer.keys())
        self.line.answer({"keys": [{"kid": "a"}]})
        self.assertEqual(again, [[{"kid": "a"}]])

    def test_S_13_old_keys_are_not_kept_on_by_a_failure(self) -> None:
        """Those of an hour ago are not taken for new ones because the provider did not answer, or had none."""
        self.known("a")
        self.now += KEPT_S
        first = self.ask(self.issuer.keys())
        self.describe()
        self.line.fail()
        self.assertIsInstance(first[0], HTTPFailed)
        self.assertIsInstance(self.ask(self.issuer.keys())[0], HTTPFailed)
        self.now += FAILED_S
        second = self.ask(self.issuer.keys())
        self.line.answer({"keys": []})
        self.assertIsInstance(second[0], Untrusted)
        self.now += FAILED_S
        third = self.ask(self.issuer.keys())
        self.line.answer({"keys": [{"kid": "b"}]})
        self.assertEqual(third, [[{"kid": "b"}]])

    def test_S_13_an_unknown_key_asks_once_a_minute(self) -> None:
        """Many at once, after an answer and after none; the keys that there are go on."""
        self.known("a")
        self.now += UNKNOWN_KEY_S
        found = [self.ask(self.issuer._key_of(self.token("b"))) for _ in range(3)]
        self.line.answer({"keys": [{"kid": "a"}]})
        self.assertEqual([type(one).__name__ for (one,) in found], ["Wrong"] * 3)
        self.assertEqual(self.line.waiting, [])
        self.now += UNKNOWN_KEY_S
        found = [self.ask(self.issuer._key_of(self.token("b"))) for _ in range(3)]
        self.line.fail()
        self.now += UNKNOWN_KEY_S - 1
        found.append(self.ask(self.issuer._key_of(self.token("b"))))
        self.assertEqual([type(one) for (one,) in found], [HTTPFailed] * 4)
        self.assertEqual(self.line.waiting, [])
        self.assertEqual(self.ask(self.issuer.keys()), [[{"kid": "a"}]])
        self.now += 1
        last = self.ask(self.issuer._key_of(self.token("b")))
        self.line.answer({"keys": [{"kid": "b", "kty": "RSA"}]})
        self.assertEqual(last, [{"kid": "b", "kty": "RSA"}])
