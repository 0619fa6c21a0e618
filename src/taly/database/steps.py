"""The steps that take a database back, as data: one a migration, or one for a whole backup."""

from taly.database.history import UNFINISHED, marked_names, names_of
from taly.database.ledger import digest, short
from taly.model.plan import Forecast, Step, StepKind
from taly.model.release import Deployment, Observed
from taly.planning.forecast import forecast_from

MIGRATION_USUAL_S = 5.0
RESTORE_USUAL_S = 120.0
RESTORE_DEADLINE_S = 12 * 3600.0
"""Large databases take hours; whether it still works shows in its progress."""


def steps_toward(before: Observed, target: Deployment) -> tuple[Step, ...]:
    """Both ways from what is live to an earlier set of migrations; the planner takes one.

    Reverts stand newest first, each behind the one before it. Nothing when `target` has no fewer
    migrations than there are.
    """
    live, had = marked_names(before.live), set(names_of(target))
    later = [name for name in reversed(live) if name.removeprefix(UNFINISHED) not in had]
    if not later:
        return ()
    return (*_reverts(before, live, later), _restore(before, target))


def _reverts(before: Observed, live: tuple[str, ...], later: list[str]) -> list[Step]:
    forecast = forecast_from(before.durations_s, MIGRATION_USUAL_S)
    found: list[Step] = []
    left = list(live)
    for marked in later:
        was, name = digest(left), marked.removeprefix(UNFINISHED)
        left.remove(marked)
        found.append(
            Step(
                id=f"{StepKind.REVERT.value}:{before.component}:{name}",
                kind=StepKind.REVERT,
                component=before.component,
                provider="postgres",
                title=f"{before.component}: take {short(name)} back",
                address={**before.address, "migration": name},
                before={"migrations": was},
                wanted={"migrations": digest(left)},
                needs=(found[-1].id,) if found else (),
                forecast=forecast,
            )
        )
    return found


def _restore(before: Observed, target: Deployment) -> Step:
    return Step(
        id=f"{StepKind.RESTORE.value}:{before.component}",
        kind=StepKind.RESTORE,
        component=before.component,
        provider="postgres",
        title=f"{before.component} → backup from {target.label}",
        address=before.address,
        before={"migrations": before.state["migrations"]},
        wanted={"migrations": target.id},
        forecast=Forecast(seconds=RESTORE_USUAL_S, basis="a guess: it grows with the database"),
        deadline_s=RESTORE_DEADLINE_S,
    )
