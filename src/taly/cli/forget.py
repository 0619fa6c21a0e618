"""`taly forget`: drop the database that a run put aside."""

import sys

import click

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import ago, err, out, print_json, size
from taly.errors import ExitCode, UsageError


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--yes", is_flag=True, help="Do not ask.")
@environment_options
@json_option
def forget(run_id: str, yes: bool, config_path: str, store: str, as_json: bool) -> int:
    """Drop the database that a run put aside. The run cannot be undone any more.

    What it put into the rescue bundle stays.
    """
    from taly.app.forgetting import drop, kept_by

    context = opened(config_path, store)
    found = kept_by(context, run_id)
    for kept in found:
        age = ago(kept.aside.since, context.clock.now())
        text = f"{kept.component}: {kept.aside.name}, {size(kept.aside.bytes)}, put aside {age}"
        err().print(text, markup=False, soft_wrap=True)
    if not yes:
        _ask(run_id, len(found))
    for kept in found:
        drop(kept, context)
    if as_json:
        print_json(
            "forgotten",
            {
                "run": run_id,
                "databases": [
                    {"component": one.component, "name": one.aside.name, "bytes": one.aside.bytes}
                    for one in found
                ],
            },
        )
    else:
        out().print(f"Forgotten: {run_id} cannot be undone any more.", markup=False)
        err().print("\nnext: [command]taly database status[/]")
    return int(ExitCode.OK)


def _ask(run_id: str, count: int) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask on",
            reference="no-terminal",
            hint=f"taly forget {run_id} --yes",
        )
    what = "it" if count == 1 else f"these {count} databases"
    click.confirm(f"\nDrop {what} for good? {run_id} cannot be undone then", abort=True, err=True)
