"""From the schema's tables to the frozen tree.

Called by the loader once the schema is content. What needs another file or another object than the table
itself happens here and can fail here: credentials are taken from the file that the loader read, and the
options of each filter are judged by `build_filters`. Such faults are collected, and the tree is
complete all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from smtpgate.config import build_dlp, model, schema
from smtpgate.config.build_filters import Plugins, doubts, filter_use, with_set
from smtpgate.config.build_hooks import alert_mail, webhooks
from smtpgate.config.build_policy import groups, rules, tls_policies
from smtpgate.config.build_quarantine import digests, outbox, quarantine, tls_report
from smtpgate.config.build_signing import dkim_keys, smime_keys
from smtpgate.config.build_sso import providers
from smtpgate.config.build_traffic import bans, classes, concurrency_limit, pressure, rate_limit
from smtpgate.config.credentials import credentials_from
from smtpgate.config.endpoint import parse_server
from smtpgate.config.entry import normal_domain
from smtpgate.config.patterns import AddressList, DomainList, NetworkList, PatternList
from smtpgate.config.position import Document
from smtpgate.config.problem import Fault, warning
from smtpgate.config.surroundings import ReadFile
from smtpgate.config.values import parse_name_server, parse_pin
from smtpgate.policy.found import Kept
from smtpgate.policy.verdict import Scale
from smtpgate.rules.searching import NO_OWN, Own


def paths_in(file: schema.File, base: Path) -> Iterator[Path]:
    """All files that the configuration names and that must be read to judge it."""
    for listener in file.listeners.values():
        for text in (*listener.certificates, listener.client_ca, listener.password_file):
            if text:
                yield base / text
    for backend in file.backends.values():
        for text in (backend.tls_ca, backend.tls_certificate, backend.credentials):
            if text:
                yield base / text
    for dictionary in file.dictionaries:
        if dictionary.file:
            yield base / dictionary.file
    for group in file.groups.values():
        if group.file:
            yield base / group.file
    for hook in file.webhooks.values():
        yield base / hook.secret
    for provider in file.sso.values():
        yield base / provider.client_secret
    for key in file.dkim_keys:
        yield base / key.file
    for smime in file.smime_keys:
        yield base / smime.certificate
        yield base / smime.key


def settings(
    file: schema.File,
    document: Document,
    base: Path,
    hostname: str,
    files: Mapping[Path, ReadFile],
    plugins: Plugins,
    beside: Own = NO_OWN,
) -> tuple[model.Settings, list[Fault]]:
    """The tree, and what is wrong with credentials and filters. `hostname` is for a file without one.

    :param beside: detectors and dictionaries that rules may name besides those of the file
    """
    faults: list[Fault] = []
    backends = {name: _backend(name, table, base, files, faults) for name, table in file.backends.items()}
    all_rules = (*rules(file.rules, faults), *build_dlp.packs(file.packs, faults))
    content = _content(file.content)
    own = build_dlp.own(file.detectors, file.dictionaries, base, files, faults)
    named = (*(one.name for one in file.detectors), *(one.name for one in file.dictionaries), *beside.names)
    search = build_dlp.search(all_rules, own.beside(beside), attrs.asdict(content), named, faults)
    tree = model.Settings(
        hostname=(file.hostname or hostname).removesuffix("."),
        state_dir=base / file.state_dir,
        local_domains=DomainList(file.local_domains),
        log=model.Log(file.log.format, file.log.level, _log_file(file.log.file, base)),
        admin=model.Admin(
            listen=_endpoint(file.admin.listen),
            health_listen=_endpoint(file.admin.health_listen),
            config=file.admin.config,
            insecure=file.admin.insecure,
            trusted_hosts=tuple(normal_domain(host) for host in file.admin.trusted_hosts),
            public_url=file.admin.public_url or "",
            require_totp=tuple(dict.fromkeys(file.admin.require_totp)),
        ),
        limits=_limits(file.limits),
        timeouts=model.Timeouts(**{f"{name}_s": value for name, value in file.timeouts}),
        listeners={name: _listener(name, table, base, faults) for name, table in file.listeners.items()},
        backends=backends,
        routes=tuple(_route(n, table, document) for n, table in enumerate(file.routes)),
        trusted_relays=NetworkList(file.trusted_relays),
        resolver=model.Resolver(
            tuple(map(parse_name_server, file.resolver.servers)),
            file.resolver.timeout,
            NetworkList(file.resolver.validating),
        ),
        content=content,
        classes=classes(file.classes),
        pressure=pressure(file.pressure),
        bans=bans(file.bans),
        rate_limits=tuple(rate_limit(n, table, faults) for n, table in enumerate(file.rate_limits)),
        concurrency_limits=tuple(concurrency_limit(table) for table in file.concurrency_limits),
        history=Kept(file.history.keep, file.history.messages, file.history.ip_precision_after),
        quarantine=quarantine(file.quarantine),
        digests=digests(file.digests),
        tls_reports=tls_report(file.tls_reports, backends),
        webhooks=webhooks(file.webhooks, base, files, faults),
        alerts=alert_mail(file.alerts),
        sso=providers(file.sso, base, files, faults),
        outbox=outbox(file.outbox, (file.hostname or hostname).removesuffix(".")),
        rules=all_rules,
        tls_policies=tls_policies(file.tls_policies),
        search=search,
        own=own,
        groups=groups(file.groups, base, files, faults),
        dkim_keys=dkim_keys(file.dkim_keys, base, files, faults),
        smime_keys=smime_keys(file.smime_keys, base, files, faults),
        smime_certificates=_path(file.smime_certificates, base),
        smime_size_octets=file.smime_size,
        detectors=tuple(enumerate(one.name for one in file.detectors)),
        dictionaries=tuple(enumerate(one.name for one in file.dictionaries)),
        scale=_scale(file),
        marks=file.scores.mark,
        filters=with_set(
            file.filter_set,
            tuple(filter_use(n, table, document, base, plugins, faults) for n, table in enumerate(file.filters)),
            plugins,
            faults,
        ),
    )
    return tree, faults + doubts(tree.filters, plugins)


def _endpoint(text: str) -> str | None:
    return None if text == "off" else text


def _log_file(text: str, base: Path) -> str:
    return text if text == "-" else str(base / text)


def _path(text: str | None, base: Path) -> Path | None:
    return base / text if text else None


def _limits(table: schema.LimitsTable) -> model.Limits:
    names = {field.name for field in attrs.fields(model.Limits)}
    return model.Limits(
        **{name if name in names else f"{name}_octets": value for name, value in table},
    )


def _content(table: schema.ContentTable) -> model.Content:
    names = {field.name for field in attrs.fields(model.Content)}
    return model.Content(
        **{next(one for one in (name, f"{name}_octets", f"{name}_s") if one in names): value for name, value in table}
    )


def _scale(file: schema.File) -> Scale:
    scores = file.scores
    return Scale(scores.tag, scores.quarantine, scores.defer, scores.reject, file.replies)


def _listener(name: str, table: schema.ListenerTable, base: Path, faults: list[Fault]) -> model.Listener:
    # What the file does not give is left to the class, which knows the role.
    by_role: dict[str, Any] = {
        key: value
        for key in ("auth_required", "early_talker", "strict_sync")
        if (value := getattr(table, key)) is not None
    }
    if table.greet_wait is not None:
        by_role["greet_wait_s"] = table.greet_wait
    if table.role == "submission" and table.relay_from and by_role.get("auth_required") is False:
        # Taken at its word it would let the world send, and those in relay_from need no AUTH as it is.
        del by_role["auth_required"]
        faults.append(
            warning(
                ("listeners", name, "auth_required"),
                "not taken: whoever is not in relay_from could send anywhere",
                "leave it out; clients in relay_from need no auth",
            )
        )
    return model.Listener(
        name=name,
        listen=tuple(table.listen),
        role=table.role,
        protocol=table.protocol,
        tls=table.tls,
        certificates=tuple(base / text for text in table.certificates),
        client_ca=_path(table.client_ca, base),
        auth=table.auth,
        auth_requires_tls=table.auth_requires_tls,
        password_file=_path(table.password_file, base),
        relay_from=NetworkList(table.relay_from),
        proxy_protocol_from=NetworkList(table.proxy_protocol_from),
        xclient_from=NetworkList(table.xclient_from),
        bare_newline=table.bare_newline,
        strict_paths=table.strict_paths,
        require_brackets=table.require_brackets,
        command_bare_lf=table.command_bare_lf,
        capability_mode=table.capability_mode,
        hide_client=table.hide_client,
        chunking=table.chunking,
        prdr=table.prdr,
        body=table.body,
        split=table.split,
        received=table.received,
        **by_role,
    )


def _backend(
    name: str, table: schema.BackendTable, base: Path, files: Mapping[Path, ReadFile], faults: list[Fault]
) -> model.Backend:
    credentials = None
    if table.credentials:
        where = ("backends", name, "credentials")
        credentials, wrong = credentials_from(files[base / table.credentials], where)
        faults += [attrs.evolve(fault, keys=()) for fault in wrong]
    return model.Backend(
        name=name,
        servers=tuple(_server(server) for server in table.servers),
        protocol=table.protocol,
        tls=table.tls,
        tls_name=table.tls_name,
        tls_ca=_path(table.tls_ca, base),
        tls_pins=tuple(map(parse_pin, table.tls_pins)),
        tls_certificate=_path(table.tls_certificate, base),
        credentials=credentials,
        auth_requires_tls=table.auth_requires_tls,
        balance=table.balance,
        max_connections=table.max_connections,
        total_connections=table.total_connections,
        slow_start_s=table.slow_start,
        reuse=table.reuse,
        reuse_age_s=table.reuse_age,
        reuse_idle_s=table.reuse_idle,
        reuse_transactions=table.reuse_transactions,
        client_info=table.client_info,
        ehlo_name=table.ehlo_name,
        probe_s=table.probe,
        eight_bit=table.eight_bit,
        kind=table.kind,
        port=table.port,
        allow_private=table.allow_private,
        dane=table.dane,
        mta_sts=table.mta_sts,
    )


def _server(table: schema.ServerTable) -> model.Server:
    at = parse_server(table.address)
    return model.Server(table.address, at.host, at.port, at.path, table.weight, table.tier)


def _route(number: int, table: schema.RouteTable, document: Document) -> model.Route:
    return model.Route(
        number=number + 1,
        line=document.place(("routes", number))[0],
        listener=tuple(table.listener),
        client=NetworkList(table.client),
        sni=DomainList(table.sni),
        user=PatternList(table.user),
        sender=AddressList(table.sender),
        recipient=AddressList(table.recipient),
        backend=table.backend,
    )
