"""A Netlify rollback as steps: cancel what would publish, restore, then lock. Pure.

What is not established at Netlify, and how the order bears either answer: a lock may end when
another deploy is published, so it is set after the restore and read again; a restore may be refused
while the site is locked, so a site that was locked is unlocked first. Undone in reverse, the same
steps end with the lock as it was.
"""

from taly.model.plan import Forecast, Step, StepKind
from taly.model.release import Deployment, Observed
from taly.providers.netlify.history import IN_FLIGHT

PUBLISH = Forecast(seconds=15.0, basis="Netlify's usual time to publish")
CALL = Forecast(seconds=3.0, basis="one call and a read")
RESTORE_DEADLINE_S = 900.0
CALL_DEADLINE_S = 180.0
BUILD = "build:"
"""State keys of production builds begin with this; the deploy id follows."""
BEGUN = "begun"
"""In a cancel step's address: when its build began, ISO 8601."""
IN_PROGRESS = "in-progress"
ENDED = "ended"


def steps(before: Observed, target: Deployment) -> tuple[Step, ...]:
    """Everything between what was observed and `target` live, locked."""
    locked = bool(before.state["locked"])
    at_target = before.live.id == target.id
    if at_target and locked:
        return ()
    # Not `before.in_flight`: a lock holds builds back, and the rollback may have to end the lock.
    builds = [one for one in before.history if one.details.get(IN_FLIGHT)]
    cancels = tuple(_cancel(before, build) for build in builds)
    needs = tuple(step.id for step in cancels)
    if at_target:
        return (*cancels, _freeze(before, target, needs))
    thaws = (_thaw(before, needs),) if locked else ()
    needs += tuple(step.id for step in thaws)
    roll_back = _roll_back(before, target, needs)
    return (*cancels, *thaws, roll_back, _freeze(before, target, (roll_back.id,)))


def cancel_id(component: str, deploy: str) -> str:
    """The id of the step that ends this build."""
    return f"cancel:{component}:{deploy}"


def _cancel(before: Observed, build: Deployment) -> Step:
    key = BUILD + build.id
    return Step(
        id=cancel_id(before.component, build.id),
        kind=StepKind.CANCEL,
        component=before.component,
        provider="netlify",
        title=f"{before.component}: cancel the production build of {build.label}",
        address={**before.address, BEGUN: build.created_at.isoformat() if build.created_at else ""},
        # None: not part of the observed state, so that a build's own end is not taken for drift.
        before={key: None},
        wanted={key: ENDED},
        forecast=CALL,
        deadline_s=CALL_DEADLINE_S,
    )


def _thaw(before: Observed, needs: tuple[str, ...]) -> Step:
    return Step(
        id=f"thaw:{before.component}",
        kind=StepKind.THAW,
        component=before.component,
        provider="netlify",
        title=f"{before.component}: unlock, so that another deploy can be published",
        address=before.address,
        before={"locked": True},
        wanted={"locked": False},
        needs=needs,
        forecast=CALL,
        deadline_s=CALL_DEADLINE_S,
    )


def _roll_back(before: Observed, target: Deployment, needs: tuple[str, ...]) -> Step:
    return Step(
        id=f"roll-back:{before.component}",
        kind=StepKind.ROLL_BACK,
        component=before.component,
        provider="netlify",
        title=f"{before.component} → {target.label} (deploy {target.id[:8]})",
        address=before.address,
        before={"deploy": before.live.id},
        wanted={"deploy": target.id},
        needs=needs,
        forecast=PUBLISH,
        deadline_s=RESTORE_DEADLINE_S,
    )


def _freeze(before: Observed, target: Deployment, needs: tuple[str, ...]) -> Step:
    return Step(
        id=f"freeze:{before.component}",
        kind=StepKind.FREEZE,
        component=before.component,
        provider="netlify",
        title=f"{before.component}: stop auto publishing (lock {target.label})",
        address=before.address,
        before={"deploy": before.live.id, "locked": bool(before.state["locked"])},
        wanted={"deploy": target.id, "locked": True},
        needs=needs,
        forecast=CALL,
        deadline_s=CALL_DEADLINE_S,
    )
