"""Calls out over the whole tree: what they hear of, and what others on the way can read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from smtpgate.config.endpoint import is_loopback
from smtpgate.config.model import Settings
from smtpgate.config.model_hooks import TOPICS
from smtpgate.config.problem import Fault, one_of, quoted, warning


def hooks_hear_of_something(tree: Settings) -> Iterator[Fault]:
    """A word that is no topic names events, which have a point in them."""
    for name, hook in tree.webhooks.items():
        for number, word in enumerate(hook.events):
            if word not in TOPICS and re.fullmatch(r"[a-z][a-z0-9_-]*\.([a-z0-9_.-]+\*?|\*)", word) is None:
                hint = one_of(word, TOPICS, "write a topic, or names of events such as admin.config.*")
                yield Fault(("webhooks", name, "events", number), f"{quoted(word)} is no topic and no event", hint)
        if hook.outcomes and not hook.wants("message", "message.done"):
            where = ("webhooks", name, "outcomes")
            yield warning(where, "it hears of no messages", 'add it: events = ["message"], or leave outcomes out')


def hooks_in_clear(tree: Settings) -> Iterator[Fault]:
    """Senders and recipients over http can be read by whoever reads along."""
    for name, hook in tree.webhooks.items():
        parts = urlsplit(hook.url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            where = ("webhooks", name, "url")
            yield warning(where, "whoever reads along can read what is called", "use https://")
