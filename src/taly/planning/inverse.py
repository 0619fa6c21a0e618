"""The inverse of steps that were done: each back to the state it was done in, newest first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from taly.model.plan import Step, StepKind
from taly.model.release import State
from taly.planning.order import DATABASE_KINDS, in_order

INVERSE_KINDS: Mapping[StepKind, StepKind] = {
    StepKind.ROLL_BACK: StepKind.ROLL_BACK,
    StepKind.FREEZE: StepKind.THAW,
    StepKind.THAW: StepKind.FREEZE,
    StepKind.REVERT: StepKind.APPLY,
    StepKind.APPLY: StepKind.REVERT,
    StepKind.RESTORE: StepKind.RESTORE,
}
"""What takes a step of that kind back. A cancelled operation cannot be started again."""
UNDOES = "undoes"
"""Where a step that brings data back finds it: the id of the run that put it aside."""

Values = dict[str, str | bool | int | None]


def inverses(
    planned: Sequence[Step], done: Sequence[Step], states: Mapping[str, State], run_id: str = ""
) -> tuple[Step, ...]:
    """Steps that take `done` back, in reverse order and with the edges of `planned` reversed.

    Only what uses a database waits for it in both directions: a schema is there before its code.
    `run_id` names the run that did them: what it put aside is brought back from there.

    A step goes back to the state in which it was done: what earlier steps of its component had
    made by then. `states` is how the components are now, from which the `before`s are taken; what
    is as it should be already needs no step.
    """
    wanted = _states_before(done)
    kept: dict[str, Step] = {}
    now = {name: dict(state) for name, state in states.items()}
    for step in reversed(done):
        state = now.setdefault(step.component, dict(step.wanted))
        back = wanted[step.id]
        if any(state.get(key) != value for key, value in back.items()):
            before = {key: state.get(key) for key in back}
            kept[step.id] = _inverse(step, before, back, run_id)
            state.update(back)
    needs = _reversed_needs(planned, kept)
    return tuple(in_order([replace(step, needs=needs[id_]) for id_, step in kept.items()]))


def _states_before(done: Sequence[Step]) -> dict[str, Values]:
    """Step id → what its keys were when it was done."""
    states: dict[str, Values] = {}
    found = {}
    for step in done:
        state = states.setdefault(step.component, {})
        found[step.id] = {
            key: state[key] if key in state else step.before.get(key) for key in step.wanted
        }
        state.update(step.wanted)
    return found


def _inverse(step: Step, before: Values, wanted: Values, run_id: str) -> Step:
    kind = INVERSE_KINDS[step.kind]
    _, _, rest = step.id.partition(":")
    address = {key: value for key, value in step.address.items() if key != UNDOES}
    if kind in (StepKind.APPLY, StepKind.RESTORE):
        address[UNDOES] = run_id
    return replace(
        step,
        id=f"{kind.value}:{rest}",
        kind=kind,
        title=f"take back: {step.title}",
        address=address,
        before=before,
        wanted=wanted,
        needs=(),
    )


def _reversed_needs(
    planned: Sequence[Step], kept: Mapping[str, Step]
) -> dict[str, tuple[str, ...]]:
    """Step id → ids of the inverses to wait for: those of the steps that needed it.

    Where one of those has no inverse, the ones behind it are waited for.
    """
    dependents: dict[str, list[str]] = {step.id: [] for step in planned}
    databases = {step.id for step in planned if step.kind in DATABASE_KINDS}
    for step in planned:
        for need in step.needs:
            if step.id in databases or need not in databases:
                dependents[need].append(step.id)
    gates: dict[str, tuple[str, ...]] = {}
    needs = {}
    for step in reversed(planned):
        gate = tuple(dict.fromkeys(id_ for later in dependents[step.id] for id_ in gates[later]))
        needs[step.id] = gate
        gates[step.id] = (kept[step.id].id,) if step.id in kept else gate
    for step in planned:
        if step.id not in databases:
            first = (kept[need].id for need in step.needs if need in databases and need in kept)
            needs[step.id] = tuple(dict.fromkeys((*needs[step.id], *first)))
    return needs
