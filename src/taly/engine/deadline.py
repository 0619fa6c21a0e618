"""What is said of a step when its time is over."""

from taly.errors import VendorError
from taly.model.events import StepFailed, StepUnknown
from taly.model.plan import Step
from taly.model.ports import Failed, InFlight, Other, Wanted

Certain = Wanted | InFlight | Other | Failed
"""A look that leaves nothing open."""


def too_late(
    step: Step, seen: Certain | VendorError, *, answered: bool, wrote: bool
) -> StepFailed | StepUnknown:
    """The end at the deadline. Clause 3: what is in flight elsewhere is never stacked.

    `answered`: the vendor said yes to our write; `wrote`: one of ours may have been applied.
    """
    after = f"after {step.deadline_s:.0f} s"
    match seen:
        case Other():
            said = "the vendor accepted the change, and " if answered else ""
            return StepFailed(
                step=step.id,
                reason=f"{said}{after} the component is still not as wanted",
                reference="not-as-wanted",
                hint="taly status",
                evidence=seen.evidence,
            )
        case InFlight(same_target=False) if not wrote:
            return StepFailed(
                step=step.id,
                reason=f"another operation is still in flight {after}: "
                f"{seen.what or seen.operation}; nothing was sent",
                reference="operation-in-flight",
                hint="taly status",
                evidence=seen.evidence,
            )
        case InFlight():
            reason = f"still in flight {after}: {seen.what or seen.operation}"
        case VendorError():
            reason = f"the vendor cannot be asked {after}: {seen.message}"
        case _:
            raise AssertionError(f"unreachable: {seen} ends a step before its deadline")
    return StepUnknown(step=step.id, reason=reason)
