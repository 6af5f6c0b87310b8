"""The real kind of a file: its octets first, then its name, then what the message calls it.

`files` asks `kind_of` for every attachment and member. All kinds that the octets fit are found, by our own table
first (`marks`, `zipkinds`, `sourcecode`); where that knows nothing, libmagic is asked, and where libmagic is
absent it goes without. The most dangerous kind wins, and the others stand beside it, so that a picture that is an
archive too is looked into as an archive. The name counts where it decides what runs (`x.hta`), and where the octets
say nothing.

`type-mismatch` is said only where neither name nor label promises what the octets are, and one of them promises
something."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import attrs

from smtpgate.examine.marks import PDF_WITHIN, binary_kinds
from smtpgate.examine.mediatypes import PROSE, RUN_BY_NAME, detail_of_ending, kind_of_ending, kind_of_type
from smtpgate.examine.names import Named, look_at_names
from smtpgate.examine.sourcecode import as_text, text_kinds
from smtpgate.examine.zipkinds import zip_kind

#: From what does most harm when opened to what does least.
DANGER: Final = (
    *(
        "executable",
        "script",
        "shortcut",
        "help",
        "onenote",
        "disk-image",
        "archive",
        "office-legacy",
        "office",
        "tnef",
    ),
    *("message", "html", "svg", "pdf", "xml", "calendar", "contact", "certificate", "font", "video", "audio", "image"),
    *("text", "unknown", "empty"),
)
_RANK: Final = {kind: number for number, kind in enumerate(DANGER)}
#: Kinds that programs name for one another in good faith.
_ALIKE: Final = (
    frozenset({"office", "office-legacy"}),
    frozenset({"text", "xml", "calendar", "contact", "certificate", "message"}),
    frozenset({"html", "xml"}),
    frozenset({"svg", "image", "xml"}),
    frozenset({"audio", "video"}),
    frozenset({"tnef", "message"}),
)
#: Kinds that hold other files as they are: a mark of another kind inside them is only a member of theirs.
_HOLDERS: Final = frozenset({"archive", "office", "office-legacy", "message", "tnef", "disk-image", "onenote"})
#: Kinds that a ZIP file or a PDF may only pretend to be.
_FACES: Final = frozenset({"pdf", "image", "audio", "video", "html", "svg", "font", "executable", "script", "text"})
#: Octets that libmagic is given: what it looks at beyond is the foot of a few rare formats.
_MAGIC_OCTETS: Final = 1 << 18
#: A program without a head has at most one segment.
_COM_OCTETS: Final = 0xFF00


@attrs.frozen
class Kind:
    """What a file is.

    :ivar kind: of `facts.KINDS`
    :ivar detail: a word on it, as "PE", "docm"
    :ivar also: (kind, detail) of everything else that it is
    :ivar flags: of `facts.FLAGS`: what the kind says together with name and label
    """

    kind: str
    detail: str = ""
    also: tuple[tuple[str, str], ...] = ()
    flags: frozenset[str] = frozenset()

    @property
    def all(self) -> tuple[tuple[str, str], ...]:
        """Everything that it is, most dangerous first."""
        return ((self.kind, self.detail), *self.also)


def kind_of(content: bytes, names: Iterable[str] = (), claimed: str = "") -> Kind:
    """The kind of a file from its octets, its names, and the media type that the message claims."""
    named = look_at_names(names)
    if not content:
        return Kind("empty")
    found, flags = _by_content(content, named)
    real, honest = next(iter(found))[0], {kind for kind, _ in found}
    by_name: dict[tuple[str, str], None] = {}
    for ending in named.endings:
        kind = kind_of_ending(ending)
        if _decides(ending, found, len(content)):
            honest.add(kind)
            by_name[kind, detail_of_ending(ending)] = None
        elif ending in RUN_BY_NAME:
            by_name[kind, ending] = None
    told = kind_of_type(claimed)
    if not named.endings and told in ("script", "shortcut") and {kind for kind, _ in found} <= {"text", "html", "xml"}:
        # A program that saves a part without an ending gives it that of its type.
        by_name[told, claimed.rpartition("/")[2].lower()] = None
    found.update(by_name)
    if real != "unknown" and _differs(honest, real, named, claimed):
        flags.add("type-mismatch")
    order = sorted(found, key=lambda one: _RANK[one[0]])
    if len(order) > 1:
        # What says nothing is no second kind.
        order = [one for one in order if one[0] not in ("text", "unknown")] or order[:1]
    return Kind(order[0][0], order[0][1], tuple(order[1:]), frozenset(flags))


def kind_of_name(names: Iterable[str]) -> Kind:
    """The kind that names promise, for a file whose content cannot be had; the most dangerous promise counts."""
    promised = [(kind_of_ending(one), detail_of_ending(one)) for one in look_at_names(names).endings]
    best = min((one for one in promised if one[0]), key=lambda one: _RANK[one[0]], default=("unknown", ""))
    return Kind(*best)


def _by_content(content: bytes, named: Named) -> tuple[dict[tuple[str, str], None], set[str]]:
    """What the octets say, at least ("unknown", ""); flags of what is two things at once."""
    found: dict[tuple[str, str], None] = {}
    flags: set[str] = set()
    late_pdf = False
    for kind, detail in binary_kinds(content):
        late_pdf |= detail == "pdf-late"
        found[kind, detail] = None
    first = next(iter(found), ("", ""))[0]
    if late_pdf and first in _HOLDERS:
        # A reader of PDF files wants the end of one too; without it this is a member that begins early.
        if b"startxref" not in content[-2048:]:
            found.pop(("pdf", "pdf-late"))
    elif late_pdf and first != "pdf":
        flags.add("polyglot")
    text = "" if found else as_text(content)
    if text:
        found.update(dict.fromkeys(text_kinds(text, named.ending in PROSE)))
    zipped = zip_kind(content) if content.startswith(b"PK") or b"PK\5\6" in content[-65557:] else None
    if zipped is not None:
        kind, detail, directory = zipped
        at = content.find(b"%PDF-", 0, PDF_WITHIN + 5)
        if late_pdf and any(entry.start <= at < entry.start + entry.packed for entry in directory.entries):
            found.pop(("pdf", "pdf-late"), None)
        others = {one for one, _ in found}
        if content.startswith(b"PK\3\4") or not directory.is_cut and not others & _HOLDERS:
            found[kind, detail] = None
            if directory.is_sole and others & _FACES - {"executable"}:
                flags.add("polyglot")
    if "executable" in {kind for kind, _ in found} and {kind for kind, _ in found} & {"pdf", "image", "office-legacy"}:
        flags.add("polyglot")
    if not found:
        found["text", "text"] = None
        if not text:
            found = {_ask_magic(content, named): None}
    return found, flags


def _decides(ending: str, found: dict[tuple[str, str], None], octets: int) -> bool:
    """True where an ending makes more of a file than its octets tell."""
    kind, kinds = kind_of_ending(ending), {kind for kind, _ in found}
    if kinds == {"unknown"}:
        return bool(kind)
    if kinds == {"text"}:
        return (
            kind in ("script", "shortcut", "html", "svg", "calendar", "contact", "message")
            or ending == "com"
            and octets <= _COM_OCTETS
        )
    if kinds == {"xml"}:
        return kind in ("script", "shortcut", "svg")
    # A program that is packed as a ZIP file, and runs because of its ending.
    return kinds == {"archive"} and kind == "executable" and ("archive", "zip") in found


def _differs(kinds: set[str], real: str, named: Named, claimed: str) -> bool:
    promised = {kind_of_ending(ending) for ending in named.endings} | {kind_of_type(claimed)}
    promised.discard("")
    if not promised or promised & kinds:
        return False
    return not any(real in alike and promised & alike for alike in _ALIKE)


def _ask_magic(content: bytes, named: Named) -> tuple[str, str]:
    """What libmagic takes unknown octets for; unknown where the name promises worse, since libmagic likes to guess."""
    magic = _magic()
    if magic is None:
        return "unknown", ""
    try:
        label = magic.from_buffer(content[:_MAGIC_OCTETS])
    except Exception:  # libmagic fails on some inputs; what it says is only a hint, and unknown is the answer
        return "unknown", ""
    kind = kind_of_type(label)
    worst = min((_RANK.get(kind_of_ending(ending), len(DANGER)) for ending in named.endings), default=len(DANGER))
    # Programs are ours to find: libmagic takes one in a hundred random files for a DOS program.
    if not kind or kind == "executable" or worst < _RANK[kind]:
        return "unknown", ""
    return kind, label.rpartition("/")[2]


@cache
def _magic() -> Any:
    """libmagic, loaded once; None where it is absent."""
    try:
        import magic

        return magic.Magic(mime=True)
    except Exception:  # the library is absent, or its table is, or they do not fit: all are the same to us
        return None
