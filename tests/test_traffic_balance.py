"""Balancing: how 10,000 choices are shared out by each method, and what moves when a server comes or goes."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtpgate.traffic.balance import METHODS, Balance, Candidate

SESSIONS = 10_000
WEIGHTS = {"a": 1, "b": 2, "c": 5}


def candidates(weights: dict[str, float], **busy: int) -> list[Candidate[str]]:
    return [Candidate(name, name, weight, busy.get(name, 0)) for name, weight in weights.items()]


def chosen(balance: Balance[str], given: list[Candidate[str]], key: str = "") -> str:
    order = balance.order(given, key)
    assert sorted(order) == sorted(one.server for one in given)
    return order[0]


class DistributionTests(SynchronousTestCase):
    """10,000 sessions over servers of weight 1, 2 and 5."""

    def test_round_robin_is_exact(self) -> None:
        """Of any eight in a row each has exactly its weight."""
        balance: Balance[str] = Balance("round-robin")
        picked = [chosen(balance, candidates(WEIGHTS)) for _ in range(SESSIONS)]
        for start in range(0, SESSIONS - 8, 97):
            self.assertEqual(Counter(picked[start : start + 8]), Counter(WEIGHTS))

    def test_groups_take_turns_each_for_itself(self) -> None:
        """Tiers, and servers that are down: asked for at each choice, and none changes whose turn it is in another."""
        balance: Balance[str] = Balance("round-robin")
        picked = Counter(balance.order(candidates(WEIGHTS), "", 1)[0] for _ in range(80) if self._other(balance))
        self.assertEqual(picked, Counter({name: 10 * weight for name, weight in WEIGHTS.items()}))

    @staticmethod
    def _other(balance: Balance[str]) -> bool:
        return balance.order(candidates({"d": 1, "e": 1}), "", 2) in (["d", "e"], ["e", "d"])

    @given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=2))
    def test_round_robin_is_never_ahead_by_more_than_one_turn(self, weights: dict[str, float]) -> None:
        """At no time has a server more than its share and one turn more of each."""
        balance: Balance[str] = Balance("round-robin")
        counts: Counter[str] = Counter()
        total = sum(weights.values())
        for number in range(1, 200):
            counts[chosen(balance, candidates(weights))] += 1
            for name, weight in weights.items():
                self.assertLess(abs(counts[name] - number * weight / total), len(weights))

    def _simulate(self, method: str, seconds: dict[str, float]) -> tuple[Counter[str], Counter[str]]:
        """Sessions come at random and stay for the time of their server; how many each had in all, and at most."""
        random_ = random.Random(7)
        balance: Balance[str] = Balance(method)
        busy: Counter[str] = Counter()
        peak: Counter[str] = Counter()
        served: Counter[str] = Counter()
        ends: list[tuple[float, str]] = []
        now = 0.0
        for _ in range(SESSIONS):
            now += random_.expovariate(1000.0)
            for end, name in [one for one in ends if one[0] <= now]:
                busy[name] -= 1
            ends = [one for one in ends if one[0] > now]
            name = chosen(
                balance,
                [
                    Candidate(name, name, weight, busy[name], seconds[name], served[name])
                    for name, weight in WEIGHTS.items()
                ],
            )
            busy[name] += 1
            served[name] += 1
            peak[name] = max(peak[name], busy[name])
            ends.append((now + random_.expovariate(1 / seconds[name]), name))
        return served, peak

    def test_least_connections_follows_the_weights(self) -> None:
        """Servers of the same speed: each within a tenth of its share of 10,000."""
        served, _ = self._simulate("least-connections", dict.fromkeys(WEIGHTS, 0.05))
        for name, weight in WEIGHTS.items():
            self.assertLess(abs(served[name] - SESSIONS * weight / 8), SESSIONS * weight / 80)

    def test_least_connections_gives_a_slow_server_less(self) -> None:
        """One that takes ten times as long has about as many at work as the others have for their weight."""
        served, peak = self._simulate("least-connections", {"a": 0.05, "b": 0.05, "c": 0.5})
        self.assertLess(served["c"], SESSIONS * 5 / 8 / 2)
        self.assertLess(peak["c"], 5 * (peak["a"] + 2))

    def test_least_time_avoids_a_slow_server(self) -> None:
        """The same with the usual time known: it gets less still than by its connections."""
        by_count, _ = self._simulate("least-connections", {"a": 0.05, "b": 0.05, "c": 0.5})
        by_time, _ = self._simulate("least-time", {"a": 0.05, "b": 0.05, "c": 0.5})
        self.assertLess(by_time["c"], by_count["c"])
        self.assertGreater(by_time["c"], 0)

    def test_least_time_gives_new_servers_their_part(self) -> None:
        """A server of which nothing is known is neither flooded nor forgotten: it counts as the average."""
        balance: Balance[str] = Balance("least-time")
        known = [Candidate("a", "a", 1, 3, 0.02), Candidate("b", "b", 1, 3, 0.02), Candidate("new", "new", 1, 0, 0.0)]
        self.assertEqual(chosen(balance, known), "new")
        known[2] = Candidate("new", "new", 1, 4, 0.0)
        self.assertNotEqual(chosen(balance, known), "new")

    def test_hashing_follows_the_weights(self) -> None:
        """10,000 keys: each server within four standard deviations of its share."""
        for method in ("hash-recipient", "hash-user"):
            balance: Balance[str] = Balance(method)
            counts = Counter(
                chosen(balance, candidates(WEIGHTS), f"domain{number}.example") for number in range(SESSIONS)
            )
            for name, weight in WEIGHTS.items():
                part = weight / 8
                deviation = (SESSIONS * part * (1 - part)) ** 0.5
                self.assertLess(abs(counts[name] - SESSIONS * part), 4 * deviation, (method, name, counts))

    def test_failover_takes_the_first(self) -> None:
        """Whatever its load."""
        balance: Balance[str] = Balance("failover")
        self.assertEqual({chosen(balance, candidates(WEIGHTS, a=number)) for number in range(100)}, {"a"})

    def test_an_unknown_method_is_an_error(self) -> None:
        """And one server is chosen by any."""
        self.assertRaises(ValueError, Balance, "random")
        for method in METHODS:
            self.assertEqual(Balance[str](method).order(candidates({"a": 1})), ["a"])


class ConsistencyTests(SynchronousTestCase):
    """What moves when the servers change."""

    @given(
        st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.integers(1, 9), min_size=2, max_size=8),
        st.lists(st.text(max_size=20), min_size=1, max_size=50),
        st.data(),
    )
    def test_only_keys_of_the_lost_server_move(
        self, weights: dict[str, float], keys: list[str], data: st.DataObject
    ) -> None:
        """Every other key stays where it was."""
        balance: Balance[str] = Balance("hash-recipient")
        lost = data.draw(st.sampled_from(sorted(weights)))
        rest = {name: weight for name, weight in weights.items() if name != lost}
        for key in keys:
            before = chosen(balance, candidates(weights), key)
            after = chosen(balance, candidates(rest), key)
            if before != lost:
                self.assertEqual(after, before)

    @given(
        st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.integers(1, 9), min_size=2, max_size=8),
        st.lists(st.text(max_size=20), min_size=1, max_size=50),
        st.data(),
    )
    def test_more_weight_only_draws_keys(self, weights: dict[str, float], keys: list[str], data: st.DataObject) -> None:
        """A server that gets more weight takes keys from others; nothing moves among these."""
        balance: Balance[str] = Balance("hash-recipient")
        grown = data.draw(st.sampled_from(sorted(weights)))
        heavier = {**weights, grown: weights[grown] + 3}
        for key in keys:
            before = chosen(balance, candidates(weights), key)
            after = chosen(balance, candidates(heavier), key)
            self.assertIn(after, (before, grown))

    def test_a_new_server_takes_its_part(self) -> None:
        """One more of three: about a quarter of the keys go there, no others move."""
        balance: Balance[str] = Balance("hash-recipient")
        three, four = dict.fromkeys("abc", 1), dict.fromkeys("abcd", 1)
        keys = [f"domain{number}.example" for number in range(SESSIONS)]
        moved = [
            key for key in keys if chosen(balance, candidates(three), key) != chosen(balance, candidates(four), key)
        ]
        self.assertTrue(all(chosen(balance, candidates(four), key) == "d" for key in moved))
        self.assertLess(abs(len(moved) - SESSIONS / 4), SESSIONS / 50)
