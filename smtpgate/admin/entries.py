"""What may be entered about users and tokens: names, passwords, roles, domains, networks. Each check raises a Refusal
that says what would do.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from smtpgate.admin.guard import Refusal
from smtpgate.admin.permission import ROLES
from smtpgate.admin.text import visible
from smtpgate.config.entry import normal_domain

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DOMAIN: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
#: Domains or networks of one user or token.
MOST: Final = 50


def check_name(name: str) -> None:
    """A name of a user or token."""
    if _NAME.fullmatch(name) is None:
        raise Refusal("validation", 422, "a name has letters, digits and . _ - @, at most 64 characters")


#: Passwords that are guessed first, in the lengths that pass the length rule.
_GUESSED = (
    "password",
    "passwort",
    "123456789012",
    "qwertyuiop",
    "letmein",
    "administrator",
    "smtpgate",
    "changeme",
)


def check_new(name: str, password: str) -> None:
    """Raises Refusal where a new user's name or password will not do."""
    check_name(name)
    if len(password) < 12:
        raise Refusal("validation", 422, "a password has at least 12 characters")
    if len(password) > 1024:
        raise Refusal("validation", 422, "a password has at most 1024 characters")
    plain = password.casefold().strip("0123456789!.-_ ")
    if len(set(password)) < 5 or plain in _GUESSED or plain == name.casefold():
        raise Refusal("validation", 422, "this password is among the first that are guessed; take a longer phrase")


def check_role(role: str) -> None:
    """Raises Refusal for a role that is not known."""
    if role not in ROLES:
        raise Refusal("validation", 422, f"no role {role}; known: {', '.join(ROLES)}")


def check_domains(domains: Sequence[str], role: str) -> tuple[str, ...]:
    """Domains in the form that is compared; none for no limit. An owner has none."""
    found: dict[str, None] = {}
    for domain in domains:
        normal = normal_domain(domain.strip())
        if _DOMAIN.fullmatch(normal) is None:
            raise Refusal("validation", 422, f"{visible(domain, 80)} is no domain; write it like example.com")
        found[normal] = None
    if len(found) > MOST:
        raise Refusal("validation", 422, f"at most {MOST} domains")
    if found and role == "owner":
        raise Refusal("validation", 422, "an owner cannot be limited to domains; take another role")
    return tuple(found)


def check_networks(networks: Sequence[str]) -> tuple[str, ...]:
    """Networks in normal form; none for everywhere."""
    found: dict[str, None] = {}
    for network in networks:
        try:
            found[str(ipaddress.ip_network(network.strip()))] = None
        except ValueError as error:
            raise Refusal(
                "validation", 422, f"{visible(network, 80)} is no network: {error}; write it like 192.0.2.0/24"
            ) from None
    if len(found) > MOST:
        raise Refusal("validation", 422, f"at most {MOST} networks")
    return tuple(found)
