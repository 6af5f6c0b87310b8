"""Checks of the keys that mail is signed with: that each has a name of its own, and mail to sign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smtpgate.config.entry import normal_address
from smtpgate.config.model import Settings
from smtpgate.config.model_policy import SEALING
from smtpgate.config.problem import Fault, one_of, quoted, warning
from smtpgate.config.surroundings import Surroundings
from smtpgate.config.unreadable import UNREADABLE
from smtpgate.signing.smime import addresses_of, why_not_signed


def dkim_keys_have_names_of_their_own(tree: Settings) -> Iterator[Fault]:
    """Two keys under one name in the DNS: one of both makes bad signatures."""
    seen: dict[tuple[str, str], int] = {}
    for key in tree.dkim_keys:
        name = (key.domain, key.terms.selector)
        if name in seen:
            yield Fault(
                ("dkim_keys", key.number, "selector"),
                f"there is another key {quoted(name[1])} of {name[0]}",
                "give it a selector of its own",
                rests_on=(("dkim_keys", seen[name], "selector"), ("dkim_keys", seen[name], "domain")),
                keys=("domain",),
            )
        seen.setdefault(name, key.number)


def dkim_keys_name_listeners(tree: Settings) -> Iterator[Fault]:
    """A key may only be about listeners that there are, and of its direction."""
    for key in tree.dkim_keys:
        for place, name in enumerate(key.listener):
            listener = tree.listeners.get(name)
            where = ("dkim_keys", key.number, "listener", place)
            if listener is None:
                hint = one_of(name, list(tree.listeners), 'write [listeners.submission] and listen = ["tcp:587"]')
                yield Fault(where, f"no listener {quoted(name)}", hint, rests_on=(("listeners", name),), keys=())
            elif key.direction and (listener.role == "mx") is not (key.direction == "in"):
                yield Fault(
                    where,
                    f"mail of listener {quoted(name)} never goes {key.direction}",
                    "leave one of both out, or give direction",
                    rests_on=(("listeners", name, "role"),),
                    keys=("direction",),
                )


def dkim_keys_have_mail(tree: Settings) -> Iterator[Fault]:
    """A key that no listener leads to signs nothing but mail of the gateway's own."""
    for key in tree.dkim_keys:
        sides = {"in" if one.role == "mx" else "out" for one in tree.listeners.values()}
        if tree.listeners and key.direction and key.direction not in sides:
            yield warning(
                ("dkim_keys", key.number, "domain"),
                f"no listener takes mail that goes {key.direction}: the key signs next to nothing",
                'give direction = "both" or "in", or a listener of role submission',
                keys=("direction",),
            )


def smime_rules_have_certificates(tree: Settings) -> Iterator[Fault]:
    """A rule that signs or encrypts needs something to do it with."""
    for rule in tree.rules:
        if rule.action not in SEALING or rule.mode == "off":
            continue
        if rule.action == "smime-sign" and not tree.smime_keys:
            message, hint, key = "there is no certificate to sign with", "write [[smime_keys]]", "smime_keys"
        elif rule.action == "smime-encrypt" and tree.smime_certificates is None:
            message, hint, key = (
                "there are no certificates to encrypt for",
                "give smime_certificates",
                "smime_certificates",
            )
        else:
            continue
        yield Fault((rule.table, rule.number, "action"), message, hint, rests_on=((key,),), keys=())


def smime_certificates_are_there(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """The folder of certificates must be one that can be read."""
    if around.certificates.reason:
        hint = "give a folder with PEM or DER files, which this user may read"
        yield Fault(("smime_certificates",), around.certificates.reason, hint, keys=())


def smime_keys_sign(tree: Settings, around: Surroundings) -> Iterator[Fault]:
    """Mail of an author whose certificate is not good for a signature is refused, or goes unsigned."""
    for key in tree.smime_keys:
        certificate = key.signer.certificate
        named = [one for one in key.address.entries if "@" in one and "*" not in one]
        for address in named or _addresses_of(certificate):
            why = why_not_signed(certificate, address, normal_address, around.now)
            if why:
                yield warning(
                    ("smime_keys", key.number, "certificate"),
                    f"nothing will be signed for {quoted(address)}: {why}",
                    "give one that is good; each author needs a certificate that holds the address",
                    keys=("address",),
                )
                break


def _addresses_of(certificate: Any) -> tuple[str, ...]:
    """Those that it holds; a word that it cannot hold where there are none."""
    try:
        return addresses_of(certificate) or ("anybody",)
    except UNREADABLE:
        return ("anybody",)
