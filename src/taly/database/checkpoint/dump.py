"""`pg_dump` and `pg_restore`: started, watched, ended, and understood when they fail."""

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from taly.database.checkpoint.contents import Report
from taly.database.connection import Target, without_password
from taly.database.programs import Programs, client_environment
from taly.errors import Refused, StepFailed, TalyError, VendorRefused, VendorUnavailable

JOBS = 2
LOOK_S = 0.05
END_S = 15.0
FOREIGN_SETTING = 'unrecognized configuration parameter "transaction_timeout"'
"""Programs from 17 on set it on every connection; a server before 17 does not know it, and nothing
that is restored depends on it."""
LOST = ("server closed the connection", "connection to server", "terminating connection")


class Client:
    """A client program under way; `with` it, so that it never outlives us."""

    def __init__(self, target: Target, command: Sequence[str], database: str = "") -> None:
        """Start it. The password goes by the environment: arguments can be read by everybody."""
        self._target = target
        self._name = Path(command[0]).name
        self._said, path = tempfile.mkstemp()
        Path(path).unlink()  # it goes with us, however we end
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env=client_environment(target.url, database),
            umask=0o077,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            if self._process.poll() is None:
                self._process.terminate()  # it tells its workers and their queries on the server
                try:
                    self._process.wait(END_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
        finally:
            os.close(self._said)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, well or not."""
        return self._process.poll() is not None

    def check(self) -> None:
        """Raise what its last words mean when it has failed already."""
        if self.has_ended and self._process.returncode != 0 and not self._is_harmless():
            raise self.failure()

    def wait(self, report: Report, what: str, folder: Path | None = None, whole: int = 0) -> None:
        """Return when it has ended well; the bytes that `folder` holds are its progress.

        Raises what its last words mean.
        """
        while not self.has_ended:
            if folder is not None:
                report(what, _bytes_in(folder), whole)
            time.sleep(LOOK_S)
        self.check()
        if folder is not None:
            size = _bytes_in(folder)
            report(what, size, size)

    def _is_harmless(self) -> bool:
        """Whether it went on, and all that it met was the setting that the server does not know."""
        errors = [line for line in self._lines() if "error:" in line]
        went_on = self._process.returncode == 1 and bool(errors)
        return went_on and all(FOREIGN_SETTING in line for line in errors)

    def _lines(self) -> list[str]:
        said = os.pread(self._said, os.fstat(self._said).st_size, 0)
        return said.decode(errors="replace").splitlines()

    def failure(self) -> TalyError:
        """What its messages mean."""
        lines = self._lines()
        errors = [line for line in lines if "error:" in line or "detail:" in line]
        text = "\n".join(f"  {line}" for line in (errors or lines)[:6])
        said = without_password(self._target, text)
        code = self._process.returncode
        message = (
            f"{self._name} failed (code {code}):\n{said}"
            if said
            else (f"{self._name} ended with code {code} and said nothing")
        )
        if "No space left on device" in said:
            return Refused(message, reference="checkpoint-no-space", hint="taly checkpoint prune")
        if "permission denied" in said:
            return VendorRefused(
                message,
                reference="checkpoint-forbidden",
                hint=f"GRANT pg_read_all_data TO the user in {self._target.url_env}",
            )
        if code < 0 or any(text in said for text in LOST):
            return VendorUnavailable(message, reference="database-unreachable", hint="taly status")
        return StepFailed(message, reference="client-program-failed", hint="taly checkpoint list")


def dump(programs: Programs, target: Target, snapshot: str, folder: Path) -> Client:
    """Begin to dump the whole database, as an exported snapshot sees it, into a new folder."""
    command = [
        programs.path("pg_dump"),
        *("--format=directory", f"--jobs={JOBS}", "--compress=1", "--no-password"),
        *(f"--snapshot={snapshot}", "--lock-wait-timeout=20000", f"--file={folder}"),
    ]
    return Client(target, command)


def restore(
    programs: Programs, target: Target, folder: Path, database: str, *, server: int
) -> Client:
    """Begin to restore a dump's schema and rows into an empty database.

    Without owners, grants and comments, which a user without superuser's rights may not all set.
    `server` is the server's major version.
    """
    command = [
        programs.path("pg_restore"),
        *("--format=directory", f"--jobs={JOBS}", "--no-password", "--no-owner"),
        *("--no-privileges", "--no-comments", "--no-publications", "--no-subscriptions"),
        *(() if programs.major >= 17 > server else ("--exit-on-error",)),
        *(f"--dbname={database}", str(folder)),
    ]
    return Client(target, command, database)


def _bytes_in(folder: Path) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                total += entry.stat().st_size
    except OSError:  # not there yet, or a file of it no more
        return total
    return total
