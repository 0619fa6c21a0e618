"""Order between components: a rollback goes in the reverse of the deploy's order.

Except where a database goes back (docs/adr/0025): what was deployed after it waits for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush

from taly.model.environment import Component
from taly.model.plan import Step, StepKind

DATABASE_KINDS = frozenset({StepKind.REVERT, StepKind.APPLY, StepKind.RESTORE})
"""Steps that change a schema: code of either side of it fails on the other."""
MOVING = DATABASE_KINDS | {StepKind.ROLL_BACK}


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
    A database that goes back does so before the components deployed after it, and as late as that
    allows: once what was deployed after those is back, and auto-deploys are held.
    """
    dependents = _dependents(components)
    needs = Needs(steps)
    gates: dict[str, tuple[str, ...]] = {}
    order = [name for wave in waves(components) for name in wave]
    for name in order:
        behind = tuple(dict.fromkeys(id_ for later in dependents[name] for id_ in gates[later]))
        rolls = needs.ids(name, frozenset({StepKind.ROLL_BACK}))
        changes = needs.ids(name, DATABASE_KINDS)
        needs.add(rolls, behind)
        needs.add(changes, (id_ for id_ in behind if needs.kind(id_) in DATABASE_KINDS))
        # Behind a database that goes back first, those that wait for it are waited for as well.
        gates[name] = (*changes, *behind) if changes else rolls or behind
    for name in order:
        if changes := needs.ids(name, DATABASE_KINDS):
            needs.add(_waiting(name, dependents, needs), changes)
    for name in order:
        if changes := needs.ids(name, DATABASE_KINDS):
            needs.add_where_possible(changes, _before(name, dependents, needs))
    return [(name, needs.of(steps.get(name, ()))) for name in order]


class Needs:
    """The edges between steps while they are being laid."""

    def __init__(self, steps: Mapping[str, Sequence[Step]]) -> None:
        """`steps` are those of each component, with the edges among themselves."""
        self._steps = {step.id: step for own in steps.values() for step in own}
        self._own = {name: tuple(step.id for step in own) for name, own in steps.items()}
        self._needs = {id_: dict.fromkeys(step.needs) for id_, step in self._steps.items()}

    def kind(self, step_id: str) -> StepKind:
        """What that step does."""
        return self._steps[step_id].kind

    def ids(self, component: str, kinds: frozenset[StepKind]) -> tuple[str, ...]:
        """The component's steps of these kinds."""
        return tuple(id_ for id_ in self._own.get(component, ()) if self.kind(id_) in kinds)

    def holds(self) -> tuple[str, ...]:
        """All steps that hold auto-deploys."""
        return tuple(id_ for id_, step in self._steps.items() if step.kind is StepKind.FREEZE)

    def add(self, steps: Iterable[str], needed: Iterable[str]) -> None:
        """Each of `steps` waits for all that are needed."""
        needed = dict.fromkeys(needed)
        for step in steps:
            self._needs[step].update(needed)

    def add_where_possible(self, steps: Sequence[str], needed: Iterable[str]) -> None:
        """The same, without those that themselves wait for one of the steps."""
        for one in needed:
            if not self._reach(one) & set(steps):
                self.add(steps, (one,))

    def of(self, steps: Sequence[Step]) -> list[Step]:
        """The steps with all their edges."""
        return [replace(step, needs=tuple(self._needs[step.id])) for step in steps]

    def _reach(self, step_id: str) -> set[str]:
        """The step, and all that it waits for."""
        seen, todo = {step_id}, [step_id]
        while todo:
            fresh = [need for need in self._needs[todo.pop()] if need not in seen]
            seen.update(fresh)
            todo.extend(fresh)
        return seen


def _dependents(components: Sequence[Component]) -> dict[str, list[str]]:
    """Component → those that a deploy does right after it."""
    found: dict[str, list[str]] = {component.name: [] for component in components}
    for component in components:
        for earlier in component.after:
            if earlier in found:
                found[earlier].append(component.name)
    return found


def _users(name: str, dependents: Mapping[str, Sequence[str]], needs: Needs) -> dict[str, None]:
    """The components that use a database: those right after it, through such as do not move."""
    found: dict[str, None] = {}
    todo = list(dependents[name])
    while todo:
        user = todo.pop(0)
        if user not in found:
            found[user] = None
            if not needs.ids(user, MOVING):
                todo.extend(dependents[user])
    return found


def _waiting(name: str, dependents: Mapping[str, Sequence[str]], needs: Needs) -> list[str]:
    """The steps that must not bring their code back before the database's schema is back."""
    users = _users(name, dependents, needs)
    return [id_ for user in users for id_ in needs.ids(user, frozenset({StepKind.ROLL_BACK}))]


def _before(name: str, dependents: Mapping[str, Sequence[str]], needs: Needs) -> list[str]:
    """What its users wait for anyhow: done first, it does not make the gap longer."""
    users = _users(name, dependents, needs)
    later = dict.fromkeys(other for user in users for other in dependents[user])
    rolls = [
        id_
        for other in later
        if other not in users
        for id_ in needs.ids(other, frozenset({StepKind.ROLL_BACK}))
    ]
    return [*needs.holds(), *rolls]


def in_order(steps: Sequence[Step]) -> list[Step]:
    """The steps so that each stands after those it needs, moved as little as that takes."""
    places = {step.id: place for place, step in enumerate(steps)}
    missing = {step.id: sum(need in places for need in step.needs) for step in steps}
    waiting: dict[str, list[str]] = {step.id: [] for step in steps}
    for step in steps:
        for need in step.needs:
            if need in places:
                waiting[need].append(step.id)
    ready = [places[id_] for id_, count in missing.items() if not count]
    heapify(ready)
    found: list[Step] = []
    while ready:
        step = steps[heappop(ready)]
        found.append(step)
        for other in waiting[step.id]:
            missing[other] -= 1
            if not missing[other]:
                heappush(ready, places[other])
    assert len(found) == len(steps), "steps that need each other are never planned"
    return found


def in_needs_order(steps: Sequence[Step]) -> list[Step]:
    """The steps so that each stands after those it needs; needs outside are dropped.

    Raises CycleError when they need each other.
    """
    by_id = {step.id: step for step in steps}
    kept = {step.id: [need for need in step.needs if need in by_id] for step in steps}
    order = TopologicalSorter(kept).static_order()
    return [replace(by_id[id_], needs=tuple(kept[id_])) for id_ in order]
