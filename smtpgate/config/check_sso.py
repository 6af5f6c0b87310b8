"""Providers of identities over the whole tree: where they are, whom they let in, and what could never be right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from smtpgate.config.endpoint import is_loopback
from smtpgate.config.model import Settings
from smtpgate.config.problem import Fault, quoted, warning

#: A clock that is further off is wrong, and a token that is taken for longer is stale (OpenID Connect Core, 3.1.3.7).
LEEWAY_S: Final = 600.0
#: Whoever logs in waits for three of its answers.
TIMEOUT_S: Final = 60.0
_CLAIM: Final = re.compile(r"[!-~]{1,200}")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")


def providers_are_safe(tree: Settings) -> Iterator[Fault]:
    """What a provider says decides who comes in, so nobody on the way may say it in its place."""
    seen: dict[str, str] = {}
    for name, one in tree.sso.items():
        where = ("sso", name, "issuer")
        parts = urlsplit(one.issuer)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            yield Fault(where, "whoever is on the way could let themselves in", "use https://")
        if "?" in one.issuer:
            yield Fault(where, f"{quoted(one.issuer)} is no issuer: it has a query", "leave out what is behind the ?")
        if one.issuer in seen:
            yield Fault(where, f"{seen[one.issuer]} has the same issuer", "leave one of them out")
        seen[one.issuer] = name
        if not one.algorithms:
            yield Fault(("sso", name, "algorithms"), "nothing can be signed with that", "leave the key out")
        if one.leeway_s > LEEWAY_S:
            yield Fault(("sso", name, "leeway"), "a clock that is so far off is wrong", "take 10m at most")
        if one.timeout_s > TIMEOUT_S:
            yield Fault(("sso", name, "timeout"), "nobody waits so long for a login", "take 1m at most")


def providers_are_asked_for_something(tree: Settings) -> Iterator[Fault]:
    """Words that no provider could understand."""
    for name, one in tree.sso.items():
        if _CLAIM.fullmatch(one.client_id) is None:
            yield Fault(("sso", name, "client_id"), f"{quoted(one.client_id)} is no id of a client", "copy it as it is")
        for key, word in (("groups_claim", one.groups_claim), ("name_claim", one.name_claim)):
            if _CLAIM.fullmatch(word) is None:
                yield Fault(("sso", name, key), f"{quoted(word)} is no claim", 'write a name, as "groups"')
        if "openid" not in one.scopes:
            yield Fault(("sso", name, "scopes"), "without openid there is no ID token", 'add it: ["openid", "profile"]')
        for number, word in enumerate(one.scopes):
            if _SCOPE.fullmatch(word) is None:
                yield Fault(("sso", name, "scopes", number), f"{quoted(word)} is no scope", "write one word each")


def providers_let_somebody_in(tree: Settings) -> Iterator[Fault]:
    """Groups have people, and owners see all mail."""
    for name, one in tree.sso.items():
        if not one.groups:
            hint = f'say whom it lets in: [[sso.{name}.groups]] name = "mail-admins" role = "admin"'
            yield warning(("sso", name), "nobody comes in by it", hint)
        seen: set[str] = set()
        for number, group in enumerate(one.groups):
            where = ("sso", name, "groups", number)
            if not group.name or len(group.name) > 200 or not group.name.isprintable():
                yield Fault((*where, "name"), f"{quoted(group.name)} is no group", "write it as the provider does")
            if group.name in seen:
                yield Fault((*where, "name"), f"{quoted(group.name)} is there twice", "leave one of them out")
            seen.add(group.name)
            if group.role == "owner" and group.domains:
                hint = "leave domains out, or take another role"
                yield Fault((*where, "domains"), "an owner cannot be limited to domains", hint)
            for place, domain in enumerate(group.domains):
                if "*" in domain:
                    hint = "write each domain; subdomains are domains of their own"
                    yield Fault((*where, "domains", place), f"{quoted(domain)} is more than one domain", hint)
