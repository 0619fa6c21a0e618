"""Preflight: would the update work. Read only."""

from collections.abc import Iterator

from taly.model.check import Finding, Severity
from taly.model.plan import Step, StepKind
from taly.providers.serverless import address as addresses
from taly.providers.serverless import template as templates
from taly.providers.serverless.aws_reads import AwsReads, at_once
from taly.providers.serverless.changeset import ALLOW, announced
from taly.providers.serverless.directories import TEMPLATE_FILE
from taly.providers.serverless.live import readiness

BUSY = "stack-busy"
"""Only a warning: the engine waits, and never stacks one update on another."""


def findings(reads: AwsReads, step: Step) -> tuple[Finding, ...]:
    """What stands in the way of the step."""
    if step.kind not in (StepKind.ROLL_BACK, StepKind.CANCEL):
        return ()
    return tuple(
        Finding(
            code=code,
            severity=Severity.WARNING if code == BUSY else Severity.ERROR,
            component=step.component,
            text=text,
            hint=hint,
        )
        for code, text, hint in _problems(reads, step)
    )


def _problems(reads: AwsReads, step: Step) -> Iterator[tuple[str, str, str]]:
    stack = step.address["stack"]
    status = str(reads.stack(stack)["StackStatus"])
    ready = readiness(status)
    if ready == "busy":
        yield BUSY, f"stack {stack} is {status}; the run waits until it has ended", "taly status"
    elif ready == "blocked":
        yield "stack-blocked", f"stack {stack} is {status} and cannot be updated", "taly status"
    if step.kind is StepKind.CANCEL:
        return
    reads.change_sets(stack)  # who may not even list them may not make one
    yield from _gone(reads, step)
    yield from _unallowed(step)


def _gone(reads: AwsReads, step: Step) -> Iterator[tuple[str, str, str]]:
    address = addresses.of_mapping(step.address)
    directory = str(step.wanted["directory"])
    key = f"{address.prefix}{directory}/{TEMPLATE_FILE}"
    template = reads.stored_template(address.bucket, key)
    if template is None:
        yield "target-gone", f"{key} is no longer in bucket {address.bucket}", "taly releases"
        return
    if templates.digest(template) != step.wanted.get("template"):
        yield "target-changed", f"{key} is not what it was when it was planned", "taly plan"
    named = templates.artifacts(template)
    there = at_once(lambda one: reads.exists(one, address.bucket), named)
    missing = [one.key for one, exists in zip(named, there, strict=True) if not exists]
    if missing:
        text = f"{', '.join(missing)}, which {directory} needs, is no longer in the bucket"
        yield "target-gone", text, "taly releases"


def _unallowed(step: Step) -> Iterator[tuple[str, str, str]]:
    lost = announced(step.address, str(step.wanted["directory"]))
    if lost and step.address.get(ALLOW) != "yes":
        text = f"going to {step.wanted['directory']} deletes {', '.join(lost)}"
        yield "removals-need-consent", text, "taly plan --allow-removals"
