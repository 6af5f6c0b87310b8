"""`smtpgate top`: what goes on now, at a terminal, over the same API as the pages."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any, Final

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import say, say_json, shown

#: Home, and what stands below is cleared: ECMA-48 CUP and ED.
_CLEAR: Final = "\x1b[H\x1b[J"
_KINDS: Final = (("client", "NETWORKS OF CLIENTS"), ("sender", "DOMAINS OF SENDERS"), ("reason", "REASONS"))
#: Minutes that counts are of.
_MINUTES: Final = 5
_NAME: Final = 44


def top(args: argparse.Namespace) -> None:
    """What goes on now: messages by verdict, servers, and whom most is seen of; Ctrl-C ends it."""
    gateway = Gateway(args.config)
    if args.json:
        say_json(look(gateway, args.rows))
        return
    if args.once or not sys.stdout.isatty():
        show(look(gateway, args.rows))
        return
    while True:
        found = look(gateway, args.rows)
        sys.stdout.write(_CLEAR)
        show(found)
        say(f"again in {args.every} s; Ctrl-C ends it")
        sys.stdout.flush()
        time.sleep(args.every)


def look(gateway: Gateway, rows: int) -> dict[str, Any]:
    """All that is shown, from one round of questions."""
    spread = gateway.ask("GET", f"/stats/distributions?of=duration&step=1m&last={_MINUTES}")
    return {
        "overview": gateway.ask("GET", "/overview"),
        "messages": gateway.ask("GET", f"/stats/series?group_by=verdict&step=1m&last={_MINUTES}"),
        "duration": spread["parts"],
        "servers": gateway.ask("GET", "/backends")["items"],
        "top": {
            kind: gateway.ask("GET", f"/stats/top?kind={kind}&limit={rows}&step=1h&last={_MINUTES}")["items"]
            for kind, _ in _KINDS
        },
    }


def show(found: dict[str, Any]) -> None:
    """Print it."""
    view, messages = found["overview"], found["messages"]
    say(f"{view['hostname']}  {view['state']}  sessions {view['sessions']} of {view['sessions_limit']}")
    for reason in view["reasons"]:
        say(f"  {reason}")
    counted = sum(one["covered_s"] for one in messages["items"])
    total = sum(messages["totals"])
    rate = f"{total / counted:.1f} a second" if counted else "nothing counted yet"
    words = ", ".join(f"{count} {group}" for group, count in zip(messages["groups"], messages["totals"]) if count)
    say(f"messages of {_MINUTES} minutes: {total}, {rate}{': ' + words if words else ''}")
    for part in found["duration"]:
        if part["p95"] is not None:
            say(f"95 of 100 within {part['p95'] * 1000:.0f} ms, half within {part['p50'] * 1000:.0f} ms")
    say("")
    for server in found["servers"]:
        state = "drained" if server["is_drained"] else server["state"]
        say(f"{_fit(server['backend'] + ' ' + server['name'])}  {state:8}  {server['links']} links")
    for kind, head in _KINDS:
        if found["top"][kind]:
            say("")
            say(f"{head:{_NAME}}  THIS HOUR  REFUSED")
            for one in found["top"][kind]:
                new = "  new" if one["is_new"] else ""
                say(f"{_fit(one['name'])}  {one['count']:9}  {one['counts'][3]:7}{new}")


def _fit(text: str) -> str:
    """A name in its column; what could steer a terminal is escaped first, so that the width is what is seen."""
    safe = shown(text)
    return f"{safe[: _NAME - 1]}…" if len(safe) > _NAME else f"{safe:{_NAME}}"
