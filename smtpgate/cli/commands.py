"""The commands, one function each; `access` has those for users and tokens."""

from __future__ import annotations

import argparse
import time
from typing import Any
from urllib.parse import quote

from smtpgate.cli import history
from smtpgate.cli.gateway import Gateway, Unreachable, settings_of
from smtpgate.cli.revisions import against_running
from smtpgate.cli.system import drain_all
from smtpgate.cli.terminal import EXIT_CONFIG, EXIT_USAGE, Failed, complain, say, say_json, say_list, tell_unaudited
from smtpgate.config.loader import ConfigErrors, load
from smtpgate.config.problem import count
from smtpgate.policy.verdict import SCORES

# Commands without a gateway


def check_config(args: argparse.Namespace) -> None:
    """Say everything that is wrong with a configuration file; no gateway is needed, but to compare with what runs."""
    from smtpgate.plugins import find_factories

    factories, failed = find_factories()
    try:
        problems = load(args.file, factories, failed).warnings
    except ConfigErrors as errors:
        problems = errors.problems
    is_valid = not any(problem.is_error for problem in problems)
    if args.json:
        names = ("severity", "line", "column", "key", "message", "hint")
        found = [{name: getattr(problem, name) for name in names} for problem in problems]
        say_json({"is_valid": is_valid, "problems": found})
    else:
        for problem in problems:
            say(problem)
        say(f"{args.file}: {count(problems)}")
    if not is_valid or (args.strict and problems):
        raise SystemExit(EXIT_CONFIG)
    if args.against_running or args.diff:
        against_running(args)


def explain(args: argparse.Namespace) -> None:
    """Why a message was accepted or refused; with --listener and --recipient: which way one would go, by the file."""
    if args.what:
        history.why(Gateway(args.config), " ".join(args.what), args.json)
        return
    if not args.listener or not args.recipient:
        raise Failed("name a message, or --listener and --recipient", EXIT_USAGE)
    from smtpgate.control.routing import explain_route
    from smtpgate.control.views import Refused
    from smtpgate.policy.question import Question
    from smtpgate.proxy.revision import Revision
    from smtpgate.proxy.router import Router

    settings = settings_of(args.config)
    revision = Revision(settings.digest[:12], settings, Router(settings), {}, {})
    question = Question(args.listener, args.client, args.sender, tuple(args.recipient), args.user, args.sni)
    try:
        ways = explain_route(revision, question)
    except Refused as refused:
        raise Failed(str(refused)) from None
    if args.json:
        items = []
        for way in ways:
            asked = [{"route": step.number, "backend": step.backend, "failed": step.failed} for step in way.steps]
            items.append({"recipient": way.recipient, "answer": way.answer, "steps": asked})
        say_json({"items": items})
        return
    for way in ways:
        if len(ways) > 1:
            say(f"{way.recipient}:")
        for step in way.steps:
            why = f"does not match: {step.failed}" if step.failed else "matches"
            say(f"route {step.number} to backend {step.backend}: {why}")
        say(way.answer)


# Commands for the running gateway


def status(args: argparse.Namespace) -> None:
    """Is mail flowing? State, sessions, servers, messages so far."""
    view = Gateway(args.config).ask("GET", "/overview")
    if args.json:
        say_json(view)
        return
    say(f"{view['hostname']}: {view['state']}, smtpgate {view['version']}, since {view['started']}")
    for reason in view["reasons"]:
        say(f"  {reason}")
    say(f"sessions {view['sessions']} of {view['sessions_limit']}, {view['sessions_total']} so far")
    say(f"servers  {view['servers_up']} of {view['servers']} up")
    say("messages", ", ".join(f"{number} {word}" for word, number in view["outcomes"].items()) or "none yet")
    say(f"revision {view['revision']}, at work since {view['revision_time']}, {len(view['warnings'])} warnings")


def sessions(args: argparse.Namespace) -> None:
    """Who is connected now: one line for each session, the oldest first."""
    found = Gateway(args.config).ask("GET", f"/sessions?limit={args.limit}")
    say_list(found, _SESSIONS, args.json)
    if found["total"] > len(found["items"]):
        complain(f"{len(found['items'])} of {found['total']} sessions; see --limit")


