"""From the tables of providers of identities to their values; see `build`. No message repeats what is in a secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from smtpgate.config.credentials import is_ours
from smtpgate.config.entry import normal_domain
from smtpgate.config.model_sso import Provider, ProviderGroup
from smtpgate.config.patterns import NetworkList
from smtpgate.config.problem import Fault
from smtpgate.config.surroundings import ReadFile
from smtpgate.config.tables_sso import ProviderTable

_HINT: Final = "write the client's secret of the provider into a file of its own; chmod 600 FILE"


def providers(
    tables: Mapping[str, ProviderTable], base: Path, files: Mapping[Path, ReadFile], faults: list[Fault]
) -> dict[str, Provider]:
    """All whose secret is right, by name."""
    made = {name: _provider(name, table, files[base / table.client_secret], faults) for name, table in tables.items()}
    return {name: one for name, one in made.items() if one is not None}


def _provider(name: str, table: ProviderTable, file: ReadFile, faults: list[Fault]) -> Provider | None:
    where = ("sso", name, "client_secret")
    secret = file.octets.strip()
    if not is_ours(file, where, _HINT, faults):
        return None
    if not secret or not secret.isascii() or not secret.decode("ascii").isprintable() or b" " in secret:
        faults.append(Fault(where, f"{file.path} is not one word in ASCII", _HINT))
    else:
        return Provider(
            name=name,
            issuer=table.issuer,
            client_id=table.client_id,
            secret=secret.decode("ascii"),
            groups=tuple(
                ProviderGroup(one.name, one.role, tuple(dict.fromkeys(map(normal_domain, one.domains))))
                for one in table.groups
            ),
            label=table.label,
            scopes=tuple(dict.fromkeys(table.scopes)),
            groups_claim=table.groups_claim,
            name_claim=table.name_claim,
            algorithms=tuple(dict.fromkeys(table.algorithms)),
            leeway_s=table.leeway,
            second_factor=frozenset(table.second_factor),
            networks=NetworkList(table.networks),
            timeout_s=table.timeout,
        )
    return None
