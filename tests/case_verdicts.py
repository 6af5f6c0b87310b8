"""`make verdicts`: each mail of the case files against the verdict that its row asks for.

The default set runs in the in-memory gateway, with what the row says must be switched on; each case in a process of its
own, so that its time and its memory above what an idle gateway has are its own.
"""

from __future__ import annotations

import argparse
import csv
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs

from smtpgate.config.default_set import DEFAULT_SET
from smtpgate.plugins import find_factories
from smtpgate.testing import Gateway, use

SECONDS, MIB = 2.0, 64.0
#: What each need switches on: filter and options, in place of its entry in the set or behind it.
_DMARC = {
    "_dmarc.example.com": {"TXT": "v=DMARC1; p=reject"},
    "_dmarc.example.net": {"TXT": "v=DMARC1; p=reject"},
    # The client may send for example.com, the domain of every sender here, and for nobody else.
    "example.com": {"TXT": "v=spf1 ip4:192.0.2.1 -all"},
}
_EICAR = "rule eicar { strings: $a = { 45 49 43 41 52 2d 53 54 41 4e 44 41 52 44 } condition: $a }"


@attrs.frozen
class Need:
    """A filter that a row asks for."""

    filter: str
    options: str = ""


def needs(text: str, rules: Path) -> list[Need]:
    """What a row's third column switches on; `rules` is a file of YARA rules that know the test program."""
    rule = re.fullmatch(r"attachment rule: (\.\w+)", text)
    if rule is not None:
        return [Need("attachments", f'reject = ["{rule[1]}", "bad-name", "executable", "script", "names-differ"]')]
    kinds = re.fullmatch(r"dlp: ([\w+-]+)(?:, threshold (\d+))?", text)
    if kinds is not None:
        wanted = ", ".join(f'"{kind if kind != "ssn" else "us-ssn"}"' for kind in kinds[1].split("+"))
        return [Need("identifiers", f"kinds = [{wanted}]\nleast = {kinds[2] or 1}")]
    listed = re.fullmatch(r"url list: (\S+)", text)
    if listed is not None:
        return [Need("links", f'domains = ["{listed[1]}"]')]
    return {
        "virus scanner": [Need("yara", f'rules = ["{rules}"]\notherwise = "reject"')],
        "display name; protected domain example.net": [Need("people", 'protected = ["example.net"]')],
        "attachment rule: encrypted archive": [Need("attachments", 'reject = ["encrypted"]')],
        "dmarc": [Need("dmarc", 'enforce = "reject"')],
    }.get(text, [])


def run(content: bytes, wanted: list[Need]) -> tuple[str, list[Any], bytes | None]:
    """The reply, the findings, and what the backend got."""
    factories, _ = find_factories()
    missing = [need.filter for need in wanted if need.filter not in factories]
    if missing:
        return f"needs {missing[0]}", [], None
    by_name = {need.filter: need for need in wanted}
    names = [*(name for name, _ in DEFAULT_SET), *(name for name in by_name if name not in dict(DEFAULT_SET))]
    modes = dict(DEFAULT_SET) | dict.fromkeys(by_name, "enforce")
    uses = [use(factories[name], by_name[name].options if name in by_name else "", mode=modes[name]) for name in names]
    gateway = Gateway(*uses, zones=_DMARC)
    client = gateway.connect("192.0.2.1")
    client.helo()
    reply = client.message(content, sender="alice@example.com", recipients=["bob@example.net"])
    delivered = gateway.backend.messages[0].content if gateway.backend.messages else None
    if gateway.failures:
        reply = f"failure: {gateway.failures[0].filter} {gateway.failures[0].detail}"
    return reply, client.findings, delivered


def judge(verdict: str, reply: str, findings: list[Any], content: bytes, delivered: bytes | None) -> str:
    """What is wrong; "" where the row holds."""
    told = [one for one in findings if not one.is_shadow and (one.score > 0 or one.action not in ("note", "accept"))]
    is_taken = reply.startswith("250")
    if reply.startswith(("needs", "failure")) or not re.match(r"[245]\d\d ", reply):
        return reply
    if verdict == "block":
        return "" if reply.startswith("5") else "not refused"
    if verdict == "flag":
        return "" if told or not is_taken else "nothing found"
    if verdict == "pass":
        return "" if is_taken and not told else f"found {', '.join(one.reason for one in told)}" if told else "refused"
    if verdict == "identical":
        return "" if delivered is not None and delivered.endswith(content) else "other octets"
    return ""


def _apart(content: bytes, wanted: list[Need]) -> tuple[str, list[Any], bytes | None, float, float]:
    """The same in a child process, with its time and its memory over what it began with."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak()
        began = time.monotonic()
        answer = (*run(content, wanted), time.monotonic() - began, _peak() - before)
        with os.fdopen(write, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        octets = pipe.read()
    os.waitpid(child, 0)
    # Written by ourselves a moment ago.
    return pickle.loads(octets) if octets else ("died", [], None, 0.0, 0.0)


def _peak() -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found is not None else 0.0


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.case_verdicts", description=__doc__)
    parser.add_argument("--cases", type=Path, default=Path("../shared/cases"))
    parser.add_argument("--busy", action="store_true", help="time and memory are shown and not judged")
    arguments = parser.parse_args()
    cases: Path = arguments.cases
    bad = 0
    with tempfile.TemporaryDirectory(prefix="smtpgate-cases-") as folder:
        copy = Path(shutil.copytree(cases, Path(folder) / "cases"))
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755)
        subprocess.run([sys.executable, "make_cases.py"], cwd=copy, check=True, capture_output=True)
        with (copy / "open" / "expect.tsv").open(newline="") as table:
            rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
        rules = Path(folder) / "eicar.yar"
        rules.write_text(_EICAR)
        # What an idle gateway has loaded is no memory of a case.
        run(b"From: a@example.com\r\nContent-Type: text/html\r\n\r\n<a href=http://example.org>x</a>\r\n", [])
        for row in rows:
            content = (copy / "open" / row["file"]).read_bytes()
            wanted = needs(row["need"], rules)
            reply, findings, delivered, seconds, mib = _apart(content, wanted)
            wrong = judge(row["verdict"], reply, findings, re.sub(rb"\r?\n", b"\r\n", content), delivered)
            if not wrong and not arguments.busy and (seconds > SECONDS or mib > MIB):
                wrong = f"{seconds:.2f} s, {mib:.0f} MiB"
            bad += bool(wrong)
            why = ", ".join(one.reason for one in findings if not one.is_shadow)[:60]
            cost = f"{seconds:6.2f} s{mib:5.0f} MiB"
            print(f"{row['file'][:26]:27}{row['verdict']:10}{cost}  {reply[:34]:35}{why}  {wrong.upper()}")
    print(f"\n{len(rows) - bad} of {len(rows)} as their rows say")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
