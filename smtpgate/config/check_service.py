"""Checks of what belongs to no single listener, backend or route: name, folder, limits, times, ports.

Each check is a function from the finished tree to faults; `checks` runs them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import attrs

from smtpgate.config.endpoint import Endpoint, is_address, parse_listen
from smtpgate.config.entry import normal_domain
from smtpgate.config.model import Settings, Timeouts
from smtpgate.config.model_policy import RULES
from smtpgate.config.problem import Fault, Where, quoted, warning
from smtpgate.config.surroundings import Surroundings
from smtpgate.config.units import format_duration
from smtpgate.policy.verdict import SCORES

#: Longest time of our own checks after the client's final dot; many clients wait no longer than this at all.
VERDICT_CAP_S = 300
#: RFC 5321 section 4.5.3.2.6.
DATA_DONE_S = 600
#: Whoever was not served within a session tries again after half an hour (RFC 5321 section 4.5.4.1), and the longest
#: wait that it asks for has ten minutes: behind a day there is no meaning in any of ours, only a slip of the unit.
LONGEST_S = 86400.0
#: Less than a second is shorter than one lost packet costs (RFC 6298 section 2.1), so it fails peers that are well.
SHORTEST_S = 1.0
#: RFC 5321 section 4.5.3.1.7.
MESSAGE_OCTETS = 64 * 2**10
#: RFC 5321 section 4.5.3.1.8.
RECIPIENTS = 100

#: Who is named in log and pages where no filter decided: rules, the sum of scores, the engine.
OURS = frozenset({RULES, SCORES, "gateway"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def hostname_is_a_name(tree: Settings) -> Iterator[Fault]:
    """Our name stands in every greeting and Received line, and peers look it up."""
    name = tree.hostname
    hint = 'write the full name that the DNS has for this machine, such as "gate.example.com"'
    where = ("hostname",)
    if not name.isascii():
        written = normal_domain(name)
        yield Fault(where, f"{quoted(name)} is not ASCII", f'write "{written}"' if written else hint)
    elif is_address(name) or len(name) > 253 or not all(map(_LABEL.fullmatch, name.split("."))):
        yield Fault(where, f"{quoted(name)} is not a host name", hint)
    elif "." not in name:
        yield warning(where, f"{quoted(name)} is not a full name; many servers refuse mail from it", hint)


def state_dir_is_usable(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """Without its folder the gateway cannot start; one that is yet to be made may be made by another user."""
    folder = around.state_dir
    if not folder.reason:
        return
    hint = f"make {tree.state_dir} a folder that the gateway's user owns, and run this as that user"
    if folder.exists or "not a folder" in folder.reason:
        yield Fault(("state_dir",), folder.reason, hint)
    else:
        yield warning(("state_dir",), f"{tree.state_dir} cannot be made: {folder.reason}", hint)


def log_file_is_usable(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """A gateway whose log cannot be opened does not start."""
    if around.log_file.reason:
        hint = 'name a file in a folder that is there, or write file = "-"'
        if "this user" in around.log_file.reason:
            hint = "run this as the gateway's user, who must be able to write it"
        yield Fault(("log", "file"), around.log_file.reason, hint)


def something_listens(tree: Settings) -> Iterator[Fault]:
    """A gateway without a listener would run and do nothing."""
    if not tree.listeners:
        yield Fault(("listeners",), "no listener is configured", 'write [listeners.mx] and listen = ["tcp:25"]')


def names_are_plain(tree: Settings) -> Iterator[Fault]:
    """Names of listeners and backends stand in logs, metrics and addresses of pages."""
    for table, names in (("listeners", tree.listeners), ("backends", tree.backends)):
        for name in names:
            if not _NAME.fullmatch(name):
                yield Fault(
                    (table, name),
                    f"{quoted(name)} cannot be a name",
                    "begin with a letter or digit; then letters, digits, dot, hyphen, underscore; 63 at most",
                    keys=(),
                )


def verdict_is_in_time(tree: Settings) -> Iterator[Fault]:
    """A client that waits too long for its last answer sends the message again."""
    given = tree.timeouts.verdict_s
    if given is not None and given > VERDICT_CAP_S:
        yield Fault(
            ("timeouts", "verdict"),
            f"{format_duration(given)} is too long: the client is waiting",
            f"the most is {VERDICT_CAP_S}s; the defaults are 45s on mx and 20s on submission",
        )


def backend_gets_its_time(tree: Settings) -> Iterator[Fault]:
    """Giving up on a backend that is about to say 250 makes a message arrive twice."""
    given = tree.timeouts.data_done_s
    if given < DATA_DONE_S:
        yield warning(
            ("timeouts", "data_done"),
            f"{format_duration(given)} is short: a backend that is slower makes messages arrive twice",
            "RFC 5321 section 4.5.3.2.6 asks for 10m",
        )


def times_have_sense(tree: Settings) -> Iterator[Fault]:
    """A time of years is a limit that is not there, one of milliseconds a peer that can never be in time."""
    for field in attrs.fields(Timeouts):
        key, given = field.name.removesuffix("_s"), getattr(tree.timeouts, field.name)
        usual = f"the default is {format_duration(field.default)}" if field.default else 'write it as in "30s"'
        where: Where = ("timeouts", key)
        if given is None:
            continue
        if given > LONGEST_S and key == "drain":
            message = f"{format_duration(given)} is too long: one stuck session would hold up a stop for that time"
            yield Fault(where, message, f"the most is {format_duration(LONGEST_S)}; {usual}")
        elif given > LONGEST_S and key != "verdict":
            message = f"{format_duration(given)} is as good as no limit: a dead peer would hold its connection"
            yield Fault(where, message, f"the most is {format_duration(LONGEST_S)}; {usual}")
        elif given < SHORTEST_S and key != "drain":
            yield warning(where, f"{format_duration(given)} is too short for a peer that is well", usual)
    for name, backend in tree.backends.items():
        where, shown = ("backends", name, "probe"), format_duration(backend.probe_s)
        if backend.probe_s > LONGEST_S:
            message = f"{shown} is too long: a server that fails or comes back would not be noticed before"
            yield Fault(where, message, f"the most is {format_duration(LONGEST_S)}; the default is 30s", keys=())
        elif backend.probe_s < SHORTEST_S:
            message = f"{shown} is too short: each server would get connections all the time"
            yield warning(where, message, "the default is 30s", keys=())


def messages_of_64_kib_pass(tree: Settings) -> Iterator[Fault]:
    """The least message size that every server must take."""
    if tree.limits.message_size_octets < MESSAGE_OCTETS:
        yield warning(
            ("limits", "message_size"),
            f"{tree.limits.message_size_octets} octets is less than every server must take",
            'RFC 5321 section 4.5.3.1.7 asks for "64 KiB" at least',
        )


def hundred_recipients_pass(tree: Settings) -> Iterator[Fault]:
    """The least number of recipients that every server must take."""
    if tree.limits.recipients < RECIPIENTS:
        yield Fault(
            ("limits", "recipients"),
            f"{tree.limits.recipients} is less than every server must take",
            f"RFC 5321 section 4.5.3.1.8 asks for {RECIPIENTS} at least",
        )


def scores_rise(tree: Settings) -> Iterator[Fault]:
    """A threshold that no good message stays below refuses all mail; one above a stronger one never counts."""
    names = ("tag", "quarantine", "defer", "reject")
    given = [(name, value) for name in names if (value := getattr(tree.scale, name)) is not None]
    for name, value in given:
        if value <= 0:
            message = f"{value:g} is reached by every message: a sum of 0 is nothing"
            yield Fault(("scores", name), message, 'write a number above 0, as 5.0, or "off"')
    for (lower, low), (upper, up) in pairwise(given):
        if low > up > 0:
            message = f"{up:g} is below {lower} = {low:g}, which would never count"
            yield warning(("scores", upper), message, f'let {upper} be the higher of the two, or write {lower} = "off"')


def admin_is_not_open(tree: Settings) -> Iterator[Fault]:
    """The admin pages have no TLS of their own, so passwords may not cross a network."""
    listen = tree.admin.listen
    if listen is None or tree.admin.insecure or parse_listen(listen).is_local:
        return
    yield Fault(
        ("admin", "listen"),
        "the network could reach the admin pages, which have no TLS",
        'write "tcp:8080:interface=127.0.0.1" and put a proxy with TLS before it, or set insecure = true',
        rests_on=(("admin", "insecure"),),
    )


def nothing_is_listened_on_twice(tree: Settings) -> Iterator[Fault]:
    """The second of two could not be bound."""
    taken: list[tuple[Where, Endpoint]] = []
    for where, text in _all_listens(tree):
        one = parse_listen(text)
        for other_where, other in taken:
            if one.clashes_with(other):
                table = other_where[:2] if other_where[0] == "listeners" else other_where
                shown = ".".join(str(part) for part in table)
                yield Fault(
                    where,
                    f"{shown} listens there already",
                    "give each its own port or address",
                    rests_on=(other_where,),
                    keys=(),
                )
                break
        taken.append((where, one))


def _all_listens(tree: Settings) -> Iterator[tuple[Where, str]]:
    if tree.admin.listen is not None:
        yield ("admin", "listen"), tree.admin.listen
    # The same endpoint in both means one listener for pages and health.
    if tree.admin.health_listen not in (None, tree.admin.listen):
        yield ("admin", "health_listen"), str(tree.admin.health_listen)
    for name, listener in tree.listeners.items():
        for number, text in enumerate(listener.listen):
            yield ("listeners", name, "listen", number), text


def filters_have_own_names(tree: Settings) -> Iterator[Fault]:
    """Two filters of one name could not be told apart in log and pages."""
    first: dict[str, int] = {}
    for number, use in enumerate(tree.filters):
        if use.name in OURS:
            yield Fault(
                ("filters", number, "name"),
                f"{quoted(use.name)} is who speaks in log and pages where the gateway itself decides",
                "give it another name",
                keys=("use",),
            )
        if use.name in first:
            other = first[use.name]
            yield Fault(
                ("filters", number),
                f"the filter of line {tree.filters[other].line} is named {quoted(use.name)} too",
                'give one of them a name of its own with the key "name"',
                rests_on=(("filters", other, "use"), ("filters", other, "name")),
                keys=("use", "name"),
            )
        first.setdefault(use.name, number)
