"""Which code takes a step, loaded when it is taken: a `taly status` needs none of it."""

from collections.abc import Mapping

from taly.errors import VendorRefused
from taly.model.check import Finding
from taly.model.plan import Step, StepKind
from taly.model.ports import Clock, Say


def act(
    step: Step, key: str, *, environ: Mapping[str, str], clock: Clock, say: Say
) -> Mapping[str, str]:
    """Take the step: its one change is there as a whole or not at all. Raises TalyError."""
    match step.kind:
        case StepKind.REVERT:
            from taly.database.revert import revert as take
        case StepKind.APPLY:
            from taly.database.revert import apply_again as take
        case StepKind.RESTORE:
            from taly.database.restore import restore as take
        case _:
            raise VendorRefused(
                f"a database knows no step {step.kind.value}",
                reference="step-unknown",
                hint="taly plan",
            )
    return take(step, key, environ=environ, clock=clock, say=say)


def check(step: Step, *, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Whether the step would work. Read only."""
    match step.kind:
        case StepKind.REVERT | StepKind.APPLY:
            from taly.database.revert import check as ask
        case StepKind.RESTORE:
            from taly.database.restore import check as ask
        case _:
            return ()
    return ask(step, environ=environ)
