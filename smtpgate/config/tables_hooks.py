"""The tables of the configuration file about calls out: webhooks, and alerts by mail; see `schema`."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from smtpgate.config.table import REQUIRED, Table, key
from smtpgate.config.values import FilePath, HookURL, MailAddresses, Networks, Wait, Words


class WebhookTable(Table):
    """One address that is called when something happens."""

    url: HookURL = key(REQUIRED, "Where it is called, by POST.", example='"https://hooks.example.com/smtpgate"')
    secret: FilePath = key(
        REQUIRED, "File with the secret that signs its calls, 16 octets at least.", example='"hook.secret"'
    )
    events: Words = key(
        ["alert"],
        "What it hears of: topics (message, alert, backend, config, log), or names of events, as admin.config.*.",
        example='["alert", "message"]',
    )
    outcomes: list[Literal["delivered", "refused", "deferred", "held", "discarded", "redirected", "unknown"]] = key(
        [], "Of messages only those with this end.", shown="all", example='["refused", "held"]'
    )
    networks: Networks = key(
        [], "Networks of your own where it may be; without it public addresses only.", example='["10.1.0.0/16"]'
    )
    timeout: Wait = key("10s", "Longest wait for its answer.")
    keep: Wait = key("1d", "A call that fails for so long is given up.")
    queue: Annotated[int, Ge(10), Le(100_000)] = key(10_000, "Calls that wait for it at most; what is beyond is lost.")


class AlertsTable(Table):
    """Mail about what is wrong with the gateway, for those without a monitoring system."""

    mail: MailAddresses = key([], "Who gets it.", example='["ops@example.net"]')
    after: Wait = key("1m", "What is over sooner is not told.")
    repeat: Wait = key("4h", "The same trouble is told again after so long, while it lasts.")
    level: Literal["bad", "all"] = key("bad", "bad: what hurts mail now; all: what will, too.")
