"""Man pages and the completion of shells, written from the command line's parser and from the configuration's schema.

`python -m smtpgate.cli.manual` writes them below etc/; a test holds that what lies there is what this would write, so a
command is described where it is declared and nowhere else.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from smtpgate import __version__
from smtpgate.cli import parser
from smtpgate.config.reference import TABLES, default_of, keys_of, type_word

#: Where each is, below the root.
PAGES = ("etc/man/smtpgate.1", "etc/man/smtpgate.toml.5")
SHELLS = ("etc/completion/smtpgate.bash", "etc/completion/_smtpgate", "etc/completion/smtpgate.fish")


@attrs.frozen
class Option:
    """What a command takes.

    :ivar names: "--config", "-c"; none of what has no name of its own
    :ivar value: how its value is called; "" for a switch
    :ivar choices: the values that there are; none where any may be
    """

    names: tuple[str, ...]
    value: str
    about: str
    choices: tuple[str, ...] = ()


@attrs.frozen
class Command:
    """One command, or a group of some.

    :ivar words: from the top: ("backup", "create")
    """

    words: tuple[str, ...]
    about: str
    more: str
    options: tuple[Option, ...]
    below: tuple[str, ...]


def commands(made: argparse.ArgumentParser | None = None, words: tuple[str, ...] = ()) -> Iterator[Command]:
    """All of them, the whole program first."""
    made = made if made is not None else parser()
    options: list[Option] = []
    below: dict[str, argparse.ArgumentParser] = {}
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            continue
        if isinstance(action, argparse._HelpAction):
            continue
        options.append(_option(action))
    yield Command(words, made.description or "", made.epilog or "", tuple(options), tuple(below))
    for name, one in below.items():
        yield from commands(one, (*words, name))


def _option(action: argparse.Action) -> Option:
    choices = tuple(str(one) for one in action.choices or ())
    named = action.metavar if isinstance(action.metavar, str) else ""
    value = "" if action.nargs == 0 else named or "|".join(choices) or action.dest.upper()
    about = (action.help or "").replace("%%", "%")
    return Option(tuple(action.option_strings), value, about, choices)


# Man pages


def _roff(text: str) -> str:
    """Text as roff takes it: no line is a request, no sign is an escape."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _heading(name: str, section: str, about: str) -> list[str]:
    return [
        f'.TH {name.upper()} {section} "" "smtpgate {__version__}"',
        ".SH NAME",
        f"{_roff(name)} \\- {_roff(about)}",
    ]


def commands_page() -> str:
    """smtpgate(1)."""
    whole, *others = commands()
    lines = _heading("smtpgate", "1", "look at and manage an SMTP proxy gateway")
    lines += [".SH SYNOPSIS", ".B smtpgate", "[\\fB\\-\\-config\\fR \\fIFILE\\fR] [\\fB\\-\\-json\\fR] \\fICOMMAND\\fR"]
    lines += [".SH DESCRIPTION", _roff(whole.about)]
    lines += [".SH OPTIONS", *_options(whole), ".SH COMMANDS"]
    for one in others:
        if one.below:
            continue
        lines += [f".SS {_roff(' '.join(one.words))}", _roff(f"{one.about} {one.more}")]
        shared = {option.names for option in whole.options}
        lines += _options(
            attrs.evolve(one, options=tuple(o for o in one.options if o.names not in shared or not o.names))
        )
    lines += [".SH EXIT STATUS", _roff("0 done, 1 refused or unreachable, 2 usage, 3 configuration.")]
    lines += [".SH SEE ALSO", "\\fBsmtpgate.toml\\fR(5), \\fBtwistd\\fR(1)"]
    return "\n".join(lines) + "\n"


def _options(one: Command) -> Iterator[str]:
    for option in one.options:
        names = ", ".join(f"\\fB{_roff(name)}\\fR" for name in option.names)
        value = f"\\fI{_roff(option.value)}\\fR" if option.value else ""
        yield ".TP"
        yield f"{names} {value}".strip()
        yield _roff(option.about) or "\\&"


def configuration_page() -> str:
    """smtpgate.toml(5)."""
    lines = _heading("smtpgate.toml", "5", "the configuration of an SMTP proxy gateway")
    about = (
        'TOML. Paths are relative to the file. Sizes and times are texts with their unit, as "50 MiB" and "30s". An '
        "unknown key is an error. `smtpgate check-config FILE` tells every mistake at once, with its line and what "
        "would be right."
    )
    lines += [".SH DESCRIPTION", _roff(about)]
    for title, table, _ in TABLES:
        lines += [f".SH {_roff(title.replace('`', '')).upper()}", _roff(table.__doc__ or "")]
        for name, hint, field in keys_of(table):
            default = default_of(field)
            said = f" Default: {default}." if default else ""
            lines += [".TP", f"\\fB{_roff(name)}\\fR ({_roff(type_word(hint).replace('`', ''))})"]
            lines.append(_roff(f"{field.description or ''}{said}") or "\\&")
    lines += [".SH SEE ALSO", "\\fBsmtpgate\\fR(1)"]
    return "\n".join(lines) + "\n"


