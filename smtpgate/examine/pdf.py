"""PDF files: script, actions, files inside, links, and the text that a person reads.

`files` calls `look_at_pdf`. First the octets are scanned (`pdfscan`), then pypdf reads the structure, with its own
limits set low and only as far as pages, time and budget go. Where pypdf fails the file is `broken` and what the scan
saw stands. A file that is locked with an empty password opens for everybody and is read; for another lock words of
the message are tried. `/OpenAction` alone is no fault: most producers write one that only shows a page; it counts
where it acts.

ISO 32000-2 sections 12.6 (actions), 7.11.4 (embedded files), 7.6 (encryption), 12.5.6.5 (links).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from smtpgate.examine.budget import TRIES_A_FILE, Budget, Looked, Member, hush, note
from smtpgate.examine.pdfscan import ACTING, Scan, scan

#: Octets of the longest file whose structure is read: pypdf takes a second for some MB of objects.
_OCTETS: Final = 30 << 20
#: Pages whose links are read, and pages whose text is read: phishing stands on the first.
_PAGES: Final = 50
_TEXT_PAGES: Final = 10
#: Letters of text.
TEXT_LETTERS: Final = 64 << 10
_LINKS: Final = 500
_FILES: Final = 100
_ANNOTATIONS: Final = 2000
_CHAIN: Final = 10
_SCRIPT_OCTETS: Final = 4096
#: Calls of Acrobat's own functions that format and check what is typed (AFNumber_Format, AFDate_Keystroke and such).
_FORM_SCRIPT: Final = re.compile(
    r"\s*(?:AF[A-Z][A-Za-z]{2,20}(?:_[A-Za-z]{2,20})?\s*\((?:[^()]|\([^()]{0,500}\)){0,500}\)\s*(?:;\s*)?){1,10}"
)
#: Limits of pypdf, lower than its own: one stream, and the work on one.
LIMITS: Final[dict[str, Any]] = {
    "zlib_maximum_output_length": 20_000_000,
    "lzw_maximum_output_length": 20_000_000,
    "run_length_maximum_output_length": 20_000_000,
    "array_based_stream_maximum_output_length": 20_000_000,
    "maximum_declared_stream_length": 40_000_000,
    "stream_decoding_work_maximum_length": 60_000_000,
    "stream_parsing_work_maximum_count": 200_000,
    "xform_maximum_invocations_per_extraction": 200,
    "page_tree_maximum_entries": 20_000,
}


def look_at_pdf(content: bytes, budget: Budget, words: Sequence[str] = ()) -> Looked:
    """Everything that one PDF file could do, and its links and text. Raises nothing."""
    seen = scan(content, budget)
    reading = _Reading(content, budget, words)
    is_read = reading.run()
    flags = set(reading.flags)
    if not is_read and "not-examined" not in flags:
        flags.add("broken")
    # Scripts of forms are passed over where they are all that there are.
    if seen.names & {"JavaScript", "JS"} and not (is_read and 0 < seen.scripts <= reading.form_scripts):
        flags.add("pdf-javascript")
    if "Launch" in seen.names:
        flags.add("pdf-launch")
    if "EmbeddedFile" in seen.names:
        flags.add("pdf-embedded")
    if not is_read:
        flags |= _guess(seen)
    links = dict.fromkeys([*reading.links, *((url, "") for url in seen.links)])
    notes = [*reading.notes, *(f"/{name}" for name in sorted(seen.names & {"RichMedia", "XFA", "ImportData", "GoToE"}))]
    return Looked(
        frozenset(flags), tuple(dict.fromkeys(notes)), tuple(reading.members), tuple(links)[:_LINKS], reading.text
    )


def _guess(seen: Scan) -> set[str]:
    """Flags of a file whose structure cannot be read."""
    flags = set()
    if seen.names & {"OpenAction", "AA"} and seen.names & ACTING:
        flags.add("pdf-open-action")
    if "Encrypt" in seen.names:
        flags.add("encrypted")
    return flags


class _Reading:
    """One file while pypdf reads it."""

    def __init__(self, content: bytes, budget: Budget, words: Sequence[str]) -> None:
        self.flags: set[str] = set()
        self.form_scripts = 0
        self.notes: list[str] = []
        self.members: list[Member] = []
        self.links: dict[tuple[str, str], None] = {}
        self.text = ""
        self._content = content
        self._budget = budget
        self._words = words

    def run(self) -> bool:
        """False where the structure could not be read."""
        if len(self._content) > _OCTETS:
            self.flags.add("not-examined")
            self.notes.append("too large for a look at its structure")
            return False
        if self._budget.is_late():
            self.flags.add("not-examined")
            return False
        hush("pypdf")
        try:
            from pypdf import PdfReader, apply_configuration

            with apply_configuration(**LIMITS):
                reader = PdfReader(io.BytesIO(self._content), strict=False)
                if reader.is_encrypted and not self._unlock(reader):
                    self.flags.add("encrypted")
                    return True
                self._look(reader)
        except ImportError:
            self.flags.add("unopened")
            self.notes.append("pypdf is not installed")
        except (
            Exception
        ) as error:  # pypdf raises its own errors, and KeyError, TypeError, RecursionError for hostile octets
            self.notes.append(note(str(error)))
            return False
        return True

    def _unlock(self, reader: Any) -> bool:
        if reader.decrypt(""):
            return True
        for word in self._words[:TRIES_A_FILE]:
            if not word or not self._budget.take_try():
                continue
            if reader.decrypt(word):
                self.flags.add("password-in-text")
                return True
        return False

    def _look(self, reader: Any) -> None:
        root = reader.trailer["/Root"].get_object()
        self._act(root.get("/OpenAction"), is_opening=True)
        for action in _values(root.get("/AA")):
            self._act(action, is_opening=True)
        names = _resolved(root.get("/Names"))
        if isinstance(names, dict) and "/JavaScript" in names:
            self.flags |= {"pdf-javascript", "pdf-open-action"}
        form = _resolved(root.get("/AcroForm"))
        if isinstance(form, dict) and "/XFA" in form:
            self.notes.append("/XFA")
        for number, file in enumerate(reader.attachment_list):
            if number >= _FILES or self._budget.is_late():
                self.flags.add("too-many")
                break
            names = [file.pdf_object.get("/UF"), file.pdf_object.get("/F"), file.name]
            self._attach([_string(name) for name in names], lambda file=file: file.content)
        self._pages(reader)

    def _pages(self, reader: Any) -> None:
        texts: list[str] = []
        left = TEXT_LETTERS
        for number, page in enumerate(reader.pages):
            if number >= _PAGES or self._budget.is_late():
                break
            for action in _values(page.get("/AA")):
                self._act(action, is_opening=True)
            annotations = _resolved(page.get("/Annots"))
            for annotation in list(annotations)[:_ANNOTATIONS] if isinstance(annotations, list) else ():
                self._annotation(_resolved(annotation))
            if number < _TEXT_PAGES and left > 0:
                texts.append(_text(page)[:left])
                left -= len(texts[-1])
        self.text = "\n".join(texts).strip()

    def _annotation(self, annotation: Any) -> None:
        if not isinstance(annotation, dict):
            return
        self._act(annotation.get("/A"))
        for action in _values(annotation.get("/AA")):
            self._act(action)
        if annotation.get("/Subtype") == "/FileAttachment":
            spec = _resolved(annotation.get("/FS"))
            held = _resolved(spec.get("/EF")) if isinstance(spec, dict) else None
            stream = next((_resolved(one) for one in held.values()), None) if isinstance(held, dict) else None
            if stream is not None and hasattr(stream, "get_data"):
                self._attach([_string(spec.get("/UF")), _string(spec.get("/F"))], stream.get_data)

    def _attach(self, told: list[str], read: Any) -> None:
        self.flags.add("pdf-embedded")
        names = tuple(dict.fromkeys(name for name in told if name))
        try:
            content: bytes | None = bytes(read())
        except Exception:  # as in `run`; the file is told all the same
            content = None
        if content is not None and not self._budget.spend(len(content)):
            self.flags.add("too-big")
            content = None
        self.members.append(
            Member(names, content, len(content or b""), frozenset() if content is not None else frozenset({"broken"}))
        )

    def _act(self, action: Any, is_opening: bool = False) -> None:
        """An action and those that follow it."""
        for _ in range(_CHAIN):
            action = _resolved(action)
            if not isinstance(action, dict):
                return
            kind = str(action.get("/S", "")).removeprefix("/")
            if is_opening and (kind in ACTING or kind == "URI"):
                self.flags.add("pdf-open-action")
                self.notes.append(f"{kind} when opened")
            if kind == "JavaScript":
                self._script(action.get("/JS"))
            elif kind == "Launch":
                self.flags.add("pdf-launch")
                self.notes.append(note(f"starts {_file(action)}"))
            elif kind == "URI":
                self._link(_string(action.get("/URI")))
            elif kind in ("SubmitForm", "GoToR", "ImportData"):
                target = _file(action)
                self.notes.append(note(f"{kind} {target}"))
                if "://" in target:
                    self._link(target)
            following = _resolved(action.get("/Next"))
            action = following[0] if isinstance(following, list) and following else following

    def _script(self, source: Any) -> None:
        """JavaScript; what Acrobat itself writes for the fields of a form does nothing else."""
        source = _resolved(source)
        text = source.get_data()[:_SCRIPT_OCTETS].decode("latin-1") if hasattr(source, "get_data") else _string(source)
        if len(text) <= _SCRIPT_OCTETS and _FORM_SCRIPT.fullmatch(text) is not None:
            self.form_scripts += 1
        else:
            self.flags.add("pdf-javascript")

    def _link(self, url: str) -> None:
        if url and len(self.links) < _LINKS:
            self.links[url, ""] = None


def _resolved(value: Any) -> Any:
    """What a reference leads to."""
    return value.get_object() if hasattr(value, "get_object") else value


def _values(value: Any) -> Iterator[Any]:
    value = _resolved(value)
    if isinstance(value, dict):
        yield from list(value.values())[:50]


def _string(value: Any) -> str:
    value = _resolved(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value) if value is not None else ""


def _file(action: Any) -> str:
    """The file or address that an action names."""
    for where in (action, _resolved(action.get("/Win"))):
        spec = _resolved(where.get("/F")) if isinstance(where, dict) else None
        if isinstance(spec, dict):
            spec = spec.get("/UF") or spec.get("/F")
        if spec is not None:
            return _string(spec)
    return ""


def _text(page: Any) -> str:
    try:
        return str(page.extract_text())
    except Exception:  # a page whose text cannot be read says nothing; the rest of the file still counts
        return ""
