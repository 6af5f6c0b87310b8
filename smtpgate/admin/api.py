"""The API under /api/v1: every route with its permission, its body and its answer.

What the pages show and do, this does too. Bodies and answers are pydantic models (`models`), parameters of the
query are declared here (`params`); what is not declared is refused on the way in. A GET changes nothing.
"""

from __future__ import annotations

from smtpgate.admin import api_do as do
from smtpgate.admin import api_look as look
from smtpgate.admin import models as m
from smtpgate.admin import searching
from smtpgate.admin.api_live import FILTER
from smtpgate.admin.api_look import MOST
from smtpgate.admin.hub import TOPICS
from smtpgate.admin.models_config import Checked
from smtpgate.admin.numbers import MINUTES, Series
from smtpgate.admin.params import SomeOf, Whole
from smtpgate.admin.record import SessionRecord
from smtpgate.admin.routes import Route
from smtpgate.control.outcomes import KEPT_MINUTES
from smtpgate.policy.transaction import OUTCOMES

_BASE = "/api/v1"
_LIMIT = {"limit": Whole(f"how many items, at most {MOST}", MOST, 50)}
#: What may become of a message.
_OUTCOMES = OUTCOMES
_SERVER = f"{_BASE}/backends/<pool>/servers/<path:name>"

ROUTES = (
    Route(
        "GET",
        f"{_BASE}/series",
        "stats:read",
        look.series,
        summary="Messages by the minute",
        answer=Series,
        query={"minutes": Whole("how many minutes back", KEPT_MINUTES, MINUTES)},
    ),
    Route(
        "GET",
        f"{_BASE}/sessions",
        "traffic:read",
        look.sessions,
        for_domains=True,
        summary="Live sessions",
        answer=m.SessionList,
        query=_LIMIT,
    ),
    Route(
        "GET",
        f"{_BASE}/sessions/<id>",
        "messages:read",
        look.session,
        for_domains=True,
        summary="One session",
        answer=SessionRecord,
    ),
    Route(
        "POST",
        f"{_BASE}/sessions/<id>/kill",
        "runtime:write",
        do.kill_session,
        summary="End a session",
        body=m.Nothing,
        answer=m.Done,
    ),
    searching.API,
    Route(
        "GET",
        f"{_BASE}/messages/<id>",
        "messages:read",
        look.message,
        for_domains=True,
        summary="One message",
        answer=m.MessageDetail,
    ),
    Route(
        "POST",
        f"{_SERVER}/drain",
        "runtime:write",
        do.drain,
        summary="No new sessions for a server",
        body=m.DrainOrder,
        answer=m.Done,
    ),
    Route(
        "POST",
        f"{_SERVER}/ready",
        "runtime:write",
        do.ready,
        summary="Sessions for it again",
        body=m.Reason,
        answer=m.Done,
    ),
    Route(
        "GET",
        f"{_BASE}/filters",
        "config:read",
        look.filters,
        summary="The chain of filters",
        answer=m.FilterList,
    ),
    Route(
        "GET",
        f"{_BASE}/config",
        "config:read",
        look.config,
        summary="Configuration at work",
        answer=m.ConfigModel,
        unversioned=look.BY_ITSELF,
    ),
    Route(
        "POST",
        f"{_BASE}/config/validate",
        "config:write",
        look.validate,
        is_question=True,
        summary="Check a configuration",
        body=m.ConfigText,
        answer=Checked,
    ),
    Route(
        "POST",
        f"{_BASE}/config/reload",
        "config:write",
        do.reload,
        is_guarded=True,
        summary="Read the file anew",
        body=m.Nothing,
        answer=m.Reloaded,
    ),
    Route("GET", f"{_BASE}/me", "self", look.me, summary="Who asks", answer=m.Me),
    Route(
        "GET",
        f"{_BASE}/events",
        "messages:read",
        look.events,
        for_domains=True,
        summary="What happens, as server-sent events",
        query={
            "topics": SomeOf("what is wanted; without it all", TOPICS),
            "filter": FILTER,
            "last_event_id": Whole("the last event that you have; what came after it is told first", 2**53, 0),
        },
    ),
    Route(
        "POST",
        f"{_BASE}/system/stop",
        "system:write",
        do.stop,
        summary="Drain and stop",
        body=m.Nothing,
        answer=m.Done,
        status=202,
    ),
    Route("GET", f"{_BASE}/openapi.json", "self", look.document, summary="This document"),
)
