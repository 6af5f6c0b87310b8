"""What is known of who a message is from: results of SPF, DKIM, ARC and DMARC, as filters share them.

Results are the words of RFC 8601 section 2.7. Domains are lower case, A-labels, without a final dot. Nothing here looks
anything up: the checks are in `filters.sender`, the signatures are read by the job of `examine.signatures`.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class SPFResult:
    """RFC 7208.

    :ivar result: none, neutral, pass, fail, softfail, temperror, permerror
    :ivar domain: whose policy it is
    :ivar identity: mailfrom or helo
    :ivar explanation: what the domain says about a fail, for the detail only
    """

    result: str
    domain: str = ""
    identity: str = "mailfrom"
    reason: str = ""
    explanation: str = ""


@attrs.frozen
class DKIMResult:
    """One DKIM-Signature (RFC 6376).

    :ivar result: none, pass, fail, policy, neutral, temperror, permerror
    :ivar domain: d=; `identity` i=; `selector` s=
    :ivar algorithm: rsa-sha256, ed25519-sha256...
    :ivar bits: of the key
    :ivar length: octets of the body that are signed, where l= says so; -1 for all
    :ivar is_test: the key says t=y
    :ivar has_from: From is signed
    """

    result: str
    domain: str = ""
    selector: str = ""
    identity: str = ""
    reason: str = ""
    algorithm: str = ""
    bits: int = 0
    length: int = -1
    is_test: bool = False
    has_from: bool = True


@attrs.frozen
class ARCSet:
    """One instance of a chain: who sealed it, and the Authentication-Results that it carries, raw and unfolded."""

    instance: int
    domain: str = ""
    claims: str = ""


@attrs.frozen
class ARCResult:
    """RFC 8617.

    :ivar result: none, pass, fail
    :ivar sets: instances, the first one first; of a chain that passes
    """

    result: str = "none"
    reason: str = ""
    sets: tuple[ARCSet, ...] = ()


@attrs.frozen
class Signatures:
    """All that the job "signatures" finds in one message.

    :ivar dkim: in the order of the header, at most so many as are looked at
    :ivar unread: signatures beyond that
    """

    dkim: tuple[DKIMResult, ...] = ()
    arc: ARCResult = ARCResult()
    unread: int = 0


@attrs.frozen
class DMARCResult:
    """RFC 9989.

    :ivar result: none, pass, fail, temperror, permerror
    :ivar author: the author's domain; `organisation` its organisational domain
    :ivar found: where the policy record was: the author's domain or one above; "" for none
    :ivar policy: none, quarantine or reject, as it applies to this author (p, sp or np; t= taken into account)
    :ivar published: the policy before t= and lists
    :ivar aligned: what passed and is aligned, as "spf=example.org" or "dkim=example.org"
    :ivar is_test: the record says t=y
    """

    result: str
    author: str = ""
    organisation: str = ""
    found: str = ""
    policy: str = "none"
    published: str = "none"
    aligned: tuple[str, ...] = ()
    is_test: bool = False
    reason: str = ""