# Shells


def _names(option: Option) -> Iterator[str]:
    return (name for name in option.names if name.startswith("--"))


def _valued() -> list[str]:
    """Options that take a value; the word behind them is no command."""
    found = {name for one in commands() for option in one.options if option.value for name in option.names}
    return sorted(found)


def _choices() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Words, option and what its value may be."""
    for one in commands():
        for option in one.options:
            if option.choices:
                yield from ((" ".join(one.words), name, option.choices) for name in option.names)


def bash() -> str:
    """The completion for bash."""
    return _shell(
        "# bash completion for smtpgate; made by make docs.",
        "_smtpgate()\n{",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= i\n    COMPREPLY=()\n"
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        "${COMP_WORDS[i]}",
        lambda words: f'COMPREPLY=($(compgen -W "{words}" -- "$cur"))',
        'COMPREPLY=($(compgen -f -- "$cur"))',
        "}\ncomplete -o filenames -F _smtpgate smtpgate\n",
        "$cur",
        "$prev",
    )


def zsh() -> str:
    """The completion for zsh."""
    return _shell(
        "#compdef smtpgate\n# Made by make docs.",
        "_smtpgate()\n{",
        "    local cur=$words[CURRENT] prev=$words[CURRENT-1] at= i\n    for ((i = 2; i < CURRENT; i++)); do",
        "$words[i]",
        lambda words: f"compadd -- {words}",
        "_files",
        '}\n_smtpgate "$@"\n',
        "$cur",
        "$prev",
    )


def _shell(
    head: str, begin: str, loop: str, word: str, offer: Any, files: str, end: str, current: str, before: str
) -> str:
    known = [*commands()]
    lines = [
        head,
        begin,
        loop,
        f'        case "{word}" in',
        f"            {'|'.join(_valued())}) ((i += 1)); continue ;;",
    ]
    lines += ["        esac", f'        case "$at/{word}" in']
    for one in known:
        at = " ".join(one.words)
        lines += [f'            "{at}/{name}") at="{f"{at} {name}".strip()}" ;;' for name in one.below]
    lines += ["        esac", "    done", f'    case "$at/{before}" in']
    lines += [f'        "{at}/{name}") {offer(" ".join(choices))}; return ;;' for at, name, choices in _choices()]
    lines += [f"        */{name}) {files}; return ;;" for name in _valued() if name.startswith("-")]
    lines += ["    esac", '    case "$at" in']
    for one in known:
        names = " ".join(["--help", *(name for option in one.options for name in _names(option))])
        rest = offer(" ".join(one.below)) if one.below else files
        is_option = f'[[ "{current}" == -* ]]'
        lines.append(f'        "{" ".join(one.words)}") if {is_option}; then {offer(names)}; else {rest}; fi ;;')
    return "\n".join([*lines, "    esac", end])


def fish() -> str:
    """The completion for fish."""
    lines = ["# fish completion for smtpgate; made by make docs.", "complete -c smtpgate -n __fish_use_subcommand -f"]
    for one in commands():
        if not one.words:
            where = "__fish_use_subcommand"
        else:
            where = " ; and ".join(f"__fish_seen_subcommand_from {word}" for word in one.words)
        abouts = {words.words[-1]: words.about for words in commands() if words.words[:-1] == one.words and words.words}
        for name in one.below:
            beside = f" ; and not __fish_seen_subcommand_from {' '.join(one.below)}" if one.words else ""
            lines.append(f"complete -c smtpgate -n '{where}{beside}' -f -a {name} -d {_quoted(abouts[name])}")
        for option in one.options:
            for name in _names(option):
                value = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" if option.value else ""
                anywhere = "" if not one.words else f" -n '{where}'"
                lines.append(f"complete -c smtpgate{anywhere} -l {name[2:]}{value} -d {_quoted(option.about)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"


def files() -> dict[str, str]:
    """All of them by their place."""
    return dict(zip((*PAGES, *SHELLS), (commands_page(), configuration_page(), bash(), zsh(), fish()), strict=True))


if __name__ == "__main__":
    for place, text in files().items():
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(text, encoding="utf-8")
