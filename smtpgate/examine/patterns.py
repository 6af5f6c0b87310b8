"""YARA rules over a message: over its octets as they came, over every decoded part, and over what is packed in those.

`scan` is the job "patterns" of a child process. Rules come as text with the request, and only where the child does not
have them: it compiles them once and keeps them by their digest, so the usual request names a digest and nothing more.
`compile_rules` is also what checks rules when a configuration is loaded.

One budget holds for everything, as in `look`: octets, files, depth, time. A limit that was reached is named in the
answer; who judges must not take the rest for clean. A file that was scanned already under the same name is not scanned
again. Rules may use `filename`, `filepath` and `extension`, as those of other scanners do.

Nothing is raised for what a stranger sent. An `include` is refused: rules may not read files.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import zlib
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.examine.budget import Budget, Member
from smtpgate.examine.calendars import look_at_calendar
from smtpgate.examine.kinds import kind_of
from smtpgate.examine.mapped import whole
from smtpgate.examine.signeddata import signed_content
from smtpgate.message.mime import MimeLimits, walk

#: Rules that one child keeps: those of two revisions, and of a filter that is used twice.
KEPT: Final = 4
#: Matches that one answer names.
MATCHES: Final = 100
#: Octets of rules after unpacking, as `filters.engines.files` lets them be.
RULES_OCTETS: Final = 40 << 20
#: Letters of one text in an answer.
LETTERS: Final = 300
#: Values of metadata that say how bad a match is; the first that a rule has counts.
_SEVERITY: Final = ("severity", "threat_level", "level")

_kept: OrderedDict[str, Any] = OrderedDict()


class BadRules(ValueError):
    """Rules that cannot be compiled; the text says which and why."""


def compile_rules(sources: Iterable[tuple[str, str]]) -> Any:
    """Compiled rules (`yara_x.Rules`). Raises BadRules, and ImportError where the library is missing.

    :param sources: name of each file, which is the namespace of its rules, and its text
    """
    import yara_x

    compiler = yara_x.Compiler(relaxed_re_syntax=True, includes_enabled=False)
    for name in ("filename", "filepath", "extension", "filetype", "owner"):
        compiler.define_global(name, "")
    for name, text in sources:
        compiler.new_namespace(name)
        try:
            compiler.add_source(text, origin=name)
        except yara_x.CompileError as error:
            raise BadRules(f"{name}: {_short(str(error))}") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise BadRules(f"{name}: {_short(repr(error))}") from None
    return compiler.build()


def packed(sources: Iterable[tuple[str, str]]) -> str:
    """Sources as a request carries them."""
    return b64encode(zlib.compress(json.dumps(list(sources)).encode("utf-8"), 6)).decode("ascii")


def _unpacked(text: str) -> list[tuple[str, str]]:
    unpacker = zlib.decompressobj()
    octets = unpacker.decompress(b64decode(text, validate=True), RULES_OCTETS)
    if unpacker.unconsumed_tail:
        raise BadRules("more rules than a child takes")
    return [(str(name), str(source)) for name, source in json.loads(octets)]


@attrs.frozen
class Limits:
    """How far to look."""

    time_s: float = 8.0
    octets: int = 100 << 20
    members: int = 1000
    depth: int = 5
    parts: int = 1000

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Limits:
        """Those of a request; keys that say something else are passed over."""
        given = request.get("limits", {})
        return cls(**{field.name: given[field.name] for field in attrs.fields(cls) if field.name in given})


def scan(content: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The job.

    :param request: `digest` of the rules, `rules` as `packed` gives them where the child has asked for them, `limits`
    :return: `status` "done", "unknown" (say the rules) or "refused" (with an `error`); `octets` of the message;
        `matches`, each with rule, namespace, severity, tags and where; `limits` that were reached
    """
    answer: dict[str, Any] = {"status": "done", "octets": len(content), "matches": [], "limits": [], "error": ""}
    digest = str(request["digest"])
    rules = _kept.get(digest)
    if rules is None:
        if not request.get("rules"):
            return answer | {"status": "unknown"}
        try:
            rules = compile_rules(_unpacked(request["rules"]))
        except (ValueError, zlib.error) as error:
            return answer | {"status": "refused", "error": _short(str(error))}
        _kept[digest] = rules
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(digest)
    search = _Search(rules, Limits.of(request))
    search.run(whole(content))
    return answer | {"matches": list(search.matches.values()), "limits": list(search.limits)}


