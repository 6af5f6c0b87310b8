"""The examination of one message, from its octets to `facts.Facts`: the job "examine" of a child process.

One walk finds the parts in all readings; texts are decoded, markup is read, every file is looked at with all that is in
it; links and addresses are gathered. All of it shares one budget of octets, files, depth and time, and a limit that was
reached is in the facts: what was not looked at never passes for clean.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

import attrs

from smtpgate.examine.budget import Budget
from smtpgate.examine.facts import Facts, File, Text, to_plain
from smtpgate.examine.facts import Part as PartFact
from smtpgate.examine.files import Context, look_at_file
from smtpgate.examine.kinds import kind_of
from smtpgate.examine.mapped import whole
from smtpgate.examine.markup import Markup, look_at_markup
from smtpgate.examine.names import look_at_names
from smtpgate.examine.passwords import likely
from smtpgate.examine.scripts import script_flags
from smtpgate.examine.texts import decoded
from smtpgate.examine.urls import Links
from smtpgate.examine.wording import features
from smtpgate.message import mailbox
from smtpgate.message.mime import Message, MimeLimits, Part, walk
from smtpgate.message.words import clean, decode, to_text

#: Letters of text that are kept, over a whole message: all but the longest messages.
TEXT_LETTERS: Final = 262_144
#: Letters of one text that are read at all.
READ_LETTERS: Final = 4 << 20
#: Addresses of one field that are told.
ADDRESSES: Final = 200
_SUBJECT_LETTERS: Final = 1000
#: Texts for programs. Any other is shown as a plain one where it is not known (RFC 2046 section 4.1.4).
_RECORDS: Final = frozenset(
    {"text/calendar", "text/csv", "text/vcard", "text/x-vcard", "text/directory", "text/rfc822-headers", "text/css"}
)
#: Kinds of what a mail program may show as a text.
_TEXTS: Final = frozenset({"text", "html", "xml", "contact", "message", "empty", "unknown", "script"})
#: Of what lies behind the letters that are read, so much is searched for scripts, and a quarter of it from the end.
REST_OCTETS: Final = 8 << 20


@attrs.frozen
class Limits:
    """How far to look, as the request says it (`config.model.Content`)."""

    time_s: float = 15.0
    parts: int = 1000
    depth: int = 30
    archive_depth: int = 5
    archive_members: int = 3000
    archive_size_octets: int = 100 << 20

    @classmethod
    def of(cls, request: dict[str, Any]) -> Limits:
        """Those of a request; keys that say something else are passed over."""
        given = request.get("limits", {})
        return cls(**{field.name: given[field.name] for field in attrs.fields(cls) if field.name in given})


#: A message that goes through all that every usual message goes through.
_USUAL: Final = (
    b"From: A <a@example.com>\r\nSubject: Re: invoice\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nSee www.example.com.\r\n--b\r\n"
    b'Content-Type: text/html\r\n\r\n<p style="color:red">See <a href="https://example.com/">here</a>.</p>\r\n--b--\r\n'
)


def make_ready() -> None:
    """Compile patterns and load readers of texts, once for a process; those of files wait until they are needed."""
    examine(_USUAL)


def look(content: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The job: facts as plain values."""
    plain: dict[str, Any] = to_plain(examine(whole(content), Limits.of(request)))
    return plain


def examine(content: bytes, limits: Limits = Limits()) -> Facts:  # noqa: B008 (it is frozen)
    """The facts of a message with CRLF line ends."""
    return _Look(limits).run(content)


