"""`taly metrics`: how well going back goes, over all runs."""

import sys
from dataclasses import asdict

import click

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import clock_span, err, out, print_json
from taly.planning.metrics import Metrics


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "prometheus", "json"]),
    default="table",
    show_default=True,
    help="prometheus: the text format that its node exporter's textfile collector reads.",
)
@environment_options
@json_option
def metrics(form: str, config_path: str, store: str, as_json: bool) -> None:
    """Show figures over all finished runs: outcomes, time to restore, forecasts, undos.

    They come from the store alone; nothing is asked of any vendor.
    """
    from taly.app.reports import metrics_of

    measured = metrics_of(opened(config_path, store))
    if as_json or form == "json":
        print_json("metrics", asdict(measured))
    elif form == "prometheus":
        from taly.cli.metrics_prometheus import exposition

        sys.stdout.write(exposition(measured))
    else:
        print_table(measured)
        err().print("\nnext: [command]taly runs[/]")


def print_table(measured: Metrics) -> None:
    """Print them for people."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, value in _rows(measured):
        table.add_row(Text(name), Text(value))
    out().print(table)


def _rows(measured: Metrics) -> list[tuple[str, str]]:
    restore = measured.restore
    counts = ", ".join(f"{count} {name}" for name, count in measured.outcomes.items() if count)
    return [
        ("environment", measured.environment),
        ("finished runs", f"{measured.runs}" + (f": {counts}" if counts else "")),
        ("success rate", _percent(measured.success_rate)),
        ("time to restore, median", _time(restore.median_s)),
        ("time to restore, 95 %", _time(restore.p95_s)),
        ("rollbacks that restored", str(restore.count)),
        ("forecast error of runs, median", _percent(measured.forecast_error)),
        ("forecast error of steps, median", _percent(measured.step_forecast_error)),
        ("rollbacks taken back", _percent(measured.undo_rate)),
        *((f"steps: {one.kind}, {one.how}", str(one.count)) for one in measured.steps),
    ]


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.0%}"


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else clock_span(seconds)
