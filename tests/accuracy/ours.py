"""The gateway's default set over many messages: the real engine in memory, without network and look-ups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import attrs

from smtpgate.config.default_set import DEFAULT_SET
from smtpgate.plugins import find_factories
from smtpgate.testing import Gateway, use

#: What looks at senders by DNS has nothing to go by here, and the corpora have no connections.
_CONTENT = ("structure", "attachments", "links", "people", "wording")


#: What is refused whatever the thresholds are counts as found at any of them.
REFUSED = 100.0


@attrs.frozen
class Judged:
    """What the default set says of one message.

    :ivar by_filter: sum of scores
    :ivar reasons: each finding's reason with its score
    :ivar by_attachments: what the filter of attachments asked for
    """

    score: float
    by_filter: dict[str, float]
    reasons: dict[str, float]
    action: str
    by_attachments: frozenset[str]


def judge(content: bytes) -> Judged:
    """One message."""
    factories, _ = find_factories()
    names = [name for name, _ in DEFAULT_SET if name in _CONTENT and name in factories]
    gateway = Gateway(*(use(factories[name]) for name in names), config="[limits]\nheader_size = '4 MiB'\n")
    client = gateway.connect("192.0.2.1")
    client.helo("mail.example.org")
    client.message(content, sender="sender@example.org", recipients=["bob@example.net"])
    by_filter: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    findings = list(client.findings)
    for finding in findings:
        by_filter[finding.filter] += finding.score
        reasons[finding.reason] += finding.score
    if gateway.failures:
        raise RuntimeError(f"{gateway.failures[0]}")
    verdict = client.verdict
    gateway.close()
    action = verdict.action if verdict is not None else "accept"
    score = sum(by_filter.values()) + (REFUSED if action == "reject" else 0.0)
    asked = frozenset(one.action for one in findings if one.filter == "attachments")
    return Judged(score, dict(by_filter), dict(reasons), action, asked)


def judged(contents: Iterable[bytes], processes: int = 2) -> Iterator[Judged]:
    """Many messages, in their order."""
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(judge, contents, chunksize=16)
