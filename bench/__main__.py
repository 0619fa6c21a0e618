"""`python -m bench`: take every measurement, print the table, save the JSON.

Exits 0 unless a measurement could not be taken: a goal that is missed is a fact, and figures that
depend on the machine must never stop a build.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import (
    clients,
    database,
    durability,
    machine,
    planner,
    report,
    simulated,
    startup,
    ten,
    thousand,
)
from bench.figures import Figure, could_not

OUTPUT = Path(__file__).with_name("results.json")
Measurement = Callable[[], Sequence[Figure]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a measurement failed."""
    options = _options(arguments)
    facts = machine.facts()
    figures: list[Figure] = []
    for part, measure in measurements(options).items():
        if options.only and part not in options.only:
            continue
        print(f"measuring ({part})…", file=sys.stderr, flush=True)
        figures.extend(taken(part, measure))
    facts["load_after"] = machine.load()
    Console(width=80, highlight=False).print(report.table(figures, facts))
    said = report.body(figures, facts, quick=options.quick)
    if options.only and options.output.is_file() and not options.quick:
        earlier = json.loads(options.output.read_text("utf-8"))
        said = report.kept(said, earlier, options.only)
    options.output.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if options.docs:
        page = report.PAGE.read_text("utf-8")
        report.PAGE.write_text(report.with_figures(page, said), "utf-8")
    return int(any(figure.status == "failed" for figure in figures))


def measurements(options: argparse.Namespace) -> dict[str, Measurement]:
    """Part → how it is measured: small sizes and single runs where it only has to work."""
    if options.quick:
        return {
            "a": partial(ten.measure, {200.0: 1}, scenario="taly-small"),
            "b": partial(thousand.measure, thousand.Size(components=30, speed=100.0), n=1),
            "c": partial(planner.measure, sizes=(25, 50, 100), deploys=50, n=1),
            "d": partial(startup.measure, n=1, scenario="taly-small"),
            "e": partial(clients.left_out, "not measured with --quick"),
            "f": partial(database.measure, sizes=(3_000, 9_000), compared=False),
            "j": partial(durability.measure, components=9, n=1),
            "k": partial(simulated.measure_here, seeds=3),
        }
    compared = partial(clients.measure, {"sequence": 1, "parallel": 3, "taly": 3})
    left_out = partial(clients.left_out, "not measured with --no-clients")
    return {
        "a": partial(ten.measure, {20.0: 3, 5.0: 1} | ({1.0: 1} if options.real_time else {})),
        "b": partial(thousand.measure, thousand.Size(components=1000, speed=4.0), n=1),
        "c": partial(planner.measure, sizes=(250, 500, 1000), deploys=1000, n=5),
        "d": partial(startup.measure, n=7),
        "e": left_out if options.no_clients else compared,
        "f": partial(
            database.measure,
            sizes=sorted({max(1, options.rows // share) for share in (10, 3, 1)}),
            compared=not options.no_clients,
        ),
        "j": partial(durability.measure, components=300, n=5),
        "k": partial(simulated.measure, seconds=20.0),
    }


def taken(part: str, measure: Measurement) -> Sequence[Figure]:
    """The figures; one that says why when there are none."""
    try:
        return measure()
    except Exception as error:
        traceback.print_exc()
        return [
            could_not(
                part, "could not be measured", f"{type(error).__name__}: {error}", failed=True
            )
        ]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one run each")
    parser.add_argument(
        "--only",
        default="",
        metavar="PARTS",
        help="e.g. `acf`: only these, the saved figures of others stay; f takes g, h, i along",
    )
    parser.add_argument("--no-clients", action="store_true", help="leave the comparison (e) out")
    parser.add_argument("--real-time", action="store_true", help="(a) at clock ×1 too: 6 min more")
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help="(f)–(i): rows of the largest database"
    )
    parser.add_argument("--docs", action="store_true", help="put the figures into the docs too")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the JSON goes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
