"""The job "search" of a child process: what detectors and dictionaries find in all texts of a message.

What is searched for is told by names; what the configuration itself defines is sent once to each child and kept there
under its digest. The answer holds counts and masked samples, never a value: paths have none either.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.examine.dlp.catalogue import CATALOGUE
from smtpgate.examine.dlp.detector import Detector
from smtpgate.examine.dlp.health import DICTIONARIES
from smtpgate.examine.dlp.hiding import Cover
from smtpgate.examine.dlp.scan import Searcher
from smtpgate.examine.dlp.tally import Tally
from smtpgate.examine.dlp.terms import Dictionary, Terms, TermTally
from smtpgate.examine.mapped import whole
from smtpgate.examine.reading import Limits, read

#: Sets of detectors that a child keeps compiled: that of a revision, of the one before, and of filters.
_KEPT: Final = 4
#: Letters of a subject that are looked through: some times what is kept of it.
_SUBJECT: Final = 8000


@attrs.frozen(eq=False)
class _Ready:
    searcher: Searcher | None
    terms: Terms | None


_ready: OrderedDict[tuple[Any, ...], _Ready] = OrderedDict()


def make_ready() -> None:
    """Load what validators need, which a child cannot open later."""
    Searcher(CATALOGUE.values())


def search(content: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """The job.

    :param request: `names` of detectors and dictionaries that are wanted; `digest` of what the configuration defines,
        and that itself as `own` where the child asked for it; `limits`
    :return: `status` "done" or "unknown" (say `own`); `matches`, `unread`; `subject` as it may be told where something
        that was found stands in it, else ""
    """
    ready = _made_ready(request)
    if ready is None:
        return {"status": "unknown"}
    reading = read(whole(content), Limits.of(request))
    tally = Tally()
    terms = TermTally(ready.terms) if ready.terms is not None else None
    subject = next((one.text[:_SUBJECT] for one in reading.pieces if one.source == "subject" and not one.path), "")
    unread = [[one.path, one.why] for one in reading.unread]
    pieces = list(reversed(reading.pieces))
    del reading
    while pieces:
        piece = pieces.pop()
        path, held = piece.path, [piece.text]
        if terms is not None:
            terms.search(piece.text, path, piece.source)
        del piece
        if ready.searcher is not None:
            # Nobody but the search has the text now, so that it is gone when it has been folded.
            ready.searcher.search(held.pop(), path, tally)
    if tally.cut:
        unread.append(["", "too-many"])
    matches = tally.matches() + (terms.matches() if terms is not None else [])
    told = [subject, *(path for one in matches for path in one["paths"]), *(path for path, _ in unread)]
    cover = Cover(told, tally.values()).texts
    for one in matches:
        one["paths"] = list(dict.fromkeys(cover[path] for path in one["paths"]))
    unread = [[cover[path], why] for path, why in unread]
    is_bare = cover[subject] == subject
    return {"status": "done", "matches": matches, "unread": unread, "subject": "" if is_bare else cover[subject]}


def _made_ready(request: Mapping[str, Any]) -> _Ready | None:
    names = tuple(request.get("names", ()))
    digest = str(request.get("digest", ""))
    key = (digest, names)
    ready = _ready.get(key)
    if ready is not None:
        _ready.move_to_end(key)
        return ready
    own = request.get("own")
    if own is None and digest:
        return None
    ready = _ready[key] = _make(names, own or {})
    while len(_ready) > _KEPT:
        _ready.popitem(last=False)
    return ready


def _make(names: Sequence[str], own: Mapping[str, Any]) -> _Ready:
    wanted = set(names)
    detectors = [one for name, one in CATALOGUE.items() if name in wanted]
    mine = [one for one in map(_detector, own.get("detectors", ())) if one.name in wanted]
    dictionaries = [one for name, one in DICTIONARIES.items() if name in wanted]
    dictionaries += [one for one in map(_dictionary, own.get("dictionaries", ())) if one.name in wanted]
    searcher = Searcher(detectors, mine) if detectors or mine else None
    return _Ready(searcher, Terms(dictionaries) if dictionaries else None)


def _detector(plain: Mapping[str, Any]) -> Detector:
    values: dict[str, Any] = {name: tuple(held) if isinstance(held, list) else held for name, held in plain.items()}
    return Detector(**values)


def _dictionary(plain: Mapping[str, Any]) -> Dictionary:
    return Dictionary(
        plain["name"],
        [(str(term), float(weight)) for term, weight in plain["terms"]],
        plain["threshold"],
        plain["most"],
    )
