"""`taly init`: a taly.toml in a minute."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.text import Text

from taly.app.init import Draft, draft
from taly.app.matching import Question
from taly.cli.output import err, hanging, out, print_json, write_file
from taly.errors import ExitCode, UsageError
from taly.providers.inventory import Listed


@click.command()
@click.option("--no-input", is_flag=True, help="Ask nothing; leave out what is not certain.")
@click.option("--environment", default="production", show_default=True, help="Its name.")
@click.option("--stage", default="", help="The Serverless Framework stage; else what is deployed.")
@click.option("--output", default="taly.toml", show_default=True, help="The file to write.")
@click.option("--force", is_flag=True, help="Replace the file where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.argument("checkout", type=click.Path(exists=True, file_okay=False), default=".")
def init(
    checkout: str,
    no_input: bool,
    environment: str,
    stage: str,
    output: str,
    force: bool,
    as_json: bool,
) -> int:
    """Write a taly.toml from this checkout and from what your vendors have.

    Reads serverless.yml, .vercel, .netlify, prisma and Dockerfiles, lists what lies at the vendors
    under the present credentials, and matches both. Changes nothing at any vendor.
    """
    target = Path(output)
    if target.exists() and not force:
        raise UsageError(
            f"{target} exists already",
            reference="config-exists",
            hint=f"taly init --output {target}.new",
        )
    ask = _leave_out if no_input or not sys.stdin.isatty() else _ask
    made = draft(
        Path(checkout), environ=dict(os.environ), environment=environment, stage=stage, ask=ask
    )
    if not made.components:
        reasons = "\n".join(f"  {item.what}: {item.why}" for item in made.left_out)
        raise UsageError(
            f"nothing that taly can roll back was found in {checkout}\n{reasons}",
            reference="init-found-nothing",
            hint="taly init PATH-OF-YOUR-CHECKOUT",
        )
    write_file(target, made.text)
    seen = _check(target)
    if as_json:
        print_json(
            "init",
            {
                "file": str(target),
                "components": {
                    c.name: {"provider": c.provider, "why": c.why} for c in made.components
                },
                "left_out": [{"what": item.what, "why": item.why} for item in made.left_out],
                "unreachable": dict(made.unreachable),
                "not_observed": seen,
            },
        )
    else:
        _print(target, made, seen)
    return int(ExitCode.OK)


def _leave_out(question: Question) -> Listed | None:
    return None


def _ask(question: Question) -> Listed | None:
    console = err()
    console.print(question.text, style="name", markup=False)
    for number, choice in enumerate(question.choices, 1):
        console.print(f"  {number}  {choice.name}", markup=False)
    answer = click.prompt(
        "Number, or 0 for none", type=click.IntRange(0, len(question.choices)), err=True
    )
    return question.choices[answer - 1] if answer else None


def _check(target: Path) -> dict[str, str]:
    """Component → why it cannot be observed."""
    from taly.app.context import open_context
    from taly.app.discover import observe
    from taly.model.release import Unobserved

    snapshot = observe(open_context(config_path=str(target)))
    return {
        name: observation.reason
        for name, observation in snapshot.components.items()
        if isinstance(observation, Unobserved)
    }


def _print(target: Path, made: Draft, not_observed: Mapping[str, str]) -> None:
    console = out()
    console.print(f"{target}: {len(made.components)} components", style="name")
    for component in made.components:
        problem = not_observed.get(component.name)
        sign, style = ("×", "bad") if problem else ("✓", "good")
        console.print(f"[{style}]{sign}[/] {component.name:<24}[quiet]{component.provider}[/]")
        if problem:
            console.print(hanging(Text(" " * 3), Text(problem, style="bad")))
    if made.unreachable:
        console.print("\nVendors that could not be asked", style="name")
        for vendor, why in made.unreachable.items():
            console.print(f"  {vendor}: {why}", markup=False)
    if made.left_out:
        console.print("\nFound and left out", style="name")
        for item in made.left_out:
            console.print(f"  {item.what}: {item.why}", style="quiet", markup=False)
    err().print("\nnext: [command]taly status[/]")