class _Search:
    """One message under one set of rules."""

    def __init__(self, rules: Any, limits: Limits) -> None:
        import yara_x

        self.matches: dict[tuple[str, str], dict[str, Any]] = {}
        self._limits = limits
        self._reached: dict[str, None] = {}
        self._seen: set[tuple[bytes, str]] = set()
        self._scanner = yara_x.Scanner(rules)
        self._late: Any = yara_x.TimeoutError
        self._failed: Any = yara_x.ScanError
        self._ends = time.monotonic() + limits.time_s
        self._budget = Budget(time.monotonic, self._ends, limits.octets, limits.members, limits.depth)

    @property
    def limits(self) -> tuple[str, ...]:
        """Names of those that were reached."""
        return tuple(dict.fromkeys((*self._reached, *self._budget.limits)))

    def run(self, content: bytes) -> None:
        """Look at everything."""
        self._look(content, "message", ())
        self._parts(content, "")

    def _parts(self, content: bytes, path: str) -> None:
        message = walk(content, MimeLimits(parts=self._limits.parts))
        self._reached.update(dict.fromkeys(message.limits))
        for part in message.parts:
            if part.is_container:
                continue
            usual = part.decoded()
            for octets in (usual, *part.readings()):
                if self._budget.is_late() or not self._budget.spend(len(octets)):
                    return
                name = part.names[0] if part.names else f"part {part.number or '1'}"
                self._file(octets, f"{path}{name}", part.names, part.media_type)

    def _file(self, octets: bytes, path: str, names: Sequence[str], claimed: str = "") -> None:
        """One file, and what is in it."""
        if not self._look(octets, path, names):
            return
        with self._budget.deeper() as is_allowed:
            if not is_allowed:
                return
            try:
                for member in self._members(octets, path, names, claimed):
                    if member.content is None:
                        continue
                    if self._budget.is_late() or not self._budget.take_member():
                        return
                    name = next((name for name in member.names if name), "member")
                    self._file(member.content, f"{path}/{name}", member.names)
            except MemoryError:
                self._reached["memory"] = None
            except Exception as error:
                # A fault of a reader; the file itself was scanned.
                self._reached[f"reader: {type(error).__name__}"] = None

    def _members(self, octets: bytes, path: str, names: Sequence[str], claimed: str) -> Iterator[Member]:
        for kind, detail in kind_of(octets, names, claimed).all:
            if kind in ("archive", "disk-image"):
                from smtpgate.examine.archives import Archive

                yield from Archive(octets, detail, self._budget, names)
            elif kind in ("office", "office-legacy", "onenote"):
                from smtpgate.examine.office import look_at_office

                yield from look_at_office(octets, detail, self._budget).members
                if kind == "office":
                    from smtpgate.examine.archives import Archive

                    # Rules know the pieces of a document by their own octets.
                    yield from Archive(octets, "zip", self._budget, names)
            elif kind == "pdf":
                from smtpgate.examine.pdf import look_at_pdf

                yield from look_at_pdf(octets, self._budget).members
            elif kind == "tnef":
                from smtpgate.examine.tnef import look_at_tnef

                looked = look_at_tnef(octets, self._budget)
                yield from looked.members
                yield from (Member((name,), markup) for markup, name in looked.markup)
            elif kind == "calendar":
                yield from look_at_calendar(octets).members
            elif kind == "certificate":
                if inner := signed_content(octets):
                    self._parts(inner, f"{path}/")
            elif kind == "message" and detail not in ("msg", "pst"):
                self._parts(octets, f"{path}/")

    def _look(self, octets: bytes, path: str, names: Sequence[str]) -> bool:
        """Scan; False where these octets were scanned before, or there is nothing to scan or no time."""
        name = names[0] if names else ""
        key = (hashlib.sha256(octets).digest(), name)
        if not octets or key in self._seen or self._budget.is_late():
            return False
        self._seen.add(key)
        self._scanner.set_global("filename", name)
        self._scanner.set_global("filepath", path)
        self._scanner.set_global("extension", name[name.rfind(".") :] if "." in name else "")
        self._scanner.set_timeout(max(1, math.ceil(self._ends - time.monotonic())))
        try:
            results = self._scanner.scan(octets)
        except self._late:
            self._budget.reach("time")
            return False
        except self._failed as error:
            self._reached[f"scan: {_short(str(error))}"] = None
            return True
        for rule in results.matching_rules:
            self._match(rule, path)
        return True

    def _match(self, rule: Any, path: str) -> None:
        key = (rule.namespace, rule.identifier)
        if key in self.matches:
            return
        if len(self.matches) >= MATCHES:
            self._reached["matches"] = None
            return
        meta = {str(name).lower(): value for name, value in rule.metadata}
        severity = next((meta[name] for name in _SEVERITY if name in meta), "")
        self.matches[key] = {
            "rule": rule.identifier[:LETTERS],
            "namespace": rule.namespace[:LETTERS],
            "severity": _short(str(severity)).lower(),
            "tags": [str(tag)[:LETTERS] for tag in rule.tags][:20],
            "where": path[:LETTERS],
        }


def _short(text: str) -> str:
    line = " ".join(part for part in text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:LETTERS]
