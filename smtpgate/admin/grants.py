"""What is given and taken: users and tokens, made and changed.

Nobody gives more than they have: whoever makes or changes users and tokens must hold all that these hold. Each verb is
given what writes it down (`routes.Ask.guarded_change`), and calls that when all is checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from smtpgate.admin.guard import Refusal
from smtpgate.admin.permission import Principal, held_by
from smtpgate.admin.ports import User, Users
from smtpgate.admin.text import visible
from smtpgate.admin.throttle import Gate
from smtpgate.control.entries import Grant, check_domains, check_name, check_new, check_password, check_role, rights
from smtpgate.control.people import People

#: Writes a change down: its action, target, detail, and what was before and after.
Change = Callable[..., Awaitable[None]]


class Grants:
    """All that gives somebody access."""

    def __init__(
        self,
        users: Users,
        wall: Callable[[], float],
        gate: Gate,
        forget: Callable[[str], None],
        ended: Callable[[], None],
        people: People,
    ) -> None:
        """
        :param wall: seconds since the epoch
        :param gate: runs what hashes
        :param forget: is told whose sessions have ended in the database
        :param ended: is told that a token is revoked
        """
        self._users = users
        self._wall = wall
        self._gate = gate
        self._forget = forget
        self._ended = ended
        self._people = people

    async def add_user(
        self,
        change: Change,
        by: Principal,
        name: str,
        role: str,
        password: str,
        domains: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> None:
        """A new user; one without a password is to be invited. Raises Refusal where that would be more than one's own,
        Invalid where name, role, domains or password will not do.
        """
        check_name(name)
        if password:
            check_password(name, password)
        check_role(role)
        wanted = check_domains(domains, role)
        _must_cover(by, held_by(role), wanted)
        if await self._users.user(name) is not None:
            raise Refusal("conflict", 409, f"there is a user {name} already")
        mine = await self._own_addresses(by, name, addresses)
        await change("user.add", name, rights(role, domains=wanted), after=_told(role, wanted, addresses=mine))
        await self._gate.run(self._users.add_user, name, role, password, wanted)
        if mine:
            await self._people.set_addresses(name, mine)

    async def _own_addresses(self, by: Principal, name: str, addresses: Sequence[str]) -> tuple[str, ...]:
        """Whose mail somebody is to have as theirs: nobody gives away that of others' domains. Raises Refusal."""
        wanted = await self._people.check_addresses(name, addresses) if addresses else ()
        if not by.reach.all(wanted) and wanted:
            raise Refusal("forbidden", 403, "that is mail of other domains than you are limited to")
        return wanted

    async def user(self, by: Principal, name: str) -> User:
        """One who holds no more than whoever is about to change something of them."""
        user = await self._users.user(name)
        if user is None:
            raise Refusal("not-found", 404, f"no user {visible(name, 80)}")
        _must_cover(by, held_by(user.role), user.domains)
        return user

    async def change_user(
        self,
        change: Change,
        by: Principal,
        name: str,
        role: str | None = None,
        domains: Sequence[str] | None = None,
        is_disabled: bool | None = None,
        addresses: Sequence[str] | None = None,
    ) -> None:
        """Other rights; the sessions of that user end. None: as it was."""
        user = await self.user(by, name)
        before_mine = (await self._people.person(name)).addresses
        mine = before_mine if addresses is None else await self._own_addresses(by, name, addresses)
        role = user.role if role is None else role
        check_role(role)
        wanted = check_domains(user.domains if domains is None else domains, role)
        _must_cover(by, held_by(role), wanted)
        if user.issuer and (role != user.role or set(wanted) != set(user.domains)):
            raise Refusal("conflict", 409, "role and domains follow the groups where this account logs in")
        is_off = user.is_disabled if is_disabled is None else is_disabled
        if user.role == "owner" and (role != "owner" or is_off):
            await self._spare_last_owner(user)
        told = f"{rights(user.role, user.domains, user.is_disabled)} -> {rights(role, wanted, is_off)}"
        before = _told(user.role, user.domains, user.is_disabled, before_mine)
        await change("user.change", name, told, before=before, after=_told(role, wanted, is_off, mine))
        # What was not asked for stays as it is by now: two changes at once must not take each other back.
        is_other = (role, set(wanted)) != (user.role, set(user.domains))
        await self._users.change_user(name, role if is_other else None, wanted if is_other else None, is_disabled)
        if mine != before_mine:
            await self._people.set_addresses(name, mine)
        self._forget(name)

    async def _spare_last_owner(self, user: User) -> None:
        others = [one for one in await self._users.users() if _is_at_work(one)]
        if _is_at_work(user) and len(others) == 1:
            raise Refusal("conflict", 409, "the last owner cannot be taken away; add another owner first")

    async def set_password(self, change: Change, by: Principal, name: str, password: str) -> None:
        """A new password; the sessions of that user end."""
        check_new(name, password)
        must_be_ours(await self.user(by, name))
        await change("user.password", name, "")
        await self._gate.run(self._users.set_password, name, password)
        self._forget(name)

    async def remove_user(self, change: Change, by: Principal, name: str) -> None:
        """A user goes; the last owner cannot."""
        user = await self.user(by, name)
        if user.role == "owner":
            await self._spare_last_owner(user)
        before = _told(user.role, user.domains, user.is_disabled)
        await change("user.remove", name, rights(user.role, user.domains), before=before)
        await self._users.remove_user(name)
        await self._people.forget(name)
        self._forget(name)

    async def add_token(self, change: Change, by: Principal, name: str, grant: Grant) -> str:
        """A new token (`control.entries.check_grant`); the text is in the answer and nowhere else."""
        _must_cover(by, held_by(grant.role, grant.scopes), grant.domains)
        after = {
            "role": grant.role,
            "scopes": list(grant.scopes),
            "domains": list(grant.domains),
            "networks": list(grant.networks),
            "days": grant.days,
        }
        await change("token.add", name, str(grant), after=after)
        expires = self._wall() + grant.days * 86400
        limits = (grant.scopes, grant.domains, grant.networks)
        return await self._users.add_token(name, grant.role, expires, *limits, f"{by.kind} {by.name}")

    async def revoke_token(self, change: Change, by: Principal, id: str) -> None:
        """A token holds no more."""
        token = next((one for one in await self._users.tokens() if one.id == id), None)
        if token is None:
            raise Refusal("not-found", 404, f"no token {visible(id, 80)}")
        _must_cover(by, held_by(token.role, token.scopes), token.domains)
        before = {
            "name": token.name,
            "role": token.role,
            "scopes": list(token.scopes),
            "domains": list(token.domains),
            "networks": list(token.networks),
        }
        await change("token.revoke", id, f"name {token.name}", before=before)
        await self._users.revoke_token(id)
        self._ended()


def must_be_ours(user: User) -> None:
    """Raises Refusal for who logs in elsewhere, where a password is meant."""
    if user.issuer:
        raise Refusal("conflict", 409, "this account logs in elsewhere, and has no password here")


def _is_at_work(user: User) -> bool:
    """An owner who can log in, whatever is the matter elsewhere."""
    return user.role == "owner" and not user.is_disabled and user.has_password


def _told(
    role: str, domains: Sequence[str], is_disabled: bool = False, addresses: Sequence[str] = ()
) -> dict[str, Any]:
    """A user's rights, for the audit."""
    mine = {"addresses": list(addresses)} if addresses else {}
    return {"role": role, "domains": list(domains), "is_disabled": is_disabled, **mine}


def _must_cover(by: Principal, scopes: Collection[str], domains: Collection[str]) -> None:
    """Raises Refusal where somebody gives, or takes from somebody who has, more than they have themselves."""
    if not by.covers(scopes, domains):
        raise Refusal("forbidden", 403, "that is more than you hold yourself")
