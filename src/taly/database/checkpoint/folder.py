"""The folder of checkpoints: each is there as a whole, or not at all."""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from taly.database.checkpoint.manifest import (
    AFTER,
    MANIFEST,
    After,
    FileFacts,
    Manifest,
    broken,
    sealed,
    unsealed,
)
from taly.database.folders import LOCK, is_held, sync
from taly.errors import Refused, UsageError

DUMP = "dump"
TEMPLATE = "template"
"""A file with the name of the copy on the server."""
DESTROYED = "destroyed"
MIGRATIONS = "migrations"
PARTIAL = ".partial-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One that is complete."""

    path: Path
    manifest: Manifest
    after: After | None

    @property
    def name(self) -> str:
        """What users call it."""
        return self.path.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A folder that should be a checkpoint and is none."""

    name: str
    reason: str


def name_for(label: str, commit: str, now: datetime) -> str:
    """`v12-20261123T134500Z`: sorted by time within a release, and safe as a folder's name."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", label or commit[:12]).strip("-.")[:40]
    return f"{stem or 'checkpoint'}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"


@contextmanager
def making(base: Path, name: str) -> Iterator[Path]:
    """A folder to fill; it gets its name when all went well, and goes when not.

    Its files are readable by their owner only. A lock inside tells a folder that is being filled
    from one that a killed process left.
    """
    final = base / name
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if final.exists():
        raise UsageError(
            f"there is a checkpoint {name} already",
            reference="checkpoint-exists",
            hint="taly checkpoint list",
        )
    partial = base / f"{PARTIAL}{name}"
    # Not the umask's to decide: a dump holds everything that the database holds.
    _make(partial)
    lock = os.open(partial / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield partial
        _settle(partial)
        (partial / LOCK).unlink()
        partial.rename(final)
        sync(base)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def _make(partial: Path) -> None:
    try:
        partial.mkdir(mode=0o700)
    except FileExistsError:
        raise UsageError(
            f"{partial} is there: another checkpoint is being made, or was not finished",
            reference="checkpoint-exists",
            hint="taly checkpoint prune",
        ) from None
    partial.chmod(0o700)


def write_file(path: Path, data: bytes) -> None:
    """Write a file of a checkpoint, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(data)


def facts_of(folder: Path) -> tuple[FileFacts, ...]:
    """Size and checksum of every file, in the order of paths."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return tuple(fact_of(folder, path) for path in paths)


def fact_of(folder: Path, path: Path) -> FileFacts:
    """Size and checksum of one file."""
    return FileFacts(
        path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=digest(path)
    )


def digest(path: Path) -> str:
    """sha256 of a file, in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damage(checkpoint: Checkpoint) -> Iterator[str]:
    """Every file that is not what the manifest says, with the difference."""
    after = checkpoint.after.files if checkpoint.after else ()
    for facts in (*checkpoint.manifest.files, *after):
        path = checkpoint.path / facts.path
        try:
            size = path.stat().st_size
            if path.resolve() != checkpoint.path.resolve() / facts.path:
                yield f"{facts.path}: a link, and a file was written"
            elif size != facts.bytes:
                yield f"{facts.path}: {size} bytes, and {facts.bytes} were written"
            elif digest(path) != facts.sha256:
                yield f"{facts.path}: its contents have changed since"
        except OSError as error:
            yield f"{facts.path}: {error.strerror}"


def close(checkpoint: Checkpoint, after: After) -> None:
    """Put the window's end beside the manifest, as a whole or not at all."""
    path = checkpoint.path / AFTER
    partial = path.with_name(f".{AFTER}.{os.getpid()}")
    try:
        write_file(partial, sealed(after))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(path)
        sync(checkpoint.path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; Refused when it cannot be believed."""
    manifest = unsealed(Manifest, path / MANIFEST)
    if manifest.name != path.name:
        raise broken(path / MANIFEST, f"it is the manifest of {manifest.name}")
    after = unsealed(After, path / AFTER) if (path / AFTER).exists() else None
    return Checkpoint(path=path, manifest=manifest, after=after)


def named(base: Path, name: str) -> Checkpoint:
    """The checkpoint of that name; UsageError when there is none."""
    known = [path.name for path in _folders(base)]
    if name not in known:
        listed = ", ".join(known) or "none"
        raise UsageError(
            f"there is no checkpoint {name!r}; there are: {listed}",
            reference="checkpoint-unknown",
            hint="taly checkpoint list",
        )
    return load(base / name)


def every(base: Path) -> list[Checkpoint | Unreadable]:
    """All of them, newest first; those that cannot be read last."""
    good: list[Checkpoint] = []
    bad: list[Unreadable] = []
    for path in _folders(base):
        try:
            good.append(load(path))
        except Refused as error:
            bad.append(Unreadable(name=path.name, reason=error.message))
    good.sort(key=lambda one: one.manifest.made_at, reverse=True)
    return [*good, *bad]


def remove(path: Path) -> None:
    """Take a checkpoint away: at once by its name, then its files."""
    gone = path.with_name(f"{PARTIAL}{path.name}")
    path.rename(gone)
    shutil.rmtree(gone)


def left_over(base: Path) -> list[Path]:
    """Folders that a killed process left."""
    return [path for path in sorted(base.glob(f"{PARTIAL}*")) if not is_held(path)]


def template_in(partial: Path) -> str:
    """The copy on the server that belongs to a folder which was left over; empty when none."""
    try:
        return (partial / TEMPLATE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _folders(base: Path) -> list[Path]:
    if not base.is_dir():
        return []
    return sorted(
        path for path in base.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _settle(folder: Path) -> None:
    """Everything on the disk, and nothing readable by others, whatever program wrote it."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o700 if path.is_dir() else 0o600)
        sync(path)
