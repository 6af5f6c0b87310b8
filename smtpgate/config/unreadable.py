"""What `cryptography` raises of a certificate or a key that is not as it should be, or of a kind that it does not know.

Much of a certificate is read only when it is asked for: each of these may come long after it was loaded. Some are an
Exception alone, so that no ValueError catches them.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
