"""The job "edit" of a child process: what the wanted changes of a message come to, as splices.

The request has the changes in their order (`wanted.Change`) and what placeholders stand for; the answer is a `Plan`.
Each change is planned on the message as those before it leave it, and its splices are put into one list about the
message as it came. One is made as a whole or not at all, with the reason. Before it counts, the message that it leads
to is read again: the same parts must be there, and those that it does not name octet for octet (`_look_again`); and the
signatures that it breaks are known (`foretell`), so that the rule's own word decides.

Promised: an answer for any message, in a few passes for each change. Refused: changes where programs do not agree on
the parts (`outline`); a change of that kind is told as "ambiguous".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from smtpgate.edits import banner, foretell, removal
from smtpgate.edits.outline import CannotEdit, Outline
from smtpgate.edits.wanted import Change, from_plain
from smtpgate.examine.mapped import whole
from smtpgate.message.splice import Splice, apply, compose

#: What can be done to a part.
WHATS: Final = ("banner", "disclaimer", "removed", "replaced", "wrapped")
#: Characters of an inserted text that are kept for the record.
SHOWN: Final = 400


@attrs.frozen
class Done:
    """Something that was done to one part.

    :ivar what: one of `WHATS`
    :ivar where: number and type of the part
    :ivar before: kind, name and size of what was removed; "" for nothing
    :ivar after: what was put, cut
    """

    rule: str
    what: str = attrs.field(validator=attrs.validators.in_(WHATS))
    where: str
    before: str = ""
    after: str = ""


@attrs.frozen
class Left:
    """A change that was not made, and why: one of `wanted.REASONS`.

    :ivar is_refused: the rule refuses the message because a signature would break
    """

    rule: str
    reason: str
    is_refused: bool = False


@attrs.frozen
class Broken:
    """A signature that a change breaks.

    :ivar kind, name, by: as `foretell.Fate` has them
    """

    rule: str
    kind: str
    name: str
    by: tuple[str, ...]


@attrs.frozen
class Plan:
    """What is to be done.

    :ivar splices: about the message as it came
    """

    splices: tuple[Splice, ...] = ()
    done: tuple[Done, ...] = ()
    left: tuple[Left, ...] = ()
    broken: tuple[Broken, ...] = ()


def edit(content: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """The job.

    :param request: `changes` as `wanted.to_plain` gives them, and `values` of placeholders
    """
    return to_plain(plan(whole(content), [from_plain(one) for one in request["changes"]], request["values"]))


def plan(content: bytes, changes: Sequence[Change], values: Mapping[str, str]) -> Plan:
    """What the changes come to."""
    work = _Work(content, values)
    for change in changes:
        work.add(change)
    return Plan(work.splices, tuple(work.done), tuple(work.left), tuple(work.broken))


class _Work:
    """A message on its way through its changes."""

    def __init__(self, content: bytes, values: Mapping[str, str]) -> None:
        self.splices: tuple[Splice, ...] = ()
        self.done: list[Done] = []
        self.left: list[Left] = []
        self.broken: list[Broken] = []
        self._values = values
        self._outline = Outline(content)
        #: What the parts are numbered now, by what they were when the message came; "-" for what is gone.
        self._numbers = {one.number: one.number for one in self._outline.pieces}

    def add(self, change: Change) -> None:
        """One more."""
        try:
            if self._outline.doubt:
                raise CannotEdit("ambiguous")
            self._make(change)
        except CannotEdit as error:
            is_refused = error.reason in ("signature", "signed") and change.on_signature == "refuse"
            self.left.append(Left(change.rule, error.reason, is_refused))

    def _make(self, change: Change) -> None:
        outline = self._outline
        values = {**self._values, "rule": change.rule}
        gone: dict[int, bool] = {}
        wrap = ""
        if change.action in ("strip", "replace"):
            made = removal.planned(outline, self._now(change), values)
            splices: Sequence[Splice] = [one.splice for one in made]
            gone = {id(one.piece): one.has_text for one in made}
            done = [_removed(change, one) for one in made]
        else:
            put = banner.planned(outline, change, values)
            splices, wrap = put.splices, put.wrap
            what = "wrapped" if wrap else change.action
            done = [Done(change.rule, what, one.where, "", one.said[:SHOWN]) for one in put.words]
        result = apply(splices, outline.content)
        after = Outline(result)
        numbers = _look_again(outline, after, splices, gone, wrap)
        fates = foretell.of_message(outline.content, result, outline, splices)
        if wrap:
            # It holds for its part still; but few programs show a signature that is not over the whole.
            fates += [foretell.Fate("mime", one.number, ("place",)) for one in banner.seals_of(outline)]
        if fates and change.on_signature != "edit":
            raise CannotEdit("signature")
        self.splices = compose(self.splices, splices)
        self.done += done
        self.broken += [Broken(change.rule, fate.kind, fate.name, fate.by) for fate in fates]
        self._outline = after
        self._numbers = {old: numbers.get(now, "-") for old, now in self._numbers.items()}

    def _now(self, change: Change) -> Change:
        """The parts by the numbers that they have now. Raises CannotEdit for one that was never there."""
        if any(one.number not in self._numbers for one in change.parts):
            raise CannotEdit("whole")
        parts = [attrs.evolve(one, number=self._numbers[one.number]) for one in change.parts]
        return attrs.evolve(change, parts=tuple(one for one in parts if one.number != "-"))


def _removed(change: Change, one: removal.Removed) -> Done:
    where = f"{one.piece.number} {one.piece.media_type}"
    return Done(change.rule, "replaced" if one.has_text else "removed", where, one.before, one.said[:SHOWN])


def _look_again(
    before: Outline, after: Outline, splices: Sequence[Splice], gone: Mapping[int, bool], wrap: str
) -> dict[str, str]:
    """Hold what came out against what was meant. Raises CannotEdit where a program would read it otherwise.

    :param gone: parts that were taken out with all that is in them; True where a text stands in their place
    :param wrap: as `banner.Made` has it
    :return: the new numbers of the parts that are still there, by the old ones
    """
    top = after.root
    if wrap:
        if len(top.children) != 2 or top.children[0 if wrap == "top" else 1].media_type != "text/plain":
            raise CannotEdit("ambiguous")
        top = top.children[1 if wrap == "top" else 0]
    if after.doubt:
        raise CannotEdit("ambiguous")
    numbers: dict[str, str] = {}
    stack = [(before.root, top)]
    while stack:
        old, new = stack.pop()
        if id(old) in gone:
            if new.media_type != "text/plain" or new.children:
                raise CannotEdit("ambiguous")
            continue
        numbers[old.number] = new.number
        stays = [child for child in old.children if gone.get(id(child), True)]
        if old.media_type != new.media_type or len(stays) != len(new.children):
            raise CannotEdit("ambiguous")
        is_touched = any(one.offset <= old.end and one.end >= old.start for one in splices)
        if not old.children and not is_touched and old.part.body != new.part.body:
            raise CannotEdit("ambiguous")
        stack += zip(stays, new.children, strict=True)
    return numbers


def to_plain(made: Plan) -> dict[str, Any]:
    """As JSON takes it; octets as Latin-1."""
    plain = attrs.asdict(made)
    for one in plain["splices"]:
        one["put"] = one["put"].decode("latin-1")
    return plain


def from_answer(answer: Any) -> Plan:
    """The other way. Raises ValueError where it is no plan: a child that lies has failed."""
    try:
        return Plan(
            tuple(
                Splice(int(one["offset"]), int(one["removed"]), one["put"].encode("latin-1"), str(one["author"]))
                for one in answer["splices"]
            ),
            tuple(Done(**{name: str(held) for name, held in one.items()}) for one in answer["done"]),
            tuple(Left(str(one["rule"]), str(one["reason"]), bool(one["is_refused"])) for one in answer["left"]),
            tuple(
                Broken(str(one["rule"]), str(one["kind"]), str(one["name"]), tuple(map(str, one["by"])))
                for one in answer["broken"]
            ),
        )
    except (TypeError, KeyError, AttributeError, UnicodeError) as error:
        raise ValueError(f"no plan: {error!r}") from None
