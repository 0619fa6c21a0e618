"""Databases that earlier runs put aside: found by their comment, kept until they are forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from taly.database.connection import Target
from taly.database.restore.fence import Fence
from taly.database.restore.names import Label, read_label
from taly.database.restore.places import database_of, server_of
from taly.errors import UsageError

DATABASES = """
SELECT datname, oid::bigint, shobj_description(oid, 'pg_database'),
  CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) END
FROM pg_database WHERE shobj_description(oid, 'pg_database') LIKE '{%"taly"%' ORDER BY datname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """One of them."""

    name: str
    """What it is called now."""
    of: str
    """What it was called, and what the one in its place is called."""
    run: str
    component: str
    since: datetime
    bytes: int | None
    """None = not ours to know."""
    oid: int
    label: Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """One that is gone."""

    name: str
    bytes: int | None


def put_aside(target: Target) -> tuple[Aside, ...]:
    """What earlier runs keep on the target's server, oldest first."""
    with _looking(target, "forget") as fence:
        return asides(fence)


def forget(target: Target, run_id: str) -> Forgotten:
    """Drop the database that this run put aside; there is no undo of that run any more.

    Raises UsageError when there is none.
    """
    with _looking(target, run_id) as fence:
        found = aside_of(fence, run_id, database_of(target))
        if found is None:
            known = ", ".join(one.run for one in asides(fence)) or "none"
            raise UsageError(
                f"{run_id} keeps no database on {server_of(target)}; runs that do: {known}",
                reference="nothing-to-forget",
                hint="taly runs",
            )
        fence.drop(found.name)
        return Forgotten(name=found.name, bytes=found.bytes)


def asides(fence: Fence) -> tuple[Aside, ...]:
    """All that are labelled, oldest first."""
    found = []
    for name, oid, comment, size in fence.rows(DATABASES):
        label = read_label(comment)
        if label is not None:
            found.append(
                Aside(
                    name=name,
                    of=label.of,
                    run=label.run,
                    component=label.component,
                    since=label.since,
                    bytes=size,
                    oid=oid,
                    label=label,
                )
            )
    return tuple(sorted(found, key=lambda one: one.since))


def aside_of(fence: Fence, run: str, database: str) -> Aside | None:
    """What a run put aside when it put another one in the place of `database`."""
    for one in asides(fence):
        if (one.run, one.of) == (run, database):
            return one
    return None


@contextmanager
def _looking(target: Target, run: str) -> Iterator[Fence]:
    fence = Fence(target, f"taly-look {run}"[:63])
    try:
        yield fence
    finally:
        fence.close()
