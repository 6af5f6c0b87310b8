"""The body of a request as the order that its route takes."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from smtpgate.admin.guard import Refusal, content_json
from smtpgate.admin.routes import Route
from smtpgate.admin.wire import WebRequest


def read(route: Route, request: WebRequest) -> Any:
    """What it says, checked. Raises Refusal with each place that is wrong."""
    assert route.body is not None
    try:
        return route.body.model_validate_json(content_json(request) or b"{}")
    except ValidationError as error:
        kinds = {one["type"] for one in error.errors(include_url=False, include_input=False, include_context=False)}
        if "json_invalid" in kinds:
            raise Refusal("malformed", 400, "the body is not JSON") from None
        refusal = Refusal("validation", 422, "the body has faults")
        refusal.errors = [
            {
                "pointer": "/" + "/".join(str(part) for part in one["loc"]),
                "code": one["type"],
                "message": one["msg"].removeprefix("Value error, "),
            }
            for one in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise refusal from None