def backends(args: argparse.Namespace) -> None:
    """The servers behind the gateway: up or down, drained or not, and why."""
    say_list(Gateway(args.config).ask("GET", "/backends"), _BACKENDS, args.json)


_SESSIONS = (("ID", "id"), ("CLIENT", "client_ip"), ("STAGE", "stage"), ("FROM", "sender"), ("RCPT", "recipients"),
             ("SERVER", "server"), ("AGE_S", "age_s"), ("LISTENER", "listener"))  # fmt: skip
_FILTERS = (("ORDER", "order"), ("FILTER", "name"), ("MODE", "mode"), ("STAGES", "stages"), ("ROLES", "roles"),
            ("BUDGET_S", "budget_s"), ("ON_ERROR", "on_error"), ("CATEGORY", "category"))  # fmt: skip
_BACKENDS = (("BACKEND", "backend"), ("SERVER", "name"), ("STATE", "state"), ("DRAINED", "is_drained"),
             ("READY", "is_ready"), ("LINKS", "links"), ("SESSIONS", "transactions"), ("FAILURES", "failures"),
             ("TLS", "tls_version"), ("PROBED", "last_probe"), ("WHY", "why"))  # fmt: skip


def filters(args: argparse.Namespace) -> None:
    """The chain of filters: of the running gateway, or else as the file would make it."""
    try:
        found = Gateway(args.config).ask("GET", "/filters")
    except Unreachable:
        from smtpgate.filters.base import STAGES
        from smtpgate.plugins import find_factories

        factories, _ = find_factories()
        found = {"items": []}
        for use in settings_of(args.config).filters:
            factory: Any = factories[use.use]
            found["items"].append(
                {
                    "name": use.name,
                    "mode": use.mode,
                    "stages": [stage for stage in STAGES if stage in factory.stages],
                    "roles": sorted(use.roles or factory.roles),
                    "budget_s": factory.budget_s,
                    "on_error": use.on_error or factory.on_error,
                    "needs_message": factory.needs_message,
                    "category": factory.category,
                }
            )
    if not args.json:
        # A gateway that was started before an upgrade may not tell all of it.
        found = {"items": [{"order": at, "category": "", **one} for at, one in enumerate(found["items"], 1)]}
    say_list(found, _FILTERS, args.json)


def drain(args: argparse.Namespace) -> None:
    """Take a server, or the whole gateway, out of service: no further messages; those under way go on."""
    if not args.backend:
        if args.minutes:
            raise Failed("the whole gateway is drained until `undrain`: leave --minutes out", EXIT_USAGE)
        drain_all(args)
        return
    if not args.server:
        raise Failed("give the server too, as `backends` lists it", EXIT_USAGE)
    body = {"reason": args.reason, "minutes": args.minutes}
    until = f"for {args.minutes} minutes" if args.minutes else "until `smtpgate ready`"
    _change(args, _server_place(args, "drain"), body, f"{args.backend} {args.server}: drained {until}")


def ready(args: argparse.Namespace) -> None:
    """Put a drained server into service again."""
    _change(args, _server_place(args, "ready"), {"reason": args.reason}, f"{args.backend} {args.server}: ready")


def _server_place(args: argparse.Namespace, verb: str) -> str:
    return f"/backends/{quote(args.backend, safe='')}/servers/{quote(args.server, safe='')}/{verb}"


def _change(args: argparse.Namespace, place: str, body: dict[str, Any], done: str) -> None:
    found = Gateway(args.config).ask("POST", place, body)
    tell_unaudited(found)
    if args.json:
        say_json(found)
    else:
        say(done)


def reload(args: argparse.Namespace) -> None:
    """Put the configuration file to work; where it has errors nothing changes."""
    found = Gateway(args.config).ask("POST", "/config/reload", {})
    tell_unaudited(found)
    if args.json:
        say_json(found)
    for problem in found["problems"] if not args.json else ():
        place = f"{args.config}:{problem['line']}" if problem["line"] else str(args.config)
        say(f"{place}  {problem['key']}  {problem['message']}; {problem['hint']}")
    if not found["is_valid"]:
        raise Failed("the running configuration is unchanged", EXIT_CONFIG)
    if not args.json:
        say("the configuration is at work")


