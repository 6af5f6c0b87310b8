"""Bodies and answers of the API about users, tokens and sessions of browsers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from smtpgate.admin.models import Line, Name
from smtpgate.admin.permission import held_by
from smtpgate.admin.ports import Token, User, WebSession
from smtpgate.admin.record import View
from smtpgate.admin.routes import Order
from smtpgate.admin.text import moment

RoleName = Literal["owner", "admin", "operator", "quarantine-manager", "helpdesk", "auditor", "user"]
#: Domains, networks or scopes.
Lines = Annotated[list[Line], Field(max_length=50)]


class NewUser(Order):
    """A user to be. `domains`: those that it is limited to; none for no limit. Without a password there is an
    invitation in the answer, by which somebody sets one.
    """

    name: Name
    role: RoleName
    password: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    domains: Lines = []
    #: Addresses whose held mail is theirs to decide on.
    addresses: Lines = []


class UserChange(Order):
    """Other rights of a user; what is left out stays as it is."""

    role: RoleName | None = None
    domains: Lines | None = None
    is_disabled: bool | None = None
    addresses: Lines | None = None


class NewPassword(Order):
    """Another password."""

    password: Annotated[str, Field(max_length=1024)]


class NewToken(Order):
    """A token to be, with a role or with scopes; limited to domains and to networks (CIDR) where some are given."""

    name: Name
    role: RoleName | None = None
    scopes: Lines = []
    domains: Lines = []
    networks: Lines = []
    days: Annotated[int, Field(ge=1, le=365)] = 90


class Proof(Order):
    """The password again."""

    password: Annotated[str, Field(max_length=1024)]


class OwnPassword(Order):
    """Another password for who asks."""

    current: Annotated[str, Field(max_length=1024)]
    password: Annotated[str, Field(max_length=1024)]


class FirstCode(Order):
    """What the telephone shows."""

    code: Line


class CodesModel(View):
    """One-time codes of who asks. `is_wanted`: their role must have them."""

    is_set: bool
    made: str | None
    recovery_left: int
    is_wanted: bool


class CodesBegun(View):
    """A secret for the telephone: as people type it, and as the telephone reads it."""

    key: str
    uri: str


class RecoveryCodes(View):
    """Each opens once in place of a one-time code. They are in this answer and nowhere else."""

    recovery_codes: list[str]


class UserModel(View):
    """Somebody who can log in."""

    name: str
    role: str
    created: str | None
    domains: list[str]
    addresses: list[str]
    is_disabled: bool
    has_password: bool
    #: Where they log in (`[sso]`); "" for here.
    issuer: str
    has_codes: bool
    invited_until: str | None


class Invitation(View):
    """A link by which somebody sets a password, once; the link is in this answer and nowhere else.

    :ivar link: the whole address, or what stands behind the address of the pages where that is not known
    """

    link: str
    until: str | None


class Added(View):
    """A user was made."""

    done: bool = True
    is_audited: bool = True
    invitation: Invitation | None = None


class UserList(View):
    """All users."""

    items: list[UserModel]


class RoleModel(View):
    """A role, and what it may do."""

    name: str
    scopes: list[str]


class RoleList(View):
    """All roles."""

    items: list[RoleModel]


class TokenModel(View):
    """A token; its text was shown once."""

    id: str
    name: str
    role: str
    scopes: list[str]
    domains: list[str]
    networks: list[str]
    maker: str
    created: str | None
    expires: str | None
    last_used: str | None


class TokenList(View):
    """All tokens in force."""

    items: list[TokenModel]


class FreshToken(View):
    """A new token. The text is not kept anywhere."""

    token: str


class BrowserModel(View):
    """One login of a browser."""

    id: str
    user: str
    address: str
    agent: str
    login: str | None
    seen: str | None
    is_own: bool


class BrowserList(View):
    """Sessions of browsers, the newest first."""

    items: list[BrowserModel]


def user_model(
    one: User, has_codes: bool = False, invited_until: float = 0.0, addresses: Sequence[str] = ()
) -> UserModel:
    """A user as the API tells it."""
    return UserModel(
        name=one.name,
        role=one.role,
        created=moment(one.created),
        domains=list(one.domains),
        addresses=list(addresses),
        is_disabled=one.is_disabled,
        has_password=one.has_password,
        issuer=one.issuer,
        has_codes=has_codes,
        invited_until=moment(invited_until) if invited_until else None,
    )


def token_model(one: Token) -> TokenModel:
    """A token as the API tells it, with all that it may do."""
    return TokenModel(
        id=one.id,
        name=one.name,
        role=one.role,
        scopes=sorted(held_by(one.role, one.scopes) - {"self", "public", "near"}),
        domains=list(one.domains),
        networks=list(one.networks),
        maker=one.maker,
        created=moment(one.created),
        expires=moment(one.expires),
        last_used=moment(one.last_used),
    )


def browser_model(one: WebSession, seen_at: float, own: str) -> BrowserModel:
    """A session as the API tells it.

    :param own: id of the session that asks
    """
    return BrowserModel(
        id=one.id,
        user=one.user,
        address=one.address,
        agent=one.agent,
        login=moment(one.login_at),
        seen=moment(seen_at),
        is_own=one.id == own,
    )
