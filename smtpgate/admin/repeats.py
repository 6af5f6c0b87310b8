"""The same POST twice: with an Idempotency-Key, the second gets the answer of the first and does nothing.

Kept for a day for each caller, path and key. What was asked is kept as a digest, so that a key that is used for
something else is seen; answers with secrets, and those too long to keep, are not kept, and the second is told that it
was done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from smtpgate.admin.answer import Answer
from smtpgate.admin.guard import Refusal

#: draft-ietf-httpapi-idempotency-key-header leaves it open; those who take the header keep it for a day.
KEEP_S: Final = 86400.0
#: A UUID has 36.
KEY_CHARACTERS: Final = 200
_BODY_CHARACTERS: Final = 3500


class Repeats:
    """Answers by key.

    :ivar table: `interfaces.ITable`
    """

    def __init__(self, table: Any) -> None:
        self.table = table
        self._running: set[str] = set()

    async def once(
        self, who: str, path: str, key: str, body: bytes, is_secret: bool, work: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """What `work` answers, or answered at the first time; raises Refusal where the key cannot be used.

        :param who: names the caller
        :param is_secret: the answer is not kept
        """
        if len(key) > KEY_CHARACTERS or not key.isprintable():
            raise Refusal("malformed", 400, f"an Idempotency-Key has at most {KEY_CHARACTERS} printable characters")
        place = _digest(who, path, key)
        if place in self._running:
            raise Refusal("conflict", 409, "a request with this Idempotency-Key is at work")
        self._running.add(place)
        try:
            known = await self.table.get(place)
            if known is not None:
                return _again(known, body)
            answer = await work()
            if answer.status < 500:
                await self.table.put(place, _kept(answer, body, is_secret), KEEP_S)
            return answer
        finally:
            self._running.discard(place)


def _kept(answer: Answer, body: bytes, is_secret: bool) -> list[Any]:
    text = answer.body.decode()
    is_kept = not is_secret and len(text) <= _BODY_CHARACTERS
    return [_digest(body.hex()), answer.status, answer.content_type, text if is_kept else None]


def _again(known: list[Any], body: bytes) -> Answer:
    asked, status, content_type, text = known
    if asked != _digest(body.hex()):
        raise Refusal("idempotency", 422, "this Idempotency-Key was used for another request; take a fresh one")
    if text is None:
        raise Refusal("conflict", 409, f"this was done before, with status {status}; its answer is not kept")
    return Answer(text.encode(), status, content_type, {"Idempotency-Replayed": "true"})


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
