"""From the tables of what is searched for to values: detectors, dictionaries, and the rules that packs stand for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from smtpgate.config.build_policy import rule
from smtpgate.config.model_policy import Rule
from smtpgate.config.packs import PACKS
from smtpgate.config.problem import Fault, Where, nearest, one_of, quoted
from smtpgate.config.surroundings import ReadFile
from smtpgate.config.tables_dlp import DetectorTable, DictionaryTable, PackTable
from smtpgate.config.tables_policy import RuleTable
from smtpgate.rules.asked import Asked
from smtpgate.rules.searching import (
    CATALOGUE,
    DICTIONARIES,
    GROUPS,
    OWN_OCTETS,
    VALIDATORS,
    Detector,
    Dictionary,
    Own,
    Search,
    search_of,
    why_no_pattern,
    why_no_term,
)

#: A weight of a term: what is more says nothing more.
_HEAVIEST: Final = 1000.0
#: Names that a hint lists.
_LISTED: Final = 40


def packs(tables: list[PackTable], faults: list[Fault]) -> tuple[Rule, ...]:
    """The rules of packs."""
    made = []
    for number, table in enumerate(tables):
        pack = PACKS.get(table.use)
        if pack is None:
            hint = one_of(table.use, list(PACKS), "")
            faults.append(Fault(("packs", number, "use"), f"no pack {quoted(table.use)}", hint, keys=()))
            continue
        as_rule = RuleTable(
            name=table.name or table.use,
            when=pack.when(table),
            unless=table.unless,
            listener=table.listener,
            direction=None if table.direction == "both" else table.direction,
            action=table.action,
            reply=table.reply or (pack.text if table.action != "note" else ""),
            mode=table.mode,
            on_error=table.on_error,
            owner=table.owner,
            note=pack.note,
        )
        made.append(rule(number, as_rule, faults, "packs"))
    return tuple(one for one in made if one is not None)


def detectors(tables: list[DetectorTable], faults: list[Fault]) -> tuple[Detector, ...]:
    """Those of the configuration."""
    found = (_detector(("detectors", number), table, faults) for number, table in enumerate(tables))
    return tuple(one for one in found if one is not None)


def _detector(where: Where, table: DetectorTable, faults: list[Fault]) -> Detector | None:
    before = len(faults)
    for place, pattern in enumerate(table.patterns):
        why = why_no_pattern(pattern)
        if why:
            faults.append(
                Fault((*where, "patterns", place), f"no pattern: {why}", "patterns are those of RE2", keys=())
            )
    check = table.validator
    if check in CATALOGUE:
        check = CATALOGUE[check].check
    elif check and check not in VALIDATORS:
        hint = _known(check, [*VALIDATORS, *(name for name, one in CATALOGUE.items() if one.check)])
        faults.append(Fault((*where, "validator"), f"no validator {quoted(check)}", hint, keys=()))
    if table.confidence == "none" and not table.evidence:
        faults.append(
            Fault((*where, "confidence"), "nothing would ever be found", "give words of evidence", keys=("evidence",))
        )
    for name in ("evidence", "counter_evidence"):
        for place, word in enumerate(getattr(table, name)):
            if not word.strip() or len(word) > 60:
                faults.append(Fault((*where, name, place), "this is no word", "write 1 to 60 characters", keys=()))
    if len(faults) > before:
        return None
    pattern = "|".join(f"(?:{one})" for one in table.patterns)
    return Detector(
        table.name,
        "custom",
        "of the configuration",
        pattern=f"(?i){pattern}" if table.ignore_case else pattern,
        level="" if table.confidence == "none" else table.confidence,
        check=check,
        evidence=tuple(table.evidence),
        near=table.with_evidence,
        against=tuple(table.counter_evidence),
        window=table.window,
        shown=(0, table.shown),
        weight=5,
    )


def dictionaries(
    tables: list[DictionaryTable], base: Path, files: Mapping[Path, ReadFile], faults: list[Fault]
) -> tuple[Dictionary, ...]:
    """Those of the configuration, with the terms of their files."""
    made = []
    octets = 0
    for number, table in enumerate(tables):
        where: Where = ("dictionaries", number)
        before = len(faults)
        terms = dict(table.terms)
        for term, weight in table.terms.items():
            why = why_no_term(term) or _why_no_weight(weight)
            if why:
                faults.append(Fault((*where, "terms", term), why, 'write "TERM" = WEIGHT, as "merger" = 2', keys=()))
        if table.file:
            terms |= _terms_of(files[base / table.file], (*where, "file"), faults)
        if not terms and len(faults) == before:
            faults.append(
                Fault(where, "a dictionary without terms", "give terms or a file of them", keys=("terms", "file"))
            )
        octets += sum(len(json.dumps(term)) + 24 for term in terms)
        if octets > OWN_OCTETS:
            faults.append(Fault(where, f"dictionaries of more than {OWN_OCTETS >> 20} MiB", "leave terms out", keys=()))
            break
        if len(faults) == before:
            made.append(Dictionary(table.name, tuple(terms.items()), table.threshold, table.most))
    return tuple(made)


def own(
    detecting: list[DetectorTable],
    listing: list[DictionaryTable],
    base: Path,
    files: Mapping[Path, ReadFile],
    faults: list[Fault],
) -> Own:
    """All of the configuration's own."""
    return Own(detectors(detecting, faults), dictionaries(listing, base, files, faults))


