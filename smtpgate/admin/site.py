"""The site: routes bound to klein, a guard before each, and one shape for every refusal.

`tap` makes one `Office` and hangs its sites on their endpoints: "web" for browsers and scripts, "local" on a
unix socket for the command line (whoever may open the socket is the owner), "health" for probes. Nothing here
holds the reactor: what hashes or reads a disk is awaited.

Order of things for one request: caps (`wire`), host and origin (`guard`), who asks (`accounts`), the route's
permission, CSRF, the query's parameters, the body's form, then the route itself. Whoever is not logged in
learns nothing of which routes exist: all unknown ones answer like known ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any

import attrs
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, maybeDeferred
from twisted.logger import Logger
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from smtpgate.admin import api_tasks, counted, orders, params, proof, reports, versions
from smtpgate.admin.accounts import Accounts
from smtpgate.admin.answer import STRICT_TRANSPORT, Answer, as_json, redirect
from smtpgate.admin.assets import Assets
from smtpgate.admin.cursors import Cursors
from smtpgate.admin.entry import login_place
from smtpgate.admin.events import Streams
from smtpgate.admin.every import ROUTES
from smtpgate.admin.first import FirstSteps
from smtpgate.admin.guard import Caller, FormKeys, Refusal
from smtpgate.admin.links import Links
from smtpgate.admin.numbers import Numbers
from smtpgate.admin.pace import Pace
from smtpgate.admin.problem import as_problem
from smtpgate.admin.reading import Readings
from smtpgate.admin.repeats import Repeats
from smtpgate.admin.routes import Ask, Planned, Route, Stream, largest_body
from smtpgate.admin.seconds import Seconds
from smtpgate.admin.sso import Logins
from smtpgate.admin.templates import Templates
from smtpgate.admin.throttle import TooMany, network_of
from smtpgate.admin.waits import Usuals
from smtpgate.admin.wire import WebRequest, WebSite
from smtpgate.control import Control
from smtpgate.control.views import Refused, Unknown
from smtpgate.interfaces import Taken
from smtpgate.policy.meter import Meter
from smtpgate.policy.person import Person

#: What shows a thing that a call of the same path changes.
_LOOKS = {route.path: route for route in ROUTES if route.method == "GET" and route.kind == "api"}
#: The tag of a longer answer is made in a thread.
AT_ONCE_OCTETS = 65536
_VERSIONED = frozenset({"PUT", "PATCH", "DELETE"})
#: Methods and paths of those that take messages; none has a variable in its path.
_LARGE = frozenset((route.method.encode(), route.path.encode()) for route in ROUTES if route.is_large)


class Office:
    """What all requests share."""

    log = Logger(namespace="smtpgate.admin")

    def __init__(
        self,
        control: Control,
        users: Any,
        metrics: Any,
        clock: Any,
        in_thread: Callable[..., Any],
        say: Callable[[str], None],
        repeats: Any,
        secret: bytes = b"",
        pace: Pace | None = None,
    ) -> None:
        """
        :param pace: how much of the gateway's time is for the pages; None: as measured
        :param users: `state.users`
        :param metrics: `observe.metrics`
        :param clock: IReactorTime
        :param in_thread: runs a blocking call elsewhere and gives a Deferred
        :param say: tells the person at the log the one-time setup code
        :param repeats: `interfaces.ITable`: answers to orders that may be given twice, and which first steps are done
        :param secret: signs the links of digests; without one they hold until the next start
        """
        self.control = control
        self.metrics = metrics
        self.clock = clock
        self.pace = Pace(clock) if pace is None else pace
        self.in_thread = in_thread
        self.wall: Callable[[], float] = control.engine.wall
        self.accounts = Accounts(users, self.wall, say, lambda: control.settings, control.people)
        self.users = users
        self.logins = Logins(self.accounts, lambda: control.settings, self.wall, in_thread)
        self.form_keys = FormKeys()
        self.streams = Streams(control, self.accounts, clock, self.pace)
        self.numbers = Numbers(control, metrics)
        self.assets = Assets()
        self.templates = Templates(self)
        secret = secret or secrets.token_bytes(32)
        self.links = Links(secret)
        self.cursors = Cursors(secret)
        self.repeats = Repeats(repeats)
        self.first = FirstSteps(control, repeats)
        self.readings = Readings()
        self.seconds = Seconds(clock.seconds)
        self.reports = reports.Reports(self.wall)
        self.usuals = Usuals(control.statistics, clock.seconds)
        self.meter: Meter = control.engine.meter
        counted.expect(self.meter)
        #: Up to when a person has heard of what is held (`digest`); set by whoever sends digests.
        self.heard: Callable[[Person], Awaitable[tuple[float, bool]]] = _now_of(self.wall)
        self._document: Answer | None = None
        #: Who calls webhooks (`hooks`); set by whoever has the stores.
        self.hooks: Any = None
        #: A test message is on its way.
        self.is_sending = False

    def open(self) -> Deferred[None]:
        """Where nobody can log in yet, say the setup code."""
        return ensureDeferred(self.accounts.offer_setup())

    def close(self) -> None:
        """End what goes on: event streams."""
        self.streams.close()
        self.pace.close()

    def site(self, door: str = "web") -> WebSite:
        """A factory for an endpoint: "web", "local" or "health"."""
        resource = _Front(self, door).app.resource()
        pace = self.pace if door == "web" else None
        prefix = lambda: self.control.settings.admin.path  # noqa: E731
        return WebSite(resource, self.clock, door, self._most_octets, prefix, pace, self._who)

    def _who(self, request: WebRequest) -> str:
        """Whose turn a request takes in line."""
        return self.key_of(Caller(request, self.control.settings, "web"))

    def key_of(self, caller: Caller) -> str:
        """The same of who is known already: an address, or a network of IPv6."""
        return caller.address if "." in caller.address else network_of(caller.address)

    def _most_octets(self, verb: bytes, path: bytes) -> int:
        if (verb, path) not in _LARGE:
            return 0
        return largest_body(self.control.settings.limits.message_size_octets)

    def gauges(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Who is here, for the metrics."""
        yield "admin_sessions_active", (), self.accounts.browsers.count
        yield "audit_write_failures_total", (), self.accounts.audit_failures
        if self.hooks is not None:
            for name in self.control.settings.webhooks:
                yield "webhook_queue_depth", (name,), self.hooks.waiting.get(name, 0)
        yield "sse_clients", (), self.streams.count
        yield "sse_dropped_total", (), self.streams.dropped

    async def document(self) -> Answer:
        """The API document; it is the same until the program is another."""
        if self._document is None:
            from smtpgate.admin.openapi import build

            self._document = await self.in_thread(lambda: as_json(build(self.routes())))
        return self._document

    def routes(self) -> Iterable[Route]:
        """All routes, for the API document."""
        return ROUTES


