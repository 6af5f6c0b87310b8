"""The house: which room may import which (docs/rooms.md), held against the imports that the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent / "smtpgate"

#: Room to the rooms of ours that it may import. A room may always import itself.
MAY = {
    "smtp": set(),
    "message": set(),
    "tasks": set(),
    "spent": set(),
    "traffic": set(),
    "policy": {"smtp", "message"},
    "examine": {"message"},
    "edits": {"message", "examine"},
    "signing": {"message", "examine"},
    "rules": {"smtp", "message", "policy", "examine"},
    "interfaces": {"policy", "smtp"},
    "config": {"smtp", "policy", "traffic", "rules", "edits", "signing"},
    "proxy": {"smtp", "message", "policy", "config", "examine", "interfaces", "tasks", "traffic", "signing"},
    "net": {"smtp", "policy", "config", "interfaces", "tasks"},
    "filters": {"smtp", "message", "policy", "examine", "interfaces", "config", "rules", "edits", "signing"},
    "plugins": {"filters", "interfaces", "policy"},
    "observe": {"policy", "smtp", "message", "interfaces", "tasks"},
    "state": {"policy", "smtp", "message", "interfaces", "spent"},
    "control": {"proxy", "observe", "config", "policy", "smtp", "interfaces", "tasks", "traffic", "__init__"},
    "admin": {"control", "config", "policy", "interfaces", "smtp", "spent", "__init__"},
    "cli": {
        "examine",
        "signing",
        "control",
        "config",
        "policy",
        "smtp",
        "proxy",
        "state",
        "plugins",
        "filters",
        "interfaces",
        "__init__",
    },
    "sink": {"smtp"},
    "testing": {
        "smtp",
        "message",
        "policy",
        "examine",
        "config",
        "interfaces",
        "proxy",
        "tasks",
        "filters",
        "plugins",
        "net",
    },
    "wiring": None,
    "assembly": None,
    "gauges": None,
    "boot": None,
    "tap": None,
    "__init__": set(),
}
#: Foreign packages that a room may import besides the standard library; "twisted" means any part of it.
FOREIGN = {
    "smtp": {"attrs", "idna"},
    "message": {"attrs"},
    "examine": {"attrs", "idna"},
    "edits": {"attrs"},
    "signing": {"attrs", "cryptography"},
    "tasks": set(),
    "spent": set(),
    "traffic": {"attrs"},
    "policy": {"attrs"},
    "rules": {"attrs", "re2", "cel_expr_python", "google"},
    "interfaces": {"zope", "twisted.plugin"},
}
#: Modules that no room below may touch: it is tested by hand-fired Deferreds and a Clock.
PURE_ASYNC = {"proxy": {"twisted.internet.defer", "zope.interface", "attrs"}}
LINES = 400
#: Longer than the cap, each with the reason why it is one thing.
LONG = {
    "interfaces.py": "every contract between rooms, in one place",
    "proxy/session.py": "one client's life in the order of its verbs after the greeting",
    "smtp/server.py": "one wire machine with its table",
    "proxy/link.py": "a link from connect to ready, and the commands over it",
    "proxy/exchange.py": "one transaction, verb by verb",
    "proxy/body.py": "one message's content, from the first octet to the commit",
    "proxy/pipeline.py": "the filters of a role, and those of one message at work",
    "examine/brands.py": "a table of names, and the two ways to look them up",
    "examine/wording.py": "a table of phrases, and the form around them",
    "config/schema.py": "one table of the file after the other, with the words for each key",
    "tap.py": "the wiring in one place",
    "observe/names.py": "a list of events and fields, and the page made from it",
}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "migrations" not in path.parts)


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module or "")
            if node.module in ("smtpgate", "twisted.internet"):
                found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def _split(name: str) -> tuple[list[str], list[str]]:
    """A dotted name as its modules and what is in them."""
    parts = name.split(".")
    place: list[str] = []
    while parts and parts[0].islower() and (ROOT.joinpath(*place, parts[0]).is_dir() or _file(place, parts[0])):
        place.append(parts.pop(0))
    return place, parts


def _file(place: list[str], name: str) -> bool:
    return ROOT.joinpath(*place, f"{name}.py").is_file()


def _tail(name: str) -> list[str]:
    return _split(name)[1]


def _is_place(name: str) -> bool:
    """What begins with a module begins with one of ours, and its class or function stands there."""
    place, rest = _split(name)
    if not name[0].islower():
        return True
    path = ROOT.joinpath(*place[:-1], f"{place[-1]}.py") if place else ROOT
    if not path.is_file():
        return bool(place) and not rest
    return not rest or re.search(rf"(?:class|def) {rest[0]}\b", path.read_text(encoding="utf-8")) is not None


class LayerTests(SynchronousTestCase):
    """Arrows only go down."""

    def test_rooms_import_only_what_they_may(self) -> None:
        """No module imports a room that the table does not allow."""
        wrong = []
        for path in modules():
            here = room(path)
            self.assertIn(here, MAY, f"{path}: a room without a place in the house")
            allowed = MAY[here]
            if allowed is None:
                continue
            for name in imports(path):
                if not name.startswith("smtpgate."):
                    continue
                there = name.split(".")[1]
                if there not in MAY or there == here or there in allowed or there.startswith("__"):
                    continue
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
        self.assertEqual(wrong, [])

    def test_the_reactor_is_imported_in_one_place(self) -> None:
        """Only tap knows the reactor."""
        places = [str(path.relative_to(ROOT)) for path in modules() if "twisted.internet.reactor" in imports(path)]
        self.assertEqual(places, ["tap.py"])

    def test_pure_rooms_know_no_foreign_package(self) -> None:
        """Grammar, content and decision can be read, fuzzed and reused alone."""
        wrong = []
        for path in modules():
            allowed = FOREIGN.get(room(path))
            if allowed is None:
                continue
            for name in imports(path):
                head = name.split(".")[0]
                if head in ("twisted", "zope", "attrs", "idna", "OpenSSL", "pydantic", "klein", "sqlalchemy"):
                    if name not in allowed and head not in allowed:
                        wrong.append(f"{path.relative_to(ROOT)}: {name}")
        self.assertEqual(wrong, [])

    def test_the_engine_knows_no_transport(self) -> None:
        """proxy may await Deferreds, and knows nothing else of Twisted."""
        wrong = [
            f"{path.relative_to(ROOT)}: {name}"
            for path in modules()
            if room(path) == "proxy"
            for name in imports(path)
            if name.startswith("twisted.")
            and name not in ("twisted.internet.defer", "twisted.internet")
            and not name.startswith("twisted.internet.defer.")
        ]
        self.assertEqual(wrong, [])

    def test_nothing_imports_tap_or_the_kit(self) -> None:
        """tap wires and is wired by nobody; production code does not lean on the test kit."""
        wrong = [
            f"{path.relative_to(ROOT)}: {name}"
            for path in modules()
            for name in imports(path)
            if name in ("smtpgate.tap", "smtpgate.testing") and room(path) != "testing"
        ]
        self.assertEqual(wrong, [])


class ShapeTests(SynchronousTestCase):
    """Rooms stay readable."""

    def test_no_module_grows_past_the_cap(self) -> None:
        """A module over the cap is split, or explained."""
        long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
        self.assertEqual([name for name, lines in long.items() if lines > LINES and name not in LONG], [])
        self.assertEqual([name for name in LONG if long.get(name, 0) <= LINES], [], "not long any more")

    def test_every_module_says_what_it_is_about(self) -> None:
        """Reading all heads in layer order must explain the gateway."""
        silent = [
            str(path.relative_to(ROOT))
            for path in modules()
            if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        ]
        self.assertEqual(silent, [])

    def test_the_walk_through_the_rooms_names_what_is_there(self) -> None:
        """Each name in docs/flow.md is one that the code has."""
        text = (ROOT.parent / "docs" / "flow.md").read_text(encoding="utf-8")
        names = re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+|[A-Z][A-Za-z]+\.[a-z_]+)`", text)
        self.assertGreater(len(names), 25)
        whole = "\n".join(path.read_text(encoding="utf-8") for path in modules())
        missing = [
            name
            for name in names
            if not all(re.search(rf"(?:class|def|^) ?{part}\b|^\s+\"?{part}\b", whole, re.M) for part in _tail(name))
        ]
        self.assertEqual(missing, [])
        self.assertEqual([name for name in names if not _is_place(name)], [])

    def test_the_plugin_folder_is_no_package(self) -> None:
        """Twisted stops looking for plugins in a folder with an __init__.py."""
        self.assertFalse((ROOT.parent / "twisted" / "plugins" / "__init__.py").exists())
        self.assertFalse((ROOT.parent / "twisted" / "__init__.py").exists())
