"""The `smtpgate` command: the gateway's managers at a terminal.

It speaks to the running gateway over `control.sock` in its state folder; no rule, certificate or login can
lock it out. `check-config`, `explain` and `plugin` need no gateway; `user` and `token` also work while none runs.

Exit codes: 0 done, 1 refused or unreachable, 2 usage, 3 configuration. What peers wrote is printed escaped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smtpgate import __version__
from smtpgate.cli import (
    access,
    audit,
    backup,
    bench,
    commands,
    demo,
    dns,
    doctor,
    engine,
    history,
    init,
    log,
    plugin,
    policy,
    quarantine,
    register,
    revisions,
    search,
    signing,
    system,
    tickets,
    traffic,
)
from smtpgate.cli import top as live
from smtpgate.cli.terminal import EXIT_OK, EXIT_REFUSED, EXIT_USAGE, Failed, complain, shown
from smtpgate.policy.held import STATES
from smtpgate.policy.question import client_address, recipient_path, sender_path
from smtpgate.policy.tls_report import day_of

#: What stands below a command's options.
_MORE = {
    "check-config": "Exit code 0: it can be put to work, perhaps with warnings. 3: it has errors (--strict: warnings).",
    "explain": "Several recipients are those of one message, in their order. A transaction goes to one backend: a "
    "recipient whose route leads to another one hears 452, and the sender gives it in its next transaction. It is "
    "assumed that the backends take every recipient.",
    "sessions": "ID: what `show` takes. STAGE: how far the client is. FROM, RCPT, SERVER: of the message under way. "
    "AGE_S: seconds since the client connected.",
    "backends": "BACKEND, SERVER: the names that `drain` and `ready` take. STATE: up, down or unknown, as last seen. "
    "DRAINED: taken out of service by `drain`. READY: False where it lacks what the configuration asks for. "
    "LINKS: connections now. SESSIONS, FAILURES: so far. PROBED: the last look. WHY: what is wrong.",
    "drain": "While all servers of a backend are drained its recipients are deferred: clients hear 451 4.4.1 and try "
    "again later. It holds over reloads and restarts, until `ready` or for --minutes. Without a backend the "
    "whole gateway takes no mail, until `undrain`; a restart ends that too.",
    "filters": "ORDER: in which they are asked. STAGES: when each is called. BUDGET_S: longest that one call may take, "
    "in seconds. ON_ERROR: what becomes of the mail when the filter fails: tempfail, reject or continue. CATEGORY: "
    "what it guards against; spam and sender are guesses, and spare postmaster. `filter` shows one of them.",
    "traffic": "OF: what is shared out. IN_USE: of how much. Under each class: in use, of what is always there for it, "
    "and + how many wait.",
    "limits": "Per cent: of the limit in use. A concurrency limit shows what is at work.",
    "try-limit": "The history is played through the limit. Who comes back when told would get in, so it is the most "
    "that the limit would have held up.",
    "ban": "Networks of /16 to /24 can be banned, and of IPv6 /32, /48, /56 and /64. Loopback, trusted networks, "
    "balancers in front and bans.never are let in all the same.",
    "ready": "It ends a `drain`. Whether a server is up the gateway finds out by itself.",
    "stop": "Idle clients hear 421 4.3.2. What is in flight may finish within timeouts.drain.",
    "show": "The id ends every reply to MAIL, RCPT, DATA and to a message, and bounces quote it.",
}
_PLUGIN_TEST = (
    "Scripts are files *.session, played one after the other in one process; tests are files test_*.py, run by trial. "
    "The nearest folder above each that has smtpgate/plugins in it is on the path. Exit codes: 0 all passed, 1 some "
    "failed, 2 usage."
)
_CODES = "Exit codes: 0 done, 1 refused or unreachable, 2 usage, 3 configuration. `smtpgate COMMAND --help` says more."


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="smtpgate", description="Look at and manage an smtpgate gateway.", epilog=_CODES)
    top.add_argument("--version", action="version", version=f"smtpgate {__version__}")
    top.set_defaults(config=None, json=False)
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    for one in (top, common):
        one.add_argument(
            "--config",
            "-c",
            type=Path,
            metavar="FILE",
            default=argparse.SUPPRESS,
            help="the configuration file of the gateway; it says where the gateway is found",
        )
        one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for programs")
    verbs = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def verb(name: str, run: Any, into: Any = verbs) -> argparse.ArgumentParser:
        words = (run.__doc__ or "").strip()
        more = (
            {**_MORE, "demo": demo.MORE, "init": init.MORE, "doctor": doctor.MORE, "check-dns": dns.MORE}.get(name, "")
            if into is verbs
            else ""
        )
        made: argparse.ArgumentParser = into.add_parser(
            name, help=words, description=words, epilog=more, parents=[common]
        )
        made.set_defaults(run=run)
        return made

    demo.options(verb("demo", demo.demo))
    init.options(verb("init", init.init))
    verb("doctor", doctor.doctor)
    revisions.check_options(verb("check-config", commands.check_config))
    revisions.add(verbs, verb, _whole)
    _explain(verb("explain", commands.explain))
    one = verb("messages", history.messages)
    one.add_argument("query", nargs="*", metavar="TERM", help="as from:ann@example.org last:24h; without any all")
    one.add_argument("--limit", type=_whole(100_000), default=50, metavar="N", help="how many; without it 50")
    one = verb("erase", history.erase)
    one.add_argument("--address", required=True, metavar="ADDR", help="whose address is taken out of the history")
    one.add_argument(
        "--reason", default="", metavar="TEXT", help="why; kept in the audit, which does not name the address"
    )
    one = verb("send-test", commands.send_test)
    one.add_argument("--to", required=True, metavar="ADDR", help="whom to send to")
    one.add_argument("--from", dest="sender", metavar="ADDR", help="sender; without it postmaster@ our hostname")
    one.add_argument("--listener", default="", metavar="NAME", help="which listener; without it the first of role mx")
    one.add_argument("--bad", action="store_true", help="send one that should be refused: a program in disguise, GTUBE")
    verb("status", commands.status)
    verb("sessions", commands.sessions).add_argument(
        "--limit", type=_whole(500), default=50, metavar="N", help="how many to list, at most 500; without it 50"
    )
    _tail(verb("tail", log.tail))
    verb("backends", commands.backends)
    one = verb("top", live.top)
    one.add_argument("--once", action="store_true", help="print it once, as where the output is no terminal")
    one.add_argument("--every", type=_whole(3600), default=2, metavar="S", help="seconds between; without it 2")
    one.add_argument("--rows", type=_whole(50), default=8, metavar="N", help="names of each list; without it 8")
    verb("filters", commands.filters)
    engine.add(verb, _whole)
    verb("rules", policy.rules)
    _try_rules(verb("try-rules", policy.try_rules))
    bench.add(verbs, _as)
    bench.add_replay(verbs, _whole)
    bench.add_cases(verbs)
    _quarantine(verbs, verb)
    tickets.add(verbs, verb, _whole)
    verb("tls-report", policy.tls_report).add_argument(
        "--date", type=_as(day_of), metavar="DAY", help="as 2026-11-27, in UTC; without it the last one"
    )
    verb("detectors", search.detectors)
    verb("detect", search.detect).add_argument("file", type=Path, metavar="FILE", help="a message, or any other file")
    _traffic(verb)
    for name, run, shown_too in (("drain", commands.drain, ", and shown beside it"), ("ready", commands.ready, "")):
        one = verb(name, run)
        few: Any = {"nargs": "?", "default": ""} if name == "drain" else {}
        all_of_it = "; without it the whole gateway, until `undrain`" if name == "drain" else ""
        one.add_argument(
            "backend", metavar="BACKEND", help=f"name of the backend, as `backends` lists it{all_of_it}", **few
        )
        one.add_argument(
            "server", metavar="SERVER", help="its server: 192.0.2.10:25, say, or unix:/run/mail.sock", **few
        )
        one.add_argument("--reason", default="", metavar="TEXT", help=f"why; kept in the audit{shown_too}")
        if name == "drain":
            one.add_argument(
                "--minutes", type=_whole(525_600), default=0, metavar="N", help="how long; without it until `ready`"
            )
    verb("reload", commands.reload)
    verb("stop", commands.stop)
    verb("show", commands.show).add_argument("id", metavar="ID", help="reference id of a session or a message")
    access.options(verbs, verb, _group, _whole)
    audit.options(verbs, verb, _group, _whole)
    register.options(verbs, verb, _group, _whole)
    backup.add(verbs, verb)
    system.add(verb)
    dns.options(verb("check-dns", dns.check_dns))
    _plugin(verbs)
    signing.options(verbs)
    return top


def _tail(one: argparse.ArgumentParser) -> None:
    words = "terms as ip:192.0.2.7, listener:mx, verdict:reject, or words; without any all lines"
    one.add_argument("filter", nargs="*", metavar="TERM", help=words)
    one.add_argument("--lines", type=_whole(500), default=20, metavar="N", help="how many to begin with; without it 20")
    one.add_argument(
        "--level", choices=("debug", "info", "warning", "error"), default="", help="the least that is wanted"
    )
    one.add_argument("--once", action="store_true", help="print them and end")


def _explain(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "what",
        nargs="*",
        metavar="WHAT",
        help="a reference id, a Message-ID, a backend's queue id, words as for `messages`, a file with a bounce, or -",
    )
    one.add_argument("--listener", default="", metavar="NAME", help="the listener that the client comes to")
    one.add_argument(
        "--client",
        type=_as(client_address),
        default="192.0.2.1",
        metavar="IP",
        help="its address; without it 192.0.2.1",
    )
    one.add_argument(
        "--sender",
        type=_as(sender_path),
        default="",
        metavar="ADDR",
        help="envelope sender; without it the null sender",
    )
    one.add_argument(
        "--recipient",
        type=_as(recipient_path),
        default=[],
        action="extend",
        nargs="+",
        metavar="ADDR",
        help="envelope recipient, one or several; may be given more than once",
    )
    one.add_argument("--user", default="", metavar="NAME", help="who has logged in; without it nobody")
    one.add_argument("--sni", default="", metavar="NAME", help="server name that the client gave to TLS")


def _try_rules(one: argparse.ArgumentParser) -> None:
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a message, header and all")
    which.add_argument("--held", default="", metavar="ID", help="a held message, as `quarantine list` shows it")
    which.add_argument("--last", type=_whole(10_000), default=0, metavar="N", help="the newest N of the history")
    one.add_argument("--rules", type=Path, metavar="TOML", help="a file of [[rules]]; without it those at work")
    one.add_argument("--from", dest="sender", default="", metavar="ADDR", help="sender; without it the null sender")
    one.add_argument("--to", dest="recipients", nargs="+", default=[], metavar="ADDR", help="recipients")
    one.add_argument("--ip", dest="client_ip", type=_as(client_address), default="192.0.2.1", metavar="IP",
                     help="address of the client; without it 192.0.2.1")  # fmt: skip
    one.add_argument("--helo", default="", metavar="NAME", help="what the client calls itself")
    one.add_argument("--user", default="", metavar="NAME", help="who has logged in; without it nobody")
    one.add_argument("--listener", default="", metavar="NAME", help="which listener; without it the first of role mx")


def _traffic(verb: Any) -> None:
    verb("traffic", traffic.traffic)
    verb("limits", traffic.limits)
    one = verb("try-limit", traffic.simulate)
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("--name", metavar="NAME", help="a limit of the configuration at work")
    which.add_argument("--file", type=Path, metavar="FILE", help="a file with one [[rate_limits]] table or the like")
    one.add_argument(
        "--hours", type=_whole(168), default=24, metavar="N", help="how far back, at most 168; without it 24"
    )
    one = verb("free-limit", traffic.free)
    one.add_argument("limit", metavar="LIMIT", help="name of a rate limit")
    one.add_argument("key", metavar="KEY", help="as `limits` shows it")
    verb("bans", traffic.bans).add_argument(
        "--limit", type=_whole(500), default=50, metavar="N", help="how many to list, at most 500; without it 50"
    )
    one = verb("ban", traffic.ban)
    one.add_argument("key", metavar="WHOM", help="an address, or a network as 192.0.2.0/24")
    one.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the audit, and shown beside it")
    one.add_argument(
        "--minutes", type=_whole(525_600), default=60, metavar="N", help="how long, at most a year; without it 60"
    )
    verb("unban", traffic.unban).add_argument("key", metavar="WHOM", help="as `bans` shows it")
    verb("sender", traffic.sender).add_argument("who", metavar="WHO", help="192.0.2.7, example.org, ann@example.org")
    verb("forget-sender", traffic.forget).add_argument("key", metavar="KEY", help="as `sender` shows it")


def _quarantine(verbs: Any, verb: Any) -> None:
    made = verbs.add_parser("quarantine", help=_HELD, description=_HELD)
    held = made.add_subparsers(required=True, metavar="ACTION")
    one = verb("list", quarantine.held, held)
    one.add_argument("--class", dest="held_as", default="", metavar="NAME", help="only this class")
    one.add_argument("--state", default="", choices=STATES, help="only this state")
    one.add_argument("--recipient", default="", metavar="ADDR", help="only for this recipient")
    one.add_argument("--sender", default="", metavar="TEXT", help="only where this is part of the sender's address")
    one.add_argument("--subject", default="", metavar="TEXT", help="only where this is part of the subject")
    one.add_argument("--asked", action="store_true", help="only what somebody asked for")
    limit = {"type": _whole(500), "default": 50, "metavar": "N"}
    one.add_argument("--limit", help="how many to list, at most 500; without it 50", **limit)
    verb("show", quarantine.show, held).add_argument("id", metavar="ID", help="as `quarantine list` shows it")
    one = verb("content", quarantine.content, held)
    one.add_argument("id", metavar="ID", help="as `quarantine list` shows it")
    one.add_argument("--reason", default="", metavar="TEXT", help="why it is read, where its class asks for that")
    one = verb("forward", quarantine.forward, held)
    one.add_argument("id", metavar="ID", help="as `quarantine list` shows it")
    one.add_argument("--to", required=True, action="append", metavar="ADDR", help="who is to get it")
    for name, run in (("release", quarantine.release), ("delete", quarantine.delete), ("deny", quarantine.deny)):
        one = verb(name, run, held)
        one.add_argument("id", nargs="+", metavar="ID", help="as `quarantine list` shows it; one or several")
        if name == "release":
            one.add_argument("--recipient", action="append", metavar="ADDR", help="only to this recipient")
            one.add_argument("--again", action="store_true", help="also to those who have it, or may have it")
    words = "What the gateway has still to deliver by itself: list, try, cancel."
    letters = verbs.add_parser("outbox", help=words, description=words).add_subparsers(required=True, metavar="ACTION")
    verb("list", quarantine.outbox, letters).add_argument(
        "--limit", help="how many to list, at most 500; without it 50", **limit
    )
    for name, run in (("try", quarantine.try_letter), ("cancel", quarantine.cancel)):
        verb(name, run, letters).add_argument("id", metavar="ID", help="as `outbox list` shows it")


_HELD = "Mail that is held back: list, show, content, release, delete, deny, forward."


def _plugin(verbs: Any) -> None:
    words = "What an author of filters needs: new, test."
    more = "They need no gateway and no configuration; docs/plugins.md tells how a filter is written."
    actions = verbs.add_parser("plugin", help=words, description=words, epilog=more).add_subparsers(
        required=True, metavar="ACTION"
    )
    words = (plugin.new.__doc__ or "").strip()
    one = actions.add_parser("new", help=words, description=words)
    one.add_argument("name", metavar="NAME", help="what the filter is called: lower-case letters, digits and hyphens")
    one.add_argument("--folder", type=Path, metavar="DIR", help="the folder to make; without it NAME, in this one")
    one.set_defaults(run=plugin.new)
    words = (plugin.test.__doc__ or "").strip()
    one = actions.add_parser("test", help=words, description=words, epilog=_PLUGIN_TEST)
    one.add_argument(
        "path", type=Path, nargs="+", metavar="PATH", help="a script, a file of tests, or a folder with some below it"
    )
    one.set_defaults(run=plugin.test)


def _group(verbs: Any, name: str, words: str) -> Any:
    more = "They work while the gateway runs and while it does not; root then acts as the owner of the state folder."
    made = verbs.add_parser(name, help=words, description=words, epilog=more)
    return made.add_subparsers(required=True, metavar="ACTION")


def _as(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """For argparse, which keeps the words of its own kind of error only."""

    def check(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(shown(error)) from None

    return check


def _whole(most: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number from 1 to {most}")
        return int(text)

    return check


#: Commands that need no configuration, or name it otherwise.
_WITHOUT = (
    "demo",
    "init",
    "check-config",
    "plugin",
    "detectors",
    "detect",
    "dkim-key",
    "backup",
    "restore",
    "version",
    "check-dns",
    "hash-password",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    top = parser()
    args = top.parse_args(argv)
    try:
        bench.settle(args)
    except Failed as failed:
        top.error(str(failed))
    if args.config is None and args.command not in _WITHOUT:
        top.error("give the configuration file of the gateway with --config FILE")
    try:
        args.run(args)
    except Failed as failed:
        complain(str(failed))
        return failed.code
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_REFUSED
    return EXIT_OK


__all__ = ["EXIT_USAGE", "main", "parser"]
