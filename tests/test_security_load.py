"""The security checklist, load: what costs much is told from what is long, and mail goes on beside it.

9, hashing is in other threads: the reactor turns, and mail goes on -> `test_S_09_mail_goes_on_while_logins_wait`
20, patterns of searches: stars at the ends only, whatever is asked -> `PatternTests`; others -> test_examine_patterns
17, bodies: parts are counted as octets are -> `BodyTests`
"""

from __future__ import annotations

import json
import re
import socket
import threading
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import orders, sieve
from smtpgate.admin.throttle import HASHES_AT_ONCE, HASHES_WAITING
from tests.admin_kit import PASSWORD, ApiCase, make_session
from tests.web_kit import OfficeOnPort, over_tcp

#: Bodies that are short and have many parts, by what would be done with each.
MANY = (
    "{" + ",".join(f'"k{number}":1' for number in range(orders.PARTS)) + "}",
    '{"envelope":{"recipients":[' + "1," * orders.PARTS + "1]}}",
    '{"x":[' + "[]," * orders.PARTS + "1]}",
    "[" * (orders.PARTS + 1),
    "{" + ",".join('"message":"x"' for _ in range(orders.PARTS)) + "}",
    '{"message":"\\"' + '","message":"\\\\'.join("x" for _ in range(orders.PARTS)) + '"}',
)


class BodyTests(ApiCase):
    """JSON."""

    def send(self, body: str) -> Any:
        """An order to a route that takes much."""
        head = {"Content-Type": "application/json"}
        return self.desk.ask("POST", "/api/v1/test/message", body=body.encode(), headers=head, token=self.owner)

    def test_S_17_parts_are_counted_as_octets_are(self) -> None:
        """Keys, values and brackets: what has too many is refused, however short it is."""
        for body in MANY:
            answer = self.send(body)
            self.assertEqual((answer.status, answer.json()["type"]), (413, "/problems/too-large"), body[:60])

    def test_S_17_faults_are_told_up_to_a_number(self) -> None:
        """An answer is not larger than what was asked, however much is wrong."""
        for count, told in ((orders.FAULTS, orders.FAULTS), (orders.FAULTS + 1, 0)):
            answer = self.send("{" + ",".join(f'"k{number}":1' for number in range(count)) + "}")
            self.assertEqual((answer.status, len(answer.json().get("errors", ()))), (422, told))
        self.assertIn(f"{orders.FAULTS + 1} faults", answer.text)

    def test_S_17_what_is_large_is_read_in_a_thread(self) -> None:
        """By octets and by parts; what is small is not."""
        called: list[Any] = []

        def in_thread(function: Any, *args: Any) -> Deferred[Any]:
            called.append(function)
            return maybeDeferred(function, *args)

        self.desk.office.in_thread = in_thread
        small = {"message": "x", "envelope": {"listener": "nowhere"}}
        for order, is_apart in (
            (small, False),
            ({**small, "message": "x" * orders.APART_OCTETS}, True),
            ({**small, "envelope": {"recipients": ["a"] * orders.APART_PARTS}}, True),
        ):
            called.clear()
            self.send(json.dumps(order))
            self.assertEqual(orders.read in called, is_apart)

    def test_S_17_a_text_is_one_part(self) -> None:
        """Whatever is in it."""
        for text in ("[" * 50_000, '"' * 50_000, "\\" * 50_001, '\\",{' * 20_000):
            body = json.dumps({"message": text}).encode()
            self.assertEqual(orders.parts_of(body, orders.PARTS), 4, text[:10])


