"""The tables of the configuration file that say what is searched for in texts; see `schema`."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen

from smtpgate.config.table import REQUIRED, Table, key
from smtpgate.config.tables_policy import Mode
from smtpgate.config.values import Count, FilePath, Reason, Words

Level = Literal["low", "medium", "high"]


class DetectorTable(Table):
    """A detector of your own, for rules that speak of matches; docs/dlp.md has those that there are."""

    name: Reason = key(REQUIRED, "Its name in conditions.", example='"employee-number"')
    patterns: Annotated[Words, MinLen(1)] = key(
        REQUIRED, "Patterns (RE2) of which one must fit.", example="['\\bEMP-[0-9]{6}\\b']"
    )
    ignore_case: bool = key(False, "Capital letters and small ones are the same to the patterns.")
    validator: str = key(
        "",
        "What must hold of the letters and digits found: luhn, iban, mod97, verhoeff, mod11-10, random (no word and no "
        "example), or the name of a detector that there is, for its check.",
        example='"luhn"',
    )
    confidence: Literal["none", "low", "medium", "high"] = key(
        "medium", "How sure a find is by itself; none: it counts only with words of evidence near."
    )
    evidence: Words = key([], "Words that make a find surer, from their beginning on.", example='["employee", "staff"]')
    with_evidence: Level = key("high", "How sure a find is with one of these near.")
    window: Annotated[Count, Ge(1), Le(1000)] = key(300, "Characters before and behind in which they are near.")
    counter_evidence: Words = key([], "Words just before a find that make it one level less sure.", example='["order"]')
    shown: Annotated[int, Ge(0), Le(6)] = key(3, "Characters at the end that samples show.")


class DictionaryTable(Table):
    """Weighted terms, for rules that speak of matches: what their weights come to is the score of a match."""

    name: Reason = key(REQUIRED, "Its name in conditions.", example='"project-names"')
    terms: dict[str, float] = key(
        {},
        "Terms with their weights; a star at the end is any ending.",
        example='{ "project falcon" = 5, "merger*" = 2 }',
    )
    file: FilePath | None = key(
        None,
        "File of more terms (UTF-8): one a line, a tab and its weight behind it where that is not 1; # is a comment.",
        example='"terms.txt"',
    )
    threshold: Annotated[float, Gt(0)] = key(1.0, "From this sum on there is a match.")
    most: Annotated[Count, Ge(1)] = key(5, "A term counts so many times at most.")


class PackTable(Table):
    """A rule that comes along: what it asks for and what its sender hears are written already."""

    use: str = key(
        REQUIRED,
        "payment-data, eu-personal-data, us-personal-data, health-terms or secrets; docs/dlp.md says what each holds.",
        example='"payment-data"',
    )
    name: Reason | None = key(None, "Its name in log and pages.", shown="that of the pack", example='"cards-out"')
    mode: Mode = key("shadow", "enforce; shadow: what it would do is recorded and not done; off.")
    direction: Literal["in", "out", "both"] = key(
        "out", "in: listeners of role mx; out: those of role submission; both."
    )
    listener: Words = key([], "Names of the listeners that it is about; none: all.", example='["submission"]')
    action: Literal["note", "defer", "reject"] = key("reject", "What becomes of the mail.")
    reply: str = key("", "What the client hears, as in [[rules]].", shown="that of the pack")
    least: Annotated[Count, Ge(1)] | None = key(
        None,
        "From so many different finds of one detector on; of health-terms the score.",
        shown="1; 3 of personal data; 10 of health-terms",
        example="5",
    )
    confidence: Level = key("high", "How sure these must be at least.")
    unless: str = key(
        "false", "Condition that must not be true, as in [[rules]].", example="\"user == 'hr@example.net'\""
    )
    on_error: Literal["tempfail", "reject", "continue"] = key(
        "tempfail", "What happens to a message whose texts cannot be searched."
    )
    owner: str = key("", "Who answers for it, for people.")
