"""Rescue bundles of the environment's databases: list, look into, put back."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taly.app.context import Context
from taly.app.noting import note
from taly.app.rescues_elsewhere import Elsewhere, elsewhere, refuse_elsewhere
from taly.config import STATE_DIRECTORY
from taly.database.connection import Target, target_of
from taly.database.rescue.bundle import Reader, bundles, every
from taly.database.rescue.outcome import Merged
from taly.database.rescue.replaying import Report, refuse_unfinished, replay
from taly.database.rescue.work import Options
from taly.errors import OutcomeUnknown, Refused, UsageError
from taly.model.environment import Component

FOLDER = "rescue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be put back, and where."""

    run: str
    into: str = ""
    """A variable's name or a URL without a password; empty = the component's own."""
    options: Options
    unconfirmed: bool = False
    """Also bundles whose step never said that it was done."""


def kept(context: Context) -> tuple[list[Reader], list[Refused]]:
    """All bundles, newest first, and the refusals of those that cannot be read."""
    good: list[Reader] = []
    bad: list[Refused] = []
    for base in _bases(context):
        for one in every(base):
            if isinstance(one, Reader):
                good.append(one)
            else:
                bad.append(one)
    good.sort(key=lambda one: one.manifest.made_at, reverse=True)
    return good, bad


def others(context: Context, good: Sequence[Reader]) -> list[Elsewhere]:
    """The bundles that are on other machines, as far as the store tells; newest first."""
    return elsewhere(context, {(one.manifest.run, one.manifest.step) for one in good})


def of_run(context: Context, run: str) -> list[Reader]:
    """A run's bundles, in the order in which they were made; UsageError when it has none."""
    found = [one for base in _bases(context) for one in bundles(base, run)]
    if not found:
        with suppress(OutcomeUnknown):  # the store does not say; what follows is still true here
            refuse_elsewhere(context, run, _bases(context)[0])
        raise UsageError(
            f"{run} has no rescue bundle on this machine",
            reference="rescue-unknown",
            hint="taly rescue list",
        )
    return found


def put_back(context: Context, wish: Wish, *, dry_run: bool, report: Report) -> list[Merged]:
    """Merge a run's bundles into the database; the last one made comes first.

    A run takes back its newest migration first, so what it rescued last belongs to the oldest.
    Raises TalyError; then nothing was put back into that database.
    """
    readers = of_run(context, wish.run)
    if not wish.unconfirmed:
        refuse_unfinished(readers)
    by_place: dict[str, tuple[Target, list[Reader]]] = {}
    for reader in reversed(_with_tables(readers, wish)):
        target = _target(context, reader, wish.into)
        by_place.setdefault(target.place, (target, []))[1].append(reader)
    merged: list[Merged] = []
    for target, some in by_place.values():
        merged += replay(
            some,
            target,
            options=wish.options,
            now=context.clock.now(),
            dry_run=dry_run,
            report=report,
        )
        if not dry_run:
            note(context, "replayed", run=wish.run, database=target.place)
    return merged


def places(context: Context, wish: Wish) -> list[str]:
    """host:port/name of the databases that a replay would write to."""
    readers = of_run(context, wish.run)
    return sorted({_target(context, reader, wish.into).place for reader in readers})


def _with_tables(readers: Sequence[Reader], wish: Wish) -> list[Reader]:
    """Those that have one of the tables that were asked for; all, when none was."""
    wanted = set(wish.options.tables)
    found = [
        reader
        for reader in readers
        if not wanted or any(wanted & {table.name, table.label} for table in reader.tables)
    ]
    if not found:
        known = ", ".join(table.label for reader in readers for table in reader.tables) or "none"
        raise UsageError(
            f"no bundle of {wish.run} has {', '.join(sorted(wanted))}; there are: {known}",
            reference="rescue-table-unknown",
            hint=f"taly rescue show {wish.run}",
        )
    return found


def _bases(context: Context) -> list[Path]:
    found = {_base(context, one) for one in _databases(context)}
    return sorted(found | {context.config.path.parent / STATE_DIRECTORY / FOLDER})


def _base(context: Context, component: Component) -> Path:
    folder = context.config.path.parent
    return folder / (component.settings.get("rescue") or f"{STATE_DIRECTORY}/{FOLDER}")


def _databases(context: Context) -> list[Component]:
    return [one for one in context.environment.components if one.provider == "postgres"]


def _target(context: Context, reader: Reader, into: str) -> Target:
    if "://" in into:
        return target_of({"url_env": "--into"}, {"--into": into})
    if into:
        return target_of({"url_env": into}, context.environ)
    name = reader.manifest.component
    found = [one for one in _databases(context) if one.name == name]
    if not found:
        raise UsageError(
            f"taly.toml has no database {name} any more",
            reference="no-such-component",
            hint=f"taly rescue replay {reader.manifest.run} --into DATABASE_URL",
        )
    return target_of(found[0].settings, context.environ)
