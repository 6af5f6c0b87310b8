"""Every refusal in one shape: problem+json (RFC 9457) for programs, a page for people, with a request id
in both.

The text of an unexpected error goes to the log and never to the browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
from sqlalchemy.exc import SQLAlchemyError

from smtpgate.admin.answer import Answer, as_json
from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.throttle import TooMany
from smtpgate.admin.wire import WebRequest
from smtpgate.control.views import Invalid, Refused, Unavailable, Unknown
from smtpgate.interfaces import StoreFailed, Taken


@attrs.frozen
class Problem:
    """A kind of refusal: what its page (`/problems/<slug>`) says of it."""

    status: int
    title: str
    meaning: str
    remedy: str


PROBLEMS: Mapping[str, Problem] = MappingProxyType(
    {
        "malformed": Problem(
            400,
            "Malformed request",
            "The body, a form or a header cannot be read.",
            "Send what the API document describes; `detail` says what is wrong.",
        ),
        "parameter": Problem(
            400,
            "Wrong parameter",
            "A parameter of the query is unknown, given twice, or has a value that cannot be meant.",
            "Mend what `errors` names; nothing is guessed, so that no other list comes than the one asked for.",
        ),
        "unauthenticated": Problem(
            401,
            "Log in first",
            "Nobody is logged in, the session is over, or the token is unknown, expired or revoked.",
            "Log in, or send a token as `Authorization: Bearer`.",
        ),
        "forbidden": Problem(
            403,
            "Not permitted",
            "The role has no such permission.",
            "Ask an owner for another role; the help page says what each may do.",
        ),
        "reason-required": Problem(
            403,
            "Say why",
            "The class of this held mail is read for a reason only, which is written into the audit.",
            "Send it as the parameter `reason`; the page asks for it.",
        ),
        "second-person-required": Problem(
            403,
            "Somebody else has to approve",
            "The class of this held mail is read with the approval of a second person only.",
            "Ask by POST .../reading with a reason, or on the page; somebody else who may read it approves.",
        ),
        "reauth-required": Problem(
            401,
            "Password wanted again",
            "This decides who may do what, or takes mail out: the password of the session is older than ten minutes.",
            "Send it to POST /api/v1/auth/reauth and try again; pages ask for it. Tokens need none.",
        ),
        "totp-required": Problem(
            403,
            "One-time codes wanted",
            "Users of this role must give a one-time code with the password, and have not set that up.",
            "Set it up on the page of your account; `admin.require_totp` names the roles.",
        ),
        "csrf": Problem(
            403,
            "Request from elsewhere",
            "The request was made by another site's page, or lacks the token of the form.",
            "Load the page anew and send the form again; programs use tokens, which need none.",
        ),
        "not-found": Problem(
            404,
            "Not found",
            "There is no such thing, not any more, or not for you.",
            "Look for it in the list that it should be in; the page of a message goes with the history.",
        ),
        "method": Problem(
            405,
            "Method not allowed",
            "The path does not take this method; nothing is changed by GET.",
            "Use one of those that the Allow header names.",
        ),
        "gone": Problem(
            410,
            "Not kept any more",
            "It was here, and its time is over or somebody deleted it.",
            "What is kept for how long is in the configuration (history, quarantine).",
        ),
        "conflict": Problem(
            409,
            "Conflict",
            "It cannot be done as things stand.",
            "`detail` says what is in the way.",
        ),
        "version-mismatch": Problem(
            412,
            "Changed meanwhile",
            "Somebody changed it after you looked.",
            "Look at `current`, make your change in that, and send it with the new ETag.",
        ),
        "too-large": Problem(
            413, "Too large", "The body is over what is taken here.", "`detail` says how much is taken."
        ),
        "media-type": Problem(
            415,
            "Wrong content type",
            "The body is not of the type that is taken here: JSON for the API, a form for pages.",
            "Send `Content-Type: application/json` to the API.",
        ),
        "misdirected": Problem(
            421,
            "Unknown host name",
            "The Host header is not one of this gateway's.",
            "Use its own name, or put the name that you use into admin.trusted_hosts.",
        ),
        "validation": Problem(
            422,
            "Not valid",
            "The body is JSON, but not what is wanted.",
            "`errors` lists all that is wrong, and where.",
        ),
        "idempotency": Problem(
            422,
            "Key in use",
            "The Idempotency-Key was used within a day for another request.",
            "Take a fresh key for each order.",
        ),
        "precondition-required": Problem(
            428,
            "Version wanted",
            "What can be changed by several people is changed only by naming the version that is meant.",
            "Send If-Match with the ETag of its GET.",
        ),
        "rate-limited": Problem(
            429, "Too many requests", "Too many requests or tries.", "Wait as long as Retry-After says."
        ),
        "internal": Problem(
            500,
            "Internal error",
            "Something went wrong in the gateway; mail is not touched by it.",
            "The log has it under the request id; report it with that.",
        ),
        "busy": Problem(
            503, "Too busy", "As many large requests as are taken at a time are at work.", "Try again in a moment."
        ),
        "unavailable": Problem(
            503,
            "Not to be had now",
            "A store that this takes cannot be read or written.",
            "Look at the disk of the state folder, and try again; mail goes on as its rules for that say.",
        ),
        "audit": Problem(
            503,
            "Audit cannot be written",
            "What changes who may do what is not done where it cannot be written down.",
            "Make room on the disk of the state folder; mail goes on meanwhile.",
        ),
    }
)


def refusal_of(error: BaseException) -> Refusal:
    """Any error as a refusal that may be shown."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TooMany):
        return Refusal("rate-limited", 429, f"too many tries; again in {error.seconds:.0f} s", error.seconds)
    if isinstance(error, Unknown):
        return Refusal("not-found", 404, str(error))
    if isinstance(error, Invalid):
        return Refusal("validation", 422, str(error))
    if isinstance(error, Unavailable):
        return Refusal("unavailable", 503, str(error))
    if isinstance(error, StoreFailed):
        return Refusal("unavailable", 503, f"what this page takes cannot be read or written now: {error}")
    if isinstance(error, Refused | Taken):
        return Refusal("conflict", 409, str(error))
    if isinstance(error, StoreFailed | SQLAlchemyError):
        return Refusal("unavailable", 503, "what is kept cannot be read or written now; the log has more")
    return Refusal("internal", 500, "something went wrong here; the log has it under the request id")


