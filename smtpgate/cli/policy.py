"""Commands about policy: which rules there are, how often each was true, and how TLS to the world fares."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from smtpgate.cli.gateway import Gateway, Unreachable
from smtpgate.cli.gateway import settings_of as settings_of_file
from smtpgate.cli.terminal import Failed, complain, say, say_json, say_list, table
from smtpgate.config.loader import ConfigErrors

_COLUMNS = (
    ("NAME", "name"),
    ("ACTION", "action"),
    ("MODE", "mode"),
    ("JUDGED_AT", "step"),
    ("HITS", "hits"),
    ("LAST_HIT", "last_hit"),
    ("OWNER", "owner"),
)


def rules(args: argparse.Namespace) -> None:
    """The rules in their order, and of how many messages each was true."""
    say_list(Gateway(args.config).ask("GET", "/rules"), _COLUMNS, args.json)


_SAID = (("RULE", "rule"), ("JUDGED_AT", "step"), ("ACTION", "action"), ("MODE", "mode"), ("ANSWER", "answer"),
         ("WHY", "why"))  # fmt: skip
_COUNTS = (("TRUE", "true"), ("FALSE", "false"), ("FAILED", "failed"), ("ENDED_BEFORE", "not-reached"),
           ("NOT_ABOUT", "not-about"))  # fmt: skip


def try_rules(args: argparse.Namespace) -> None:
    """What rules say of a message, a held one, or the newest of the history; nothing comes of it."""
    body: dict[str, Any] = {"rules": _read(args.rules).decode("utf-8", "replace") if args.rules else ""}
    octets = b""
    if args.file:
        octets = _read(args.file)
        names = ("sender", "recipients", "client_ip", "helo", "user", "listener")
        body["envelope"] = {name: getattr(args, name) for name in names}
        body["message_base64"] = base64.b64encode(octets).decode()
    elif args.held:
        body["held"] = args.held
    else:
        body["last"] = args.last
    try:
        found = Gateway(args.config).ask("POST", "/rules/try", body)
    except Unreachable:
        if not args.file:
            raise
        complain("no gateway runs: rules that need what it looks at are not judged")
        found = _by_the_file(args, octets, body)
    if args.json:
        say_json(found)
    elif args.last:
        _say_past(found)
    else:
        for one in found["items"]:
            ended = f"not asked, because {one['ended_by']} accepts" if one["ended_by"] else ""
            whom = f"of {', '.join(one['recipients'])}" if one["recipients"] else ""
            one["why"] = "; ".join(filter(None, (one["why"] or one["does"], whom, ended)))
        say_list(found, _SAID, False)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failed(f"{path}: cannot be read: {error.strerror}") from None


def _by_the_file(args: argparse.Namespace, octets: bytes, body: dict[str, Any]) -> dict[str, Any]:
    """The same without a gateway: the rules of the configuration file, or of the text, on envelope and header."""
    from twisted.internet.defer import ensureDeferred

    from smtpgate.control.rule_trials import Envelope, listener_of, settings_of, wired, would_be
    from smtpgate.control.views import Invalid
    from smtpgate.filters.rule_trial import Trial
    from smtpgate.proxy.filed import section_of

    settings = settings_of_file(args.config)
    given, octets = body["envelope"], wired(octets)
    try:
        name, role = listener_of(settings, given["listener"])
        transaction = would_be(Envelope(**given), name, role)
        chosen = settings_of(body["rules"], settings) if body["rules"].strip() else settings
    except ConfigErrors as errors:
        raise Failed("\n".join(map(str, errors.problems))) from None
    except Invalid as error:
        raise Failed(str(error)) from None
    for recipient in transaction.recipients:
        recipient.state = "accepted"
    transaction.octets = len(octets)
    said: list[Any] = []
    # Nothing is waited for where no content is looked at.
    section = section_of(octets, settings.limits.header_size_octets)
    ensureDeferred(Trial(chosen).message(transaction, section, None, None)).addCallback(said.extend)
    return {"items": [attrs.asdict(one) for one in said]}


def _say_past(found: dict[str, Any]) -> None:
    if not found["messages"]:
        say("there is no history")
        return
    say(f"{found['messages']} messages, {found['since']} to {found['until']}")
    rows = []
    for one in found["tallies"]:
        counts = [one["counts"].get(name, "-") for _, name in _COUNTS]
        rows.append([one["rule"], one["action"], *counts, "-" if one["why"] else one["delivered"], one["why"]])
    table(["RULE", "ACTION", *(word for word, _ in _COUNTS), "DELIVERED", "CANNOT_BE_JUDGED"], rows)
    for one in found["tallies"]:
        for id in one["examples"]:
            say(f"  {one['rule']}: {id}")


_REPORTS = (("DOMAIN", "domain"), ("SUCCESSES", "successes"), ("FAILURES", "failures"), ("WANTED_AT", "wanted_at"))


def tls_report(args: argparse.Namespace) -> None:
    """How TLS to the servers of each domain fared on a day; with --json the reports as RFC 8460 has them."""
    gateway = Gateway(args.config)
    found = page = gateway.ask("GET", f"/tls-reports?date={args.date or ''}")
    # A night between two pages would mix two days.
    day = args.date or (found["days"] or [""])[-1]
    while page["items"]:
        page = gateway.ask("GET", f"/tls-reports?date={day}&after={quote(page['items'][-1]['domain'])}")
        found["items"] += page["items"]
    if args.json:
        say_json([one["report"] for one in found["items"]])
        return
    for one in found["items"]:
        one["wanted_at"] = "not known" if one["wanted_at"] is None else " ".join(one["wanted_at"])
    say_list(found, _REPORTS, False)
