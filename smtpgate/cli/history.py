"""Commands about mail that has been: why a message was refused, and which messages are like what is asked for."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import Failed, complain, say, say_json, shown, table
from smtpgate.policy.clues import CHARACTERS, message_id_in, reference_in

#: Messages that one call of the API gives at most.
_PAGE: Final = 500
#: Messages that a clue may fit before it is no clue.
_FEW: Final = 20


def why(gateway: Gateway, what: str, as_json: bool) -> None:
    """Why a message was accepted or refused.

    :param what: a reference id, a Message-ID, a backend's queue id, any query, a bounce, or a file with one; "-":
        standard input
    """
    query = _query(_text(what))
    reference = query.removeprefix("id:") if query.startswith("id:") else ""
    if reference and "." not in reference:
        # A session that had one message, or none: its row says which.
        found = gateway.ask("GET", f"/messages?{urlencode({'q': query, 'limit': _FEW})}")["items"]
        if not found or found[0]["id"] == reference:
            _session(gateway, reference, as_json)
            return
    elif reference:
        found = [{"id": reference}]
    else:
        found = gateway.ask("GET", f"/messages?{urlencode({'q': query, 'limit': _FEW})}")["items"]
    if not found:
        raise Failed("no message that is kept is like that")
    if len(found) > 1:
        if as_json:
            say_json({"items": found})
            return
        say(f"{len(found)}{' or more' if len(found) == _FEW else ''} messages; ask for one by its id:")
        _rows(found)
        return
    _explain(gateway, found[0]["id"], as_json)


def _text(what: str) -> str:
    """What the file of that name says, or the words themselves."""
    if what == "-":
        return sys.stdin.read(CHARACTERS)
    path = Path(what)
    try:
        is_file = len(what) < 1000 and path.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        return what
    try:
        with path.open("rb") as file:
            return file.read(CHARACTERS).decode("utf-8", "replace")
    except OSError as error:
        raise Failed(f"{what}: cannot be read: {error.strerror}") from None


def _query(text: str) -> str:
    if reference := reference_in(text):
        return f"id:{reference}"
    if "\n" in text.strip():
        message_id = message_id_in(text)
        if not message_id:
            raise Failed("there is neither a reference id nor a Message-ID in it")
        return f"message-id:{message_id}"
    return " ".join(text.split())


def _session(gateway: Gateway, reference: str, as_json: bool) -> None:
    record = gateway.ask("GET", f"/sessions/{quote(reference, safe='')}")
    if as_json:
        say_json({"session": record})
        return
    say(f"session {record['id']}, client {record['client_ip']}, HELO {record['helo'] or '-'}, no message")
    _findings(record["findings"])


def _explain(gateway: Gateway, id: str, as_json: bool) -> None:
    place = quote(id, safe="")
    detail = gateway.ask("GET", f"/messages/{place}")
    more = gateway.ask("GET", f"/messages/{place}/explain")
    message = detail["message"]
    if as_json:
        say_json({"message": message, "explanation": more})
        return
    say(f"{more['verdict']}: {more['explanation']}")
    say(f"message {message['id']}, from {message['sender']}, {message['size_octets']} octets")
    for one in message["recipients"]:
        reply = one["final"] or one["reply"]
        say(f"  to {one['address']}: {one['state'] or '-'} {_reply(reply)}".rstrip())
    if message["reply"] is not None:
        # The reply that ends a message ends with its reference, which is not kept with it.
        id = message["id"] if message["id"] not in message["reply"]["text"] else ""
        say(f"reply {_reply(message['reply'])} {id}".rstrip())
    decided = message["verdict"]["decided_by"] if message["verdict"] is not None else None
    if decided is not None:
        say(f"decided by {decided['filter']}: {decided['reason']}")
    if more["score"] or more["points"]:
        said = ", ".join(f"{one['action']} from {one['score']:g}" for one in more["thresholds"])
        say(f"score {more['score']:.1f}{f' ({said})' if said else ''}")
    if more["below"]:
        say(f"  {more['below']}")
    for one in more["proofs"]:
        say(f"  {one['method']} {one['result']} {one['detail']}".rstrip())
    _findings(message["findings"])
    for one in more["otherwise"]:
        say(f"  without {one['filter']} {one['reason']}: {one['action']}")
    if message["backend"]:
        say(f"route {message['route']} to backend {message['backend']}, server {message['server'] or '-'}")
    if more["queue_id"]:
        say(f"queued there as {more['queue_id']}")
    say(f"configuration revision {more['revision']}")
    if more["answer"]:
        say("for the sender:")
        for line in more["answer"].splitlines():
            say(f"  {line}")


def _reply(reply: dict[str, Any] | None) -> str:
    return " ".join(str(reply[name]) for name in ("code", "enhanced", "text") if reply[name]) if reply else ""


def _findings(found: list[dict[str, Any]]) -> None:
    for one in found:
        mode = " (shadow)" if one["is_shadow"] else ""
        points = f" {one['score']:+.1f}" if one["score"] else ""
        took = f"{one['duration_ms']:.1f} ms"
        say(f"  {one['filter']}: {one['reason']}, {one['action']}{mode}{points}, {took} {one['detail']}".rstrip())


def messages(args: argparse.Namespace) -> None:
    """Messages of the history that are like what is asked for, the newest first."""
    gateway = Gateway(args.config)
    wanted = {"q": " ".join(args.query), "limit": str(min(args.limit, _PAGE))}
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = gateway.ask("GET", f"/messages?{urlencode({**wanted, **({'cursor': cursor} if cursor else {})})}")
        items += page["items"]
        cursor = page["next_cursor"] or ""
        if not cursor or len(items) >= args.limit:
            break
    del items[args.limit :]
    if args.json:
        say_json({"items": items, "has_more": bool(cursor)})
        return
    if not items:
        say("none")
        return
    _rows(items)
    if cursor:
        complain(f"there may be more than these {len(items)}: --limit gives more")


def erase(args: argparse.Namespace) -> None:
    """Take a person's address out of the history, and what their mail was about; waits until it is done."""
    gateway = Gateway(args.config)
    task = gateway.ask("POST", "/history/erase", {"address": args.address, "reason": args.reason})
    while task["state"] in ("waiting", "running"):
        time.sleep(0.2)
        task = gateway.ask("GET", f"/tasks/{task['id']}")
    if task["state"] != "done":
        raise Failed(f"not done: {task['state']} {task['detail']}".rstrip())
    found = gateway.ask("GET", f"/tasks/{task['id']}/result")
    if args.json:
        say_json(found)
        return
    say(f"taken out of {found['messages']} messages; held mail, letters, logs and the audit are not touched")


def _rows(items: list[dict[str, Any]]) -> None:
    rows = []
    for one in items:
        to = one["recipients"][0] if one["recipients"] else "-"
        more = f" +{one['recipient_count'] - 1}" if one["recipient_count"] > 1 else ""
        said = f"{one['code'] or ''} {one['reason']}".strip() or "-"
        subject = shown(one["subject"])[:40] or "-"
        rows.append([one["time"][:19], one["id"], one["outcome"], said, one["sender"] or "-", f"{to}{more}", subject])
    table(("TIME", "ID", "RESULT", "WHY", "FROM", "TO", "SUBJECT"), rows)
