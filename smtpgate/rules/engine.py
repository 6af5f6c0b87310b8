"""Conditions in CEL: compiled and checked when a configuration is loaded, and judged at the first step that knows all.

The language is that of cel.dev (Common Expression Language), the engine that project's own, in C++. Types of facts and
of the fields of records are known to it, so a word that is none is an error with its place before any mail comes. Its
loops are bounded, lists have a thousand entries (`values.MOST`), and `matches` is RE2 with patterns that stand in the
text; one `filter` over a full list takes some 40 ms, lists made within lists up to a second.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

import attrs
import re2
from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from smtpgate.rules.hints import told
from smtpgate.rules.literals import loose_patterns, never_true
from smtpgate.rules.loops import lists_in_loops
from smtpgate.rules.vocabulary import EXAMINED, FACTS, HEADER, RECORDS, REGISTERED, SEARCHED, STEPS, Fact, known_at

_NOTHING: Final[Mapping[str, list[str]]] = MappingProxyType({})
#: The longest condition: rules are read by people.
LONGEST: Final = 10_000
_PACKAGE: Final = "facts"
_ERROR: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_MATCHES: Final = re.compile(r"""matches\s*\(\s*([rR]?)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*\)""")
#: How the engine says that the loops of a condition come to an end before they are through.
_BUDGET: Final = "Iteration budget exceeded"
#: A pattern with it never fits what its author thinks of.
_BACKSPACE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\b")
_OWN: Final = "fitting"
_CALL: Final = re.compile(
    r"""[rRbB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|//[^\n]*|(\.\s*matches)(\s*\()""",
    re.DOTALL,
)
#: Patterns that are kept compiled; one that is made from mail must not push the memory.
PATTERNS: Final = 1000
_WORDS: Final = {"BOOL": "true or false", "INT": "a whole number", "DOUBLE": "a number", "STRING": "a text"}

_TYPES: Final = {
    "string": (cel.Type.STRING, descriptor_pb2.FieldDescriptorProto.TYPE_STRING),
    "int": (cel.Type.INT, descriptor_pb2.FieldDescriptorProto.TYPE_INT64),
    "double": (cel.Type.DOUBLE, descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE),
    "bool": (cel.Type.BOOL, descriptor_pb2.FieldDescriptorProto.TYPE_BOOL),
}


class BadExpression(ValueError):
    """A condition that is none.

    :ivar line, column: in its text, from 1
    :ivar message: what is wrong; `hint`: what would be right
    :ivar word: the one that is not known, and `known`: those that are; then there is no other hint
    """

    def __init__(
        self, line: int, column: int, message: str, hint: str = "", word: str = "", known: Sequence[str] = ()
    ) -> None:
        super().__init__(f"{line}:{column}: {message}")
        self.line = line
        self.column = column
        self.message = message
        self.hint = hint
        self.word = word
        self.known = known


class ExpressionFailed(Exception):
    """A condition could not be judged, as by a division by nothing or a field that is not there: it is neither."""


def _inner(kind: str) -> tuple[str, bool]:
    """The kind of the entries of a list, and whether it is one."""
    return (kind[5:-1], True) if kind.startswith("list(") else (kind, False)


