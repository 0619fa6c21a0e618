"""Checkpoints' manifests where all of a team see them; the rest stays where it was made."""

import json
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from taly.app.shared import team_of, to_stderr
from taly.database.checkpoint.folder import Checkpoint
from taly.database.checkpoint.manifest import AFTER, MANIFEST
from taly.errors import TalyError
from taly.model.check import Finding
from taly.model.plan import Plan
from taly.planning.codes import finding

if TYPE_CHECKING:
    from taly.app.context import Context
    from taly.engine.shared.objects import Objects

FORMAT_VERSION = 1
WHERE = "where.json"
BACKUPS = {
    "dump": "its backup, a dump, lies there",
    "template": "its backup is a copy on the database's own server",
    "rds-snapshot": "its backup is a snapshot in RDS",
    "rds-pitr": "its backup is an instant in RDS",
    "none": "it has no backup",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A checkpoint that another machine has."""

    name: str
    host: str
    folder: str
    component: str
    commit: str
    label: str
    by: str
    made_at: str
    backup: str
    pending: tuple[str, ...]
    """Migrations before which it was made."""
    removed: bool = False


def tell(context: "Context", made: Checkpoint) -> Checkpoint:
    """Let the team know of a checkpoint that is whole here; it stands also if that fails."""
    team = team_of(context)
    if team is None:
        return made
    try:
        _write(team.objects, team.environment, made)
    except TalyError as error:
        to_stderr(
            f"The checkpoint is whole, but {team.place} could not be told ({error.message}); the "
            "next `taly checkpoint list` here does it."
        )
    return made


def tell_removed(context: "Context", names: Iterable[str]) -> None:
    """Let the team know that these are gone."""
    team = team_of(context)
    for name in names if team is not None else ():
        assert team is not None
        try:
            known = _read(team.objects, team.environment, name)
            if known is not None and known.host == socket.gethostname():
                team.objects.overwrite(
                    _key(team.environment, name, WHERE), _body(known, removed=True)
                )
        except TalyError as error:
            to_stderr(f"{team.place} could not be told that {name} is gone ({error.message}).")


def elsewhere(context: "Context", here: Sequence[Checkpoint]) -> list[Elsewhere] | None:
    """The checkpoints of other machines, newest first; None when the bucket does not answer.

    Those here that nobody knows are told.
    """
    team = team_of(context)
    if team is None:
        return []
    try:
        keys = team.objects.keys(f"{team.environment}/checkpoints/")
        known = {key.split("/")[2] for key in keys if key.endswith(f"/{WHERE}")}
        own = {one.name for one in here}
        for one in here:
            if one.name not in known:
                _write(team.objects, team.environment, one)
        found = [_read(team.objects, team.environment, name) for name in sorted(known - own)]
    except TalyError as error:
        to_stderr(f"Other machines' checkpoints are not known: {error.message}.")
        return None
    there = [one for one in found if one is not None and not one.removed]
    return sorted(there, key=lambda one: one.made_at, reverse=True)


def checkpoints_elsewhere(context: "Context", plan: Plan) -> Iterator[Finding]:
    """One finding for each database whose migrations only another machine has a checkpoint of."""
    if not context.config.shared:
        return
    from taly.app.checkpoints import base_of, kept

    wanted = {
        part.component: {one.name for one in part.migrations if one.verdict != "keep"}
        for part in plan.components
    }
    if not any(wanted.values()):
        return
    here = [one for one in kept(context) if isinstance(one, Checkpoint)]
    for name, migrations in wanted.items():
        if not migrations or any(migrations & {*one.manifest.pending} for one in here):
            continue
        for one in elsewhere(context, here) or ():
            if one.component == name and migrations & {*one.pending}:
                base = base_of(context.environment.component(name))
                yield _finding(one, sorted(migrations & {*one.pending})[0], base)
                break


def _finding(one: Elsewhere, migration: str, base: Path) -> Finding:
    text = (
        f"{one.host} made the checkpoint {one.name} before {migration}; {BACKUPS[one.backup]}, the "
        f"rest in {one.folder}"
    )
    hint = f"taly rollback on {one.host}, or copy that folder to {base / one.name}"
    return finding("checkpoint-elsewhere", one.component, text, hint)


def _write(objects: "Objects", environment: str, made: Checkpoint) -> None:
    """The manifest as it is sealed; last of all where it lies, which makes it known."""
    manifest = made.manifest
    for file in (MANIFEST, AFTER):
        path = made.path / file
        if path.exists():
            objects.overwrite(_key(environment, made.name, file), path.read_bytes())
    where = Elsewhere(
        name=made.name,
        host=socket.gethostname(),
        folder=str(made.path),
        component=manifest.component,
        commit=manifest.commit,
        label=manifest.label,
        by=manifest.by,
        made_at=manifest.made_at.isoformat(),
        backup=manifest.backup.kind,
        pending=manifest.pending,
    )
    objects.overwrite(_key(environment, made.name, WHERE), _body(where))


def _body(where: Elsewhere, *, removed: bool = False) -> bytes:
    said = {"format_version": FORMAT_VERSION, **asdict(where), "removed": removed}
    return json.dumps(said, indent=1).encode()


def _read(objects: "Objects", environment: str, name: str) -> Elsewhere | None:
    """None for what is not there, and for what another taly wrote in another way."""
    stored = objects.get(_key(environment, name, WHERE))
    if stored is None:
        return None
    try:
        said = json.loads(stored.body)
        if said["format_version"] != FORMAT_VERSION or said["backup"] not in BACKUPS:
            return None
        known = {one.name: said[one.name] for one in fields(Elsewhere)}
        return Elsewhere(**{**known, "pending": tuple(known["pending"])})
    except (ValueError, TypeError, KeyError):
        return None


def _key(environment: str, name: str, file: str) -> str:
    return f"{environment}/checkpoints/{name}/{file}"
