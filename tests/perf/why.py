"""Whether `Capture.why` names the cause that is planted in real programs, and how often it names one where none is.

``python -m tests.perf why``; about four minutes for the planted causes, and fifteen for 200 clean captures.
QUANTUM_PULSE_CLEAN sets another number of clean captures. QUANTUM_PULSE_CORPUS names a folder to keep the captures
in, and to take them from; QUANTUM_PULSE_ONLY some of the programs, separated by semicolons.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.corpus import judging
from tests.corpus.judging import Named, Verdict
from tests.corpus.registry import CLEAN, Program, programs
from tests.corpus.running import TRUTH, ImpossibleError
from tests.perf.calibration import report

CLEAN_CAPTURES = 200
SECONDS = 6.0
#: Clean captures are shorter, so that 200 of them take as long as one can wait.
CLEAN_SECONDS = 3.0
#: A share is right within this of the planted one.
WITHIN = 0.1

WAYS: dict[str, Callable[[Path], list[Named]]] = {
    "why": judging.explained,
    "attributes compared": judging.compared_attributes,
    "largest child": judging.largest_child,
}


def main() -> None:
    chosen = os.environ.get("QUANTUM_PULSE_ONLY")
    known = {name: one for name, one in programs().items() if chosen is None or name in chosen.split(";")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(os.environ.get("QUANTUM_PULSE_CORPUS") or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        planted(folder, [one for one in known.values() if one.causes])
        clean(folder, [one for one in known.values() if one.name.startswith(CLEAN)])


def recorded(program: Program, path: Path, seconds: float, seed: int = 1) -> Path:
    """The capture of a program, which is recorded unless it is there."""
    if not path.with_name(f"{path.name}.{TRUTH}").exists():
        judging.record(program, path, seconds, seed)
    return path


def planted(folder: Path, chosen: list[Program]) -> None:
    verdicts: dict[str, list[Verdict]] = {way: [] for way in WAYS}
    near = known = 0
    missed = []
    print(f"| planted cause | {' | '.join(WAYS)} | share | planted share |")
    print("| --- | --: | --: | --: | --: | --: |")
    for program in chosen:
        try:
            path = recorded(program, folder / program.name, SECONDS)
        except ImpossibleError as error:
            print(f"| {program.name} | not run: {error} | | | | |", flush=True)
            continue
        own = {way: judging.judge(program, name(path)) for way, name in WAYS.items()}
        for way, verdict in own.items():
            verdicts[way].append(verdict)
        true = judging.true_share(path)
        if true is not None:
            known += 1
            near += abs(own["why"].share - true) <= WITHIN
        ranks = " | ".join(_ranks(verdict) for verdict in own.values())
        said = "" if true is None else f"{true:.0%}"
        print(f"| {program.name} | {ranks} | {own['why'].share:.0%} | {said} |", flush=True)
        if not (own["why"].is_first and own["why"].is_among_three):
            named = "; ".join(f"{one.kind} {one.name} {one.share:.0%}" for one in own["why"].named) or "nothing"
            missed.append(f"- {program.name}: {' and '.join(map(str, program.causes))} is planted, and it says {named}")
    print("\n" + "\n".join(missed), end="\n\n")
    print("| case | rate | 95 % interval | trials | bar |\n| --- | --: | --- | --: | --- |")
    for way, own in verdicts.items() if chosen else ():
        bars = ("≥ 80 %", "≥ 95 %") if way == "why" else ("none set", "none set")
        report(f"{way}: a planted cause first", sum(one.is_first for one in own), len(own), bars[0])
        report(f"{way}: all among the first three", sum(one.is_among_three for one in own), len(own), bars[1])
    if known:
        report("why: share within 10 points of the planted one", near, known, "all")


def _ranks(verdict: Verdict) -> str:
    return ", ".join("–" if rank is None else str(rank) for rank in verdict.ranks)


def clean(folder: Path, chosen: list[Program]) -> None:
    count = int(os.environ.get("QUANTUM_PULSE_CLEAN", CLEAN_CAPTURES))
    if not chosen or not count:
        return
    alarms = 0
    said = []
    for number in range(count):
        program = chosen[number % len(chosen)]
        path = recorded(program, folder / f"{program.name} {number}", CLEAN_SECONDS, seed=number)
        named = judging.explained(path)
        alarms += bool(named)
        said += [f"- {program.name} {number}: {one.kind} {one.name} {one.share:.0%}" for one in named]
    report("why: clean captures with a cause", alarms, count, "≤ 5 %")
    print("\n".join(said))