@functools.cache
def _pool() -> Any:
    """The records as types of the engine."""
    file = descriptor_pb2.FileDescriptorProto(name="facts.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in RECORDS.items():
        record = file.message_type.add(name=name)
        for number, (field, (kind, _)) in enumerate(fields.items(), 1):
            inner, is_list = _inner(kind)
            record.field.add(name=field, number=number, type=_TYPES[inner][1], label=3 if is_list else 1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


@functools.cache
def record(name: str) -> Any:
    """The class of a record; made with its fields by name."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def _type(kind: str) -> Any:
    inner, is_list = _inner(kind)
    found = _TYPES[inner][0] if inner in _TYPES else cel.Type(f"{_PACKAGE}.{inner}")
    return cel.Type.List(found) if is_list else found


#: The header of the message that is judged: the engine asks for its fields while it judges.
_fields: ContextVar[Mapping[str, list[str]]] = ContextVar("_fields")


def _header(name: str) -> list[str]:
    return _fields.get().get(name.lower(), [])


@functools.lru_cache(maxsize=PATTERNS)
def _pattern(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(text, options=options)


def _matches(text: str, pattern: str) -> bool:
    return _pattern(pattern).search(text) is not None


def _quick(text: str) -> str:
    """The same with our own `matches`, for the engine's compiles its pattern for each message anew. Texts in quotes are
    left as they are."""
    return _CALL.sub(lambda found: found[0] if found[1] is None else f".{_OWN}{found[2]}", text)


def _environment(facts: tuple[Fact, ...], has_header: bool) -> Any:
    header = cel.Overload("header_name", _type(HEADER.kind), [cel.Type.STRING], False, _header)
    own = cel.Overload("own_matches", cel.Type.BOOL, [cel.Type.STRING, cel.Type.STRING], True, _matches)
    functions = [cel.FunctionDecl(_OWN, [own])] + ([cel.FunctionDecl(HEADER.name, [header])] if has_header else [])
    variables = {fact.name: _type(fact.kind) for fact in facts}
    return cel.NewEnv(descriptor_pool=_pool(), variables=variables, functions=functions)


@functools.cache
def _at(step: str) -> Any:
    return _environment(known_at(step), step != "rcpt" and STEPS.index(step) >= STEPS.index(HEADER.step))


@functools.cache
def _without(names: frozenset[str]) -> Any:
    """All that is known at the end, but for some facts."""
    return _environment(tuple(fact for fact in known_at("end") if fact.name not in names), True)


@functools.cache
def _unsearched() -> Any:
    return _environment(tuple(fact for fact in known_at("end") if fact.name not in SEARCHED), True)


@functools.cache
def _all() -> Any:
    return _environment(FACTS, True)


@functools.cache
def _but(name: str) -> Any:
    """All facts of all steps but one."""
    return _environment(tuple(fact for fact in FACTS if fact.name != name), name != HEADER.name)


def speaks_of(condition: Expression, names: Iterable[str]) -> list[str]:
    """Those of some facts, and of `header`, that a condition speaks of."""
    quick = _quick(condition.text)
    return [name for name in names if name in quick and _try(_but(name), quick) is None]


_NAME: Final = re.compile("[a-z_]+")
_NAMES: Final = frozenset({fact.name for fact in FACTS} | {HEADER.name})


def may_speak_of(condition: Expression) -> frozenset[str]:
    """The facts, and `header`, whose names stand in a condition; what it does speak of is among them."""
    return _NAMES.intersection(_NAME.findall(condition.text))


class Known:
    """What is known of a message at one step, for all conditions that are judged there."""

    __slots__ = ("activation", "fields")

    def __init__(self, step: str, values: Mapping[str, Any], fields: Mapping[str, list[str]] = _NOTHING) -> None:
        """
        :param fields: values of the header fields, by name in lower case
        """
        self.activation = _at(step).Activation(dict(values))
        self.fields = fields


@attrs.frozen
class Expression:
    """A condition.

    :ivar step: the first at which all that it speaks of is known
    :ivar needs_content: some of that takes an examination of the content
    :ivar needs_registered: some of that takes a search for what is registered
    :ivar needs_search: some of that takes a search of its texts
    """

    text: str
    step: str
    needs_content: bool
    needs_registered: bool
    _program: Any = attrs.field(eq=False, repr=False)
    needs_search: bool = False

    def holds(self, known: Known) -> bool:
        """Whether it is true; raises ExpressionFailed where it is neither.

        :param known: of its own step
        """
        _fields.set(known.fields)
        try:
            value = self._program.eval(known.activation)
        except RuntimeError as error:
            # So it says that a loop is too long.
            said = str(error)
            raise ExpressionFailed(
                "its loops are too long for this message" if _BUDGET in said else _without_values(said)
            ) from None
        if value.type() != cel.Type.BOOL:
            raise ExpressionFailed(_without_values(str(value.value())))
        return bool(value.value())


def _without_values(said: str) -> str:
    """What the library says without the values that it quotes, as a key that a map has not: they are of the mail, and
    this comes into the log."""
    return said.partition('"')[0].rstrip(" :")[:500]


class Bundle:
    """Several conditions of one step, looked at together: most are not true of most mail, and looking costs most."""

    __slots__ = ("_program",)

    def __init__(self, conditions: Sequence[Expression]) -> None:
        """
        :param conditions: of the same step
        """
        text = " || ".join(f"(\n{_quick(one.text)}\n)" for one in conditions)
        self._program = _at(conditions[0].step).compile(text)

    def may_hold(self, known: Known) -> bool:
        """False where none of them holds, and each could be judged."""
        _fields.set(known.fields)
        try:
            value = self._program.eval(known.activation)
        except RuntimeError:
            return True
        return value.type() != cel.Type.BOOL or bool(value.value())


def check(text: str) -> None:
    """Raises BadExpression for a text that is no condition."""
    if len(text) > LONGEST:
        raise BadExpression(1, 1, f"a condition of {len(text)} characters", f"the most is {LONGEST}; make two rules")
    whole = _compiled(_all(), text)
    kind = whole.return_type()
    if kind != cel.Type.BOOL:
        name = kind.name()
        said = (
            "a list" if name.startswith("LIST<") else _WORDS.get(name, f"of kind {name.removeprefix('facts.').lower()}")
        )
        raise BadExpression(1, 1, f"the condition is {said}, not true or false", "compare it with something")
    for line, column, message, hint in _patterns(text):
        raise BadExpression(line, column, f"no pattern: {message}", hint)
    for token, message, hint in (*loose_patterns(text), *never_true(text), *lists_in_loops(text)):
        line = text.count("\n", 0, token.at) + 1
        raise BadExpression(line, token.at - text.rfind("\n", 0, token.at), message, hint)


def compile(when: str, unless: str = "", since: str = "mail") -> Expression:
    """What holds when one condition does and another does not; raises BadExpression. Both were checked (`check`).

    :param since: the first step at which it may be judged
    """
    # On lines of their own: a condition may end with a comment.
    text = f"(\n{when}\n) && !(\n{unless}\n)" if unless else when
    quick = _quick(text)
    for step in STEPS[STEPS.index(since) :]:
        program = _try(_at(step), quick)
        if program is not None:
            content, registered, search = (
                step == "end" and _try(_without(names), quick) is None for names in (EXAMINED, REGISTERED, SEARCHED)
            )
            return Expression(text, step, content, registered, program, search)
    raise BadExpression(
        1,
        1,
        "it speaks of one recipient and of what is known only when all are there",
        "write recipients.exists(r, ...) in place of recipient",
    )


def _try(environment: Any, text: str) -> Any:
    try:
        return environment.compile(text)
    except RuntimeError:
        return None


def _compiled(environment: Any, text: str) -> Any:
    try:
        return environment.compile(text)
    except RuntimeError as error:
        found = _ERROR.search(str(error))
        if found is None:
            raise BadExpression(1, 1, str(error).split("\n", 1)[0][:200], "see docs/policy.md") from None
        line, column, message = int(found[1]), int(found[2]), found[3].removesuffix(" [INVALID_ARGUMENT]")
        raise BadExpression(line, column, *told(text, line, column, message)) from None


def _patterns(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Patterns that are none; the engine would find out only when it judges a message."""
    for found in _MATCHES.finditer(text):
        written = found[2][1:-1]
        at = found.start(2)
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        if not found[1] and _BACKSPACE.search(written):
            yield (
                line,
                column,
                r"\b is a backspace in such a text",
                r"begin the text with r for a bound of a word: r'\bword\b'",
            )
        pattern = written if found[1] else re.sub(r"\\(.)", r"\1", written)
        try:
            _pattern(pattern)
        except re2.error as error:
            said = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
            yield line, column, said[:200], _why_no_pattern(pattern)


def _why_no_pattern(pattern: str) -> str:
    if pattern.startswith("*"):
        return "patterns are those of RE2; for an ending write .endsWith('.exe')"
    if re.search(r"\(\?<?[=!]|\\[1-9]", pattern):
        return "patterns are those of RE2, which looks neither ahead nor behind and has no references back"
    return "patterns are those of RE2"
