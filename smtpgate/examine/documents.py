"""Which reader reads which document: the tie between kinds and the readers of text.

`reading` asks `read_document` with a draft. The octets decide where names differ, since a document is what the program
that opens it takes it for. Readers are loaded when the first document of their format comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from smtpgate.examine.budget import Member
from smtpgate.examine.gathering import Draft, Enough
from smtpgate.examine.plaintext import tagless
from smtpgate.examine.tnef import look_at_tnef, texts_of_tnef
from smtpgate.message.words import raw_text

#: Of a table in text (SYLK), and of text that is packed in a winmail.dat, so much is read.
_OCTETS: Final = 20 << 20
#: What is called by one of these names, and is none of them, is damaged; of other formats nothing is known.
_READ: Final = frozenset(
    {"docx", "docm", "dotx", "xlsx", "xlsm", "pptx", "pptm", "odt", "ods", "odp", "doc", "xls", "rtf"}
)


def read_document(kind: str, detail: str, content: bytes, draft: Draft, words: Sequence[str]) -> Iterator[Member]:
    """Write the text of a document, and give the files in it one after the other. Raises Enough, and what readers do.

    :param kind: office, office-legacy, onenote, pdf, tnef or message, and `detail`, as `kinds` has them
    :param words: passwords to try
    """
    if kind == "pdf":
        from smtpgate.examine.pdftext import read_pdf

        return read_pdf(content, draft, words)
    if kind == "tnef":
        return _tnef(content, draft)
    if content.startswith(b"{\\rt"):
        return _rtf(content, draft)
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        from smtpgate.examine.oldtext import read_compound

        return read_compound(content, draft, words)
    if content.startswith(b"PK") or b"PK\5\6" in content[-65_557:]:
        from smtpgate.examine.packagetext import read_package

        return read_package(content, draft)
    if content.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \r\n\t")[:1] == b"<":
        return _xml(content, draft)
    if detail in ("slk", "sylk"):
        draft.write(raw_text(content[:_OCTETS]))
        return iter(())
    # Databases, notebooks of OneNote, stores of Outlook; and what only its name makes a document.
    raise Enough("broken" if detail in _READ else "unsupported")


def _rtf(content: bytes, draft: Draft) -> Iterator[Member]:
    from smtpgate.examine.richtext import look_at_rtf
    from smtpgate.examine.rtftext import read_rtf

    read_rtf(content, draft)
    looked = look_at_rtf(content, draft.budget)
    yield from looked.members
    if "broken" in looked.flags:
        raise Enough("broken")


def _xml(content: bytes, draft: Draft) -> Iterator[Member]:
    from smtpgate.examine.packagetext import read_xml

    read_xml(content, draft)
    return iter(())


def _tnef(content: bytes, draft: Draft) -> Iterator[Member]:
    from smtpgate.examine.rtftext import read_rtf, unpacked

    looked = look_at_tnef(content, draft.budget)
    yield from looked.members
    for kind, octets in texts_of_tnef(content):
        if kind == "rtf":
            read_rtf(unpacked(octets, _OCTETS), draft)
        elif kind == "html":
            for text in tagless(raw_text(octets), draft.check):
                draft.write(text)
                draft.end_line()
        else:
            draft.write(raw_text(octets))
        draft.end_line()
    if "broken" in looked.flags:
        raise Enough("broken")
