"""Logins at a provider of identities (OpenID Connect): the code flow with PKCE, and what becomes of who comes back.

`begin` gives the address to send a browser to, `back` takes what it comes back with, `finish` asks the provider whose
code that is and lets them in. An account here is matched by issuer and subject, never by a mail address or a name.
The first login makes it, where a group gives a role; each login reads the groups anew, so that role and domains follow
them, and who is in no such group any more is refused and their sessions end. Such an account has no password; the
owner who has one stays for the day when the provider does not answer.

Whoever is refused hears that it did not work, and the audit has why. The same flow, with a login that is made anew,
stands in place of the password where that is asked for again (`proof`).

OpenID Connect Core 3.1, RP-Initiated Logout 2; RFC 9700 section 2.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import attrs
from twisted.internet.defer import DeferredLock

from smtpgate.admin.accounts import Accounts
from smtpgate.admin.flows import CARRIED, Flow, Flows, gone, network_key
from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.issuer import Issuer, Wanted, Wrong, factor_of, groups_of
from smtpgate.admin.jose import Untrusted
from smtpgate.admin.permission import Principal
from smtpgate.admin.ports import User
from smtpgate.admin.text import visible
from smtpgate.admin.throttle import Throttle, TooMany
from smtpgate.admin.trail import METHOD
from smtpgate.config.model import Settings
from smtpgate.config.model_sso import Provider, ProviderGroup
from smtpgate.control.entries import check_domains, check_name, rights
from smtpgate.control.views import Actor, Invalid
from smtpgate.interfaces import HTTPFailed

#: Codes that are being given for tokens, at once: in all, and of one network.
AT_ONCE: Final = 16
AT_ONCE_OF_NETWORK: Final = 8
#: A code cannot be guessed, and nobody's account is known before it is taken: whoever tried wrong ones waits a little,
#: since all of their network wait with them.
LONGEST_DELAY_S: Final = 30.0
#: ID tokens that are kept for a logout there, and the longest that fits an address.
_HINTS: Final = 500
_HINT_CHARACTERS: Final = 4000
_CODE: Final = re.compile(r"[\x21-\x7e]{1,4000}")
_ERROR: Final = re.compile(r"[A-Za-z0-9_.-]{1,80}")


class Failed(Exception):
    """A login did not come about; why is in the audit, and not for who reads the page."""


@attrs.frozen
class Entered:
    """Somebody has come back.

    :ivar cookies: Set-Cookie lines
    :ivar is_done: else a one-time code is wanted
    """

    flow: Flow
    cookies: tuple[str, ...]
    is_done: bool = True


class Logins:
    """All providers, and who is on their way."""

    def __init__(
        self,
        accounts: Accounts,
        settings: Callable[[], Settings],
        wall: Callable[[], float],
        in_thread: Callable[..., Any],
    ) -> None:
        self._accounts = accounts
        self._settings = settings
        self._wall = wall
        self._in_thread = in_thread
        #: Makes an `interfaces.IHTTPClient` that goes where a provider may be, and nowhere else; set by who has it.
        self.client: Callable[[Provider], Any] | None = None
        self.flows = Flows(wall)
        self._throttle = Throttle(wall, LONGEST_DELAY_S)
        self._issuers: dict[str, Issuer] = {}
        self._lock = DeferredLock()
        #: By network.
        self._exchanges: Counter[str] = Counter()
        #: The newest ID token of a user, for the logout.
        self._hints: dict[str, str] = {}

    def providers(self) -> Mapping[str, Provider]:
        """Those of the settings at work."""
        return self._settings().sso if self.client is not None else {}

    def provider(self, name: str) -> Provider:
        """One of them. Raises Refusal."""
        found = self.providers().get(name)
        if found is None:
            raise Refusal("not-found", 404, "there is nothing here")
        return found

    def named(self, issuer: str) -> Provider | None:
        """That of an issuer."""
        return next((one for one in self.providers().values() if one.issuer == issuer), None)

    def issuer(self, provider: Provider) -> Issuer:
        """What is known of one, under the settings at work."""
        found = self._issuers.get(provider.name)
        if found is None or found.provider != provider:
            assert self.client is not None
            found = Issuer(provider, self.client(provider), self._in_thread, self._wall)
            self._issuers[provider.name] = found
        return found

    def place(self, caller: Caller, provider: Provider) -> str:
        """Where it sends browsers back to; each provider has its own, so that none answers for another."""
        return f"{self._base(caller)}/login/sso/{provider.name}/back"

    def logout_place(self, caller: Caller) -> str:
        """The same for a logout."""
        return f"{self._base(caller)}/login"

    def _base(self, caller: Caller) -> str:
        here = f"{'https' if caller.is_secure else 'http'}://{caller.host}" if caller.door == "web" else ""
        return self._settings().admin.public_url or here

    # Away

    async def begin(self, caller: Caller, name: str, wanted: str) -> tuple[str, str]:
        """The address of the provider to send a stranger's browser to, and the Set-Cookie line. Raises Failed."""
        provider = self.provider(name)
        return await self._away(caller, provider, self._flow(caller, provider, wanted))

    async def begin_proof(
        self, caller: Caller, who: Principal, wanted: str, action: str = "", carried: str = ""
    ) -> tuple[str, str]:
        """The same for who is logged in, and is to log in there anew. Raises Failed, Refusal."""
        provider = self.named(who.issuer)
        if provider is None or who.kind != "user":
            raise Refusal("conflict", 409, "this account does not log in elsewhere")
        if len(carried) > CARRIED:
            raise Refusal("too-large", 413, "the form is too large to wait; log in anew, then send it again")
        flow = self._flow(caller, provider, wanted)
        flow.session, flow.user, flow.action, flow.carried = who.id, who.name, action, carried
        return await self._away(caller, provider, flow, prompt="login", max_age="0")

    def _flow(self, caller: Caller, provider: Provider, wanted: str) -> Flow:
        place = self.place(caller, provider)
        return Flow(provider.name, provider.issuer, place, self._wall(), network_key(caller), wanted)

    async def _away(self, caller: Caller, provider: Provider, flow: Flow, **more: str) -> tuple[str, str]:
        try:
            description = await self.issuer(provider).description()
        except (Untrusted, HTTPFailed) as error:
            raise await self._refused(caller, provider, str(error)) from None
        state, nonce, challenge, cookie = self.flows.begin(caller, flow)
        asked = {
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": flow.redirect,
            "scope": " ".join(provider.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **more,
        }
        return _with(description.authorization, asked), cookie

    # Back

    async def back(self, caller: Caller, name: str, said: Mapping[str, str]) -> str:
        """A browser comes back, by a request of another site: the ticket with which it goes on from ours. Raises
        Failed.
        """
        provider = self.provider(name)
        flow = self.flows.back(caller, name, said.get("state", ""))
        if flow is None or flow.issuer != provider.issuer:
            raise await self._refused(caller, provider, "no such login is under way in this browser")
        if "error" in said:
            word = said["error"] if _ERROR.fullmatch(said["error"]) else "an error"
            raise await self._refused(caller, provider, f"the provider answered {word}", flow)
        known = self.issuer(provider).known
        if said.get("iss", "" if known is not None and known.names_itself else provider.issuer) != provider.issuer:
            raise await self._refused(caller, provider, "the answer is not of this provider", flow)
        if _CODE.fullmatch(said.get("code", "")) is None:
            raise await self._refused(caller, provider, "the answer has no code", flow)
        flow.code = said["code"]
        return self.flows.ticket(flow)

    async def finish(self, caller: Caller, name: str, ticket: str, who: Principal | None) -> Entered:
        """It goes on from our own site, with its session where it has one. Raises Failed, Refusal, TooMany."""
        provider = self.provider(name)
        found = self.flows.end(caller, name, ticket)
        if found is None or found[0].issuer != provider.issuer:
            raise await self._refused(caller, provider, "no such login is under way in this browser")
        flow, verifier = found
        # Codes cannot be guessed; but who tries keeps the provider busy through us.
        self._throttle.check(f"\0{name}", caller.address)
        network = network_key(caller)
        if self._exchanges.total() >= AT_ONCE or self._exchanges[network] >= AT_ONCE_OF_NETWORK:
            raise TooMany(5.0)
        self._exchanges[network] += 1
        issuer = self.issuer(provider)
        try:
            text, access = await issuer.exchange(flow.code, verifier, flow.redirect)
            claims = await issuer.claims(text, access, Wanted(flow.is_nonce, flow.began, bool(flow.session)))
        except (Untrusted, HTTPFailed) as error:
            if isinstance(error, Wrong):
                self._throttle.failed(f"\0{name}", caller.address)
            raise await self._refused(caller, provider, str(error), flow) from None
        finally:
            self._exchanges -= Counter((network,))
        self._throttle.passed(f"\0{name}", caller.address)
        await self._lock.acquire()
        try:
            if flow.session:
                await self._must_be(provider, flow, claims)
            user, is_changed = await self._account(caller, provider, claims)
        except Untrusted as error:
            raise await self._refused(caller, provider, str(error), flow) from None
        finally:
            self._lock.release()
        self._keep_hint(user.name, text)
        if flow.session:
            await self._prove(caller, provider, flow, who, is_changed)
            return Entered(flow, (gone(caller),))
        try:
            cookie, is_done = await self._accounts.enter_from(caller, user, factor_of(claims, provider))
        except Refusal as error:
            # The audit has it already.
            raise Failed(error.detail) from None
        return Entered(flow, (gone(caller), cookie), is_done)

    async def _must_be(self, provider: Provider, flow: Flow, claims: Mapping[str, Any]) -> None:
        found = await self._accounts.users.by_subject(provider.issuer, claims["sub"])
        if found is None or found.name != flow.user:
            raise Untrusted(f"somebody else logged in there than {flow.user}")

    async def _prove(
        self, caller: Caller, provider: Provider, flow: Flow, who: Principal | None, is_changed: bool
    ) -> None:
        if who is None or who.id != flow.session or is_changed:
            raise await self._refused(caller, provider, "the session of the proof is over", flow)
        await self._accounts.browsers.prove(who.id)
        await self._accounts.note(who.actor, "proof", provider.name, "", caller)

    # Accounts

    async def _account(self, caller: Caller, provider: Provider, claims: Mapping[str, Any]) -> tuple[User, bool]:
        """Whose login it is, with the rights of today, and whether these are others than before. Raises Untrusted."""
        users, accounts = self._accounts.users, self._accounts
        subject: str = claims["sub"]
        user = await users.by_subject(provider.issuer, subject)
        try:
            grant = _grant(provider, claims)
        except Untrusted:
            if user is not None:
                await accounts.end_all(user.name)
            raise
        if user is not None and user.is_disabled:
            raise Untrusted(f"the account {user.name} is shut out")
        by = Actor("sso", provider.name)
        domains = check_domains(grant.domains, grant.role)
        after = {"role": grant.role, "domains": list(domains), "issuer": provider.issuer, "subject": subject}
        if user is None:
            name = await self._name(provider, claims)
            told = f"{rights(grant.role, domains)}, by group {grant.name}"
            await accounts.audit(by, "user.add", name, told, caller, after=after, method=METHOD)
            await users.add_subject(name, grant.role, domains, provider.issuer, subject)
            caller.made()
        elif (user.role, set(user.domains)) != (grant.role, set(domains)):
            name, before = user.name, {"role": user.role, "domains": list(user.domains)}
            told = f"{rights(user.role, user.domains)} -> {rights(grant.role, domains)}, by group {grant.name}"
            await accounts.audit(by, "user.change", name, told, caller, before=before, after=after, method=METHOD)
            await users.change_user(name, grant.role, domains, None)
            caller.made()
            accounts.forget_sessions(name)
        else:
            return user, False
        fresh = await users.user(name)
        if fresh is None or fresh.is_disabled:
            raise Untrusted(f"the account {name} is gone, or shut out")
        return fresh, True

    async def _name(self, provider: Provider, claims: Mapping[str, Any]) -> str:
        """What a new account is called: never as somebody else here is."""
        said = claims.get(provider.name_claim)
        plain = unicodedata.normalize("NFKD", said if isinstance(said, str) else "")
        name = re.sub(r"[^A-Za-z0-9._@-]", "", plain).lstrip("._@-")[:64]
        mark = hashlib.sha256(claims["sub"].encode("utf-8", "replace")).hexdigest()[:8]
        for one in (
            name,
            f"{name[: 63 - len(provider.name)]}@{provider.name}" if name else "",
            f"{provider.name}-{mark}",
        ):
            try:
                check_name(one)
            except Invalid:
                continue
            if await self._accounts.users.user(one) is None:
                return one
        raise Untrusted("there is an account of that name already, and it is not of this provider")

    async def _refused(self, caller: Caller, provider: Provider, why: str, flow: Flow | None = None) -> Failed:
        """Write down why; what to raise."""
        actor = Actor("user", flow.user) if flow is not None and flow.user else Actor("sso", provider.name)
        action = "proof.failed" if flow is not None and flow.session else "login.failed"
        detail = f"by {provider.name}: {visible(why, 300)}"
        await self._accounts.refused(actor, action, caller.address, detail, caller, "failed", method=METHOD)
        return Failed(why)

    # Out again

    def _keep_hint(self, name: str, token: str) -> None:
        self._hints.pop(name, None)
        if len(token) <= _HINT_CHARACTERS:
            self._hints[name] = token
        while len(self._hints) > _HINTS:
            del self._hints[next(iter(self._hints))]

    def leave(self, caller: Caller, who: Principal) -> str:
        """The address of the provider that ends the login there; "" where it has none, or is not known now."""
        provider = self.named(who.issuer) if who.issuer else None
        known = self.issuer(provider).known if provider is not None else None
        if provider is None or known is None or not known.end_session:
            return ""
        asked = {"client_id": provider.client_id, "post_logout_redirect_uri": self.logout_place(caller)}
        hint = self._hints.pop(who.name, "")
        return _with(known.end_session, {**asked, "id_token_hint": hint} if hint else asked)


def _grant(provider: Provider, claims: Mapping[str, Any]) -> ProviderGroup:
    groups = groups_of(claims, provider.groups_claim)
    found = provider.grant(groups)
    if found is None:
        many = f" and {len(groups) - 10} more" if len(groups) > 10 else ""
        said = f"{', '.join(groups[:10])}{many}" if groups else "none"
        raise Untrusted(
            f"no group of {visible(claims['sub'], 80)} has a role here; the groups are {visible(said, 150)}"
        )
    return found


def _with(address: str, asked: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"
