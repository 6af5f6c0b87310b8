"""Which of the many things that are ZIP files a ZIP file is: document, program, book, or an archive.

`kinds` asks `zip_kind` for every file that has a ZIP directory at its end or a ZIP header at its beginning. The names
of members decide, and for Office documents the content types, since `macros.docm` may be named `report.docx` and
still run in Word only by what [Content_Types].xml says. At most 1 MiB is unpacked.

ECMA-376 part 2 (packages), ODF 1.3 part 2 section 3.3 and EPUB 3.3 section 4.3 (`mimetype`).
"""

from __future__ import annotations

from typing import Final

from smtpgate.examine.budget import MEMBERS
from smtpgate.examine.zipdir import Directory, read_directory, read_entry

#: Content type of the main part, by a piece of it, and the ending that such a document should have.
_MAIN: Final = (
    (b"ms-word.document.macroenabled", "docm"),
    (b"ms-word.template.macroenabled", "dotm"),
    (b"ms-excel.sheet.macroenabled", "xlsm"),
    (b"ms-excel.template.macroenabled", "xltm"),
    (b"ms-excel.addin.macroenabled", "xlam"),
    (b"ms-excel.sheet.binary.macroenabled", "xlsb"),
    (b"ms-powerpoint.presentation.macroenabled", "pptm"),
    (b"ms-powerpoint.slideshow.macroenabled", "ppsm"),
    (b"ms-powerpoint.template.macroenabled", "potm"),
    (b"ms-powerpoint.addin.macroenabled", "ppam"),
    (b"ms-visio.drawing.macroenabled", "vsdm"),
    (b"wordprocessingml.document.main", "docx"),
    (b"wordprocessingml.template.main", "dotx"),
    (b"spreadsheetml.sheet.main", "xlsx"),
    (b"spreadsheetml.template.main", "xltx"),
    (b"presentationml.presentation.main", "pptx"),
    (b"presentationml.slideshow.main", "ppsx"),
    (b"presentationml.template.main", "potx"),
    (b"ms-visio.drawing.main", "vsdx"),
    (b"ms-package.xps-fixeddocumentsequence", "xps"),
)
#: Folder of the main part, for documents whose content types say nothing known.
_FOLDERS: Final = (("word/", "docx"), ("xl/", "xlsx"), ("ppt/", "pptx"), ("visio/", "vsdx"))
_TYPES_MOST: Final = 1 << 20


def zip_kind(content: bytes) -> tuple[str, str, Directory] | None:
    """(kind, detail, directory) of a ZIP file, also of one with something before it; None where it is none."""
    directory = read_directory(content, MEMBERS + 1)
    if directory is None:
        # A directory without a member, or a head that is cut off at once.
        return ("archive", "zip", Directory(is_cut=True, is_broken=True)) if content.startswith(b"PK\3\4") else None
    kind, detail = _kind(content, directory)
    return kind, detail, directory


def _kind(content: bytes, directory: Directory) -> tuple[str, str]:
    entries = {entry.name: entry for entry in directory.entries}
    lower = {name.lower().replace("\\", "/"): name for name in entries}
    if "androidmanifest.xml" in lower and ("classes.dex" in lower or "resources.arsc" in lower):
        return "executable", "apk"
    if "appxmanifest.xml" in lower or "appxmetadata/appxbundlemanifest.xml" in lower:
        return "executable", "appx"
    if "extension.vsixmanifest" in lower or "install.rdf" in lower:
        return "executable", "xpi"
    if any(name.startswith("payload/") and ".app/" in name for name in lower):
        return "executable", "ipa"
    if "[content_types].xml" in lower:
        types = read_entry(content, entries[lower["[content_types].xml"]], _TYPES_MOST)
        if types.startswith((b"\xff\xfe", b"\xfe\xff")):
            types = types.decode("utf-16", "replace").encode()
        types = types.lower()
        for piece, detail in _MAIN:
            if piece in types:
                return "office", detail
        for folder, detail in _FOLDERS:
            if any(name.startswith(folder) for name in lower):
                return "office", detail
        if any(name.endswith(".nuspec") for name in lower):
            return "executable", "nupkg"
    if "mimetype" in lower:
        told = read_entry(content, entries[lower["mimetype"]], 256).strip()
        if told.startswith(b"application/epub"):
            return "office", "epub"
        if told.startswith(b"application/vnd.oasis.opendocument."):
            return "office", _odf(told.removeprefix(b"application/vnd.oasis.opendocument."))
        if told.startswith(b"application/hwp"):
            return "office", "hwpx"
    if "content.xml" in lower and "meta-inf/manifest.xml" in lower:
        return "office", "odf"
    if any(name.endswith(".iwa") for name in lower):
        return "office", "iwork"
    if "meta-inf/manifest.mf" in lower or any(name.endswith(".class") for name in lower):
        if any(name.endswith((".class", ".jar", ".dex")) for name in lower):
            return "executable", "jar"
    return "archive", "zip"


def _odf(told: bytes) -> str:
    for piece, detail in ((b"text", "odt"), (b"spreadsheet", "ods"), (b"presentation", "odp"), (b"graphics", "odg")):
        if told.startswith(piece):
            return detail
    return "odf"
