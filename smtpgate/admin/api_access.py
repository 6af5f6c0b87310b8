"""The API about who may come in: users, tokens, and the sessions of browsers."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from smtpgate.admin import models_access as a
from smtpgate.admin.answer import Answer
from smtpgate.admin.api_look import answer_of
from smtpgate.admin.guard import Refusal
from smtpgate.admin.models import Done, Nothing
from smtpgate.admin.permission import ROLES, SCOPES, held_by
from smtpgate.admin.routes import Ask, Route
from smtpgate.admin.text import moment, visible
from smtpgate.control.entries import check_grant

_BASE = "/api/v1"


async def users(ask: Ask) -> Answer:
    """Who can log in."""
    return answer_of(a.UserList(items=await people(ask)))


async def people(ask: Ask) -> list[a.UserModel]:
    """The same for a page."""
    users = ask.office.users
    with_codes = set(await users.factors.users())
    invited = await users.factors.invitations(ask.office.wall())
    mine = {one.name: one.addresses for one in await ask.office.control.people.all()}
    return [
        a.user_model(one, one.name in with_codes, invited.get(one.name, 0.0), mine.get(one.name, ()))
        for one in await users.users()
    ]


async def user(ask: Ask) -> Answer:
    """One of them."""
    return answer_of(await person(ask, ask.args["name"]))


async def person(ask: Ask, name: str) -> a.UserModel:
    """The same for a page. Raises Refusal."""
    found = next((one for one in await people(ask) if one.name == name), None)
    if found is None:
        raise Refusal("not-found", 404, f"no user {visible(name, 80)}")
    return found


async def roles(ask: Ask) -> Answer:
    """What each role may do."""
    items = [a.RoleModel(name=role, scopes=[one for one in SCOPES if one in held_by(role)]) for role in ROLES]
    return answer_of(a.RoleList(items=items))


async def add_user(ask: Ask) -> Answer:
    """A new user; without a password in the order the answer has an invitation."""
    body = ask.body
    added = await new_user(ask, body.name, body.role, body.password or "", body.domains, body.addresses)
    return answer_of(added, 201)


async def new_user(
    ask: Ask, name: str, role: str, password: str, domains: Sequence[str], addresses: Sequence[str] = ()
) -> a.Added:
    """The same for a page."""
    accounts = ask.office.accounts
    await accounts.grants.add_user(ask.guarded_change, ask.who, name, role, password, domains, addresses)
    return a.Added(invitation=None if password else await invite(ask, name))


async def invite(ask: Ask, name: str) -> a.Invitation:
    """A link by which somebody sets a password, in the address that who asks has come by."""
    token, until = await ask.office.accounts.invitations.make(ask.guarded_change, ask.who, name)
    public, caller = ask.office.control.settings.admin.public_url, ask.caller
    here = f"{'https' if caller.is_secure else 'http'}://{caller.host}" if caller.door == "web" else ""
    return a.Invitation(link=f"{public or here}/welcome/{token}", until=moment(until))


async def invitation(ask: Ask) -> Answer:
    """A link by which somebody sets a first or another password; what they have holds until it is used."""
    return answer_of(await invite(ask, ask.args["name"]), 201)


async def change_user(ask: Ask) -> Answer:
    """Other rights; the sessions of that user end."""
    body = ask.body
    await ask.office.accounts.grants.change_user(
        ask.guarded_change, ask.who, ask.args["name"], body.role, body.domains, body.is_disabled, body.addresses
    )
    return answer_of(Done())


async def set_password(ask: Ask) -> Answer:
    """Another password; the sessions of that user end."""
    await ask.office.accounts.grants.set_password(ask.guarded_change, ask.who, ask.args["name"], ask.body.password)
    return answer_of(Done())


async def remove_user(ask: Ask) -> Answer:
    """A user goes."""
    await ask.office.accounts.grants.remove_user(ask.guarded_change, ask.who, ask.args["name"])
    return answer_of(Done())


async def end_sessions(ask: Ask) -> Answer:
    """All sessions of a user end."""
    await ask.office.accounts.end_sessions(ask.guarded_change, ask.who, ask.args["name"])
    return answer_of(Done())


async def reset_codes(ask: Ask) -> Answer:
    """Telephone and recovery codes are lost: the user logs in without a code, and sets up others."""
    await ask.office.accounts.reset_codes(ask.guarded_change, ask.who, ask.args["name"])
    return answer_of(Done())


async def browsers(ask: Ask) -> Answer:
    """Logins of browsers: those of who asks, and everybody's for who holds access:write."""
    found = await ask.office.accounts.sessions(ask.who)
    own = ask.who.id if ask.who.kind == "user" else ""
    return answer_of(a.BrowserList(items=[a.browser_model(one, seen_at, own) for one, seen_at in found]))


