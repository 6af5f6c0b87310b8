"""Which parts are the text of a letter as people read it, so that something is put at its top or bottom.

Of alternatives each is the whole letter, so each gets it; of a letter in several parts the first at the top, the last
at the bottom; of a page with its pictures the page. Files, attached messages and what is no plain text or HTML are left
alone, and so is what is signed or encrypted by S/MIME or OpenPGP, whatever is around it, and invitations.

What is a file its sender says, so it is believed only where programs go by it: an alternative and the page of a
multipart/related are shown whatever they say, a text that is the message itself with a name is, and so is one in
several parts where no other text is there.

RFC 2046 section 5.1; RFC 2387; RFC 1847; RFC 8551 section 3; RFC 3156; RFC 6047.
"""

from __future__ import annotations

from typing import Final

from smtpgate.edits.outline import CannotEdit, Outline, Piece

_TEXTS: Final = ("text/plain", "text/html")
_PKCS7: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")
#: OpenPGP without MIME (RFC 9580 section 6.2), at the beginning of a line.
_ARMOUR: Final = {b"-----BEGIN PGP SIGNED MESSAGE-----": "signed", b"-----BEGIN PGP MESSAGE-----": "encrypted"}


def seal_of(piece: Piece) -> str:
    """Whether a part is one that S/MIME or OpenPGP closed: signed, encrypted or ""."""
    media_type = piece.media_type
    if media_type == "multipart/signed":
        return "signed"
    if media_type in ("multipart/encrypted", "application/pgp-encrypted"):
        return "encrypted"
    if media_type in _PKCS7:
        return "signed" if piece.content_type.text("smime-type").lower() == "signed-data" else "encrypted"
    return ""


def armour_of(octets: bytes) -> str:
    """Whether a text is one that OpenPGP closed without MIME: signed, encrypted or ""."""
    for mark, word in _ARMOUR.items():
        at = octets.find(mark)
        if at == 0 or at > 0 and octets[at - 1 : at] == b"\n":
            return word
    return ""


def texts_of(outline: Outline, place: str, invitations: bool) -> list[Piece]:
    """The parts. Raises CannotEdit.

    :param place: top or bottom
    :param invitations: texts beside one are texts too
    """
    found = _of(outline.root, place, _NAMED) or _of(outline.root, place, _NAMED, _NAMED)
    if not found:
        raise CannotEdit("no-text")
    for piece in found:
        seal = seal_of(piece)
        if seal:
            raise CannotEdit(seal)
    if not invitations and any(_is_invitation(one) for one in outline.pieces if one.is_of_letter):
        raise CannotEdit("calendar")
    return found


def _is_invitation(piece: Piece) -> bool:
    return piece.media_type == "text/calendar" and piece.part.disposition != "attachment"


#: Which texts are files: those with a name or said to be attached, the latter, or none.
_FILE, _NAMED, _NEVER = "file", "named", "never"


def _is_file(piece: Piece, how: str) -> bool:
    return piece.is_attached if how == _FILE else how == _NAMED and piece.part.disposition == "attachment"


def _of(piece: Piece, place: str, how: str, parts: str = _FILE) -> list[Piece]:
    """The parts of the text that are in a part, or are it; the part itself where it is closed.

    :param how: whether it is a file itself; `parts`: whether one of several parts is
    """
    if seal_of(piece):
        return [piece]
    media_type = piece.media_type
    if media_type in _TEXTS and not piece.children:
        return [] if _is_file(piece, how) or not piece.is_here else [piece]
    if not media_type.startswith("multipart/") or media_type == "multipart/digest":
        return []
    children = piece.children
    if media_type == "multipart/alternative":
        return [found for child in children for found in _of(child, place, _NEVER, parts)]
    if media_type == "multipart/related":
        # Some programs show the first part whatever `start` says.
        pages = sorted({id(one): one for one in (children[0], root_of(piece))}.values(), key=lambda one: one.start)
        return [found for page in pages for found in _of(page, place, _NEVER, parts)]
    if media_type == "multipart/report":
        return _of(children[0], place, _NAMED, parts)
    each = [found for found in (_of(child, place, parts, parts) for child in children) if found]
    if not each:
        return []
    if any(seal_of(one) for found in each for one in found):
        # What stands before or behind a closed text is no place to speak for it.
        return next(found for found in each if seal_of(found[0]))
    return each[0] if place == "top" else each[-1]


def root_of(piece: Piece) -> Piece:
    """The part of a multipart/related that is shown (RFC 2387 section 3.2)."""
    start = piece.content_type.text("start").strip("<> ")
    if start:
        for child in piece.children:
            if child.part.header.first("content-id").decode("latin-1").strip("<> ") == start:
                return child
    return piece.children[0]
