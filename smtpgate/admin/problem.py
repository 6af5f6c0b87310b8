"""Every refusal in one shape: problem+json (RFC 9457) for programs, a page for people, with a request id
in both.

The text of an unexpected error goes to the log and never to the browser.
"""

from __future__ import annotations

from typing import Any, Final

from smtpgate.admin.guard import Caller, Refusal
from smtpgate.admin.throttle import TooMany
from smtpgate.admin.wire import Answer, WebRequest, as_json, html
from smtpgate.control.views import Invalid, Refused, Unavailable, Unknown

TITLES = {
    "unauthenticated": "Log in first",
    "forbidden": "Not permitted",
    "csrf": "Request from elsewhere",
    "not-found": "Not found",
    "method": "Method not allowed",
    "conflict": "Conflict",
    "media-type": "Wrong content type",
    "malformed": "Malformed request",
    "parameter": "Wrong parameter",
    "misdirected": "Unknown host name",
    "validation": "Not valid",
    "rate-limited": "Too many requests",
    "overload": "Too busy",
    "unavailable": "Not to be had now",
    "audit": "Audit cannot be written",
    "internal": "Internal error",
}


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
    if isinstance(error, Refused):
        return Refusal("conflict", 409, str(error))
    return Refusal("internal", 500, "something went wrong here; the log has it under the request id")


#: Pages behind links that recipients and senders have; they see no others.
FOR_STRANGERS: Final = (b"/held/", b"/why/")


def as_problem(office: Any, request: WebRequest, caller: Caller, error: BaseException, kind: str) -> Answer:
    """The answer to a request that is not served."""
    refusal = refusal_of(error)
    headers = dict(refusal.headers)
    if refusal.seconds:
        headers["Retry-After"] = str(int(refusal.seconds) + 1)
    title = TITLES.get(refusal.slug, "Refused")
    if kind == "page":
        is_stranger = request.path.startswith(FOR_STRANGERS)
        text = office.templates.error(is_stranger, request.id, refusal.status, title, refusal.detail)
        answer = html(text, refusal.status)
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
        answer = as_json(value, refusal.status, "application/problem+json")
    return Answer(answer.body, answer.status, answer.content_type, {**answer.headers, **headers})
