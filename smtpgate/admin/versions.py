"""Which version of a thing somebody means: entity tags of what the API answers, and what changes ask of them.

A tag is a digest of the answer, so nothing has to count versions, and a change by whichever way (page, command
line, a reload) is seen. PUT, PATCH and DELETE of something that a GET shows want its tag in If-Match: 428 without one
(RFC 6585), 412 where it is another by now. Fields that change by themselves are left out of the digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

from smtpgate.admin.answer import Answer
from smtpgate.admin.guard import Refusal

_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e]*")')


def tag_of(answer: Answer, unversioned: Collection[str] = ()) -> str:
    """The entity tag of a JSON answer, quotes and all.

    :param unversioned: names of fields that do not count, at whatever depth
    """
    octets = answer.body
    if unversioned:
        octets = json.dumps(_without(json.loads(octets), frozenset(unversioned)), sort_keys=True).encode()
    return f'"{hashlib.sha256(octets).hexdigest()[:32]}"'


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: _without(one, names) for name, one in value.items() if name not in names}
    if isinstance(value, list):
        return [_without(one, names) for one in value]
    return value


def is_named(tag: str, header: str) -> bool:
    """Whether an If-Match or If-None-Match names a tag; `*` names all."""
    return header.strip() == "*" or tag in _TAG.findall(header)


def check(header: str, tag: str, current: Answer) -> None:
    """Raises Refusal where a change does not name the version that it changes.

    :param header: If-Match, "" without one
    :param current: the thing as it is, which the refusal shows
    """
    if not header.strip():
        raise Refusal("precondition-required", 428, "say which version you mean: If-Match, with the ETag of its GET")
    if is_named(tag, header):
        return
    refusal = Refusal("version-mismatch", 412, "somebody changed it meanwhile; `current` is how it is now")
    refusal.headers = {"ETag": tag}
    refusal.more = {"current": json.loads(current.body)}
    raise refusal
