"""Words of a message that may be the password of a file in it: people send the key along with the lock.

`look` and `reading` try them, most likely first: what is called a password in some language, then what has a digit in
it. Bounded by the beginnings of texts and by a number of words; nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

#: Words that are tried.
WORDS: Final = 20
_KEY: Final = re.compile(
    r"pass\w{0,6}|passwor[dt]|kennwort|mot de passe|contraseñ?n?a|senha|пароль|hasło|heslo|jelszó|parola|şifre|lösenord"
    r"|wachtwoord|adgangskode|salasana|opens? with|öffnen mit|密码|密碼|口令|パスワード|비밀번호|암호",
    re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\s\"'<>(){}\[\]«»“”‘’,;]{3,40}")
_DIGIT: Final = re.compile(r"\d")
_PASSWORD: Final = re.compile(
    r"(?:pass\w{0,6}|passwor[dt]|kennwort|mot de passe|contraseña|senha|pin|code|пароль)\W{1,12}"
    r"(?:is|ist|est|es|:|=)?\W{0,6}([^\s\"'<>]{3,40})",
    re.IGNORECASE,
)


def likely(texts: Sequence[str], subject: str) -> Iterator[str]:
    """Words that may be a password: those that are called one first."""
    seen: dict[str, None] = {}
    for text in [*texts, subject]:
        for found in _PASSWORD.finditer(text[:20_000]):
            seen[found[1].rstrip(".,;!。")] = None
        for found in _KEY.finditer(text[:20_000]):
            # In whatever words a language says it: those that follow soon.
            for word in _WORD.findall(text[found.end() : found.end() + 60])[:6]:
                seen.setdefault(word.strip(".,;:!。：").strip(), None)
    for text in [*texts, subject]:
        for found in _WORD.finditer(text[:2000]):
            word = found[0]
            if _DIGIT.search(word) is not None:
                seen.setdefault(word.rstrip(".,;:!"), None)
    yield from list(seen)[:WORDS]