class _Look:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._clock = time.monotonic
        self._began = self._clock()
        # The rest of the time is for the child to answer in.
        ends = self._began + limits.time_s * 0.8
        self.budget = Budget(
            self._clock, ends, limits.archive_size_octets, limits.archive_members, limits.archive_depth
        )
        self.links = Links()
        self.texts: list[Text] = []
        self.files: list[File] = []
        self.counts: dict[str, float] = {}
        self._letters = TEXT_LETTERS
        self._is_cut = False
        self.context = Context(self.budget, tuple, self._on_markup, self._on_message)

    def run(self, content: bytes) -> Facts:
        message = walk(content, MimeLimits(depth=self._limits.depth, parts=self._limits.parts))
        header = message.parts[0].header
        subject = clean(decode(header.first("subject")))[:_SUBJECT_LETTERS]
        self._texts_of(message)
        self.context.words = cache(lambda: tuple(likely([one.text for one in self.texts], subject)))
        self._files_of(message)
        self._gathered()
        limits = [*message.limits, *self.budget.limits]
        limits += ["text"] if self._is_cut else []
        limits += ["links"] if self.links.is_cut else []
        addresses = {name: mailbox.read(header, name) for name in ("from", "sender", "reply-to", "to", "cc")}
        odd = [*message.anomalies, *(one for found in addresses.values() for one in found.anomalies)]
        links = self.links.all()
        self._count_parts(message)
        counts = self.counts | features(subject, self.texts, links, header)
        return Facts(
            hashlib.sha256(content).hexdigest(),
            len(content),
            round(self._clock() - self._began, 4),
            not limits,
            tuple(dict.fromkeys(limits)),
            tuple(dict.fromkeys(odd)),
            tuple(_part(part) for part in message.parts),
            tuple(self.files),
            links,
            tuple(self.texts),
            addresses["from"].mailboxes[:ADDRESSES],
            addresses["sender"].mailboxes[:ADDRESSES],
            addresses["reply-to"].mailboxes[:ADDRESSES],
            (addresses["to"].mailboxes + addresses["cc"].mailboxes)[:ADDRESSES],
            subject,
            counts,
        )

    # Texts

    def _texts_of(self, message: Message) -> None:
        for part in message.parts:
            if not _is_text(part):
                continue
            if self.budget.is_late():
                return
            octets = [part.decoded(), *part.readings()]
            for number, one in enumerate(octets):
                self._text(part, one, is_usual=number == 0)

    def _text(self, part: Part, octets: bytes, is_usual: bool) -> None:
        text = to_text(octets[: 4 * READ_LETTERS], part.charset)
        if len(text) > READ_LETTERS:
            self._is_cut, text = True, text[:READ_LETTERS]
        if part.media_type == "text/html":
            markup = self._read_markup(text, part.number)
            self._keep("html", markup.text, part.number, markup.hidden, part.charset)
            for flag in markup.flags:
                self._count(f"body-{flag}")
        else:
            self.links.search(text, "text", part.number)
            # A calendar or a table is no prose: what is judged by its letters is what a person wrote.
            is_prose = is_usual and part.media_type not in _RECORDS
            self._keep("plain" if is_prose else "attachment", text, part.number, "", part.charset)

    def _keep(self, source: str, text: str, part: str, hidden: str = "", charset: str = "") -> None:
        if not text and not hidden:
            return
        kept, kept_hidden = text[: self._letters], hidden[: max(0, self._letters - len(text))]
        is_cut = len(kept) < len(text) or len(kept_hidden) < len(hidden)
        self._is_cut = self._is_cut or is_cut
        self._letters -= len(kept) + len(kept_hidden)
        self.texts.append(Text(source, kept, part, kept_hidden, charset, is_cut))

    def _read_markup(self, text: str, part: str) -> Markup:
        markup = look_at_markup(text)
        self._is_cut = self._is_cut or markup.is_cut
        for found in markup.links:
            self.links.add(
                found.raw, shown=found.shown, source="html", tag=found.tag, part=part, base=_base(markup.base)
            )
        self.links.search(markup.text, "html", part)
        for name, count in markup.counts.items():
            self._count(name, count)
        return markup

    def _count(self, name: str, more: float = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + more

    # Files

    def _files_of(self, message: Message) -> None:
        for part in message.parts:
            attached = list(_attached(part))
            if part.is_container and part.names and not attached:
                # What it is called is mostly its subject, and no program makes more of a message than that; marks that
                # turn letters are no part of any.
                flags = look_at_names(part.names).flags & {"bidi-name", "padded-name"}
                self.files.append(
                    File(part.names[0], part.names, part.number, 0, part.media_type, "message", flags=flags)
                )
            for names, octets in attached:
                if not self.budget.take_member():
                    return
                claimed, is_inline = part.media_type, part.disposition == "inline"
                self.files += look_at_file(octets, names, claimed, part.number, 0, self.context, is_inline=is_inline)

    def _on_markup(self, content: bytes, path: str) -> Iterable[str]:
        """Markup in a file."""
        read = decoded(content, is_markup=True, most=READ_LETTERS)
        flags: set[str] = set()
        for text in (read.text, *read.others):
            markup = self._read_markup(text, path)
            self._keep("attachment", markup.text, path, markup.hidden)
            flags |= markup.flags
        if read.is_cut:
            self._is_cut = True
            # Padding hides no script: what lies beyond is searched for signs alone.
            rest = content[READ_LETTERS : READ_LETTERS + REST_OCTETS] + content[-REST_OCTETS // 4 :]
            flags |= script_flags(rest.decode("latin-1"), is_sure=False)
        return flags

    def _on_message(self, content: bytes) -> Iterable[File]:
        """A message in a file: its own files, by the same budget. The layer was opened by who looks at the file."""
        inner = walk(
            content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
            MimeLimits(depth=self._limits.depth, parts=self._limits.parts),
        )
        for limit in inner.limits:
            self.budget.reach(limit)
        kept, self.files = self.files, []
        outer, self.counts = self.counts, {}
        self._texts_of(inner)
        self._files_of(inner)
        found, self.files = self.files, kept
        inside, self.counts = self.counts, outer
        for name, count in inside.items():
            self._count(name, count)
        if "body-html-smuggling" in inside:
            # A page that is saved with its pictures (.mht) is opened in a browser.
            page = File("page", (), "", 0, "text/html", "html", flags=frozenset({"html-smuggling"}))
            return [*found, page]
        return found

    def _gathered(self) -> None:
        """Links and texts out of documents and codes."""
        for found in self.context.links:
            self.links.add(found.url, shown=found.shown, source=found.source, part=found.part)
        for text in self.context.texts:
            self.links.search(text.text, "office", text.part)
            self._keep("attachment", text.text, text.part)

    def _count_parts(self, message: Message) -> None:
        kinds = [part.media_type for part in message.parts if part.reading == 0]
        self.counts["parts"] = len(kinds)
        self.counts["plain-parts"] = kinds.count("text/plain")
        self.counts["html-parts"] = kinds.count("text/html")
        if any(
            part.encoding == "base64" and _is_text(part) and not part.names and _is_ascii(part)
            for part in message.parts
        ):
            self.counts["base64-ascii"] = 1


def _is_ascii(part: Part) -> bool:
    return part.decoded(65536).isascii()


def _is_text(part: Part) -> bool:
    """Whether a program shows it as a text: no file name that says otherwise, no container."""
    if part.is_container or part.disposition == "attachment":
        return False
    return part.media_type in ("text/plain", "text/html", "text/enriched", "text/watch-html", "text/x-amp-html") or (
        part.media_type.startswith("text/") and not part.names
    )


def _attached(part: Part) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """The part as a file, in every reading of its octets; a text that has a name is one too.

    What is called a text or a message and is neither is a file, whatever it is called: some program saves it as one.
    """
    is_shown = not part.is_container and not part.names and _is_text(part)
    if part.media_type.startswith("multipart/") and part.is_container:
        return
    if is_shown and part.media_type in ("text/plain", "text/html"):
        return
    usual = part.decoded()
    if part.is_container and kind_of(usual).kind in ("message", "text", "empty"):
        return
    if is_shown and kind_of(usual).kind in _TEXTS:
        return
    yield part.names, usual
    for other in part.readings():
        if other != usual:
            yield part.names, other


def _base(base: str) -> str:
    return base if base[:4].lower() == "http" else ""


def _part(part: Part) -> PartFact:
    return PartFact(
        part.number,
        part.media_type,
        part.charset,
        part.encoding,
        part.disposition,
        part.names,
        part.octets,
        part.depth,
        part.reading,
    )


__all__ = ["Limits", "examine", "look"]
