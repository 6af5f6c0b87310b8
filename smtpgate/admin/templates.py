"""The templates, and what every page has. Whatever is written into a page passes `text.visible` and is
escaped.

No page marks foreign text as safe, and no template has a style or a script of its own (CSP).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from smtpgate import __version__
from smtpgate.admin import explain, text
from smtpgate.admin.permission import Principal
from smtpgate.admin.routes import Ask
from smtpgate.admin.wire import Answer, html


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
            "ms": text.milliseconds,
            "octets": text.octets,
            "subject": text.subject,
            "path": lambda value: quote(str(value), safe="", errors="replace"),
            "rfc3339": lambda value: text.moment(value) or "",
        }
        self._environment.globals |= {
            "asset": office.assets.place,
            "version": __version__,
            "banner_of": explain.of_message,
        }

    def render(self, template: str, principal: Principal | None, **values: Any) -> str:
        """A page as text."""
        control = self._office.control
        common: dict[str, Any] = {
            "me": principal,
            "csrf": principal.csrf if principal is not None else "",
            "hostname": control.settings.hostname,
            "is_draining": control.reception.is_draining,
            "has_problems": bool(control.problems),
            "is_open": control.settings.admin.insecure,
            "now": self._office.wall(),
            "here": "",
            "q": "",
        }
        return self._environment.get_template(template).render(**{**common, **values})

    def mail(self, template: str, **values: Any) -> str:
        """A mail as text: markup is escaped in what ends with .html, and nowhere else."""
        return self._environment.get_template(template).render(**values)

    async def page(self, ask: Ask, name: str, status: int = 200, **values: Any) -> Answer:
        """A page as the answer to a request. A long one takes 50 ms to write, so that is done in a thread; all that
        goes into it are frozen values."""
        text = await self._office.in_thread(lambda: self.render(name, ask.principal, **values))
        return html(text, status)

    def error(self, is_stranger: bool, request_id: str, status: int, title: str, detail: str) -> str:
        """What went wrong, for people.

        :param is_stranger: somebody who reaches no other page
        """
        values = {"status": status, "title": title, "detail": detail, "request_id": request_id}
        return self.render("error.html", None, is_stranger=is_stranger, **values)


def _harmless(value: Any) -> Any:
    """Before anything is written into a page."""
    return value if isinstance(value, Markup | int | float) else text.visible(value)
