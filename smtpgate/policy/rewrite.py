"""Fields of a message set and removed by an operator's rule, as edits of its header section.

A field that is set stands in place of the first of its name, and the others of that name go; where there was none, it
comes on top. Which fields may be changed at all is the configuration's matter (`config.build_edits.KEPT`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from smtpgate.message.header import HeaderSection
from smtpgate.policy.edits import AddField, Edit, RemoveField, ReplaceField


def rewrite(section: HeaderSection, given: Mapping[str, str], removed: Iterable[str], author: str) -> list[Edit]:
    """The edits.

    :param given: values by name
    :param removed: names in lower case
    """
    edits: list[Edit] = []
    for name, value in reversed(list(given.items())):
        raw = f"{name}: {value}\r\n".encode()
        count = len(section.named(name.lower()))
        edits.append(ReplaceField(name.lower(), 0, raw, author) if count else AddField(raw, author))
        edits += [RemoveField(name.lower(), index, author) for index in range(1, count)]
    for name in removed:
        edits += [RemoveField(name, index, author) for index, _ in enumerate(section.named(name))]
    return edits
