"""Feed hostile input to every reader for a while; exit 1 when one of them breaks."""

import argparse
import hashlib
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from tools.fuzz.amazon import amazon
from tools.fuzz.documents import Reader, documents
from tools.fuzz.folders import folders
from tools.fuzz.guard import Guard
from tools.fuzz.mutate import mutated
from tools.fuzz.vendors import vendors

SAVED = Path("build/fuzz")
MAX_FINDINGS = 50


@dataclass
class Tally:
    """What one process did."""

    inputs: Counter[str] = field(default_factory=Counter)
    findings: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """By reader and kind of failure: what it said, and the first input."""


def readers(base: Path, only: str = "") -> list[Reader]:
    """All readers whose name holds `only`; what they need is made in `base`."""
    every = [*documents(base), *folders(base), *vendors(), *amazon()]
    return [one for one in every if only in one.name]


def work(given: tuple[int, float, str]) -> Tally:
    """One process's share."""
    seed, seconds, only = given
    tally, chance = Tally(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="taly-fuzz-") as base:
        chosen = readers(Path(base), only)
        weights = [one.weight for one in chosen]
        guard, place = Guard(), Path(base) / "input"
        until = time.monotonic() + seconds
        for one in chosen:
            _try(guard, tally, one, one.seeds[0], place)
        while time.monotonic() < until and len(tally.findings) < MAX_FINDINGS:
            one = chance.choices(chosen, weights)[0]
            data = mutated(chance, chance.choice(one.seeds))
            _current(seed).write_bytes(one.name.encode() + b"\n" + data)
            _try(guard, tally, one, data, place)
    return tally


def _try(guard: Guard, tally: Tally, one: Reader, data: bytes, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    one.prepare(data, place)
    wrong = guard.judge(lambda: one.read(data, place))
    tally.inputs[one.name] += 1
    if wrong:
        kind = wrong.partition(": ")[0]
        tally.findings.setdefault(f"{one.name} {kind}", (wrong, data))


def main() -> int:
    """Both cores; what was found is saved and printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="to play the same inputs again")
    parser.add_argument("--only", default="", help="readers whose name holds this")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("files", nargs="*", type=Path, help="saved inputs to read again")
    given = parser.parse_args()
    if given.files:
        return _again(given.files, given.only)
    seed = time.time_ns() % 2**32 if given.seed is None else given.seed
    shares = [(seed + number, given.seconds, given.only) for number in range(given.workers)]
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    SAVED.mkdir(parents=True, exist_ok=True)
    try:
        with ProcessPoolExecutor(given.workers, mp_context=context) as pool:
            tallies = list(pool.map(work, shares))
    except BrokenProcessPool:
        names = ", ".join(str(_current(seed)) for seed, _, _ in shares)
        print(f"FOUND a process died; what it read last: {names}")
        return 1
    for share in shares:
        _current(share[0]).unlink(missing_ok=True)
    return _report(tallies, seed, time.monotonic() - begun)


def _current(seed: int) -> Path:
    """Where a process keeps what it is reading: should it die, that is what killed it."""
    return SAVED / f"last-{seed}"


def _report(tallies: list[Tally], seed: int, taken_s: float) -> int:
    inputs: Counter[str] = sum((one.inputs for one in tallies), Counter())
    findings = {name: found for one in tallies for name, found in one.findings.items()}
    for name, count in sorted(inputs.items()):
        print(f"{count:8d}  {name}")
    total = inputs.total()
    print(f"{total} inputs in {taken_s:.0f} s, {total / taken_s:.0f} a second; seed {seed}")
    for name, (wrong, data) in sorted(findings.items()):
        reader = name.split(" it ")[0].partition(" ")[0].replace("/", "-")
        path = SAVED / f"{reader}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        print(f"FOUND {name}\n      {wrong}\n      {path}")
    print(f"findings: {len(findings)}")
    return 1 if findings else 0


def _again(files: list[Path], only: str) -> int:
    with tempfile.TemporaryDirectory(prefix="taly-fuzz-") as base:
        chosen = readers(Path(base), only)
        guard, wrong = Guard(), 0
        for file in files:
            for one in chosen:
                tally = Tally()
                _try(guard, tally, one, file.read_bytes(), Path(base) / "input")
                for name, (said, _) in tally.findings.items():
                    wrong += 1
                    print(f"{file}: {name}: {said}")
    return 1 if wrong else 0
