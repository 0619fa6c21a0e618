"""`taly-simulate`: many seeds over all cores, or one seed with its trace."""

import os
import sys

import click

from taly.simulate.batch import Summary, simulate
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
    "--vendors", default="generic", type=click.Choice(["generic", "real"]), show_default=True,
    help="real: taly's own providers, against the emulated vendors.",
)  # fmt: skip
def main(
    seeds: int, first: int, seconds: float, jobs: int, seed: int | None, trace: bool, plant: str,
    vendors: str,
) -> None:  # fmt: skip
    """Play simulated incidents and check that nothing is lost, doubled or told wrong.

    Exits 1 when an invariant does not hold, and shows the smallest trace of the first such seed.
    """
    real = vendors == "real"
    if seed is not None:
        sys.exit(_single(seed, trace, plant, real))
    chosen = range(first, first + seeds)
    summary = simulate(chosen, jobs=jobs, seconds=seconds, plant=plant, real=real)
    _print(summary)
    if summary.failing:
        worst = min(summary.failing)
        print(f"\nseed {worst} fails; its smallest form:\n")
        _single(worst, True, plant, real)
        sys.exit(1)


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
