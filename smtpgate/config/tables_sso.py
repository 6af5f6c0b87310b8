"""The tables of the configuration file about logins at a provider of identities (OpenID Connect); see `schema`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from smtpgate.config.table import REQUIRED, Table, key
from smtpgate.config.values import Domains, FilePath, HookURL, Networks, Wait, Words

ProviderRole = Literal["owner", "admin", "operator", "quarantine-manager", "helpdesk", "auditor", "user"]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]


class ProviderGroupTable(Table):
    """What people of a group may do here. Of several groups of a person the first table here counts."""

    name: str = key(REQUIRED, "The group, as the provider writes it.", example='"mail-admins"')
    role: ProviderRole = key(REQUIRED, "The role of its people.", example='"admin"')
    domains: Domains = key([], "They see mail of these only; not for owners.", shown="all", example='["example.net"]')


class ProviderTable(Table):
    """A provider of identities at which administrators log in. Who is in none of `groups` does not come in."""

    issuer: HookURL = key(
        REQUIRED,
        "Its address, letter by letter as it names itself; discovery is below it.",
        example='"https://id.example.com/realms/staff"',
    )
    client_id: str = key(REQUIRED, "What this gateway is called there.", example='"smtpgate"')
    client_secret: FilePath = key(REQUIRED, "File with the secret of this client.", example='"sso.secret"')
    groups: list[ProviderGroupTable] = key([], "Which group has which role.")
    label: Annotated[str, Field(max_length=60)] = key("", "The button on the login page.", shown="Log in by NAME")
    scopes: Words = key(["openid", "profile"], "What is asked for; openid is among it.")
    groups_claim: str = key(
        "groups", "Where the groups stand in the ID token; a point goes into a table.", example='"realm_access.roles"'
    )
    name_claim: str = key("preferred_username", "What new accounts are called after.", example='"email"')
    algorithms: list[Algorithm] = key(["RS256", "ES256"], "What its tokens may be signed with.")
    leeway: Wait = key("1m", "How far its clock may be off ours.")
    second_factor: Words = key(
        [],
        "Values of acr or amr that count as a one-time code.",
        shown="none: such roles give a code here too",
        example='["mfa"]',
    )
    networks: Networks = key(
        [], "Networks of your own where it may be; without it public addresses only.", example='["10.1.0.0/16"]'
    )
    timeout: Wait = key("10s", "Longest wait for one of its answers.")
