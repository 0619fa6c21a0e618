"""What is to be done, as the step says it, with the names that follow from it."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from taly.database.connection import Target, target_of
from taly.database.restore.names import aside_name, side_name, work_name
from taly.database.restore.places import at, database_of
from taly.model.plan import Step
from taly.model.ports import Clock, Say, silent

Free = Callable[[Path], int]


def free_bytes(path: Path) -> int:
    """Room on the disk that holds the folder, or will hold it."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def session_name(work: str) -> str:
    """What our own sessions are called."""
    return f"taly-restore {work}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One restore, or the undo of one."""

    step: Step
    run: str
    target: Target
    """The live database, reached under the session's name of this run."""
    clock: Clock | None
    """None where nothing is done."""
    say: Say
    free: Free
    environ: Mapping[str, str] = field(repr=False)
    """For what a backup elsewhere needs: the credentials of AWS."""

    def now(self) -> datetime:
        """By the clock that the ledger's times are told by."""
        assert self.clock is not None, "a check writes nothing down"
        return self.clock.now()

    @property
    def database(self) -> str:
        """The live database's name, which the other one will have."""
        return database_of(self.target)

    @property
    def side(self) -> str:
        """The one that is made ready."""
        return side_name(self.database, self.run)

    @property
    def aside(self) -> str:
        """What the live one will be called."""
        return aside_name(self.database, self.run)

    @property
    def work(self) -> str:
        """The name of this piece of work."""
        return work_name(self.run, self.step.component)

    @property
    def session(self) -> str:
        """What the server calls the sessions of this run."""
        return session_name(self.work)

    @property
    def carry_session(self) -> str:
        """What the carry-over calls its own sessions."""
        return f"taly-carry {self.work}"

    @property
    def undoes(self) -> str:
        """The run that this one takes back; empty when it goes back to a checkpoint."""
        return self.step.address.get("undoes", "")

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return Path(self.step.address["checkpoints"])

    @property
    def rescue(self) -> Path:
        """The folder of rescue bundles."""
        return Path(self.step.address["rescue"])

    @property
    def wanted(self) -> str:
        """The digest of the migrations that the database has afterwards."""
        return str(self.step.wanted["migrations"])

    def place(self, database: str) -> Target:
        """Another database of the same server."""
        return at(self.target, database, session=self.session)


def job_of(
    step: Step,
    key: str,
    environ: Mapping[str, str],
    clock: Clock | None,
    say: Say = silent,
    free: Free = free_bytes,
) -> Job:
    """Read the step; UsageError when the URL is missing or odd."""
    run = key.partition(":")[0]
    target = target_of(step.address, environ)
    named = at(target, database_of(target), session=session_name(work_name(run, step.component)))
    return Job(step=step, run=run, target=named, clock=clock, say=say, free=free, environ=environ)
