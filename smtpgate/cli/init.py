"""`smtpgate init`: a first configuration with every key explained, and a unit for systemd.

What is written passes check-config: it is checked as if it stood there already, and nothing is written where it has an
error. Nothing that exists is written over.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from smtpgate.cli.gateway import Gateway
from smtpgate.cli.terminal import EXIT_CONFIG, EXIT_USAGE, Failed, complain, say, say_json
from smtpgate.config.hiding import left
from smtpgate.config.loader import ConfigErrors, loads
from smtpgate.config.reference import sample

_UNIT = "smtpgate.service"
_STATE_DIR = "/var/lib/smtpgate"
#: A key before the first table.
_STATE_LINE = re.compile(r'^state_dir[ \t]*=[ \t]*("(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\')', re.MULTILINE)
#: What is asked where somebody sits at the terminal: the option, and the words of the question.
_QUESTIONS = (
    ("hostname", "Name of the gateway, as its PTR record has it"),
    ("domains", "Domains whose mail it takes, with commas between"),
    ("backend", "Mail server behind it, as mail.example.net:25"),
    ("listen", "Port for mail"),
    ("state_dir", "Folder for what it keeps"),
)

MORE = (
    "Without options it asks, where a terminal is there. --from-running begins with what the gateway of --config has "
    "at work: its text and comments, with another state folder. Nothing that exists is written over. Exit code 3: what "
    "was asked for would be no good configuration, and nothing was written."
)


def options(one: argparse.ArgumentParser) -> None:
    """Those of `init`."""
    one.add_argument("file", type=Path, metavar="FILE", help="the configuration file to write")
    one.add_argument("--hostname", metavar="NAME", help="name of the gateway, as its PTR record has it")
    one.add_argument("--domains", metavar="A,B", help="domains whose mail it takes")
    one.add_argument("--backend", metavar="HOST:PORT", help="mail server behind it")
    one.add_argument("--listen", metavar="PORT", help="port for mail; without it 25")
    one.add_argument("--state-dir", metavar="DIR", help=f"folder for what it keeps; without it {_STATE_DIR}")
    one.add_argument("--unit", type=Path, metavar="FILE", help="write a unit for systemd too")
    one.add_argument("--from-running", action="store_true", help="begin with what the gateway of --config has at work")


def init(args: argparse.Namespace) -> None:
    """Write a first configuration, with every key explained, and with --unit a unit for systemd."""
    for path in (args.file, args.unit):
        if path is not None and path.exists():
            raise Failed(f"{path} is there already, and nothing is written over; name another file")
    if args.from_running:
        text = _running(args)
    else:
        text = _fresh(_answers(args))
    state_dir = _checked(text, args.file.absolute())
    if args.from_running and state_dir != os.path.normpath(
        args.file.absolute().parent / (args.state_dir or _STATE_DIR)
    ):
        raise Failed("what runs has its state_dir where it cannot be replaced; copy the file, and change it by hand")
    _write(args.file, text)
    if args.unit is not None:
        _write(args.unit, unit(args.file.absolute(), state_dir, Path(sys.executable).parent))
    _tell(args)


def _answers(args: argparse.Namespace) -> dict[str, str]:
    known = {
        "hostname": socket.getfqdn(),
        "domains": "",
        "backend": "",
        "listen": "25",
        "state_dir": _STATE_DIR,
    }
    given = {name: getattr(args, name) for name in known}
    needed = [name for name in ("domains", "backend") if not given[name]]
    if needed and sys.stdin.isatty():
        for name, words in _QUESTIONS:
            if given[name] is None:
                given[name] = _asked(words, known[name], input)
    elif needed:
        raise Failed("give " + " and ".join(f"--{name}" for name in needed) + ", or come with a terminal", EXIT_USAGE)
    return {name: given[name] or known[name] for name in known}


def _asked(words: str, default: str, read: Callable[[str], str]) -> str:
    """One answer; the default where it is empty, and asked again where there is none."""
    while True:
        try:
            found = read(f"{words}{f' [{default}]' if default else ''}: ").strip() or default
        except EOFError:
            raise Failed("the answers ended before the questions", EXIT_USAGE) from None
        if found:
            return found


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _fresh(answers: Mapping[str, str]) -> str:
    """The text of a configuration for one mail server."""
    domains = [one.strip() for one in answers["domains"].split(",") if one.strip()]
    port = answers["listen"]
    return sample(
        {
            "": {
                "hostname": _toml(answers["hostname"]),
                "state_dir": _toml(answers["state_dir"]),
                "local_domains": _toml(domains),
                "filter_set": '"default"',
            },
            "[listeners.mx]": {"listen": _toml([f"tcp:{port}" if port.isdigit() else port]), "role": '"mx"'},
            "[backends.mail]": {"servers": _toml([answers["backend"]])},
            "[[routes]]": {"listener": '"mx"', "backend": '"mail"'},
        },
        "# smtpgate: written by smtpgate init.",
    )


def _running(args: argparse.Namespace) -> str:
    """The text that a gateway has at work, with a state folder of its own."""
    if args.config is None:
        raise Failed("--from-running wants --config FILE, the file of the gateway that runs", EXIT_USAGE)
    for name in ("hostname", "domains", "backend", "listen"):
        if getattr(args, name) is not None:
            raise Failed(
                f"--from-running takes what runs as it is: leave --{name} out, and edit {args.file}", EXIT_USAGE
            )
    gateway = Gateway(args.config)
    number = gateway.ask("GET", "/config/revisions?limit=1")["active"]
    text: str = gateway.ask("GET", f"/config/revisions/{number}")["text"]
    line = f"state_dir = {_toml(args.state_dir or _STATE_DIR)}"
    found = re.search(r"^[ \t]*\[", text, re.MULTILINE)
    at = found.start() if found is not None else len(text)
    first, many = _STATE_LINE.subn(lambda _: line, text[:at], count=1)
    heading = f"# Written by smtpgate init from revision {number} of {args.config}.\n"
    return f"{heading}{first}{text[at:]}" if many else f"{heading}{line}\n{text}"


def _checked(text: str, path: Path) -> str:
    """The state folder of a text that is good at that place; raises Failed with every problem."""
    from smtpgate.plugins import find_factories

    problems = left(text, str(path))
    try:
        settings = loads(text, path, *find_factories())
    except ConfigErrors as errors:
        problems = [*problems, *errors.problems]
    if any(problem.is_error for problem in problems):
        told = "\n".join(str(problem) for problem in problems if problem.is_error)
        raise Failed(f"{told}\nnothing is written", EXIT_CONFIG)
    return os.path.normpath(settings.state_dir)


def unit(config: Path, state_dir: str, programs: Path) -> str:
    """The text of a unit for systemd.

    :param programs: the folder with `twistd` and `smtpgate`
    """
    text = resources.files("smtpgate.cli").joinpath("unit_files", _UNIT).read_text("utf-8")
    # systemd reads % and blanks in paths as its own (systemd.unit(5), systemd.service(5)).
    for path in (str(config), state_dir, str(programs)):
        if re.fullmatch(r"/[A-Za-z0-9._/+-]+", path) is None:
            raise Failed(
                f"{path}: a unit takes paths of letters, digits and ._/+- only; move it, or write the unit by hand"
            )
    text = text.replace("/opt/smtpgate/bin", str(programs)).replace("/etc/smtpgate.toml", str(config))
    if state_dir != _STATE_DIR:
        own = re.sub(r"(?m)^StateDirectory(Mode)?=.*\n", "", text)
        text = own.replace("UMask=", f"ReadWritePaths={state_dir}\nUMask=")
    return text


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Failed(f"{path}: cannot be written: {error.strerror}") from None


def _tell(args: argparse.Namespace) -> None:
    if args.json:
        say_json({"config": str(args.file), "unit": str(args.unit) if args.unit is not None else None})
        return
    say(f"{args.file} is written")
    say(f"next: smtpgate --config {args.file} doctor")
    if args.unit is None:
        say(f"then: twistd -n --pidfile= smtpgate --config {args.file}")
        return
    say(f"then: cp {args.unit} /etc/systemd/system/ && systemctl enable --now smtpgate")
    for path in (args.file.absolute(), Path(sys.executable)):
        if path.is_relative_to("/home") or path.is_relative_to("/root"):
            complain(f"{path}: the unit hides the folders of users (ProtectHome=yes); move it, to /etc or /opt")


__all__ = ["MORE", "init", "options", "unit"]
