"""What is counted for every message.

All of it is integers in objects that are found by one look into a dictionary for each transaction (`_Lane`):
some three microseconds. `metrics` shows the counts and counts everything else.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Final

from smtpgate.observe import words
from smtpgate.observe.catalogue import OTHER, REASONS, RECIPIENTS, SCORE, SIZE, Names
from smtpgate.observe.exposition import Number
from smtpgate.observe.series import Series
from smtpgate.policy.event import TransactionEnded
from smtpgate.policy.meter import LATENCY, Histogram
from smtpgate.policy.transaction import Session, Transaction
from smtpgate.policy.verdict import FILTER_FAILED, Finding

#: The newest times that the 95th percentile is taken of.
RECENT: Final = 1000
#: Place of a verdict in a row of the series; all that went through is the first.
_PLACES: Final = {"reject": 1, "defer": 2, "abort": 3, "error": 4}
_SESSIONS: Final = 5
#: Who speaks for limits in the findings of a message.
LIMITS: Final = frozenset({"rate_limits", "concurrency_limits"})
#: Who speaks for rules in them.
RULES: Final = "rules"
#: What their reasons begin with that say who a sender is, and what these results are called (RFC 8601 section 2.7).
AUTH_METHODS: Final = frozenset({"spf", "dkim", "dmarc", "arc"})
AUTH_RESULTS: Final = frozenset({"pass", "fail", "softfail", "neutral", "none", "policy", "temperror", "permerror"})


class _Lane:
    """The counts of one listener, direction and verdict."""

    __slots__ = ("listener", "direction", "verdict", "messages", "results", "duration", "size", "place")

    def __init__(self, listener: str, direction: str, verdict: str, duration: Histogram, size: Histogram) -> None:
        self.listener = listener
        self.direction = direction
        self.verdict = verdict
        self.messages = 0
        self.results = dict.fromkeys((*RECIPIENTS, OTHER), 0)
        self.duration = duration
        self.size = size
        self.place = _PLACES.get(verdict, 0)


class Tally:
    """The counts of all messages.

    :ivar counts: rejections and findings: name of the metric and values of its labels
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.listeners = Names()
        self.filters = Names()
        self._pools = Names()
        self._servers = Names()
        self._configured: set[tuple[str, str]] = set()
        self._reasons = Names(REASONS)
        self._limits = Names()
        self._rules = Names()
        self._wall = wall
        self._series = Series()
        self._newest: deque[float] = deque(maxlen=RECENT)
        #: Whether a domain of a recipient is ours: what our users send to it is internal.
        self.is_local: Callable[[str], bool] = lambda domain: False
        #: Names of the rules that look for data that must not leave.
        self.dlp: frozenset[str] = frozenset()
        self._score = Histogram(SCORE)
        self._lanes: dict[tuple[str, str, str], _Lane] = {}
        self._by_label: dict[tuple[str, str, str], _Lane] = {}
        self._durations: dict[tuple[str, str], Histogram] = {}
        self._sizes: dict[str, Histogram] = {}
        self._replies: dict[tuple[str, str], Histogram] = {}
        self._relayed = self._by_tls = self._in_clear = 0
        self._rcpt = Histogram()
        self._content = Histogram()
        self._filter = Histogram()
        self._backend = Histogram()

    def transaction_ended(self, event: TransactionEnded) -> None:
        """One more message."""
        transaction = event.transaction
        session = transaction.session
        lane = None
        if transaction.verdict is None and session.role == "mx":
            lane = self._lanes.get((session.listener, session.role, transaction.outcome))
        if lane is None:
            lane = self._lane(session, transaction)
        lane.messages += 1
        results = lane.results
        for recipient in transaction.recipients:
            state = recipient.state
            results[state if state in results else OTHER] += 1
        begun = transaction.begun
        seconds = transaction.ended - begun
        histogram = lane.duration
        place = bisect_left(LATENCY, seconds)
        histogram.counts[place] += 1
        histogram.total += seconds
        if histogram.examples is not None:
            histogram.examples[place] = (session.id, seconds, self._wall())
        data_at = transaction.data_at
        if data_at:
            if transaction.end_at:
                self._newest.append(seconds)
                self._after_content(transaction, lane)
            seconds = data_at - begun
            histogram = self._rcpt
            histogram.counts[bisect_left(LATENCY, seconds)] += 1
            histogram.total += seconds
        if transaction.findings or lane.place in (1, 2) or transaction.accepted < len(transaction.recipients):
            self._trouble(transaction)
        second = int(self._wall())
        series = self._series
        row = series.row if second == series.second else series.turn(second)
        row[lane.place] += 1

    def _after_content(self, transaction: Transaction, lane: _Lane) -> None:
        end_at = transaction.end_at
        octets = transaction.octets
        histogram = lane.size
        histogram.counts[bisect_left(SIZE, octets)] += 1
        histogram.total += octets
        seconds = end_at - transaction.data_at
        histogram = self._content
        histogram.counts[bisect_left(LATENCY, seconds)] += 1
        histogram.total += seconds
        if transaction.notes:
            for note in transaction.notes:
                if note == "not_signed" or note.startswith("signed:"):
                    self.counts["encryption_total", "sign", "failed" if note == "not_signed" else "ok"] += 1
        verdict_at = transaction.verdict_at
        if not verdict_at:
            return
        seconds = verdict_at - end_at
        histogram = self._filter
        histogram.counts[bisect_left(LATENCY, seconds)] += 1
        histogram.total += seconds
        if transaction.committed_at and transaction.server:
            self._relayed += octets
            if transaction.backend_tls:
                self._by_tls += 1
            else:
                self._in_clear += 1
            seconds = transaction.committed_at - verdict_at
            place = bisect_left(LATENCY, seconds)
            histogram = self._backend
            histogram.counts[place] += 1
            histogram.total += seconds
            known = self._replies.get((transaction.backend, transaction.server))
            if known is None:
                known = self._reply(transaction.backend, transaction.server)
            known.counts[place] += 1
            known.total += seconds

    def _reply(self, pool: str, server: str) -> Histogram:
        label = self.server(pool, server)
        if label not in self._replies:
            self._replies[label] = Histogram()
        return self._replies[label]

    def server(self, pool: str, server: str) -> tuple[str, str]:
        """A server as two labels: one that no configuration named was named by the DNS, and has no label of its own."""
        if (pool, server) not in self._configured:
            return self._pools.of(pool), OTHER
        return self._pools.of(pool), self._servers.of(server)

    def expect_server(self, pool: str, server: str) -> tuple[str, str]:
        """One that the configuration names."""
        self._configured.add((pool, server))
        return self.server(pool, server)

    def _lane(self, session: Session, transaction: Transaction) -> _Lane:
        direction = words.direction_of(session.role)
        if direction == "out" and transaction.recipients:
            if all(self.is_local(recipient.path.domain) for recipient in transaction.recipients):
                direction = "internal"
        lane = self.lane(session.listener, direction, words.verdict_of(transaction))
        if transaction.verdict is None and session.role == "mx":
            self._lanes[session.listener, session.role, transaction.outcome] = lane
        return lane

    def lane(self, listener: str, direction: str, verdict: str) -> _Lane:
        """The counts of these labels; zeros at first."""
        listener = self.listeners.of(listener)
        key = (listener, direction, verdict)
        lane = self._by_label.get(key)
        if lane is None:
            duration = self._durations.setdefault((direction, verdict), Histogram())
            if duration.examples is None:
                duration.examples = [None] * len(duration.counts)
            size = self._sizes.setdefault(direction, Histogram(SIZE))
            lane = self._by_label[key] = _Lane(*key, duration, size)
        return lane

    def _trouble(self, transaction: Transaction) -> None:
        listener = self.listeners.of(transaction.session.listener)
        for recipient in transaction.recipients:
            reply = recipient.reply
            if reply is not None and reply.code >= 400:
                self.reject(listener, "rcpt", words.reply_reason(transaction, reply)[0], reply.code)
        stage = words.stage_of(transaction)
        reply = transaction.reply
        if reply is not None and reply.code >= 400 and stage != "rcpt":
            self.reject(listener, stage, words.reason_of(transaction)[0], reply.code)
        for finding in transaction.findings:
            method, _, result = finding.reason.partition("-")
            if method in AUTH_METHODS:
                self.counts["auth_results_total", method, result if result in AUTH_RESULTS else OTHER] += 1
            if finding.filter in LIMITS:
                self.limit(finding)
            elif finding.reason != FILTER_FAILED:
                result = "shadow" if finding.is_shadow else "hit"
                self.counts["filter_runs_total", self.filters.of(finding.filter), result] += 1
        # One that is about a recipient may be true of several.
        hits = {(one.reason, one.is_shadow) for one in transaction.findings if one.filter == RULES}
        for rule, is_shadow in hits:
            if rule != FILTER_FAILED:
                self.counts["rule_hits_total", self._rules.of(rule), "shadow" if is_shadow else "live"] += 1
        if self.dlp:
            for name, action in {(one.reason, one.action) for one in transaction.findings if one.reason in self.dlp}:
                self.counts["dlp_matches_total", self._rules.of(name), action] += 1
        verdict = transaction.verdict
        if verdict is not None and verdict.score:
            self._score.add(verdict.score)
        if verdict is not None and verdict.would:
            self.counts["shadow_verdicts_total", verdict.would] += 1

    def expect_limit(self, name: str) -> None:
        """Zeros for a limit that was not met yet."""
        for decision in ("refused", "paced", "shadow"):
            self.counts["ratelimit_decisions_total", self._limits.of(name), decision] += 0

    def expect_rule(self, name: str, mode: str) -> None:
        """Zero for a rule that was true of nothing yet."""
        self.counts["rule_hits_total", self._rules.of(name), "shadow" if mode == "shadow" else "live"] += 0

    def limit(self, finding: Finding) -> None:
        """A limit was met."""
        decision = "shadow" if finding.is_shadow else "refused" if finding.action == "defer" else "paced"
        self.counts["ratelimit_decisions_total", self._limits.of(finding.reason), decision] += 1

    def reject(self, listener: str, stage: str, reason: str, code: int) -> None:
        """One more refusal; `listener` is a label already."""
        self.counts["rejections_total", listener, stage, self._reasons.of(reason), f"{code // 100}xx"] += 1

    def session_ended(self) -> None:
        """One more session, for the picture."""
        second = int(self._wall())
        series = self._series
        row = series.row if second == series.second else series.turn(second)
        row[_SESSIONS] += 1

    # Looking

    @property
    def outcomes(self) -> dict[str, int]:
        """Messages by verdict since the start."""
        out: Counter[str] = Counter()
        for lane in self._by_label.values():
            out[lane.verdict] += lane.messages
        return dict(out)

    def p95_ms(self) -> float | None:
        """95 of 100 of the newest messages took no longer, milliseconds; None before the first."""
        if not self._newest:
            return None
        return sorted(self._newest)[int(len(self._newest) * 0.95)] * 1000

    def series(self) -> dict[str, object]:
        """Counts of 300 seconds and 48 hours: `counted` names the columns behind the time of a row."""
        return self._series.look(self._wall())

    def numbers(self) -> Iterator[Number]:
        """All counters."""
        results: Counter[tuple[str, str, str]] = Counter()
        for lane in self._by_label.values():
            yield "messages_total", (lane.listener, lane.direction, lane.verdict), lane.messages
            for result, count in lane.results.items():
                if count or result != OTHER:
                    results[lane.listener, lane.direction, result] += count
        for labels, count in results.items():
            yield "recipients_total", labels, count
        yield "bytes_total", ("backend", "out"), self._relayed
        yield "encryption_total", ("tls", "ok"), self._by_tls
        yield "encryption_total", ("tls", "none"), self._in_clear
        for key, count in list(self.counts.items()):
            yield key[0], key[1:], count

    def histograms(self) -> Iterator[tuple[str, tuple[str, ...], Histogram]]:
        """All histograms."""
        for labels, histogram in self._durations.items():
            yield "message_duration_seconds", labels, histogram
        for direction, histogram in self._sizes.items():
            yield "message_size_bytes", (direction,), histogram
        yield "spam_score", (), self._score
        yield "stage_duration_seconds", ("rcpt",), self._rcpt
        yield "stage_duration_seconds", ("data",), self._content
        yield "stage_duration_seconds", ("filter",), self._filter
        yield "stage_duration_seconds", ("backend",), self._backend
        for place, histogram in self._replies.items():
            yield "backend_reply_seconds", (*place, "final"), histogram
