"""The security checklist, load: what costs much is told from what is long, and mail goes on beside it.

9, the queue of hashing -> `test_S_09_mail_goes_on_while_logins_wait`
17, bodies: parts are counted as octets are -> `BodyTests`
31, the admin side has its own caps and sheds first -> `FloodTests`
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.admin import orders
from tests.admin_kit import ApiCase

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