def stop(args: argparse.Namespace) -> None:
    """Drain and stop the gateway: messages in flight are finished first."""
    _change(args, "/system/stop", {}, "draining, then stopping")


def show(args: argparse.Namespace) -> None:
    """What became of a session or a message, step by step, and why."""
    _show(Gateway(args.config), args.id.strip(), args.json)


def _show(gateway: Gateway, reference: str, as_json: bool) -> None:
    place = quote(reference, safe="")
    record = gateway.ask("GET", f"/sessions/{place}")
    detail = gateway.ask("GET", f"/messages/{place}") if "." in reference else None
    if as_json:
        say_json({"session": record, "message": detail})
        return
    if detail is not None:
        say(f"{detail['verdict']}: {detail['explanation']}")
    say(f"session {record['id']}, client {record['client_ip']}, HELO {record['helo'] or '-'}, {record['listener']}")
    for message in [detail["message"]] if detail is not None else record["messages"]:
        say(f"message {message['id']}: {message['outcome'] or 'running'}, from {message['sender']}, "
            f"server {message['server'] or '-'}, {message['size_octets']} octets")  # fmt: skip
        for one in message["recipients"]:
            reply = one["final"] or one["reply"] or {"code": "", "text": ""}
            say(f"  to {one['address']}: {one['state'] or '-'} {reply['code']} {reply['text']}")
        if message["verdict"] is not None:
            say(f"  {_decision(message['verdict'])}")
        for finding in message["findings"]:
            mode = " (shadow)" if finding["is_shadow"] else ""
            points = f" {finding['score']:+.1f}" if finding["score"] else ""
            say(f"  {finding['filter']}: {finding['reason']}, {finding['action']}{mode}{points} {finding['detail']}")
    before = 0.0
    for step in record["timeline"]:
        at = step["at_ms"]
        say(f"{at:10.1f} ms  +{at - before:8.1f} ms  {step['who']:8} {step['what']} {step['detail']}".rstrip())
        before = at


def _decision(verdict: dict[str, Any]) -> str:
    decided = verdict["decided_by"]
    out = f"decision: {verdict['action']}"
    if decided is not None:
        out += f" by {decided['filter']}: {decided['reason']}"
        out += f" ({decided['detail']})" if decided["filter"] == SCORES else ""
    if verdict["score"]:
        out += f"; {verdict['score']:.1f} points in all"
    if verdict["spared"]:
        out += f"; {verdict['spared']}, but it goes to postmaster or abuse"
    return out + (f"; the filters in shadow say {verdict['would']}" if verdict["would"] else "")


def send_test(args: argparse.Namespace) -> None:
    """Send a test message through one of the gateway's listeners, and show the dialogue and its timeline."""
    from smtpgate.control.sendtest import run

    settings = settings_of(args.config)
    sender = args.sender or f"postmaster@{settings.hostname}"
    try:
        sent = run(settings, args.to, sender, args.listener, _unheard if args.json else say, args.bad)
    except (OSError, ValueError) as error:
        raise Failed(str(error)) from None
    if sent.reference:
        if not args.json:
            say("")
            say(f"reference {sent.reference}")
        _show_soon(args, sent.reference)
    if args.bad and sent.code == 250:
        raise Failed("the bad message was accepted: no filter refuses programs or spam here; see docs/security.md")
    if not sent.reference or not args.bad and sent.code != 250:
        raise Failed(f"the gateway did not take the message{'' if args.json else '; its replies are above'}")


def _unheard(*_: object) -> None:
    """Where JSON alone is wanted."""


def _show_soon(args: argparse.Namespace, reference: str) -> None:
    gateway = Gateway(args.config)
    for _ in range(30):
        try:
            _show(gateway, reference, args.json)
            return
        except Unreachable as error:
            say(f"(no timeline: {error})")
            return
        except Failed:
            # The history writes in batches.
            time.sleep(0.1)
