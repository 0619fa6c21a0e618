"""What runs left on the database servers: found, shown, dropped when its time has come."""

from collections.abc import Iterator
from dataclasses import dataclass

from taly.app.context import Context
from taly.app.noting import note
from taly.database.connection import Target, target_of
from taly.database.restore import Aside, forget, put_aside
from taly.errors import EnvironmentLocked, UsageError
from taly.model.environment import Component


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A database that a run put aside, and what stands in its place."""

    component: str
    target: Target
    aside: Aside


def kept_by(context: Context, run_id: str) -> list[Kept]:
    """The databases that this run put aside; UsageError when there is none.

    Raises EnvironmentLocked while the run itself, or an undo that needs them, is under way.
    """
    holder = context.store.unfinished(context.environment.name)
    if holder is not None:
        raise EnvironmentLocked(
            f"{holder.id}, started by {holder.by}, is not finished and may need it",
            reference="forget-too-early",
            hint=f"taly show {holder.id}",
        )
    found = [kept for kept in all_kept(context) if kept.aside.run == run_id]
    if not found:
        known = ", ".join(kept.aside.run for kept in all_kept(context)) or "none"
        raise UsageError(
            f"{run_id} keeps no database aside; runs that do: {known}",
            reference="nothing-to-forget",
            hint="taly database status",
        )
    return found


def all_kept(context: Context) -> Iterator[Kept]:
    """Every database that was put aside, of all databases of the environment."""
    for component in context.environment.components:
        if component.provider == "postgres":
            yield from kept_of(component, target_of(component.settings, context.environ))


def kept_of(component: Component, target: Target) -> Iterator[Kept]:
    """Those that a database's own place was taken from; a server may serve others too."""
    name = target.place.rpartition("/")[2]
    for aside in put_aside(target):
        if aside.of == name:
            yield Kept(component=component.name, target=target, aside=aside)


def drop(kept: Kept, context: Context) -> int | None:
    """Drop it for good; how many bytes it had, where that may be known.

    The audit trail says so first: a drop cannot be taken back when it cannot be written down.
    """
    note(context, "forgot", run=kept.aside.run, component=kept.component, database=kept.aside.name)
    return forget(kept.target, kept.aside.run).bytes
