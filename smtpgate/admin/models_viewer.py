"""What the API says of the content of a held message."""

from __future__ import annotations

from typing import Any

from smtpgate.admin.record import View
from smtpgate.admin.text import moment
from smtpgate.control.viewer import ANOMALIES, FLAGS
from smtpgate.control.viewer import View as Viewed

#: Everything that may be made to be taken for something else, in words.
WARNINGS = {
    "name-is-address": "the name of the author is an address, and not the one that it comes from",
    "author-looks-like": "the author's domain looks like another one",
    "answers-elsewhere": "answers go to another house than it comes from",
    "text-is-other-host": "the text of a link names another host than it leads to",
    "link-looks-like": "the host of a link looks like another one",
    "mixed-letters": "a host with letters of several alphabets",
    "user-before-host": "a link with a name before the host, which many take for the host",
    "number-host": "a link to a number, not to a name",
    "active-link": "a link that does something in place of leading somewhere",
}


class FieldModel(View):
    """A field of the header, decoded."""

    name: str
    value: str


class HopModel(View):
    """One hop, the oldest first.

    :ivar delay_ms: since the hop before; negative where clocks differ; None where a time is missing
    """

    sender: str
    receiver: str
    protocol: str
    time: str | None
    delay_ms: int | None


class PartModel(View):
    """One part of the tree.

    :ivar media_type: what the message says; `kind` and `detail`: what its octets are
    :ivar octets: decoded; `digest`: SHA-256 of that in hex; 0 and "" for what only holds others
    :ivar flags: words, each with its meaning
    """

    number: str
    depth: int
    media_type: str
    kind: str
    detail: str
    names: list[str]
    disposition: str
    encoding: str
    charset: str
    octets: int
    digest: str
    flags: dict[str, str]
    notes: list[str]
    is_html: bool
    is_container: bool


class InnerModel(View):
    """A file inside a part, as a member of an archive."""

    path: str
    part: str
    kind: str
    detail: str
    octets: int
    digest: str
    flags: dict[str, str]
    notes: list[str]


class TextModel(View):
    """What a person reads of one part.

    :ivar hidden: what is in it and is not seen
    """

    part: str
    source: str
    text: str
    hidden: str
    is_cut: bool


class LinkModel(View):
    """A link."""

    url: str
    host: str
    shown: str
    source: str
    part: str


class WarnedModel(View):
    """Something that is made to be taken for something else."""

    kind: str
    meaning: str
    shown: str
    real: str


class OddModel(View):
    """Something in its form that programs could read in two ways."""

    kind: str
    meaning: str
    part: str
    detail: str


class ViewModel(View):
    """The content of a held message, without effect.

    :ivar is_complete: False where a limit ended the look: `limits` says which
    """

    id: str
    octets: int
    digest: str
    is_complete: bool
    limits: list[str]
    fields: list[FieldModel]
    hops: list[HopModel]
    parts: list[PartModel]
    files: list[InnerModel]
    texts: list[TextModel]
    links: list[LinkModel]
    warnings: list[WarnedModel]
    oddities: list[OddModel]
    is_sealed: bool


def view_model(id: str, found: Viewed, is_sealed: bool) -> ViewModel:
    """A view as the API tells it."""
    facts = found.facts
    pieces = {one.number: one for one in found.pieces}
    outer: dict[str, Any] = {}
    for file in facts.files:
        if file.depth == 0:
            outer.setdefault(file.part, file)
    return ViewModel(
        id=id,
        octets=facts.octets,
        digest=facts.digest,
        is_complete=facts.is_complete,
        limits=list(facts.limits),
        fields=[FieldModel(name=one.name, value=one.value) for one in found.fields],
        hops=_hops(found),
        parts=[_part(one, pieces.get(one.number), outer.get(one.number)) for one in facts.parts if one.reading == 0],
        files=[
            InnerModel(
                path=one.path,
                part=one.part,
                kind=one.kind,
                detail=one.detail,
                octets=one.octets,
                digest=one.digest,
                flags=_words(one.flags),
                notes=list(one.notes),
            )
            for one in facts.files
            if one.depth
        ],
        texts=[
            TextModel(part=one.part, source=one.source, text=one.text, hidden=one.hidden, is_cut=one.is_cut)
            for one in facts.texts
        ],
        links=[
            LinkModel(
                url=one.url if one.scheme not in ("data", "javascript", "vbscript") else one.url[:200],
                host=one.host,
                shown=one.shown,
                source=one.source,
                part=one.part,
            )
            for one in facts.links
        ],
        warnings=[
            WarnedModel(kind=one.kind, meaning=WARNINGS.get(one.kind, one.kind), shown=one.shown, real=one.real)
            for one in found.warned
        ],
        oddities=[
            OddModel(kind=one.kind, meaning=ANOMALIES.get(one.kind, one.kind), part=one.where, detail=one.detail)
            for one in facts.anomalies
        ],
        is_sealed=is_sealed,
    )


def _part(one: Any, piece: Any, file: Any) -> PartModel:
    return PartModel(
        number=one.number,
        depth=one.depth,
        media_type=one.media_type,
        kind=piece.kind if piece is not None else "",
        detail=piece.detail if piece is not None else "",
        names=list(one.names),
        disposition=one.disposition,
        encoding=one.encoding,
        charset=one.charset,
        octets=piece.octets if piece is not None else 0,
        digest=piece.digest if piece is not None else "",
        flags=_words(file.flags) if file is not None else {},
        notes=list(file.notes) if file is not None else [],
        is_html=one.media_type == "text/html",
        is_container=piece is None,
    )


def _words(flags: Any) -> dict[str, str]:
    return {flag: FLAGS.get(flag, flag) for flag in sorted(flags)}


def _hops(found: Viewed) -> list[HopModel]:
    out: list[HopModel] = []
    before = 0.0
    for hop in found.hops:
        delay = round((hop.time - before) * 1000) if hop.time and before else None
        before = hop.time or before
        out.append(
            HopModel(
                sender=hop.sender,
                receiver=hop.receiver,
                protocol=hop.protocol,
                time=moment(hop.time),
                delay_ms=delay,
            )
        )
    return out
