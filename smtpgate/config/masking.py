"""What of a value nobody but its owner shall read: secrets by the name of their key, and keys that stand in an address.

Names of lists in the DNS and addresses of webhooks may hold the key of a customer: whoever has the address may use it.
Alertmanager keeps the addresses of webhooks secret for that reason; here the host and the words of the path stay to be
read, and what looks like chance does not.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
#: Keys whose values are not shown, wherever the name ends so; - and _ are the same.
SECRET_WORDS: Final = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
    "secret_key",
    "auth_key",
    "license_key",
    "credential",
    "credentials",
)
_SHORT: Final = frozenset({"pass", "pwd"})
#: A first label of a zone with so many letters and digits is a customer's key, not a word; so is a step of a path.
KEY_CHARACTERS: Final = 20
#: A search begins once in a run of letters, not at each of them: else a long run takes the square of its length, and
#: nothing else of the gateway goes on meanwhile. What is before :// need not be a scheme that is right.
_URL: Final = re.compile(
    r"((?<![A-Za-z0-9+.-])[A-Za-z0-9+.-]*://)(?:([^/?#\s@]*)@)?([^/?#\s]*)([^?#\s]*)(\?[^#\s]*)?(#\S*)?"
)
_STEP: Final = re.compile(rf"[A-Za-z0-9_=~%-]{{{KEY_CHARACTERS},}}")
_PEM: Final = "PRIVATE KEY-----"
_PATH: Final = re.compile(r"[^\s:{}\"'=+]+")
_WORD: Final = re.compile(r"[A-Za-z_-]{1,15}")


def is_secret_name(name: str) -> bool:
    """Whether the value of a key of this name is a secret."""
    plain = name.lower().replace("-", "_")
    return plain.endswith(SECRET_WORDS) or plain.rpartition("_")[2] in _SHORT


def masked(name: str, value: str) -> str:
    """A value as it may be shown: all of it *** where the name says so, else with *** for the keys within."""
    if is_secret_name(name) or _PEM in value:
        return HIDDEN if value else value
    return masked_zone(value) if name == "zone" else masked_urls(value)


def masked_urls(text: str) -> str:
    """A text with *** in its addresses of the Web: who logs in, what is asked, and steps of paths that are keys."""
    return _URL.sub(_mask_url, text) if "://" in text else text


def _mask_url(found: re.Match[str]) -> str:
    scheme, user, host, path, question, fragment = found.groups(default="")
    steps = (HIDDEN if _is_key(step) or _is_login(step) else step for step in path.split("/"))
    # What is no authority at all, as "u:p@h" in a broken address, is not looked into.
    host = host if "@" not in host else HIDDEN
    who = f"{HIDDEN}@" if user else ""
    return f"{scheme}{who}{host}{'/'.join(steps)}{'?' + HIDDEN if question else ''}{'#' + HIDDEN if fragment else ''}"


def _is_login(step: str) -> bool:
    """Who logs in to an address that stands within another one."""
    name, at, _ = step.rpartition("@")
    return bool(at) and ":" in name


def _is_key(step: str) -> bool:
    return _STEP.fullmatch(step) is not None and any(one.isdigit() for one in step)


def shown_zone(zone: str) -> str:
    """A zone without the key of a customer before it."""
    first, _, rest = zone.partition(".")
    return rest if len(first) >= KEY_CHARACTERS and first.isalnum() and "." in rest else zone


def masked_zone(zone: str) -> str:
    """A zone with *** for the key of a customer."""
    rest = shown_zone(zone)
    return f"{HIDDEN}.{rest}" if rest != zone else zone


def is_path(text: str) -> bool:
    """Whether it is likely the name of a file, where one is asked for, and not the secret itself."""
    if _WORD.fullmatch(text) is None and (_PATH.fullmatch(text) is None or not ("." in text or "/" in text)):
        return False
    last = text.rpartition("/")[2]
    return not any(_is_key(part) for part in re.split("[._-]", last))