#: Pages behind links that recipients and senders have; they see no others.
FOR_STRANGERS: Final = (b"/held/", b"/why/", b"/welcome/")


#: Where a page says what to do next in the words of the kind; elsewhere those are for programs.
_TOLD: Final = frozenset({404, 500, 503})


def _page(office: Any, request: WebRequest, caller: Caller, refusal: Refusal, title: str) -> Answer | None:
    """For people; None where what pages are made of is broken, and then they get what programs get."""
    is_stranger = request.path.startswith(FOR_STRANGERS)
    try:
        remedy = PROBLEMS[refusal.slug].remedy if refusal.status in _TOLD else ""
        page: Answer = office.templates.error(
            caller, is_stranger, request.id, refusal.status, title, refusal.detail, remedy, request.method == b"GET"
        )
    except Exception:
        office.log.failure("the page of a refusal cannot be made, request {id}", id=request.id)
        return None
    return page


def as_problem(office: Any, request: WebRequest, caller: Caller, error: BaseException, kind: str) -> Answer:
    """The answer to a request that is not served."""
    refusal = refusal_of(error)
    headers = dict(refusal.headers)
    if refusal.seconds:
        headers["Retry-After"] = str(int(refusal.seconds) + 1)
    title = PROBLEMS[refusal.slug].title
    page = _page(office, request, caller, refusal, title) if kind == "page" else None
    if page is not None:
        answer = page
    else:
        value: dict[str, Any] = {
            "type": f"/problems/{refusal.slug}",
            "title": title,
            "status": refusal.status,
            "detail": refusal.detail,
            "request_id": request.id,
        }
        if refusal.errors:
            value["errors"] = refusal.errors
        value |= refusal.more
        answer = as_json(value, refusal.status, "application/problem+json")
    return Answer(answer.body, answer.status, answer.content_type, {**answer.headers, **headers})
