"""Order between components: a rollback goes in the reverse of the deploy's order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from taly.model.environment import Component
from taly.model.plan import Step, StepKind


def waves(components: Sequence[Component]) -> list[list[str]]:
    """Component names in rollback order; those of one wave go back side by side.

    What a deploy does last goes back first. Raises CycleError when `after` leads in a circle.
    """
    names = [component.name for component in components]
    places = {name: i for i, name in enumerate(names)}
    sorter = TopologicalSorter({name: [] for name in names})
    for component in components:
        for earlier in component.after:
            if earlier in places:
                sorter.add(earlier, component.name)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=places.__getitem__)
        sorter.done(*ready)
        found.append(ready)
    return found


def circle(components: Sequence[Component]) -> list[str]:
    """The components that are declared to come after each other; empty when there are none."""
    try:
        waves(components)
    except CycleError as error:
        return list(error.args[1])
    return []


def gated(
    components: Sequence[Component], steps: Mapping[str, Sequence[Step]]
) -> list[tuple[str, Sequence[Step]]]:
    """Each component's steps in rollback order, with the edges between components added.

    A step that rolls back needs the roll-back steps of the components deployed after its own; it
    does not wait for their verification, which runs alongside. Where such a component has nothing
    to roll back, those behind it are waited for. Freezes need none of this: they start at once.
    """
    dependents: dict[str, list[str]] = {component.name: [] for component in components}
    for component in components:
        for earlier in component.after:
            if earlier in dependents:
                dependents[earlier].append(component.name)
    gates: dict[str, tuple[str, ...]] = {}
    ordered: list[tuple[str, Sequence[Step]]] = []
    for name in (name for wave in waves(components) for name in wave):
        gate = tuple(dict.fromkeys(id_ for later in dependents[name] for id_ in gates[later]))
        own = [
            replace(step, needs=tuple(dict.fromkeys((*step.needs, *gate))))
            if step.kind is StepKind.ROLL_BACK
            else step
            for step in steps.get(name, ())
        ]
        gates[name] = tuple(s.id for s in own if s.kind is StepKind.ROLL_BACK) or gate
        ordered.append((name, own))
    return ordered


def in_needs_order(steps: Sequence[Step]) -> list[Step]:
    """The steps so that each stands after those it needs; needs outside are dropped.

    Raises CycleError when they need each other.
    """
    by_id = {step.id: step for step in steps}
    kept = {step.id: [need for need in step.needs if need in by_id] for step in steps}
    order = TopologicalSorter(kept).static_order()
    return [replace(by_id[id_], needs=tuple(kept[id_])) for id_ in order]
