"""What bars the way down of the migrations since a release; asked of the live database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from taly.database.checkpoint.downs import read_down
from taly.database.checkpoint.facts import same_database
from taly.database.checkpoint.folder import Checkpoint, every
from taly.database.checkpoint.manifest import Database, Kept
from taly.database.connection import Target, reading
from taly.model.catalog import Catalog
from taly.planning.adapting import Adapted, eased
from taly.planning.down import Down, Guard, Save, derive
from taly.planning.down.mirror import Mirror
from taly.planning.down.play import play


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """What taking some migrations back in place would mean."""

    obstacles: tuple[str, ...]
    """Why it cannot be done, one sentence each; empty = it can."""
    costs: tuple[str, ...]
    """What it takes or leaves behind."""


def back(
    target: Target,
    checkpoints: Sequence[Checkpoint],
    ways: Sequence[Down],
    hinted: Sequence[Adapted] = (),
) -> Back:
    """Whether every one of `ways` can be taken, oldest first. Read only; raises TalyError.

    `hinted`: columns whose newer values the team's hints read.
    """
    obstacles: list[str] = []
    costs: list[str] = []
    found = [best_of(way, checkpoints) for way in ways]
    downs = [(eased(down, hinted), kept) for down, kept in found]
    for down, kept in downs:
        obstacles += [f"{down.name}: {gap}" for gap in down.gaps]
        missing = [save for save in down.data if not covered(save, kept, target.schema)]
        obstacles += [f"{down.name}: {save.why}, and no checkpoint kept it" for save in missing]
        costs += [f"{down.name}: {loses} goes to the rescue bundle" for loses in down.loses]
        costs += [
            f"{down.name}: {save.table} is put back from its checkpoint"
            for save in down.data
            if save not in missing
        ]
    costs += [str(one) for one in hinted]
    guards = [(down.name, guard) for down, _ in downs for guard in down.guards]
    obstacles += _barred(target, guards)
    return Back(obstacles=tuple(obstacles), costs=tuple(costs))


def sketched(
    earlier: Sequence[tuple[str, str | None]],
    since: Sequence[tuple[str, str | None]],
    schema: str,
) -> Mapping[str, Down]:
    """Ways down worked out over what the texts of all earlier migrations make, by name.

    Good enough to tell what bars them, without asking a server to play the texts; the step itself
    works them out from real definitions. Only those whose earlier texts are all known and readable.
    """
    catalog, found = Catalog(schemas=(schema,)), {}
    for number, (name, sql) in enumerate([*earlier, *since]):
        if sql is None:
            break
        if number >= len(earlier):
            found[name] = derive(name, sql, catalog, schema=schema)
        mirror = Mirror.of(catalog, schema)
        try:
            play(mirror, sql)
        except ValueError:
            break
        catalog = mirror.catalogs(catalog)[1]
    return found


def usable(base: Path, component: str, live: Database) -> list[Checkpoint]:
    """All checkpoints of this very database, newest first."""
    return [
        one
        for one in every(base)
        if isinstance(one, Checkpoint)
        and one.manifest.component == component
        and not same_database(one.manifest.database, live)
    ]


def best_of(down: Down, checkpoints: Sequence[Checkpoint]) -> tuple[Down, tuple[Kept, ...]]:
    """The way down that was worked out before the migration, with what was kept; else this one."""
    for one in checkpoints:
        if down.name not in one.manifest.pending:
            continue
        facts = next((f for f in one.manifest.ways_down if f.migration == down.name), None)
        stored = _stored(one, facts.file) if facts else None
        return (stored or down), one.manifest.destroyed
    return down, ()


def covered(save: Save, kept: Sequence[Kept], schema: str) -> bool:
    """Whether what a migration destroyed was copied out before."""
    return any(
        save.table in (one.table, f"{one.table_schema}.{one.table}")
        and (save.kind != "columns" or not one.key or set(save.columns) <= set(one.columns))
        for one in kept
    )


def _stored(one: Checkpoint, file: str) -> Down | None:
    try:
        return read_down(one.path / file)
    except (OSError, ValueError):
        return None


def _barred(target: Target, guards: Sequence[tuple[str, Guard]]) -> list[str]:
    """What live rows say against it; a question that cannot be asked yet bars nothing."""
    found: list[str] = []
    if not guards:
        return found
    with reading(target) as connection:
        for name, guard in guards:
            try:
                with connection.transaction():
                    row = connection.execute(guard.query.encode()).fetchone()
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
                continue  # a later migration renamed it; the step asks again in its turn
            if row and row[0]:
                found.append(f"{name}: {guard.text}")
    return found
