"""Where a restore starts from: a checkpoint, or for an undo the database that was put aside."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from taly.database.checkpoint.folder import DUMP, Checkpoint, damage, named
from taly.database.checkpoint.manifest import Manifest
from taly.database.ledger import digest
from taly.database.programs import find_programs
from taly.database.rescue.bundle import bundles
from taly.database.restore.asides import Aside, aside_of, asides
from taly.database.restore.fence import Fence
from taly.database.restore.job import Job
from taly.database.restore.outside import source_of
from taly.errors import Refused, UsageError

Find = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The live database, as far as it matters here."""

    oid: int
    system_identifier: str
    """Empty where the server does not tell."""
    bytes: int
    owner: str
    is_owner: bool
    is_superuser: bool
    may_signal: bool
    prepared: int
    slots: tuple[str, ...]
    cannot_carry: str
    """Why the user cannot carry rows over; empty when it can."""
    server_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What exists, and fits."""

    live: Live
    checkpoint: Checkpoint | None
    """None only for an undo whose checkpoint is gone."""
    aside: Aside | None
    """For an undo: the database that comes back."""
    same_database: bool
    """Whether transaction ids that were recorded say something about the live database."""


def find_start(job: Job, fence: Fence, live: Live, find: Find) -> Start | None:
    """None when there is no way to begin; `find` has then been told why."""
    if job.undoes:
        return _undo(job, fence, live, find)
    checkpoint = _checkpoint(job, find)
    if checkpoint is None:
        return None
    manifest = checkpoint.manifest
    _check_backup(job, fence, checkpoint, live, find)
    same = _is_same(manifest, live)
    if not same and not _is_related(job, fence, manifest, live):
        find(
            "restore-other-database",
            f"{checkpoint.name} is of {manifest.database.place}, which is another database than"
            f" {job.target.place}",
            "taly checkpoint list",
        )
        return None
    if not same:
        find(
            "restore-by-comparison",
            f"{job.target.place} is not the very database that {checkpoint.name} was made of: what"
            " was written since is found by comparing all rows, which takes longer",
        )
    return Start(live=live, checkpoint=checkpoint, aside=None, same_database=same)


def _undo(job: Job, fence: Fence, live: Live, find: Find) -> Start | None:
    aside = aside_of(fence, job.undoes, job.database)
    if aside is None:
        find(
            "restore-put-aside-gone",
            f"the database that {job.undoes} put aside is not on the server any more",
            "taly rollback",
        )
        return None
    if int(aside.label.receipt.get("rescued", "0")) and not _has_bundle(job, find):
        return None
    checkpoint = None
    with suppress(UsageError, Refused):  # it only helps to tell a rename from a new column
        checkpoint = named(job.checkpoints, aside.label.checkpoint)
    same = aside.label.oid == live.oid
    return Start(live=live, checkpoint=checkpoint, aside=aside, same_database=same)


def _has_bundle(job: Job, find: Find) -> bool:
    """Without it nobody knows which rows the live database never had, and which were deleted."""
    try:
        for reader in bundles(job.rescue, job.undoes):
            if reader.manifest.component == job.step.component:
                reader.check()
                return True
        why = f"there is none in {job.rescue}"
    except (UsageError, Refused) as error:
        why = error.message
    find(
        "restore-bundle-gone",
        f"the rescue bundle of {job.undoes} is needed to take it back: {why}",
        "taly rescue list",
    )
    return False


def _checkpoint(job: Job, find: Find) -> Checkpoint | None:
    name = job.step.address["checkpoint"]
    try:
        checkpoint = named(job.checkpoints, name)
    except UsageError as error:
        find("restore-checkpoint-gone", error.message, error.hint)
        return None
    except Refused as error:
        find("restore-checkpoint-broken", error.message, error.hint)
        return None
    wrong = list(damage(checkpoint))
    if wrong:
        shown = "; ".join(wrong[:3])
        find("restore-checkpoint-broken", f"{name} is damaged: {shown}", "taly checkpoint list")
    return checkpoint


def _check_backup(job: Job, fence: Fence, checkpoint: Checkpoint, live: Live, find: Find) -> None:
    manifest = checkpoint.manifest
    backup = manifest.backup
    if backup.kind == "none":
        find("restore-no-backup", f"{checkpoint.name} was made without a backup", LIST)
    elif backup.template and not fence.oid_of(backup.template):
        find(
            "restore-template-gone",
            f"database {backup.template} is not on the server any more",
            LIST,
        )
    elif backup.kind == "dump":
        if not (checkpoint.path / DUMP).is_dir():
            find("restore-checkpoint-broken", f"{checkpoint.name} has no folder {DUMP}", LIST)
        _check_programs(checkpoint, live, find)
    elif source := source_of(job, checkpoint):
        _check_programs(checkpoint, live, find)
        source.check(find)
    applied = [row.name for row in manifest.ledger if row.finished_at and not row.rolled_back_at]
    if digest(applied) != job.wanted:
        find(
            "restore-checkpoint-unsuitable",
            f"{checkpoint.name} has other migrations than the release that is gone back to",
            LIST,
        )


LIST = "taly checkpoint list"


def _check_programs(checkpoint: Checkpoint, live: Live, find: Find) -> None:
    try:
        find_programs(program_version(checkpoint.manifest, live.server_version))
    except UsageError as error:
        find("restore-program-missing", error.message, "apt install postgresql-client")


def program_version(manifest: Manifest, server_version: int) -> int:
    """What the programs must at least be: as new as the server, and as the one that dumped."""
    digits = "".join(filter(str.isdigit, manifest.backup.program.partition(".")[0]))
    return max(server_version, int(digits or 0) * 10_000)


def _is_same(manifest: Manifest, live: Live) -> bool:
    """Whether it is the very database, as far as the server tells."""
    pair = (manifest.database.system_identifier, live.system_identifier)
    return manifest.database.oid == live.oid and (pair[0] == pair[1] or not all(pair))


def _is_related(job: Job, fence: Fence, manifest: Manifest, live: Live) -> bool:
    """Whether it is of the same place, or of one that once was here and was put aside."""
    if manifest.database.place == job.target.place:
        return True
    earlier = {one.oid for one in asides(fence) if one.of == job.database}
    pair = (manifest.database.system_identifier, live.system_identifier)
    return manifest.database.oid in earlier and (pair[0] == pair[1] or not all(pair))
