"""`taly-simulate`: many seeds over all cores, or one seed with its trace."""

import os
import sys
import time

import click

from taly.simulate.batch import Summary, fixed_and_fresh, simulate
from taly.simulate.planted import BUGS, OF_PROVIDERS, planted
from taly.simulate.report import coverage_lines, trace_lines, vendor_lines
from taly.simulate.runner import one


@click.command()
@click.option("--seeds", default=1000, show_default=True, help="How many seeds to play.")
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--seconds", default=0.0, help="Stop after that long, whatever is left; 0 = never.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes.")
@click.option("--seed", type=int, default=None, help="Play this one alone.")
@click.option("--trace", is_flag=True, help="With --seed: show what happens in it.")
@click.option(
    "--plant", default="", type=click.Choice(["", *BUGS, *OF_PROVIDERS]), help="A bug to be found."
)
@click.option(
    "--real-seconds",
    default=0.0,
    help="For so long, and within --seconds, real providers are played after the generic vendors.",
)
@click.option(
    "--vendors", default="generic", type=click.Choice(["generic", "real"]), show_default=True,
    help="real: taly's own providers, against the emulated vendors.",
)  # fmt: skip
def main(
    seeds: int, first: int, seconds: float, jobs: int, seed: int | None, trace: bool, plant: str,
    real_seconds: float, vendors: str,
) -> None:  # fmt: skip
    """Play simulated incidents and check that nothing is lost, doubled or told wrong.

    Exits 1 when an invariant does not hold, and shows the smallest trace of the first such seed.
    """
    real = vendors == "real"
    if seed is not None:
        sys.exit(_single(seed, trace, plant, real))
    chosen = range(first, first + seeds)
    allowed = max(1.0, seconds - real_seconds) if seconds else 0.0
    failed = _told(
        simulate(chosen, jobs=jobs, seconds=allowed, plant=plant, real=real), plant, real
    )
    if real_seconds:
        print(
            "\nThe real providers, against the emulated vendors; every other ten seeds are new:\n"
        )
        mixed = fixed_and_fresh(int(time.time()) * 1000)
        summary = simulate(mixed, jobs=jobs, seconds=real_seconds, plant=plant, real=True)
        failed = _told(summary, plant, True) or failed
    sys.exit(1 if failed else 0)


def _told(summary: Summary, plant: str, real: bool) -> bool:
    """Print what came of it, with the smallest form of a failing seed; whether one failed."""
    _print(summary)
    if not summary.failing:
        return False
    worst = min(summary.failing)
    print(f"\nseed {worst} fails; its smallest form:\n")
    _single(worst, True, plant, real)
    return True


def _single(seed: int, trace: bool, plant: str, real: bool) -> int:
    with planted(plant):
        verdict = one(seed, smallest=trace, real=real)
    for line in trace_lines(verdict) if trace else ():
        print(line)
    for violation in verdict.violations:
        print(f"VIOLATION {violation}")
    if not verdict.violations:
        print(f"seed {seed}: no violation ({', '.join(verdict.outcomes) or 'nothing was to do'})")
    return 1 if verdict.violations else 0


def _print(summary: Summary) -> None:
    for line in (*coverage_lines(summary.coverage), *vendor_lines(summary.coverage)):
        print(line)
    print()
    rate = summary.seeds / summary.seconds if summary.seconds else 0.0
    print(
        f"{summary.seeds} seeds in {summary.seconds:.1f} s, {rate:.0f} seeds a second;"
        f" {summary.events} events stored"
    )
    ended = ", ".join(f"{count} {how}" for how, count in summary.outcomes.most_common())
    print(f"runs: {ended}")
    print(f"violations: {len(summary.failing)}")


if __name__ == "__main__":
    main()
