"""The steps of a Vercel rollback, as data; pure."""

from taly.model.plan import Forecast, Step, StepKind
from taly.model.release import Deployment, Observed, Operation

PROVIDER = "vercel"
USUAL = "Vercel's usual time"
BUILD, JOB, ROLLOUT, ONTO = "build", "job", "rollout", "onto"
"""Keys of a CANCEL step's address: what it stops, or waits out; ONTO: what a stopped rolling
release goes back to."""


def steps(before: Observed, target: Deployment) -> tuple[Step, ...]:
    """Stop what would publish, roll back, see that auto-assignment is off."""
    component = before.component
    cancels = tuple(
        step
        for operation in before.in_flight
        if (step := _cancel(before, operation, target)) is not None
    )
    needs = tuple(step.id for step in cancels)
    roll: tuple[Step, ...] = ()
    if target.id != before.state["deployment"] or before.live.candidates:
        roll = (_roll_back(before, target, needs),)
        needs = (roll[0].id,)
    freeze = Step(
        id=f"{StepKind.FREEZE}:{component}",
        kind=StepKind.FREEZE,
        component=component,
        provider=PROVIDER,
        title=f"{component}: pushes stay staged (auto-assignment of domains off)",
        address=before.address,
        before={"auto_assign": before.state["auto_assign"]},
        wanted={"auto_assign": False},
        needs=needs,
        forecast=Forecast(seconds=2.0, basis=USUAL),
        deadline_s=180.0,
    )
    return (*cancels, *roll, freeze)


def _roll_back(before: Observed, target: Deployment, needs: tuple[str, ...]) -> Step:
    component = before.component
    return Step(
        id=f"{StepKind.ROLL_BACK}:{component}",
        kind=StepKind.ROLL_BACK,
        component=component,
        provider=PROVIDER,
        title=f"{component} → {target.label} ({target.id[:12]}…)",
        address=before.address,
        before=dict(before.state),
        wanted={"deployment": target.id, "auto_assign": False},
        needs=needs,
        forecast=Forecast(seconds=15.0, basis=USUAL),
        deadline_s=600.0,
    )


def _cancel(before: Observed, operation: Operation, target: Deployment) -> Step | None:
    """What an operation in flight asks for; None = nothing: a job toward the target is adopted.

    The vendor's own way to stop a rolling release is a rollback, so it goes to the target at once.
    """
    component = before.component
    if operation.id.startswith(f"{JOB}:"):
        if operation.toward == target.id:
            return None
        what = {JOB: operation.id.removeprefix(f"{JOB}:")}
        title = f"{component}: wait for the {operation.what}"
    elif operation.id.startswith(f"{ROLLOUT}:"):
        what = {ROLLOUT: operation.toward, ONTO: target.id}
        title = f"{component}: stop the {operation.what}"
    else:
        what = {BUILD: operation.id}
        title = f"{component}: cancel the {operation.what}"
    return Step(
        id=f"{StepKind.CANCEL}:{component}:{operation.toward}",
        kind=StepKind.CANCEL,
        component=component,
        provider=PROVIDER,
        title=title,
        address={**before.address, **what},
        forecast=Forecast(seconds=5.0, basis=USUAL),
        deadline_s=600.0,
    )
