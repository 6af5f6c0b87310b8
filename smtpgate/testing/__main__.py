"""`python -m smtpgate.testing [--folder FOLDER]... RESULTS SCRIPT...`: play golden sessions (`rehearsal`).

`smtpgate plugin test` runs it as a process of its own, since it runs the code of strangers. A line for each script goes
to standard output, with what was wrong below it, and "passed" or "failed" for each, in their order, to the file
RESULTS: so a filter that ends the process is noticed. FOLDER is one that plugins come from; where a plugin of it was
passed over for another that differs, that is said, and nothing is played.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from smtpgate.plugins import TwoOfOneName, find_factories
from smtpgate.testing.rehearsal import rehearse
from smtpgate.testing.scenery import Found


def main(arguments: Sequence[str] | None = None) -> int:
    """Play them; 1 where the filters themselves cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m smtpgate.testing")
    parser.add_argument("results", type=Path)
    parser.add_argument("--folder", type=Path, action="append", default=[])
    parser.add_argument("scripts", type=Path, nargs="*")
    args = parser.parse_args(arguments)
    try:
        found = Found(*find_factories())
    except TwoOfOneName as error:
        sys.stdout.write(f"{error}\n")
        return 1
    strangers = _strangers(args.folder)
    if strangers:
        sys.stdout.write("".join(f"{text}\n" for text in strangers))
        return 1
    with args.results.open("a", encoding="ascii") as results:
        for path in args.scripts:
            complaints = rehearse(path, found)
            sys.stdout.write(f"{'FAILED' if complaints else 'passed'}  {path}\n")
            sys.stdout.write("".join(f"  {one}\n" for one in complaints))
            sys.stdout.flush()
            results.write("failed\n" if complaints else "passed\n")
            results.flush()
    return 0


def _strangers(folders: Iterable[Path]) -> list[str]:
    """Modules of these folders in whose place others were imported that differ: an older copy, installed, say."""
    found = []
    for folder in folders:
        for path in sorted((folder / "smtpgate" / "plugins").glob("*.py")):
            place = getattr(sys.modules.get(f"smtpgate.plugins.{path.stem}"), "__file__", None)
            if place and Path(place).resolve() != path.resolve() and Path(place).read_bytes() != path.read_bytes():
                found.append(f"{path}: {place} was imported in its place, and differs; install it anew, or remove that")
    return found


if __name__ == "__main__":
    sys.exit(main())
