"""What recipients read, in the languages of digests and of the pages behind their links.

Administrators' pages are in English. A language has all texts or is none: a test holds the tables against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_ENGLISH: Final = {
    "held_mail": "Held mail",
    "from_name": "Held mail",
    "subject_one": "1 message is held for you",
    "subject_many": "{count} messages are held for you",
    "intro": "Mail to {address} is held at {hostname} and was not delivered.",
    "time": "Time",
    "from": "From",
    "subject": "Subject",
    "held_as": "Held as",
    "no_subject": "(no subject)",
    "more": "{more} more are held that are not named here.",
    "outro": "Each link opens a page that asks before anything is done. They hold until {until}. What is not wanted "
    "needs nothing: it is deleted by itself.",
    "for": "For",
    "since": "since",
    "do_release": "Deliver it to me",
    "do_ask": "Ask for it",
    "release_title": "Deliver this message?",
    "release_words": "It is delivered to you as it came.",
    "ask_title": "Ask for this message?",
    "ask_words": "Somebody looks at it, and decides whether it is delivered.",
    "nothing": "Nothing to do",
    "gone": "This message is not held any more.",
    "not_yours": "This message is not held for you.",
    "sending": "It is on its way to you.",
    "released": "It was delivered.",
    "unknown": "It was sent, and may have arrived. Ask your administrator where it did not.",
    "done": "Done",
    "before": "It was delivered before, or is on its way.",
    "looked_at": "Somebody will look at it.",
}
_GERMAN: Final = {
    "held_mail": "Zurückgehaltene E-Mails",
    "from_name": "Zurückgehaltene E-Mails",
    "subject_one": "1 Nachricht an Sie wird zurückgehalten",
    "subject_many": "{count} Nachrichten an Sie werden zurückgehalten",
    "intro": "E-Mails an {address} werden auf {hostname} zurückgehalten und wurden nicht zugestellt.",
    "time": "Zeit",
    "from": "Von",
    "subject": "Betreff",
    "held_as": "Gehalten als",
    "no_subject": "(kein Betreff)",
    "more": "{more} weitere werden zurückgehalten, die hier nicht genannt sind.",
    "outro": "Jeder Link öffnet eine Seite, die nachfragt, bevor etwas geschieht. Die Links gelten bis {until}. Was "
    "Sie nicht brauchen, wird von selbst gelöscht.",
    "for": "An",
    "since": "seit",
    "do_release": "Mir zustellen",
    "do_ask": "Anfordern",
    "release_title": "Diese Nachricht zustellen?",
    "release_words": "Sie wird Ihnen so zugestellt, wie sie ankam.",
    "ask_title": "Diese Nachricht anfordern?",
    "ask_words": "Jemand sieht sie sich an und entscheidet, ob sie zugestellt wird.",
    "nothing": "Nichts zu tun",
    "gone": "Diese Nachricht wird nicht mehr zurückgehalten.",
    "not_yours": "Diese Nachricht wird nicht für Sie zurückgehalten.",
    "sending": "Sie ist auf dem Weg zu Ihnen.",
    "released": "Sie wurde zugestellt.",
    "unknown": "Sie wurde verschickt und kam vielleicht an. Fragen Sie Ihren Administrator, wenn sie nicht ankam.",
    "done": "Erledigt",
    "before": "Sie wurde schon zugestellt oder ist unterwegs.",
    "looked_at": "Jemand wird sie sich ansehen.",
}
LANGUAGES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType({"en": _ENGLISH, "de": _GERMAN})


def words_of(language: str) -> Mapping[str, str]:
    """The texts of a language; those of English for one that is none."""
    return LANGUAGES.get(language, _ENGLISH)
