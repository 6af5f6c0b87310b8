"""The body of a request as the order that its route takes.

What is read holds the reactor, also from a thread (one of both computes at a time), and what it costs goes by the
number of its parts, not by its octets: a message in base64 is one text. So there is a cap on both, and on the faults
that are told.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from smtpgate.admin.guard import Refusal, content_json
from smtpgate.admin.routes import Route
from smtpgate.admin.wire import WebRequest

#: From so many octets or parts on a body is read in a thread.
APART_OCTETS: Final = 65536
APART_PARTS: Final = 1000
#: Values, keys and brackets of one body; the longest list that a route takes has 10,000 texts, which count twice.
PARTS: Final = 25_000
#: Faults that are told one by one: each costs as much as a whole order.
FAULTS: Final = 100
#: So much is looked at without a break.
_PIECE: Final = 2**18
_MARKS: Final = (b",", b"[", b"{", b":")


def is_apart(body: bytes) -> bool:
    """Whether it is too much to be read on the reactor."""
    return len(body) > APART_OCTETS or parts_of(body, APART_PARTS) > APART_PARTS


def parts_of(body: bytes, most: int) -> int:
    """How many parts a body of JSON has, whatever is wrong with it; counted until there are more than `most`."""
    parts = at = 0
    while parts <= most:
        quote = body.find(b'"', at)
        end = quote if quote >= 0 else len(body)
        while at < end and parts <= most:
            piece = body[at : min(at + _PIECE, end)]
            parts += sum(piece.count(mark) for mark in _MARKS)
            at += len(piece)
        if quote < 0:
            break
        parts += 1
        at = _behind(body, quote + 1)
    return parts


def _behind(body: bytes, at: int) -> int:
    """Where a text ends that begins there."""
    while True:
        quote = body.find(b'"', at)
        if quote < 0:
            return len(body)
        before = body[at:quote]
        at = quote + 1
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return at


def read(route: Route, request: WebRequest) -> Any:
    """What it says, checked. Raises Refusal with each place that is wrong."""
    assert route.body is not None
    body = content_json(request) or b"{}"
    if parts_of(body, PARTS) > PARTS:
        raise Refusal("too-large", 413, f"a body has at most {PARTS} parts: values, keys and brackets")
    try:
        return route.body.model_validate_json(body)
    except ValidationError as error:
        many = error.error_count()
        if many > FAULTS:
            raise Refusal("validation", 422, f"the body has {many} faults") from None
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        if any(one["type"] == "json_invalid" for one in faults):
            raise Refusal("malformed", 400, "the body is not JSON") from None
        refusal = Refusal("validation", 422, "the body has faults")
        refusal.errors = [
            {
                "pointer": "/" + "/".join(str(part) for part in one["loc"]),
                "code": one["type"],
                "message": one["msg"].removeprefix("Value error, "),
            }
            for one in faults
        ]
        raise refusal from None
