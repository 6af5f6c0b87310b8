"""Which server of several: the ways of balancing, as pure functions over what is known of each.

round-robin: smooth and weighted, as nginx has it: of any row of as many choices as all weights together each server has
exactly its weight. least-connections: the fewest transactions for its weight. least-time: the least of transactions
times the usual answer. hash-recipient, hash-user: weighted rendezvous hashing (Thaler and Ravishankar; the weights by
Schindelhauer and Schomaker): a key stays with its server when others come or go. failover: the first that works.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

import attrs

METHODS: Final = ("round-robin", "least-connections", "least-time", "hash-recipient", "hash-user", "failover")
#: The answer of a server that has not answered yet, where no other has either.
_UNSEEN_S: Final = 0.01

T = TypeVar("T", bound=Hashable)


@attrs.frozen
class Candidate(Generic[T]):
    """One server as the choice sees it.

    :ivar weight: over 0; a slow start makes it smaller for a while
    :ivar outstanding: transactions that it has
    :ivar answer_s: its usual time to answer; 0.0 where nothing is known
    :ivar served: how much it had before, to settle a draw
    """

    server: T
    name: str
    weight: float
    outstanding: int = 0
    answer_s: float = 0.0
    served: int = 0


class Balance(Generic[T]):
    """One way of balancing, with what it must remember."""

    __slots__ = ("method", "_current")

    def __init__(self, method: str) -> None:
        if method not in METHODS:
            raise ValueError(f"{method!r} is none of {', '.join(METHODS)}")
        self.method = method
        self._current: dict[Hashable, dict[T, float]] = {}

    def order(self, candidates: Sequence[Candidate[T]], key: str = "", group: Hashable = None) -> list[T]:
        """The servers, best first.

        :param key: what the hashing methods go by
        :param group: which servers these are, of several lots that are chosen from in turn: each takes turns by itself
        """
        if len(candidates) < 2:
            return [one.server for one in candidates]
        method = self.method
        if method == "failover":
            return [one.server for one in candidates]
        if method == "round-robin":
            return self._in_turn(candidates, group)
        if method == "least-connections":
            rated = [(one.outstanding / one.weight, one.served / one.weight) for one in candidates]
        elif method == "least-time":
            seen = [one.answer_s for one in candidates if one.answer_s]
            unseen = sum(seen) / len(seen) if seen else _UNSEEN_S
            rated = [
                ((one.outstanding + 1) * (one.answer_s or unseen) / one.weight, one.served / one.weight)
                for one in candidates
            ]
        else:
            rated = [(-rendezvous(key, one.name, one.weight), 0.0) for one in candidates]
        ranked = sorted(range(len(candidates)), key=rated.__getitem__)
        return [candidates[place].server for place in ranked]

    def _in_turn(self, candidates: Sequence[Candidate[T]], group: Hashable) -> list[T]:
        current = self._current.setdefault(group, {})
        total = 0.0
        for one in candidates:
            current[one.server] = current.get(one.server, 0.0) + one.weight
            total += one.weight
        ordered = sorted(candidates, key=lambda one: -current[one.server])
        current[ordered[0].server] -= total
        if len(current) > len(candidates):
            # Who is away for a while begins anew.
            self._current[group] = {one.server: current[one.server] for one in candidates}
        return [one.server for one in ordered]


def rendezvous(key: str, name: str, weight: float) -> float:
    """The score of a server for a key: the highest of all has it, each as often as its weight says."""
    digest = hashlib.blake2b(f"{key}\0{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    # Between 0 and 1, neither of both.
    point = (int.from_bytes(digest, "big") + 0.5) / 2.0**64
    return -weight / math.log(point)
