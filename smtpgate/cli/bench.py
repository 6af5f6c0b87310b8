"""Commands that try mail without effect: a message, a dialogue. Exit codes by what would become of it, for scripts."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from smtpgate.cli.gateway import Answered, Gateway
from smtpgate.cli.terminal import EXIT_CONFIG, Failed, say, say_json, table
from smtpgate.policy.question import client_address

#: Exit codes by the outcome of the last configuration that was tried.
CODES: Final[Mapping[str, int]] = {
    "delivered": 0,
    "deferred": 10,
    "unknown": 10,
    "refused": 11,
    "held": 12,
    "discarded": 13,
    "redirected": 13,
}
#: It came to no message, or the client gave it up.
NO_END: Final = 14
_MORE: Final = (
    "Nothing is delivered, held, counted or learned. Exit codes by what would become of it, on the draft where one is "
    "given: 0 taken, 10 deferred, 11 refused, 12 held, 13 discarded or redirected, 14 it came to no end; 1 refused or "
    "unreachable, 2 usage, 3 the draft has errors."
)


_MORE_REPLAY: Final = (
    "From what the history keeps: envelope, subject, size, and what filters found then. Exit codes: 0 all are decided "
    "as they were, or cannot be decided again; 20 some are decided otherwise; 1 refused or unreachable, 2 usage, 3 the "
    "draft has errors."
)
_MORE_CASES: Final = (
    "They are kept by the page Try mail, or POST /test/cases. Exit codes: 0 all came to the same, 20 some did not; 1 "
    "refused or unreachable, 2 usage, 3 the draft has errors."
)
#: Some are decided otherwise.
OTHERWISE: Final = 20


def add(verbs: Any, as_: Callable[[Any], Any]) -> None:
    """Their options."""
    one = _verb(verbs, "test-message", try_message)
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a message, header and all")
    which.add_argument("--sample", default="", metavar="NAME", help="one to try first: clean, spam, dlp")
    which.add_argument("--held", default="", metavar="ID", help="a held message, as `quarantine list` shows it")
    which.add_argument("--stored", default="", metavar="ID", help="one of the history that was held")
    one.add_argument("--reason", default="", metavar="TEXT", help="why held mail is read, where its class asks for it")
    one.add_argument("--from", dest="sender", default="", metavar="ADDR", help="sender; without it the null sender")
    one.add_argument("--to", dest="recipients", nargs="+", default=[], metavar="ADDR", help="recipients")
    _came(one, as_)
    one = _verb(verbs, "test-session", try_session)
    one.add_argument("script", type=Path, metavar="SCRIPT", help="the client's lines; behind DATA the message to a dot")
    _came(one, as_)


def add_cases(verbs: Any) -> None:
    """The options of `test-cases`."""
    _verb(verbs, "test-cases", try_cases, _MORE_CASES)


def add_replay(verbs: Any, whole: Callable[[int], Any]) -> None:
    """The options of `replay`."""
    one = _verb(verbs, "replay", replay, _MORE_REPLAY)
    one.add_argument("--last", type=whole(10_000), default=1000, metavar="N", help="the newest N; without it 1000")
    one.add_argument("--whole", action="store_true", help="try held mail with its content")
    one.add_argument("--reason", default="", metavar="TEXT", help="why held mail is read, where its class asks for it")
    one.add_argument("--list", action="store_true", help="list the messages that are decided otherwise")


def _verb(verbs: Any, name: str, run: Any, more: str = _MORE) -> argparse.ArgumentParser:
    words = (run.__doc__ or "").strip()
    made: argparse.ArgumentParser = verbs.add_parser(name, help=words, description=words, epilog=more)
    made.set_defaults(run=run, behind=None)
    made.add_argument(
        "--config",
        "-c",
        dest="behind",
        type=Path,
        metavar="NEW",
        help="a configuration to try beside the one at work; where none stands before the command, that of the gateway",
    )
    made.add_argument("--draft", type=Path, metavar="NEW", help="the same, under a name of its own")
    made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for programs")
    return made


def _came(one: argparse.ArgumentParser, as_: Callable[[Any], Any]) -> None:
    one.add_argument("--ip", dest="client_ip", type=as_(client_address), default=None, metavar="IP", help="client")
    one.add_argument("--helo", default="", metavar="NAME", help="what the client calls itself")
    one.add_argument("--user", default="", metavar="NAME", help="who has logged in; without it nobody")
    words = "without it the newest where the listener has TLS"
    one.add_argument("--tls", default="", choices=("off", "TLSv1.2", "TLSv1.3"), help=words)
    one.add_argument("--listener", default="", metavar="NAME", help="which listener; without it the first of role mx")
    one.add_argument(
        "--time", default="", metavar="WHEN", help="when it comes, as 2026-01-07T12:00:00Z; without it now"
    )


def settle(args: argparse.Namespace) -> None:
    """Of two configurations the one before the command is the gateway's, and the one behind it is tried."""
    if getattr(args, "behind", None) is None:
        return
    if args.config is None:
        args.config = args.behind
    elif args.draft is None:
        args.draft = args.behind
    else:
        raise Failed("give one configuration to try: --config NEW or --draft NEW")


