"""What people write in the attributes of documents of XML, and in what the parts of workbooks keep beside the sheets.

`packagepart` asks for every element that has attributes. Most attributes are for programs: sizes, colours, identifiers;
so those are named in which words stand, by themselves or with their element.

ECMA-376 part 1 sections 18.3 (sheets, validations, links), 18.5 (tables), 18.10 (pivot tables), 18.13 (connections),
17.5 (controls), 19.3 (tags of slides); ODF 1.3 part 3 chapter 19.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from smtpgate.examine.celltext import shown

#: Attributes in which people write, wherever they stand.
_SPOKEN_WORDS: Final = (
    "descr title alt tooltip author UnicodeString string-value current-value userName prompt promptTitle error"
    " errorTitle display displayText connection command formula condition text-formula help-message"
)
_SPOKEN: Final = frozenset(_SPOKEN_WORDS.split())
#: Elements with an attribute that is written there and elsewhere is not.
_OF: Final = {
    "sheet": "name", "tableColumn": "name", "cacheField": "name", "table": "name", "alias": "val", "tag": "val",
    "listItem": "value", "docVar": "val", "default": "val", "result": "val", "scenario": "comment",
    "inputCells": "val", "placeholder": "placeholder",
}  # fmt: skip
#: First elements of parts that hold the data of a pivot table, and the elements with a value.
PIVOTS: Final = frozenset({"pivotCacheDefinition", "pivotCacheRecords"})
_VALUES: Final = frozenset("smnde")
#: Where a header or footer of a sheet is divided (ECMA-376 part 1 section 18.3.1.46).
_SECTION: Final = re.compile(r"&[LCR]")


def spoken(root: str, name: str, attributes: Mapping[str, str]) -> Iterator[str]:
    """Texts of the attributes of an element.

    :param root: local name of the first element of the part; `name` of this one
    :param attributes: by local name
    """
    for key, value in attributes.items():
        if key in _SPOKEN or _OF.get(name) == key or key == "href" and ":" in value:
            yield value
    if root in PIVOTS and name in _VALUES and "v" in attributes:
        yield shown(attributes["v"]) if name == "n" else attributes["v"]


def sign(attributes: Mapping[str, str]) -> str:
    """The letter of a symbol; those of fonts of symbols have their own places (ECMA-376 part 1 section 17.3.3.30)."""
    try:
        number = int(attributes.get("char", ""), 16)
        return chr(number - 0xF000 if 0xF020 <= number < 0xF100 else number)
    except (ValueError, OverflowError):
        return ""


def head(text: str) -> str:
    """A header or footer with its sections in lines."""
    return _SECTION.sub("\n", text)
