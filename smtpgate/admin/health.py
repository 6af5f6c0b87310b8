"""For probes and Prometheus: is it alive, is it ready, and the numbers. One word each, no login from this
machine.

`/livez` answers while the reactor turns; `/readyz` is 503 while the gateway drains. A backend that is away
does not make the gateway unready: the sender gets an explained 451, and a refused connection otherwise.
"""

from __future__ import annotations

from smtpgate.admin.answer import Answer, plain
from smtpgate.admin.routes import Ask, Route

_EVERYWHERE = frozenset({"web", "local", "health"})


async def live(ask: Ask) -> Answer:
    """The reactor turns, or this would not be said."""
    return plain("ok")


async def ready(ask: Ask) -> Answer:
    """Whether new mail should come here."""
    return plain("ok") if ask.office.control.is_ready else plain("draining", 503)


async def started(ask: Ask) -> Answer:
    """Whether a configuration is at work."""
    return plain("ok") if ask.office.control.revision is not None else plain("starting", 503)


async def metrics(ask: Ask) -> Answer:
    """The numbers, as Prometheus reads them."""
    content_type, body = await ask.office.numbers.exposition(ask.request.header("accept"), ask.office.in_thread)
    return Answer(body, 200, content_type)


ROUTES = (
    Route("GET", "/livez", "near", live, "word", "Alive", doors=_EVERYWHERE),
    Route("GET", "/readyz", "near", ready, "word", "Ready for mail", doors=_EVERYWHERE),
    Route("GET", "/startupz", "near", started, "word", "Started", doors=_EVERYWHERE),
    Route("GET", "/metrics", "near", metrics, "word", "Numbers for Prometheus", doors=_EVERYWHERE),
)
