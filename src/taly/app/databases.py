"""Questions about the environment's database alone: its ledger, the verdict, its catalog."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from taly.app.context import Context
from taly.app.forgetting import kept_of
from taly.app.history import load_history
from taly.app.plans import target_of as deployment_of
from taly.app.targets import choose_release
from taly.database.checkpoint.catalog_file import BEFORE, read_catalog_file
from taly.database.checkpoint.folder import named
from taly.database.connection import Target, reading, target_of
from taly.database.history import names_of
from taly.database.ledger import Ledger, read_ledger
from taly.database.leftovers import left_over
from taly.database.restore import Aside
from taly.database.snapshot import read_catalog
from taly.database.ways import WayDown, places_of, ways_down
from taly.errors import Refused, UsageError
from taly.model.catalog import Catalog
from taly.model.environment import Component
from taly.model.ports import Differences
from taly.model.release import Observed
from taly.planning.catalog_diff import Difference, differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the database says of its migrations."""

    component: str
    place: str
    ledger: Ledger
    left_over: tuple[str, ...]
    """Databases that a killed taly left behind, and that no run will clear away."""
    put_aside: tuple[Aside, ...]
    """Databases that runs put aside when a backup took their place."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What going back to a release means for the database."""

    component: str
    release: str
    why: str
    found: Differences
    ways: tuple[WayDown, ...]
    """One a migration, in the order of `found.migrations`."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The live catalog against one from before."""

    component: str
    saved: Catalog
    live: Catalog
    differences: tuple[Difference, ...]


def status(context: Context, name: str) -> Status:
    """The ledger as it stands. Raises TalyError when it cannot be read."""
    component, target = _database(context, name)
    holder = context.store.unfinished(context.environment.name)
    with reading(target) as connection:
        ledger = read_ledger(connection, target)
    return Status(
        component=component.name,
        place=target.place,
        ledger=ledger,
        left_over=left_over(target, holder.id if holder else ""),
        put_aside=tuple(kept.aside for kept in kept_of(component, target)),
        now=context.clock.now(),
    )


def verdict(context: Context, name: str, to: str, *, tried: bool) -> Verdict:
    """The verdict on every migration since the release, with its way down.

    `tried` takes each way down on a scratch database of the same server.
    """
    component, target = _database(context, name)
    history = load_history(context)
    choice = choose_release(context, history, to)
    observed = history.snapshot.components[component.name]
    if not isinstance(observed, Observed):
        raise Refused(observed.reason, reference=observed.reference, hint=observed.hint)
    wanted = deployment_of(observed, choice.release)
    if wanted is None:
        raise Refused(
            f"{choice.release.name} has nothing of {component.name}",
            reference="database-not-in-release",
            hint="taly releases",
        )
    directory = component.settings.get("migrations")
    places = places_of(
        Path(directory).resolve() if directory else None, Path(component.settings["checkpoints"])
    )
    return Verdict(
        component=component.name,
        release=choice.release.name,
        why=choice.why,
        found=context.provider(component.provider).differences(observed, wanted),
        ways=ways_down(target, places, names_of(wanted), tried=tried),
        now=context.clock.now(),
    )


def diff(context: Context, name: str, saved: str) -> Compared:
    """The live catalog against a file's or a checkpoint's."""
    component, target = _database(context, name)
    path = Path(saved)
    if not path.is_file():
        path = named(Path(component.settings["checkpoints"]), saved).path / BEFORE
    before = read_catalog_file(path)
    with reading(target) as connection:
        live = read_catalog(connection, before.schemas)
    return Compared(
        component=component.name, saved=before, live=live, differences=differences(before, live)
    )


def _database(context: Context, name: str) -> tuple[Component, Target]:
    databases = [one for one in context.environment.components if one.provider == "postgres"]
    chosen = [one for one in databases if one.name == name] if name else databases
    if len(chosen) == 1:
        return chosen[0], target_of(chosen[0].settings, context.environ)
    if not databases:
        raise UsageError(
            'taly.toml has no component with provider = "postgres"',
            reference="no-database",
            hint="taly init   (or add one to taly.toml)",
        )
    names = ", ".join(one.name for one in databases)
    raise UsageError(
        f"there is no database {name!r}; there are {names}" if name else f"which one: {names}?",
        reference="no-such-component",
        hint=f"taly database status --component {databases[0].name}",
    )