def _known(name: str, there: Sequence[str]) -> str:
    """A hint for a name that is not known; all detectors would be too many."""
    if len(there) <= _LISTED:
        return one_of(name, there, "")
    meant = nearest(name, there)
    return (f'did you mean "{meant}"? ' if meant else "") + "known are those of `smtpgate detectors` and of this file"


def _why_no_weight(weight: float) -> str:
    return "" if 0 < weight <= _HEAVIEST else f"a weight is more than 0 and at most {_HEAVIEST:g}"


def _terms_of(file: ReadFile, where: Where, faults: list[Fault]) -> dict[str, float]:
    """The terms of a file; what is wrong with it is told with the first line that is wrong."""
    shape = "write a term a line, and a tab and its weight behind it where that is not 1"

    def fault(message: str) -> dict[str, float]:
        faults.append(Fault(where, message, shape, keys=()))
        return {}

    if file.reason:
        return fault(f"cannot read {file.path}: {file.reason}")
    try:
        text = file.octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        return fault(f"{file.path} is not UTF-8")
    terms: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        term, _, said = line.rstrip().partition("\t")
        try:
            weight = float(said) if said.strip() else 1.0
        except ValueError:
            return fault(f"{file.path} line {number}: {quoted(said)} is no weight")
        why = why_no_term(term) or _why_no_weight(weight)
        if why:
            return fault(f"{file.path} line {number}: {why}")
        terms[term.strip()] = weight
    return terms


def search(
    rules: Iterable[Rule],
    own: Own,
    limits: Mapping[str, Any],
    names: Iterable[str],
    faults: list[Fault],
) -> Search:
    """What the rules in force search for. A name that is none is told where it stands.

    :param names: all of the file, those that are wrong too: a rule that asks for one of these is not
    """
    known = [*CATALOGUE, *DICTIONARIES, *names]
    asked: list[Asked] = []
    for one in rules:
        for key, part in one.asked.items():
            for name in part.names:
                there = known if name.kind == "detector" else list(GROUPS)
                if name.name not in there:
                    what = "detector and no dictionary" if name.kind == "detector" else "group of detectors"
                    faults.append(
                        Fault(
                            (one.table, one.number, key),
                            f"no {what} {quoted(name.name)}",
                            _known(name.name, there),
                            keys=(),
                            within=(name.line, name.column) if one.table == "rules" else None,
                        )
                    )
            if one.mode != "off":
                asked.append(part)
    return search_of(asked, own.detectors, own.dictionaries, limits)
