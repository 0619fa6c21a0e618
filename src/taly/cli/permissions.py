"""`taly permissions`: the least that this taly.toml needs."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from taly.cli.options import environment_options, json_option, opened
from taly.cli.output import err, out, print_json
from taly.errors import UsageError

if TYPE_CHECKING:
    from taly.app.permissions import Permissions
    from taly.model.permissions import Part


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "iam", "json"]),
    default="table",
    show_default=True,
    help="iam: one IAM policy document, to paste.",
)
@click.option(
    "--only",
    "part",
    type=click.Choice(["read", "write", "check"]),
    help="Of the IAM policy: for looking, for a rollback, for checking both before.",
)
@environment_options
@json_option
def permissions(
    form: str, part: "Part | None", config_path: str, store: str, as_json: bool
) -> None:
    """Print the least that this taly.toml needs: IAM actions, tokens, PostgreSQL rights.

    Narrowed to what taly.toml names, where a vendor can. Nothing is asked of any vendor.
    """
    from taly.app.permissions import permissions_of

    found = permissions_of(opened(config_path, store))
    if as_json or form == "json":
        print_json("permissions", asdict(found))
    elif form == "iam":
        _print_iam(found, part)
    else:
        _print_table(found, part)
        err().print("\nnext: [command]taly status[/]")


def _print_iam(found: "Permissions", part: "Part | None") -> None:
    from taly.app.permissions import POLICY_LIMIT, whole

    policy = whole(found, part)
    if policy is None:
        raise UsageError(
            "no component of this taly.toml is on AWS, so there is no IAM policy",
            reference="no-iam-policy",
            hint="taly permissions --format table",
        )
    sys.stdout.write(json.dumps(policy, indent=2) + "\n")
    for remark in found.remarks:
        err().print(f"· {remark}", markup=False)
    if len(json.dumps(policy, separators=(",", ":"))) > POLICY_LIMIT:
        err().print(
            f"! longer than the {POLICY_LIMIT} characters of a managed policy: split it with "
            "--only, or widen its resources",
            style="warn",
        )


def _print_table(found: "Permissions", part: "Part | None") -> None:
    """A line a permission, never folded: ARNs are to be copied."""
    console = out()
    for name, what, where in _rows(found, part):
        console.print(f"{name}: ", style="name", end="", markup=False)
        console.print(what, markup=False, soft_wrap=True)
        for one in where:
            console.print(f"    {one}", style="quiet", markup=False, soft_wrap=True)
    for remark in found.remarks:
        console.print(f"· {remark}", style="quiet", markup=False)


def _rows(found: "Permissions", part: "Part | None") -> Iterator[tuple[str, str, list[str]]]:
    """For what, which permission, and on what."""
    policies = {"read": found.read, "write": found.write, "check": found.check}
    for name, policy in policies.items():
        if policy is not None and part in (None, name):
            statements: Any = policy["Statement"]
            for one in statements:
                where = [f"on {arn}" for arn in one["Resource"]]
                passed = one.get("Condition", {}).get("StringEquals", {}).values()
                where += [f"passed only to {service}" for some in passed for service in some]
                yield name, ", ".join(one["Action"]), where
    for token in found.tokens:
        told = {"read": token.read, "write": token.write}
        for name, text in told.items():
            if part in (None, name):
                yield name, f"{token.variable}: {text}", []
    for right in found.database:
        yield right.needed_for, right.rights, []