def _now_of(wall: Callable[[], float]) -> Callable[[Person], Awaitable[tuple[float, bool]]]:
    """Without digests: what came up to now is not announced."""

    async def heard(person: Person) -> tuple[float, bool]:
        return wall(), False

    return heard


class _Front:
    """The routes of one door as a klein application."""

    def __init__(self, office: Office, door: str) -> None:
        self._office = office
        self._door = door
        self.app = app = Klein()
        app.url_map.strict_slashes = True
        app.url_map.merge_slashes = False
        app.url_map.redirect_defaults = False
        for number, route in enumerate(ROUTES):
            if door in route.doors:
                self._bind(route, f"{route.method} {route.path} {number}")
        app.handle_errors(HTTPException)(self._unrouted)  # type: ignore[arg-type]

    def _bind(self, route: Route, endpoint: str) -> None:
        def serve(request: WebRequest, **args: str) -> Deferred[Any]:
            return ensureDeferred(self._office.pace.metered(self._serve(route, request, args)))

        serve.__name__ = endpoint
        self.app.route(route.path, methods=[route.method], endpoint=endpoint)(serve)

    async def _serve(self, route: Route, request: WebRequest, args: dict[str, str]) -> bytes | None:
        async def work(caller: Caller) -> Any:
            try:
                ask = await self._admit(route, request, caller, args)
                if not isinstance(ask, Ask):
                    return ask
                answer = await (self._serve_api(route, ask) if route.kind == "api" else route.serve(ask))
                if caller.written and isinstance(answer, Answer) and answer.status >= 400:
                    # A page has said itself what was wrong.
                    await self._office.accounts.not_done(caller, Refused(f"the answer was {answer.status}"))
                return answer
            except Refusal as refusal:
                who = caller.principal
                if refusal.status == 403 and who is not None:
                    tried = f"{caller.method} {request.path.decode('latin-1')[:200]}"
                    said = f"{refusal.slug}: {refusal.detail}"
                    await self._office.accounts.refused(who.actor, "denied", tried, said, caller, "denied")
                await self._office.accounts.not_done(caller, refusal)
                raise
            except (Planned, CancelledError):
                raise
            except Exception as error:
                await self._office.accounts.not_done(caller, error)
                raise

        began = self._office.clock.seconds()
        try:
            return await self._answer(request, work, route.kind)
        finally:
            counted.request(self._office.meter, route, request.code, self._office.clock.seconds() - began)

    async def _serve_api(self, route: Route, ask: Ask) -> Any:
        """What holds for all of the API: versions of what is looked at and changed, and the same order given twice."""
        header = ask.request.header
        if route.method == "GET":
            answer = await route.serve(ask)
            if not isinstance(answer, Answer) or answer.status != 200:
                return answer
            if len(answer.body) > AT_ONCE_OCTETS:
                tag = await ask.office.in_thread(versions.tag_of, answer, route.unversioned)
            else:
                tag = versions.tag_of(answer, route.unversioned)
            if header("if-none-match") and versions.is_named(tag, header("if-none-match")):
                return Answer(b"", 304, headers={**answer.headers, "ETag": tag})
            return attrs.evolve(answer, headers={**answer.headers, "ETag": tag})
        look = _LOOKS.get(route.path)
        if look is not None and route.method in _VERSIONED:
            current = await look.serve(attrs.evolve(ask, params=params.read(look.query, {})))
            versions.check(header("if-match"), versions.tag_of(current, look.unversioned), current)
        if route.may_wait and not ask.is_dry_run and api_tasks.is_wanted(ask):
            serve: Callable[[], Awaitable[Any]] = partial(api_tasks.begin, ask, route)
        else:
            serve = partial(route.serve, ask)
        key = header("idempotency-key")
        if not key or route.method != "POST" or not route.changes or ask.is_dry_run:
            return await serve()
        who = f"{ask.who.kind} {ask.who.id or ask.who.name}"
        place = ask.request.path.decode("latin-1")
        repeats = ask.office.repeats
        return await repeats.once(who, place, key, ask.request.body, route.is_secret, serve)

    def _unrouted(self, request: WebRequest, failure: Any) -> Deferred[Any]:
        error = failure.value

        async def work(caller: Caller) -> Any:
            if self._door != "health" and await self._office.accounts.principal(caller) is None:
                return await self._stranger(caller, _kind_of(request))
            if isinstance(error, MethodNotAllowed):
                allowed = ", ".join(sorted(error.valid_methods or ()))
                refusal = Refusal("method", 405, f"this path takes {allowed}")
                refusal.headers = {"Allow": allowed}
                raise refusal
            raise Refusal("not-found", 404, "there is nothing here")

        return ensureDeferred(self._answer(request, work, _kind_of(request)))

    async def _answer(self, request: WebRequest, work: Callable[[Caller], Awaitable[Any]], kind: str) -> bytes | None:
        """Run, and turn whatever happens into an answer."""
        office = self._office
        caller = Caller(request, office.control.settings, self._door)
        caller.facts = {"node": office.control.settings.hostname, "revision": office.control.current().id}
        try:
            if self._door != "health":
                caller.check()
            answer = await work(caller)
        except Planned as planned:
            answer = as_json({"is_dry_run": True, "would": planned.effect})
        except (Refusal, TooMany, Unknown, Refused, Taken) as error:
            answer = as_problem(office, request, caller, error, kind)
        except (CancelledError, GeneratorExit):
            raise
        except Exception as error:
            office.log.failure("request {id} failed", id=request.id)
            answer = as_problem(office, request, caller, error, kind)
        if isinstance(answer, Stream):
            request.leave_line()
            await answer.run(request)
            return None
        assert isinstance(answer, Answer)
        if caller.is_secure:
            answer = attrs.evolve(answer, headers={**answer.headers, **STRICT_TRANSPORT})
        return request.send(answer)

    async def _admit(self, route: Route, request: WebRequest, caller: Caller, args: dict[str, str]) -> Ask | Answer:
        """Everything before the route's own code. An Answer where a stranger is to log in first."""
        principal = None if self._door == "health" else await self._office.accounts.principal(caller)
        caller.principal = principal
        if principal is not None:
            self._office.pace.know(self._office.key_of(caller))
        if not _is_open(route, caller, self._door):
            if principal is None:
                return await self._stranger(caller, route.kind, request)
            permission = "metrics:read" if route.permission == "near" else route.permission
            if not principal.may(permission):
                if route.path == "/" and principal.kind == "user":
                    # Somebody with held mail of their own, and nothing else.
                    return redirect("/my")
                raise Refusal("forbidden", 403, f"your role has no permission {permission}")
            if not route.is_open_to(principal):
                if route.path == "/" and route.kind == "page":
                    return redirect("/messages")
                raise Refusal("forbidden", 403, "this is about all mail, and you are limited to that of some domains")
            if principal.must_enrol and not route.is_own and route.permission != "public":
                if route.kind == "page":
                    return redirect("/account")
                raise Refusal("totp-required", 403, f"the role {principal.role} must set up one-time codes first")
        # What is large is read where nobody waits for it.
        is_apart = route.body is not None and orders.is_apart(request.body)
        is_apart = is_apart or len(request.body) > orders.APART_OCTETS
        apart = self._office.in_thread if is_apart else maybeDeferred
        form, files = (await apart(caller.form, route.takes_files)) if route.is_form else (None, {})
        if principal is not None and route.permission != "public":
            caller.check_csrf(principal, form)
        if route.is_guarded and principal is not None:
            proved = await proof.wanted(self._office, route, request, caller, principal, form)
            if isinstance(proved, Answer):
                return proved
            form = proved
        given = {
            name.decode("utf-8", "replace"): [value.decode("utf-8", "replace") for value in values]
            for name, values in (request.args or {}).items()
        }
        query = {name: values[0] for name, values in given.items()}
        checked = params.read(route.parameters, given) if route.kind == "api" else {}
        body = (await apart(orders.read, route, request)) if route.body is not None else None
        return Ask(self._office, request, caller, principal, args, query, form or {}, body, checked, files)

    async def _stranger(self, caller: Caller, kind: str, request: WebRequest | None = None) -> Answer:
        """Nobody is logged in: 401 for programs, the login page for people."""
        if kind != "page":
            refusal = Refusal("unauthenticated", 401, "log in, or send a token as Authorization: Bearer")
            refusal.headers = {"WWW-Authenticate": 'Bearer realm="smtpgate"'}
            raise refusal
        if await self._office.accounts.needs_setup():
            return redirect("/setup")
        if not caller.is_safe:
            raise Refusal("unauthenticated", 401, "your session is over; log in and do it again")
        return redirect(login_place(caller.request))


def _is_open(route: Route, caller: Caller, door: str) -> bool:
    if route.permission == "public" or door == "health":
        return True
    return route.permission == "near" and caller.is_near


def _kind_of(request: WebRequest) -> str:
    path = request.path.decode("latin-1")
    return "api" if path.startswith("/api") or path == "/metrics" else "page"


__all__ = ["ROUTES", "Office"]
