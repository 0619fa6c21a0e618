"""A rescue bundle: a folder that is there as a whole or not at all, written before the change.

`<rescue>/<run>/<step>`. It is filled under another name; `finish` brings it to the disk and gives
it its name, `confirm` says that the change was made.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from taly import __version__
from taly.database.folders import LOCK, is_held, sync
from taly.database.rescue.manifest import (
    MANIFEST,
    Kind,
    Manifest,
    State,
    TableFacts,
    broken,
    sealed,
    unsealed,
)
from taly.database.rescue.table_file import (
    RescuedRow,
    RescuedTable,
    TableFile,
    append,
    not_written,
    read_rows,
)
from taly.errors import Refused, UsageError, VendorUnavailable

__all__ = ["Bundle", "Kind", "Manifest", "Reader", "RescuedRow", "RescuedTable", "TableFile"]

PARTIAL = ".partial-"
RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def folder_name(step: str) -> str:
    """A step's id as the name of a folder: `revert.database.20250505_x`; never two the same."""
    name = step.replace(":", ".")
    if "." not in step and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,149}", name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:80]
    return f"{plain or 'step'}-{hashlib.sha256(step.encode()).hexdigest()[:8]}"


class Bundle:
    """One that is being written."""

    def __init__(self, final: Path, partial: Path, lock: int, about: Mapping[str, Any]) -> None:
        """Made by `begin`."""
        self.path = final
        self._partial = partial
        self._lock = lock
        self._about = about
        self._files: dict[RescuedTable, TableFile] = {}
        self._manifest: Manifest | None = None

    @classmethod
    def begin(
        cls,
        base: Path,
        *,
        run: str,
        step: str,
        component: str,
        environment: str,
        place: str,
        now: datetime,
    ) -> "Bundle":
        """Start one; what an unfinished attempt of the same run and step left is replaced.

        Raises Refused when that step has a bundle already and was done: it is never overwritten.
        VendorRefused when the folder cannot be written.
        """
        final = base / _run_name(run) / folder_name(step)
        _refuse_done(final)
        partial = final.with_name(f"{PARTIAL}{final.name}-{os.urandom(4).hex()}")
        about = {
            "taly": __version__,
            "run": run,
            "step": step,
            "component": component,
            "environment": environment,
            "place": place,
            "made_at": now,
        }
        try:
            for folder in (base, final.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_left_over(final)
            partial.mkdir(mode=0o700)
            partial.chmod(0o700)
            lock = os.open(partial / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise not_written(final, error) from error
        return cls(final, partial, lock, about)

    def table(self, table: RescuedTable) -> TableFile:
        """The file of a table; the same for the same table. Without rows none is written."""
        if table not in self._files:
            path = self._partial / f"table-{len(self._files) + 1:04}.jsonl.gz"
            self._files[table] = TableFile(path, table)
        return self._files[table]

    @property
    def rows(self) -> int:
        """How many were added so far."""
        return sum(file.rows for file in self._files.values())

    def finish(self, *, facts: Mapping[str, Any] | None = None) -> Manifest:
        """Bring it to the disk, complete and under its name, before the change is committed.

        `facts` is any JSON. Raises VendorRefused when it cannot be written.
        """
        tables = tuple(file.close() for file in self._files.values() if file.rows)
        manifest = Manifest(**self._about, state="prepared", tables=tables, facts=dict(facts or {}))
        try:
            append(self._partial / MANIFEST, sealed(manifest))
            (self._partial / LOCK).unlink()
            for path in (*self._partial.iterdir(), self._partial):
                sync(path)
            _refuse_done(self.path)
            _remove(self.path)
            self._partial.rename(self.path)
            for folder in (self.path.parent, self.path.parent.parent):
                sync(folder)
        except OSError as error:
            raise not_written(self.path, error) from error
        self._manifest = manifest
        self._release()
        return manifest

    def confirm(self) -> None:
        """The change was made: from now on it can be replayed.

        Raises VendorUnavailable when that cannot be written down: the change stands all the same.
        """
        confirm(self.path)

    def discard(self) -> None:
        """The change was not made: take everything away. Safe to call twice."""
        shutil.rmtree(self._partial, ignore_errors=True)
        if self._manifest is not None and self._is_prepared():
            _remove(self.path)
        self._release()

    def _is_prepared(self) -> bool:
        try:
            return unsealed(self.path / MANIFEST) == self._manifest
        except Refused:
            return False

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Reader:
    """One that is complete."""

    def __init__(self, path: Path) -> None:
        """Read the manifest and look at the files' sizes; Refused when they do not fit."""
        self.path = path
        self.manifest = unsealed(path / MANIFEST)
        if folder_name(self.manifest.step) != path.name or self.manifest.run != path.parent.name:
            raise broken(path / MANIFEST, f"it belongs to {self.manifest.run}, elsewhere")
        for table in self.tables:
            file = path / table.file
            try:
                size = file.stat().st_size
            except OSError as error:
                raise broken(file, error.strerror or str(error)) from error
            if file.is_symlink() or size != table.bytes:
                raise broken(file, f"{size} bytes, and {table.bytes} were written")

    @property
    def tables(self) -> tuple[TableFacts, ...]:
        """Those that have rows in it, in the order in which they were written."""
        return self.manifest.tables

    def check(self) -> None:
        """Compare every file's checksum; Refused, with its name, when one was changed."""
        for table in self.tables:
            file = self.path / table.file
            with file.open("rb") as data:
                if hashlib.file_digest(data, "sha256").hexdigest() != table.sha256:
                    raise broken(file, "its contents have changed: the checksum does not fit")

    def rows(self, table: TableFacts) -> Iterator[RescuedRow]:
        """A table's rows as they were added; Refused when the file is not as it was written."""
        return read_rows(self.path / table.file, table)


def open_bundle(base: Path, run: str, component: str, *, step: str = "") -> Reader:
    """The bundle of a run and component, or of one step of it.

    Raises UsageError when there is none, or several and `step` does not say which one; Refused
    when it is damaged.
    """
    found = [one for one in bundles(base, run) if one.manifest.component == component]
    chosen = [one for one in found if step in ("", one.manifest.step)]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        steps = ", ".join(one.manifest.step for one in chosen)
        why = f"{run} has several rescue bundles of {component}: {steps}"
    else:
        why = f"{run} has no rescue bundle of {step or component}"
    raise UsageError(why, reference="rescue-unknown", hint="taly rescue list")


def bundles(base: Path, run: str) -> list[Reader]:
    """All bundles of a run, in the order in which they were made; Refused when one is damaged."""
    found = [Reader(path) for path in _folders(base / _run_name(run))]
    return sorted(found, key=lambda one: (one.manifest.made_at, one.manifest.step))


def every(base: Path) -> Iterator[Reader | Refused]:
    """All bundles, and the refusals of those that cannot be read."""
    for run in _folders(base):
        for path in _folders(run):
            try:
                yield Reader(path)
            except Refused as error:
                yield error


def confirm(path: Path) -> None:
    """Say that the step of a bundle was done; nothing when it says so already.

    Also for a step whose process was killed between the change and its own `confirm`.
    """
    if unsealed(path / MANIFEST).state == "prepared":
        _mark(path, "done")


def take_back(path: Path) -> None:
    """Say that an undo has brought its rows back: they are not to be replayed any more."""
    if unsealed(path / MANIFEST).state != "taken-back":
        _mark(path, "taken-back")


def _mark(path: Path, state: State) -> None:
    manifest = unsealed(path / MANIFEST)
    partial = path / f".{MANIFEST}.{os.getpid()}"
    try:
        partial.unlink(missing_ok=True)
        append(partial, sealed(manifest.model_copy(update={"state": state})))
        sync(partial)
        partial.rename(path / MANIFEST)
        sync(path)
    except OSError as error:
        raise VendorUnavailable(
            f"{path}: the change was made, and that cannot be written down: {error.strerror}",
            reference="rescue-not-confirmed",
            hint=f"taly resume {path.parent.name}",
        ) from error


def _run_name(run: str) -> str:
    if not RUN.fullmatch(run):
        raise UsageError(
            f"{run!r} is no run's id", reference="rescue-unknown", hint="taly rescue list"
        )
    return run


def _refuse_done(final: Path) -> None:
    if not (final / MANIFEST).exists():
        return
    if unsealed(final / MANIFEST).state != "prepared":
        raise Refused(
            f"{final} is there already, and its step was done: it is not overwritten",
            reference="rescue-exists",
            hint=f"taly rescue show {final.parent.name}",
        )


def _remove_left_over(final: Path) -> None:
    """Folders of attempts that were killed; not of one that is still being filled."""
    for path in final.parent.glob(f"{PARTIAL}{final.name}-????????"):
        if not is_held(path):
            shutil.rmtree(path, ignore_errors=True)


def _remove(path: Path) -> None:
    """Away by its name at once, then its files: a kill leaves no half of it."""
    if path.exists():
        gone = path.with_name(f"{PARTIAL}{path.name}-{os.urandom(4).hex()}")
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _folders(base: Path) -> list[Path]:
    if not base.is_dir():
        return []
    found = (path for path in base.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(path for path in found if not path.name.startswith("."))
