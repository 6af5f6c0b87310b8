"""Detectors made ready: their patterns compiled, their checks found.

Words of evidence become one pattern for each detector. RE2 throughout, over octets that stand for letters (`fold`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import attrs
import re2

from smtpgate.examine.dlp.checks import Check, check_of, guarded
from smtpgate.examine.dlp.detector import LEVELS, Detector
from smtpgate.examine.dlp.fold import octets_of, visible

#: Most memory of one compiled pattern: twice the default of RE2.
PATTERN_OCTETS: Final = 16 << 20


def compiled(pattern: str, *, is_longest: bool = False, is_text: bool = False) -> Any:
    """A pattern of RE2 over octets, or over UTF-8. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_OCTETS
    options.longest_match = is_longest
    if not is_text:
        options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern.encode("utf-8" if is_text else "latin-1"), options=options)


def evidence_pattern(words: Sequence[str]) -> str:
    """A pattern for words from their beginning on; short ones stand alone."""
    parts = []
    for word in words:
        folded = octets_of(visible(word)).lower()
        text = re2.escape(folded.decode("latin-1")).replace("\\ ", "[ -]?")
        begin = r"\b" if folded[:1].isalnum() else ""
        end = r"(?:s|nr|no)?\b" if len(folded) <= 4 and folded[-1:].isalnum() else ""
        parts.append(f"{begin}{text}{end}")
    return "|".join(parts)


#: What may stand between a label and its number.
_FOLLOWED: Final = (
    r"[^0-9a-z]{0,6}(?:(?:no|nr|num|numero|number|nummer|nro|code|card|id|is|ist|es|er)\b[^0-9a-z]{0,4}){0,2}\z"
)


@attrs.frozen(eq=False)
class Wanted:
    """A detector made ready."""

    detector: Detector
    number: int
    check: Check
    evidence: Any
    label: Any
    against: Any
    near: int


@lru_cache(maxsize=16)
def _against(words: tuple[str, ...]) -> Any:
    return compiled(evidence_pattern(words)) if words else None


def make_wanted(detector: Detector, number: int, *, is_own: bool) -> Wanted:
    """One detector made ready. Raises LookupError for a check that there is not.

    :param is_own: of the configuration
    """
    check = check_of(detector.check)
    return Wanted(
        detector,
        number,
        guarded(check) if is_own else check,
        compiled(evidence_pattern(detector.evidence)) if detector.evidence else None,
        compiled(f"(?:{evidence_pattern(detector.labels)}){_FOLLOWED}") if detector.labels else None,
        _against(detector.against),
        LEVELS.index(detector.near),
    )
