"""Attachments: what may not come by mail, told by what a file is and not by what it says of itself.

Each file of a message, in archives and documents too, has a kind and flags (`examine.facts`). The lists of options say
what becomes of each; as shipped, programs and what is made to look like something else are refused, documents that do
things by themselves are marked. A file that could not be looked at is never passed over: it has a flag that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, field_validator

from smtpgate.config.problem import BadValue, Fault, quoted, warning
from smtpgate.examine.facts import FLAGS, KINDS, Facts, File
from smtpgate.filters.base import Options
from smtpgate.filters.content.base import BY_STRENGTH, FINDINGS, Actions, ContentFilter, content_factory
from smtpgate.policy.transaction import Transaction
from smtpgate.policy.verdict import Finding

#: How a person would say what a file is, where the word alone does not tell.
_SAID = {
    "executable": "a program",
    "script": "a script, which is a program in text",
    "shortcut": "a shortcut, which starts a program",
    "disk-image": "a disk image",
    "help": "a compiled help file, which can start programs",
    "onenote": "a OneNote notebook, which can hold programs",
    "archive": "an archive",
}


def _words(words: list[str]) -> list[str]:
    for word in words:
        base = word.partition("/")[0]
        if word.startswith("."):
            if len(word) < 2 or word != word.lower() or "/" in word:
                raise BadValue(f"{quoted(word)} is no ending", 'write it as ".iso", in lower case')
        elif base not in KINDS and word not in FLAGS:
            raise BadValue(
                f"{quoted(word)} is neither a kind, a flag nor an ending",
                f"choose of {', '.join(sorted(KINDS | FLAGS.keys()))}, or write an ending as .iso",
            )
    return words


class AttachmentOptions(Options):
    """What becomes of a file, by words: kind, kind with detail as script/shell, flag, or ending as .iso."""

    reject: list[str] = Field(
        [
            "executable",
            "script",
            "shortcut",
            "help",
            "bidi-name",
            "double-extension",
            "bad-name",
            "embedded-program",
            "pdf-launch",
            "bomb",
            "too-deep",
            "too-many",
        ],
        description="The message is refused.",
    )
    defer: list[str] = Field(["not-examined"], description="The sender is told to come back later.")
    quarantine: list[str] = Field(
        [
            "macro-suspicious",
            "macro-autorun",
            "html-smuggling",
            "svg-script",
            "dde",
            "external-template",
            "onenote",
            "hidden-member",
            "polyglot",
            "old-equation",
            "office-legacy/mdb",
            "office-legacy/accdb",
        ],
        description="The message is one for the quarantine.",
    )
    tag: list[str] = Field(
        ["disk-image", "padded-name", "names-differ", "html-password", "pdf-javascript", "too-big", "path-escape"],
        description="The message is marked.",
    )
    note: list[str] = Field(
        [
            "encrypted",
            "password-in-text",
            "macro",
            "type-mismatch",
            "broken",
            "unopened",
            "script/shell",
            "script/python",
            "script/perl",
            "script/ruby",
            "script/php",
        ],
        description="Recorded.",
    )
    scores: dict[str, float] = Field(
        {
            "encrypted": 1.0,
            "password-in-text": 3.0,
            "macro": 1.0,
            "type-mismatch": 1.0,
            "disk-image": 3.0,
            "unopened": 3.0,
            "broken": 0.5,
            "html-script": 1.0,
            "html-form": 1.5,
            "html-password": 3.0,
            "html-redirect": 1.5,
        },
        description="Weights in the sum of scores, by word; each word counts once a message.",
    )
    allow: list[str] = Field(
        [], description="Endings that are passed over, as .p7m; the kind of the file still counts."
    )

    @field_validator("reject", "defer", "quarantine", "tag", "note", "allow")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        return _words(value)

    def doubts(self, chain: Mapping[str, str]) -> Iterator[Fault]:
        """A list that is written takes the place of the one that is shipped, with all that was in it."""
        named = {word for name in BY_STRENGTH for word in getattr(self, name)}
        for name in ("reject", "defer", "quarantine"):
            shipped = type(self).model_fields[name].get_default()
            lost = [word for word in shipped if word not in named]
            if lost:
                message = f"the list takes the place of the one that is shipped: {', '.join(lost)} will pass"
                yield warning((name,), message, "write these words too, in this list or in a weaker one, such as note")

    @field_validator("scores")
    @classmethod
    def _weights(cls, value: dict[str, float]) -> dict[str, float]:
        _words(list(value))
        return value


class AttachmentFilter(ContentFilter):
    """Looks at each file."""

    def __init__(self, options: AttachmentOptions, services: Any) -> None:
        super().__init__(options, services)
        self.options = options
        self.actions = Actions({name: getattr(options, name) for name in BY_STRENGTH})

    def look(self, facts: Facts, transaction: Transaction) -> list[Finding]:
        """One finding for each file that there is something to say about, the worst first."""
        counted: set[str] = set()
        found = [finding for file in facts.files if (finding := self._file(file, counted)) is not None]
        found.sort(key=lambda finding: (BY_STRENGTH.index(finding.action), -finding.score))
        return found[:FINDINGS]

    def _file(self, file: File, counted: set[str]) -> Finding | None:
        """What is to be said about a file; words in `counted` have brought their score, those of this file come in."""
        exact = f"{file.kind}/{file.detail}"
        kind = exact if self.actions.of(exact) else file.kind
        endings = _endings(file, self.options.allow)
        words = {kind, *file.flags, *(ending for ending in endings if self.actions.of(ending))}
        if file.kind == "script" and self.actions.of(kind) in ("", "note"):
            # The ending of a script that is let pass is no reason of its own.
            words.discard("bad-name")
        scores = {word: self.options.scores.get(word, 0.0) for word in words}
        word, action = self.actions.strongest(sorted(words))
        if not word:
            word, action = max(scores, key=lambda one: (scores[one], one)), "note"
            if not scores[word]:
                return None
        # What holds for an archive holds for all that is in it: that is no further sign.
        score = sum(score for one, score in scores.items() if one not in counted)
        counted |= words
        also = ", ".join(sorted(words - {word, file.kind}))
        return Finding(
            f"attachment-{word.removeprefix('.').replace('/', '-')}",
            action,
            f"The attachment {_shown(file)} is not accepted: {_why(word)}",
            f"{file.path}: {word}" + (f", {also}" if also else "") + "".join(f"; {note}" for note in file.notes),
            score,
        )


def _endings(file: File, allow: list[str]) -> set[str]:
    endings = set()
    for name in file.names:
        _, dot, ending = name.rstrip(". ").rpartition(".")
        if dot and 0 < len(ending) <= 16:
            endings.add(f".{ending.lower()}")
    return endings - set(allow)


def _why(word: str) -> str:
    if word.startswith("."):
        return f"files named {word} may not be sent by mail"
    return f"it is {_SAID[word]}" if word in _SAID else FLAGS.get(word, word)


def _shown(file: File) -> str:
    name = file.names[0] if file.names else file.path
    return f'"{name[:60]}"'


factory = content_factory("attachments", AttachmentOptions, AttachmentFilter, on_error="tempfail", category="malware")
