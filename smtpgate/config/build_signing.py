"""From the tables of keys to their values. The loader has read the files; no message repeats what is in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from smtpgate.config.credentials import is_ours
from smtpgate.config.entry import normal_domain
from smtpgate.config.model_signing import DKIMKey, SMIMEKey
from smtpgate.config.patterns import AddressList
from smtpgate.config.problem import Fault, Where, quoted
from smtpgate.config.surroundings import ReadFile
from smtpgate.config.tables_signing import DKIMKeyTable, SMIMEKeyTable
from smtpgate.config.unreadable import UNREADABLE
from smtpgate.signing.dkim import HEADERS, NEVER, OVERSIGNED, Terms
from smtpgate.signing.keys import BadKey, SigningKey, read_key
from smtpgate.signing.smime import LEAST_BITS, Signer

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_FIELD: Final = re.compile(r"[!-9<-~]{1,76}")
_KEY_HINT: Final = "it must be a PEM file with a private key: RSA of 2048 to 4096 bits, or Ed25519"


def dkim_keys(
    tables: list[DKIMKeyTable], base: Path, files: Mapping[Path, ReadFile], faults: list[Fault]
) -> tuple[DKIMKey, ...]:
    """All keys that are right."""
    made = (_dkim_key(number, table, files[base / table.file], faults) for number, table in enumerate(tables))
    return tuple(one for one in made if one is not None)


def _dkim_key(number: int, table: DKIMKeyTable, file: ReadFile, faults: list[Fault]) -> DKIMKey | None:
    where: Where = ("dkim_keys", number)
    before = len(faults)

    def fault(name: str, message: str, hint: str) -> None:
        faults.append(Fault((*where, name), message, hint, keys=()))

    domain = normal_domain(table.domain)
    if _NAME.fullmatch(domain) is None or "." not in domain or len(domain) > 240:
        fault("domain", f"{quoted(table.domain)} is no domain", 'write it as "example.net"')
    selector = table.selector.lower()
    if _NAME.fullmatch(selector) is None or len(selector) > 63:
        fault("selector", f"{quoted(table.selector)} is no selector", "write letters, digits and dashes")
    key = private_key(file, (*where, "file"), faults)
    headers = _fields(table.headers, HEADERS, (*where, "headers"), faults)
    oversigned = _fields(table.oversign, OVERSIGNED, (*where, "oversign"), faults)
    if key is None or len(faults) > before:
        return None
    terms = Terms(domain, selector, key, headers, oversigned, int(table.expire))
    direction = "" if table.direction == "both" else table.direction
    return DKIMKey(number, terms, table.subdomains, direction, tuple(table.listener), table.required)


def private_key(file: ReadFile, where: Where, faults: list[Fault]) -> SigningKey | None:
    """The key of a file that nobody else may read."""
    if not is_ours(file, where, _KEY_HINT, faults, keys=()):
        return None
    try:
        return read_key(file.octets)
    except BadKey as error:
        faults.append(Fault(where, f"{file.path} {error}", _KEY_HINT, keys=()))
        return None


def _fields(given: Sequence[str] | None, usual: tuple[str, ...], where: Where, faults: list[Fault]) -> tuple[str, ...]:
    if given is None:
        return usual
    for place, name in enumerate(given):
        if _FIELD.fullmatch(name) is None or ";" in name:
            faults.append(
                Fault((*where, place), f"{quoted(name)} is no name of a field", "write letters and dashes", keys=())
            )
        elif name.lower() in NEVER:
            message = f"field {quoted(name)} is changed or taken out on the way: no signature over it holds"
            faults.append(Fault((*where, place), message, "leave it out", keys=()))
    return tuple(dict.fromkeys(("from", *(name.lower() for name in given))))


def smime_keys(
    tables: list[SMIMEKeyTable], base: Path, files: Mapping[Path, ReadFile], faults: list[Fault]
) -> tuple[SMIMEKey, ...]:
    """All of these that are right."""
    made = []
    for number, table in enumerate(tables):
        where: Where = ("smime_keys", number)
        chain = _chain(files[base / table.certificate], (*where, "certificate"), faults)
        key = _mail_key(files[base / table.key], (*where, "key"), faults)
        if not chain or key is None:
            continue
        if key.public_key() != chain[0].public_key():
            message = f"{base / table.key} does not fit the first certificate of {base / table.certificate}"
            faults.append(Fault((*where, "key"), message, "give the key of that certificate", keys=("certificate",)))
            continue
        made.append(SMIMEKey(number, Signer(chain[0], tuple(chain[1:]), key), AddressList(table.address)))
    return tuple(made)


def _chain(file: ReadFile, where: Where, faults: list[Fault]) -> list[Any]:
    hint = "it must be a PEM file with the certificate, and those that issued it behind it"
    if file.reason:
        faults.append(Fault(where, f"cannot read {file.path}: {file.reason}", hint, keys=()))
        return []
    try:
        found = list(x509.load_pem_x509_certificates(file.octets))
        # It is compared with the key.
        found[0].public_key()
        return found
    except UNREADABLE:
        faults.append(Fault(where, f"{file.path} has no certificate in it that can be read", hint, keys=()))
        return []


def _mail_key(file: ReadFile, where: Where, faults: list[Fault]) -> Any:
    hint = f"it must be a PEM file with a private key without a passphrase: RSA of {LEAST_BITS} bits, or P-256 and more"
    if not is_ours(file, where, hint, faults, keys=()):
        return None
    try:
        key = load_pem_private_key(file.octets, None)
    except UNREADABLE:
        faults.append(Fault(where, f"{file.path} has no private key in it that can be read", hint, keys=()))
        return None
    least = LEAST_BITS if isinstance(key, rsa.RSAPrivateKey) else 256
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) or key.key_size < least:
        faults.append(Fault(where, f"{file.path} has a key that mail is not signed with", hint, keys=()))
        return None
    return key
