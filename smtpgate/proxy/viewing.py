"""Held mail as a person is shown it: what the limited child says of it, and one part as a file.

Everything is read in the child (`examine.viewing`). A part that is downloaded is cut out by our own linear code
(`message.mime`), by whoever calls `part` in a thread.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from smtpgate.examine.facts import FLAGS, from_plain
from smtpgate.examine.viewing import View, part_of
from smtpgate.interfaces import ChildFailed
from smtpgate.message.anomaly import ANOMALIES
from smtpgate.message.mime import walk

__all__ = ["ANOMALIES", "FLAGS", "Shown", "View", "page", "part", "view"]


@attrs.frozen
class Shown:
    """A page of HTML that may be shown in a frame.

    :ivar html: the whole document
    :ivar links: how many led somewhere; `away`: pictures that are not shown
    """

    html: bytes
    links: int
    away: int
    is_cut: bool


async def view(services: Any, content: Any, own: Sequence[str], in_thread: Callable[..., Any]) -> View:
    """What is to be said of a message. Raises ChildFailed.

    :param services: `proxy.services.Services`
    :param content: an `interfaces.IContent`
    :param own: domains that nobody else may look like
    :param in_thread: runs a call where nobody waits for it: thousands of links take a while to build
    """
    answer = await services.look_at("view", content, {"own": list(own)})
    try:
        found: View = await in_thread(from_plain, answer, View)
    except ValueError as error:
        raise ChildFailed("lied", str(error)) from None
    return found


async def page(services: Any, content: Any, number: str) -> Shown | None:
    """A part of HTML as it may be shown; None where there is no such part. Raises ChildFailed."""
    answer = await services.look_at("page", content, {"part": number})
    if not answer:
        return None
    try:
        html = base64.b64decode(answer["html"], validate=True)
        return Shown(html, int(answer["links"]), int(answer["away"]), bool(answer["is_cut"]))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ChildFailed("lied", f"no page: {type(error).__name__}") from None


def part(octets: bytes, number: str) -> tuple[bytes, str] | None:
    """What a part is decoded to, and the name that most programs would give it; None where there is none."""
    found = part_of(walk(octets), number)
    if found is None or found.is_container:
        return None
    return found.decoded(), found.names[0] if found.names else ""
