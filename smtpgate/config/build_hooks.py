"""From the tables of calls out to their values; see `build`. No message repeats what is in a file of a secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from smtpgate.config.credentials import is_ours
from smtpgate.config.model_hooks import AlertMail, Webhook
from smtpgate.config.patterns import NetworkList
from smtpgate.config.problem import Fault
from smtpgate.config.surroundings import ReadFile
from smtpgate.config.tables_hooks import AlertsTable, WebhookTable

#: Octets of a secret: 128 bits, where it is all chance.
LEAST: Final = 16
_HINT: Final = "make one: head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE"


def webhooks(
    tables: Mapping[str, WebhookTable], base: Path, files: Mapping[Path, ReadFile], faults: list[Fault]
) -> dict[str, Webhook]:
    """All whose secret is right, by name."""
    made = {name: _webhook(name, table, files[base / table.secret], faults) for name, table in tables.items()}
    return {name: one for name, one in made.items() if one is not None}


def _webhook(name: str, table: WebhookTable, file: ReadFile, faults: list[Fault]) -> Webhook | None:
    where = ("webhooks", name, "secret")
    secret = file.octets.strip()
    if not is_ours(file, where, _HINT, faults):
        return None
    if len(secret) < LEAST:
        faults.append(Fault(where, f"the secret in {file.path} has less than {LEAST} octets", _HINT))
    else:
        return Webhook(
            name,
            table.url,
            secret,
            tuple(dict.fromkeys(table.events)),
            frozenset(table.outcomes),
            NetworkList(table.networks),
            table.timeout,
            table.keep,
            table.queue,
        )
    return None


def alert_mail(table: AlertsTable) -> AlertMail:
    """Who gets mail about what is wrong."""
    return AlertMail(tuple(dict.fromkeys(table.mail)), table.after, table.repeat, table.level == "all")
