"""Commands about DKIM keys: a new one with the record that the DNS must have, and the record of one that is there.

They need no gateway and no configuration. The private key is written for its owner alone, and never over another file.
"""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path
from typing import Any

from smtpgate.cli.terminal import Failed, complain, say, say_json
from smtpgate.config.entry import normal_domain
from smtpgate.signing.keys import BadKey, SigningKey, new_key, read_key, zone_line


def new(args: argparse.Namespace) -> None:
    """Make a key, write it to FILE, and print the record for the DNS."""
    _names(args)
    made = new_key(args.kind)
    try:
        descriptor = os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    except FileExistsError:
        raise Failed(f"{args.file}: there is such a file; a key is never overwritten") from None
    except OSError as error:
        raise Failed(f"{args.file}: cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(made.pem())
    _say(args, made)


def show(args: argparse.Namespace) -> None:
    """Print the record of the key in FILE."""
    _names(args)
    try:
        octets = args.file.read_bytes()
        is_open = bool(args.file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError as error:
        raise Failed(f"{args.file}: cannot be read: {error.strerror}") from None
    try:
        key = read_key(octets)
    except BadKey as error:
        raise Failed(f"{args.file} {error}") from None
    if is_open:
        complain(f"{args.file} can be read by others; the gateway refuses it so: chmod 600 {args.file}")
    _say(args, key)


def _names(args: argparse.Namespace) -> None:
    domain = normal_domain(args.domain)
    for text in (domain, args.selector):
        if not text or len(text) > 240 or not all(one.isascii() and (one.isalnum() or one in "-.") for one in text):
            raise Failed(f"{args.domain} and {args.selector} are no domain and selector; write letters, digits, -")
    args.domain, args.selector = domain, args.selector.lower()


def _say(args: argparse.Namespace, key: SigningKey) -> None:
    record = key.record()
    if args.json:
        name = f"{args.selector}._domainkey.{args.domain}"
        say_json({"name": name, "type": "TXT", "record": record, "algorithm": key.algorithm, "bits": key.bits})
    else:
        say(zone_line(args.domain, args.selector, record))


def options(verbs: Any) -> None:
    """Those of `dkim-key`."""
    words = "Keys of DKIM: new, show. They need no gateway and no configuration."
    more = "The record goes into the DNS before [[dkim_keys]] names the key; docs/signing.md tells the order."
    actions = verbs.add_parser("dkim-key", help=words, description=words, epilog=more).add_subparsers(
        required=True, metavar="ACTION"
    )
    for name, run in (("new", new), ("show", show)):
        words = (run.__doc__ or "").strip()
        one = actions.add_parser(name, help=words, description=words)
        one.add_argument("domain", metavar="DOMAIN", help="whose mail it signs")
        one.add_argument("selector", metavar="SELECTOR", help="name of the key in the DNS")
        one.add_argument("file", type=Path, metavar="FILE", help="PEM file with the private key")
        one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for programs")
        if name == "new":
            one.add_argument("--kind", choices=("rsa", "ed25519"), default="rsa", help="without it rsa, of 2048 bits")
        one.set_defaults(run=run)
