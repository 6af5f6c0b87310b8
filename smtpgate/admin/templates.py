"""The templates, and what every page has. Whatever is written into a page passes `text.visible` and is
escaped.

No page marks foreign text as safe, and no template has a style or a script of its own (CSP).
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from smtpgate import __version__
from smtpgate.admin import explain, text
from smtpgate.admin.answer import Answer, content_policy, html
from smtpgate.admin.guard import Caller
from smtpgate.admin.permission import Principal
from smtpgate.admin.places import GROUPS, LIMITED
from smtpgate.admin.routes import Ask


class Templates:
    """All templates, and what every page has."""

    def __init__(self, office: Any) -> None:
        self._office = office
        self._environment = Environment(
            loader=PackageLoader("smtpgate.admin", "templates"),
            autoescape=lambda name: name is None or not name.endswith(".txt"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_harmless,
            auto_reload=False,
        )
        self._environment.filters |= {
            "clock": text.clock_time,
            "span": text.duration,
            "since": text.since,
            "ms": text.milliseconds,
            "octets": text.octets,
            "subject": text.subject,
            "bare": text.bare,
            "path": lambda value: quote(str(value), safe="", errors="replace"),
            "rfc3339": lambda value: text.moment(value) or "",
        }
        self._environment.globals |= {
            "asset": office.assets.place,
            "version": __version__,
            "banner_of": explain.of_message,
            "live": _live,
            #: `_harmless` shows every other control character.
            "newline": Markup("\n"),
        }

    def render(self, template: str, principal: Principal | None, **values: Any) -> str:
        """A page as text; `page` and `bare` make answers of it."""
        control = self._office.control
        common: dict[str, Any] = {
            "me": principal,
            "csrf": principal.csrf if principal is not None else "",
            "hostname": control.settings.hostname,
            "is_draining": control.reception.is_draining,
            "has_problems": bool(control.problems),
            "signs": control.configuration.signs(),
            "is_open": control.settings.admin.insecure,
            "now": self._office.wall(),
            "permissions": principal.scopes if principal is not None else frozenset(),
            "places": GROUPS if principal is None or not principal.domains else LIMITED,
            "here": "",
            "q": "",
            "theme": "",
            "nonce": "",
            "at": "/",
            "request_id": "",
            "language": "en",
        }
        return self._environment.get_template(template).render(**{**common, **values})

    def mail(self, template: str, **values: Any) -> str:
        """A mail as text: markup is escaped in what ends with .html, and nowhere else."""
        return self._environment.get_template(template).render(**values)

    async def page(self, ask: Ask, name: str, status: int = 200, **values: Any) -> Answer:
        """A page as the answer to a request. A long one takes 50 ms to write, so that is done in a thread; all that
        goes into it are frozen values."""
        nonce = secrets.token_urlsafe(16)
        known = {
            "nonce": nonce,
            "theme": ask.caller.theme,
            "at": ask.request.uri.decode("latin-1"),
            "request_id": ask.request.id,
            "status": status,
            **values,
        }
        text = await self._office.in_thread(lambda: self.render(name, ask.principal, **known))
        return html(text, status, content_policy(nonce))

    def bare(self, caller: Caller, template: str, status: int = 200, **values: Any) -> Answer:
        """A page for somebody who is not logged in: it has no scripts."""
        return html(self.render(template, None, theme=caller.theme, **values), status)

    def error(
        self,
        caller: Caller,
        is_stranger: bool,
        request_id: str,
        status: int,
        title: str,
        detail: str,
        remedy: str = "",
        is_look: bool = True,
    ) -> Answer:
        """What went wrong, for people.

        :param is_stranger: somebody who reaches no other page
        :param remedy: what can be done
        :param is_look: it can be asked for once more, and nothing is done twice
        """
        values = {
            "title": title,
            "detail": detail,
            "request_id": request_id,
            "code": status,
            "theme": caller.theme,
            "remedy": remedy if not is_stranger else "",
            "is_look": is_look and status >= 500,
        }
        principal = None if is_stranger else caller.principal
        if principal is None or principal.kind != "user":
            return html(self.render("error.html", None, is_stranger=is_stranger, **values), status)
        # Who is logged in keeps the way to all other pages.
        nonce = secrets.token_urlsafe(16)
        first = caller.request.path.decode("latin-1").split("/")[1]
        here = next((one.name for _, places in GROUPS for one in places if one.path == f"/{first}"), "error")
        text = self.render("error.html", principal, is_stranger=False, nonce=nonce, here=here, **values)
        return html(text, status, content_policy(nonce))


@pass_context
def _live(context: Context, id: str, seconds: int, events: str = "") -> Markup:
    """The attributes of a part that is kept fresh: `live.js` triggers `refresh`, htmx fetches the page that it stands
    on and takes the part of that id out of it.

    :param events: the topics of the event stream that make it fetch at once
    """
    wake = Markup(' data-events="{}"').format(events) if events else ""
    return Markup(
        'id="{id}" data-live="{seconds}"{wake} hx-get="" hx-trigger="refresh" hx-select="#{id}" hx-target="this" '
        'hx-swap="outerMorph" hx-nonce="{nonce}"'
    ).format(id=id, seconds=seconds, wake=wake, nonce=context["nonce"])


def _harmless(value: Any) -> Any:
    """Before anything is written into a page."""
    return value if isinstance(value, Markup | int | float) else text.visible(value)