def try_message(args: argparse.Namespace) -> None:
    """What would become of a message: the whole chain, and nothing comes of it."""
    body: dict[str, Any] = {"envelope": _envelope(args, ("sender", "recipients")), "draft": draft_of(args)}
    if args.file:
        body["message_base64"] = base64.b64encode(read(args.file)).decode("ascii")
    else:
        body |= {name: getattr(args, name) for name in ("sample", "held", "stored", "reason") if getattr(args, name)}
    _end(args, ask(args, "/test/message", body))


def try_session(args: argparse.Namespace) -> None:
    """What the gateway would say to a client, line by line."""
    script = read(args.script).decode("utf-8", "replace")
    body = {"script": script, "envelope": _envelope(args, ()), "draft": draft_of(args)}
    found = ask(args, "/test/session", body)
    if not args.json:
        for one in found["items"]:
            if len(found["items"]) > 1:
                say(f"{one['of']}:")
            for line in one["dialogue"]:
                for text in line["text"].split("\n"):
                    say(f"{line['who']}: {text}")
    _end(args, found)


def _envelope(args: argparse.Namespace, more: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: getattr(args, name)
        for name in ("client_ip", "helo", "user", "tls", "listener", "time", *more)
        if getattr(args, name)
    }


def draft_of(args: argparse.Namespace) -> str:
    """The text of the draft; "" without one."""
    return read(args.draft).decode("utf-8", "replace") if args.draft is not None else ""


def read(path: Path) -> bytes:
    """A file. Raises Failed."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failed(f"{path}: cannot be read: {error.strerror}") from None


def ask(args: argparse.Namespace, path: str, body: Mapping[str, Any]) -> Any:
    """Ask the gateway; what is wrong with a draft ends with its own code."""
    try:
        return Gateway(args.config).ask("POST", path, body)
    except Answered as answered:
        if any(one.get("pointer") == "/draft" for one in answered.value.get("errors", ())):
            raise Failed(str(answered), EXIT_CONFIG) from None
        raise


def _end(args: argparse.Namespace, found: Mapping[str, Any]) -> None:
    items = found["items"]
    if args.json:
        say_json(found)
    else:
        for one in items:
            _say(one)
        if len(items) > 1:
            rows = [(one["what"], one["before"] or "-", one["after"] or "-") for one in found["differences"]]
            if rows:
                table(["OTHERWISE", "AT_WORK", "DRAFT"], rows)
            else:
                say("no difference")
    code = CODES.get(items[-1]["outcome"], NO_END)
    if code:
        raise SystemExit(code)


def _say(one: Mapping[str, Any]) -> None:
    reply = f"{one['code']} {one['reply']}".strip() if one["code"] else "no reply"
    say(f"{one['of']}, revision {one['revision']}: {one['verdict']}; {reply}")
    say(f"  {one['explanation']}")
    say(f"  decision {one['action']}, score {one['score']:.2f}, took {one['took_ms']:.0f} ms")
    for message in one["session"]["messages"]:
        for found in message["findings"]:
            shadow = ", in shadow" if found["is_shadow"] else ""
            words = f"{found['action']}, {found['score']:+.2f}, {found['duration_ms']:.1f} ms{shadow}"
            say(f"  {found['filter']}: {found['reason']} ({words}) {found['detail']}".rstrip())
    for kept in one["keeps"]:
        say(f"  would be kept as {kept['kind']} for {', '.join(kept['recipients'])}")
    for failed in one["failures"]:
        say(f"  failed: {failed['filter']} {failed['stage']} {failed['kind']} {failed['detail']}")


def replay(args: argparse.Namespace) -> None:
    """Decide the newest messages of the history again, by what is at work or by a draft."""
    body = {"last": args.last, "draft": draft_of(args), "whole": args.whole, "reason": args.reason}
    found = ask(args, "/test/replay", body)
    if args.json:
        say_json(found)
    elif not found["messages"]:
        say("there is no history")
    else:
        say(f"{found['messages']} messages, {found['since']} to {found['until']}; by revision {found['of']}")
        rows = [(one["old"], one["new"], one["count"]) for one in found["cells"]]
        table(["WAS", "WOULD_BE", "MESSAGES"], rows)
        for words in found["left_out"]:
            say(f"not played: {words}")
        if args.list:
            names = ("id", "old", "new", "sender", "recipient", "why")
            table([name.upper() for name in names], [[one[name] or "-" for name in names] for one in found["changed"]])
    if found["changes"]:
        raise SystemExit(OTHERWISE)


def try_cases(args: argparse.Namespace) -> None:
    """Try all regression cases again, on what is at work or on a draft."""
    found = ask(args, "/test/cases/run", {"draft": draft_of(args)})
    if args.json:
        say_json(found)
    elif not found["items"]:
        say("there are no cases")
    else:
        rows = []
        for one in found["items"]:
            was, now = one["case"], one
            words = [", ".join(filter(None, (it["outcome"], it["action"], it["decided_by"]))) for it in (was, now)]
            rows.append(["same" if one["is_passed"] else "otherwise", was["name"], words[0], one["why"] or words[1]])
        table(["RESULT", "CASE", "WAS", "IS"], rows)
    if found["failed"]:
        raise SystemExit(OTHERWISE)