async def end_browser(ask: Ask) -> Answer:
    """End one of them."""
    await ask.office.accounts.end_session(ask.guarded_change, ask.who, ask.args["id"])
    return answer_of(Done())


async def tokens(ask: Ask) -> Answer:
    """Tokens in force."""
    return answer_of(a.TokenList(items=[a.token_model(one) for one in await ask.office.users.tokens()]))


async def add_token(ask: Ask) -> Answer:
    """A new token. Its text is in this answer and nowhere else."""
    body = ask.body
    grant = check_grant(body.name, body.role or "", body.scopes, body.domains, body.networks, body.days)
    text = await ask.office.accounts.grants.add_token(ask.guarded_change, ask.who, body.name, grant)
    return answer_of(a.FreshToken(token=text), 201)


async def revoke_token(ask: Ask) -> Answer:
    """A token holds no more."""
    await ask.office.accounts.grants.revoke_token(ask.guarded_change, ask.who, ask.args["id"])
    return answer_of(Done())


_ALL = (
    Route("GET", f"{_BASE}/roles", "access:write", roles, summary="Roles", answer=a.RoleList),
    Route("GET", f"{_BASE}/users", "access:write", users, summary="Users", answer=a.UserList),
    Route(
        "POST",
        f"{_BASE}/users",
        "access:write",
        add_user,
        summary="A new user",
        body=a.NewUser,
        answer=a.Added,
        is_secret=True,
        status=201,
    ),
    Route("GET", f"{_BASE}/users/<name>", "access:write", user, summary="One user", answer=a.UserModel),
    Route(
        "PATCH",
        f"{_BASE}/users/<name>",
        "access:write",
        change_user,
        summary="Other rights",
        body=a.UserChange,
        answer=Done,
    ),
    Route(
        "POST",
        f"{_BASE}/users/<name>/password",
        "access:write",
        set_password,
        summary="Another password",
        body=a.NewPassword,
        answer=Done,
    ),
    Route(
        "POST",
        f"{_BASE}/users/<name>/invitation",
        "access:write",
        invitation,
        summary="A link to set a password by",
        body=Nothing,
        answer=a.Invitation,
        is_secret=True,
        status=201,
    ),
    Route("DELETE", f"{_BASE}/users/<name>", "access:write", remove_user, summary="Remove a user", answer=Done),
    Route(
        "DELETE",
        f"{_BASE}/users/<name>/sessions",
        "access:write",
        end_sessions,
        summary="End the sessions of a user",
        answer=Done,
    ),
    Route(
        "DELETE",
        f"{_BASE}/users/<name>/totp",
        "access:write",
        reset_codes,
        summary="Take a user's one-time codes away",
        answer=Done,
    ),
    Route("GET", f"{_BASE}/auth/sessions", "self", browsers, summary="Logins of browsers", answer=a.BrowserList),
    Route("DELETE", f"{_BASE}/auth/sessions/<id>", "self", end_browser, summary="End one", answer=Done),
    Route("GET", f"{_BASE}/tokens", "access:write", tokens, summary="Tokens", answer=a.TokenList),
    Route(
        "POST",
        f"{_BASE}/tokens",
        "access:write",
        add_token,
        summary="A new token",
        body=a.NewToken,
        answer=a.FreshToken,
        is_secret=True,
        status=201,
    ),
    Route("DELETE", f"{_BASE}/tokens/<id>", "access:write", revoke_token, summary="Revoke a token", answer=Done),
)

#: Who may do what is changed by those only who gave their password just now; one's own sessions are one's own to end.
ROUTES = tuple(
    attrs.evolve(route, is_guarded=route.permission == "access:write" and route.method != "GET") for route in _ALL
)
