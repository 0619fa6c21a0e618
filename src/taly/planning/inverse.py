"""The inverse of steps that were done: each back to the state it was done in, newest first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from taly.model.plan import Step, StepKind
from taly.model.release import State

INVERSE_KINDS: Mapping[StepKind, StepKind] = {
    StepKind.ROLL_BACK: StepKind.ROLL_BACK,
    StepKind.FREEZE: StepKind.THAW,
    StepKind.THAW: StepKind.FREEZE,
}
"""What takes a step of that kind back. A cancelled operation cannot be started again."""

Values = dict[str, str | bool | int | None]


def inverses(
    planned: Sequence[Step], done: Sequence[Step], states: Mapping[str, State]
) -> tuple[Step, ...]:
    """Steps that take `done` back, in reverse order and with the edges of `planned` reversed.

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
            kept[step.id] = _inverse(step, {key: state.get(key) for key in back}, back)
            state.update(back)
    needs = _reversed_needs(planned, kept)
    return tuple(replace(step, needs=needs[id_]) for id_, step in kept.items())


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


def _inverse(step: Step, before: Values, wanted: Values) -> Step:
    kind = INVERSE_KINDS[step.kind]
    _, _, rest = step.id.partition(":")
    return replace(
        step,
        id=f"{kind.value}:{rest}",
        kind=kind,
        title=f"take back: {step.title}",
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
    for step in planned:
        for need in step.needs:
            dependents[need].append(step.id)
    gates: dict[str, tuple[str, ...]] = {}
    needs = {}
    for step in reversed(planned):
        gate = tuple(dict.fromkeys(id_ for later in dependents[step.id] for id_ in gates[later]))
        needs[step.id] = gate
        gates[step.id] = (kept[step.id].id,) if step.id in kept else gate
    return needs
