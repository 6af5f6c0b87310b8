"""What is found in the texts of a message, for filters and rules: one search in a child process, shared by all.

A failure of the child is the caller's to tell. An answer that is none is one too: a child that lies has failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from smtpgate.interfaces import ChildFailed
from smtpgate.policy.transaction import Transaction
from smtpgate.rules.searching import Match, Search, Searched

#: Paths of a match that are told where it is told for people.
_PATHS: Final = 3
_PATH_LETTERS: Final = 60
#: A subject in which two searches have found different things.
_COVERED: Final = "****"
_KINDS: Final[Mapping[str, type]] = {"count": int, "distinct": int, "score": float, "paths": list, "samples": list}


def searched(services: Any, transaction: Transaction, search: Search) -> Deferred[Searched]:
    """What a search finds, made once for each message. Fails with ServiceFailed."""
    key = ("", "search", search.names, search.digest)
    found: Deferred[Searched] = services.once(transaction, key, lambda: _search(services, transaction, search))
    return found


async def _search(services: Any, transaction: Transaction, search: Search) -> Searched:
    answer = await services.in_child("search", transaction, search.request)
    if answer.get("status") == "unknown":
        answer = await services.in_child("search", transaction, search.request | {"own": dict(search.own)})
    found = parse(answer)
    before = transaction.covered_subject
    if found.subject and found.subject != before:
        # Each search covers what it has found itself.
        transaction.covered_subject = _COVERED if before else found.subject
    return found


def parse(answer: Mapping[str, Any]) -> Searched:
    """An answer of the job. Raises ChildFailed for one that is none."""
    try:
        if answer["status"] != "done":
            raise ValueError("not done")
        matches = tuple(map(_match, answer["matches"]))
        unread = tuple((_string(path), _string(why)) for path, why in answer["unread"])
        subject = _string(answer["subject"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ChildFailed("lied", f"no answer of a search: {error}") from None
    return Searched(matches, unread, subject)


def _match(plain: Mapping[str, Any]) -> Match:
    values: dict[str, Any] = {}
    for field in attrs.fields(Match):
        held = plain[field.name]
        kind = _KINDS.get(field.name, str)
        if type(held) is not kind:
            raise ValueError(f"{field.name} is no {kind.__name__}")
        values[field.name] = tuple([_string(one) for one in held]) if isinstance(held, list) else held
    return Match(**values)


def _string(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("no text")
    return value


def told(match: Match) -> str:
    """A match for people: how many, of what, how sure, masked, where."""
    where = ", ".join(_shown(path) for path in match.paths[:_PATHS])
    amount = f"score {match.score:g}" if match.group == "dictionary" else f"{match.distinct}"
    return f"{amount} {match.detector} ({match.confidence}): {', '.join(match.samples)} in {where}"


def _shown(path: str) -> str:
    kept = "".join(one if one.isprintable() else "?" for one in path[:_PATH_LETTERS])
    return kept or "the message"
