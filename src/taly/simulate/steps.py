"""The steps of the simulated vendors, in the shape of the real ones'. Pure."""

from dataclasses import replace

from taly.model.plan import Forecast, Step, StepKind
from taly.model.release import Deployment, Observed, State
from taly.simulate.traits import Traits

BUILD = "build:"
ENDED = "ended"
DEADLINE_S = 400.0


def steps_toward(before: Observed, target: Deployment, traits: Traits) -> tuple[Step, ...]:
    """Everything between what was observed and `target` live, with auto-deploys held."""
    if traits.long_writes:
        return _database(before, target)
    cancels = tuple(
        _step(StepKind.CANCEL, before, {BUILD + one.id: None}, {BUILD + one.id: ENDED}, one.id)
        for one in before.in_flight
        if traits.cancels and one.toward != target.id
    )
    auto = before.state.get("auto_deploy")
    moves = target.id != before.live.id
    was: dict[str, str | bool | int | None] = {"deploy": before.live.id}
    wanted: dict[str, str | bool | int | None] = {"deploy": target.id}
    if traits.auto_in_update:
        was["auto_deploy"], wanted["auto_deploy"] = auto, False
    rolls = (_step(StepKind.ROLL_BACK, before, was, wanted),) if moves else ()
    held = traits.auto_in_update and moves and traits.name == "service"
    freeze = _step(StepKind.FREEZE, before, {"auto_deploy": auto}, {"auto_deploy": False})
    freezes = () if held or not traits.has_auto or not auto else (freeze,)
    return tuple(_in_a_row((*cancels, *rolls, *freezes)))


def _database(before: Observed, target: Deployment) -> tuple[Step, ...]:
    """Both ways: each migration taken back, or a backup restored."""
    if before.live.id == target.id:
        return ()
    middle = f"{before.live.id}-half"
    reverts = _in_a_row(
        (
            _step(StepKind.REVERT, before, {"deploy": before.live.id}, {"deploy": middle}, "m2"),
            _step(StepKind.REVERT, before, {"deploy": middle}, {"deploy": target.id}, "m1"),
        )
    )
    restore = _step(StepKind.RESTORE, before, {"deploy": before.live.id}, {"deploy": target.id})
    return (*reverts, restore)


def _step(kind: StepKind, before: Observed, was: State, wanted: State, extra: str = "") -> Step:
    name = before.component
    return Step(
        id=":".join(one for one in (str(kind), name, extra) if one),
        kind=kind,
        component=name,
        provider=before.address["vendor"],
        title=f"{kind} {name} {extra}".strip(),
        address=before.address,
        before=was,
        wanted=wanted,
        forecast=Forecast(seconds=30.0, basis="a guess"),
        deadline_s=DEADLINE_S,
    )


def _in_a_row(steps: tuple[Step, ...]) -> list[Step]:
    row: list[Step] = []
    for step in steps:
        row.append(replace(step, needs=(row[-1].id,) if row else ()))
    return row
