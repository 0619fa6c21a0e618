"""`taly plan`: what would happen, and whether it may. Touches nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taly.cli.options import (
    chosen,
    environment_options,
    flags,
    json_option,
    opened,
    plan_options,
)
from taly.cli.output import err, out, print_json, write_file
from taly.errors import ExitCode

if TYPE_CHECKING:
    from taly.app.plans import Planned


@click.command()
@click.option(
    "--to",
    "target",
    default="last-good",
    show_default=True,
    metavar="TARGET",
    help="R41, last-good, previous, a commit, or a time (2026-11-23T09:00, -2h).",
)
@plan_options
@click.option("-o", "--output", metavar="FILE", help="Write the plan there; rollback takes it.")
@environment_options
@json_option
def plan(
    target: str,
    output: str | None,
    config_path: str,
    store: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Show what going back would do, and whether it can be done. Touches nothing."""
    from taly.app.plans import plan_rollback

    planned = plan_rollback(opened(config_path, store), target, chosen(**options))
    if output and not planned.refused:
        from taly.engine.codec import plan_to_json

        write_file(Path(output), plan_to_json(planned.plan))
    if as_json:
        print_json("plan", plan_body(planned))
    else:
        show(planned)
        _next(planned, output, options)
    return int(ExitCode.REFUSED if planned.refused else ExitCode.OK)


def plan_body(planned: "Planned") -> dict[str, Any]:
    """The JSON of `taly plan`."""
    from taly.engine.codec import plan_to_json

    return {
        "refused": planned.refused,
        "plan": json.loads(plan_to_json(planned.plan))["plan"],
        "findings": [
            {
                "code": finding.code,
                "severity": finding.severity.value,
                "component": finding.component,
                "text": finding.text,
                "hint": finding.hint,
            }
            for finding in planned.findings
        ],
    }


def show(planned: "Planned") -> None:
    """Print a plan; a refused one as a refusal, on stderr."""
    from taly.cli.plan_view import print_plan

    print_plan(out(), planned.plan, planned.findings)
    if planned.lock and planned.plan.steps:
        out().print(f"\n{planned.lock}", style="quiet", soft_wrap=True, markup=False)


def _next(planned: "Planned", output: str | None, options: Mapping[str, Any]) -> None:
    console = err()
    console.print()
    if planned.refused:
        console.print("refused: nothing was touched", style="bad")
        console.print("\nnext: [command]taly releases[/]")
        return
    if not planned.plan.steps:
        console.print("There is nothing to do.", style="good")
        console.print("\nnext: [command]taly status[/]")
        return
    what = output or " ".join([f"--to {planned.plan.to_release}", *flags(options)])
    console.print("next: ", end="")
    console.print(f"taly rollback {what}", style="command", markup=False, soft_wrap=True)
