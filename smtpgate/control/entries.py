"""What may be entered about users and tokens: names, passwords, roles, domains, networks. Each check raises
Invalid, which says what would do.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

import attrs

from smtpgate.config.entry import normal_domain
from smtpgate.control.roles import ROLES, SCOPES
from smtpgate.control.views import Invalid

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DOMAIN: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
#: Domains or networks of one user or token.
MOST: Final = 50


def check_name(name: str) -> None:
    """A name of a user or token."""
    if _NAME.fullmatch(name) is None:
        raise Invalid("a name has letters, digits and . _ - @, at most 64 characters")


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
    """Raises Invalid where a new user's name or password will not do."""
    check_name(name)
    check_password(name, password)


def check_password(name: str, password: str) -> None:
    """Raises Invalid where a password will not do for a user of that name."""
    if len(password) < 12:
        raise Invalid("a password has at least 12 characters")
    if len(password) > 1024:
        raise Invalid("a password has at most 1024 characters")
    plain = password.casefold().strip("0123456789!.-_ ")
    if len(set(password)) < 5 or plain in _GUESSED or plain == name.casefold():
        raise Invalid("this password is among the first that are guessed; take a longer phrase")


def check_role(role: str) -> None:
    """Raises Invalid for a role that is not known."""
    if role not in ROLES:
        raise Invalid(f"no role {role[:80]!a}; known: {', '.join(ROLES)}")


def check_domains(domains: Sequence[str], role: str) -> tuple[str, ...]:
    """Domains in the form that is compared; none for no limit. An owner has none."""
    found: dict[str, None] = {}
    for domain in domains:
        normal = normal_domain(domain.strip())
        if _DOMAIN.fullmatch(normal) is None:
            raise Invalid(f"{domain[:80]!a} is no domain; write it like example.com")
        found[normal] = None
    if len(found) > MOST:
        raise Invalid(f"at most {MOST} domains")
    if found and role == "owner":
        raise Invalid("an owner cannot be limited to domains; take another role")
    return tuple(found)


def check_networks(networks: Sequence[str]) -> tuple[str, ...]:
    """Networks in normal form; none for everywhere."""
    found: dict[str, None] = {}
    for network in networks:
        try:
            found[str(ipaddress.ip_network(network.strip()))] = None
        except ValueError as error:
            raise Invalid(f"{network[:80]!a} is no network: {str(error)[:200]}; write it like 192.0.2.0/24") from None
    if len(found) > MOST:
        raise Invalid(f"at most {MOST} networks")
    return tuple(found)


#: A token holds for so many days at most, and without a word (GitHub's fine-grained tokens: a year at most).
TOKEN_DAYS: Final = 365
TOKEN_DAYS_DEFAULT: Final = 90


@attrs.frozen
class Grant:
    """What a token is to be: with a role or with scopes, limited to domains and networks, for some days."""

    role: str
    scopes: tuple[str, ...]
    domains: tuple[str, ...]
    networks: tuple[str, ...]
    days: int

    def __str__(self) -> str:
        limits = [("domains", self.domains), ("networks", self.networks)]
        said = [f"{word} {' '.join(values)}" for word, values in limits if values]
        what = f"role {self.role}" if self.role else f"scopes {' '.join(self.scopes)}"
        return ", ".join([what, *said, f"{self.days} days"])


def check_grant(
    name: str,
    role: str = "",
    scopes: Sequence[str] = (),
    domains: Sequence[str] = (),
    networks: Sequence[str] = (),
    days: int = TOKEN_DAYS_DEFAULT,
) -> Grant:
    """What a new token of this name is to be. Raises Invalid."""
    check_name(name)
    if not 1 <= days <= TOKEN_DAYS:
        raise Invalid(f"a token holds for 1 to {TOKEN_DAYS} days")
    if bool(role) is bool(scopes):
        raise Invalid("give a role, or scopes")
    if role:
        check_role(role)
    wrong = [one for one in scopes if one not in SCOPES]
    if wrong:
        raise Invalid(f"no scope {wrong[0][:80]!a}; known: {', '.join(SCOPES)}")
    given = tuple(dict.fromkeys(scopes))
    return Grant(role, given, check_domains(domains, ""), check_networks(networks), days)


def rights(role: str, domains: Sequence[str] = (), is_disabled: bool = False) -> str:
    """What a user holds, for the audit."""
    where = f", domains {' '.join(domains)}" if domains else ""
    return f"role {role}{where}{', disabled' if is_disabled else ''}"