class PatternTests(ApiCase):
    """What is looked for."""

    def test_S_20_a_search_has_no_pattern_that_could_take_long(self) -> None:
        """Stars inside are refused in each field, and what is a pattern elsewhere is a plain text: in searches, saved
        ones, exports and streams."""
        self.desk.history.keep(make_session(subject="a" * 900, helo="a" * 200 + ".org"))
        stars = "*a" * 30 + "*b"
        for field in ("", "subject:", "from:", "to:", "helo:"):
            for path in ("/api/v1/messages?q=", "/api/v1/messages/summary?q=", "/api/v1/messages/export?q="):
                answer = self.desk.ask("GET", path + quote(field + stars), token=self.owner)
                self.assertEqual(answer.status, 400, field + path)
        # Words of a stream's filter are words, stars and all.
        self.assertFalse(sieve.read(stars).passes({"q": "a" * 900}))
        self.assertTrue(sieve.read("a*a").passes({"q": "xa*ax"}))
        for pattern in ("(a+)+$", "^(a|a)*$", "[a-z]*", "%a%a%a%b", "a?" * 30):
            answer = self.desk.ask("GET", "/api/v1/messages?q=" + quote(f'subject:"{pattern}"'), token=self.owner)
            self.assertIn((answer.status, answer.json().get("items")), ((200, []), (400, None)), pattern)


class PartsTests(SynchronousTestCase):
    """Counting."""

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
            max_leaves=20,
        )
    )
    def test_S_17_parts_of_any_value(self, value: Any) -> None:
        """As many as a walk over the value finds, and never more than were asked for, but for one piece."""

        def count(one: Any) -> int:
            if isinstance(one, str):
                return 1
            if isinstance(one, dict):
                return 1 + sum(2 + count(inner) for inner in one.values()) + max(0, len(one) - 1)
            if isinstance(one, list):
                return 1 + sum(map(count, one)) + max(0, len(one) - 1)
            return 0

        for body in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            self.assertEqual(orders.parts_of(body.encode("utf-8", "surrogatepass"), 10**6), count(value))


class LoginFloodTests(OfficeOnPort):
    """Many who log in."""

    @over_tcp
    def test_S_09_mail_goes_on_while_logins_wait(self) -> None:
        """Two are hashed and sixteen wait, in threads that do not come to an end: the reactor takes a thousand turns
        meanwhile, other requests are answered, and one login more is told to come again at once."""
        go, hashed = threading.Event(), []

        def slow() -> None:
            hashed.append(threading.current_thread())
            go.wait(30)

        async def verify(name: str, password: str) -> None:
            await deferToThread(slow)

        self.desk.users.verify = verify  # type: ignore[method-assign, assignment]
        socks = []
        for number in range(HASHES_AT_ONCE + HASHES_WAITING):
            page = self.wire.ask("GET", "/login")
            cookie = page.header("set-cookie").partition(";")[0]
            token = re.search(r'name="csrf" value="([^"]+)"', page.text)
            assert token is not None
            body = f"csrf={token[1]}&name=user{number}&password=x"
            head = f"POST /login HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\nCookie: {cookie}\r\n"
            head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
            sock = socket.create_connection(("127.0.0.1", self.wire.port), 30)
            self.addCleanup(sock.close)
            sock.sendall((head + body).encode())
            socks.append(sock)
        done = threading.Event()
        turns: list[int] = []

        def turn() -> None:
            turns.append(1)
            if len(turns) < 1000:
                reactor.callLater(0, turn)  # type: ignore[attr-defined]
            else:
                done.set()

        reactor.callFromThread(turn)  # type: ignore[attr-defined]
        self.assertTrue(done.wait(30))
        self.assertEqual(self.wire.ask("GET", "/api/v1/me", token=self.owner).status, 200)
        order = {"name": "bob", "role": "helpdesk", "password": PASSWORD}
        self.assertEqual(self.wire.json("POST", "/api/v1/users", order, token=self.owner).status, 429)
        self.assertEqual(len(hashed), HASHES_AT_ONCE)
        self.assertNotIn(threading.main_thread(), hashed)
        go.set()
        for sock in socks:
            self.assertIn(b" 401 ", self.wire.rest(sock)[:20])
