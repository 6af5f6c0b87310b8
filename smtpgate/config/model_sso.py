"""The settings about logins at a provider of identities, as the program holds them; see `model`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from smtpgate.config.patterns import NO_NETWORKS, NetworkList


@attrs.frozen
class ProviderGroup:
    """What people of a group may do."""

    name: str
    role: str
    domains: tuple[str, ...] = ()


@attrs.frozen
class Provider:
    """A provider of identities at which administrators log in.

    :ivar secret: of this client there
    :ivar groups: the first that somebody is in counts; who is in none has no access
    :ivar second_factor: values of acr or amr that count as a one-time code
    :ivar networks: where it may be beside public addresses
    """

    name: str
    issuer: str
    client_id: str
    secret: str = attrs.field(repr=False)
    groups: tuple[ProviderGroup, ...] = ()
    label: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    groups_claim: str = "groups"
    name_claim: str = "preferred_username"
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway_s: float = 60.0
    second_factor: frozenset[str] = frozenset()
    networks: NetworkList = NO_NETWORKS
    timeout_s: float = 10.0

    @property
    def button(self) -> str:
        """What its button says."""
        return self.label or f"Log in by {self.name}"

    def grant(self, groups: Collection[str]) -> ProviderGroup | None:
        """What somebody who is in these groups may do; None for nothing."""
        return next((one for one in self.groups if one.name in groups), None)


def issuers(providers: Mapping[str, Provider]) -> frozenset[str]:
    """Where somebody may log in besides here."""
    return frozenset(one.issuer for one in providers.values())
