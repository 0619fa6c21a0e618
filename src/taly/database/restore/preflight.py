"""Would it work: everything that can be known before anything is touched."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg

from taly.database.carry import can_carry
from taly.database.checkpoint import copies
from taly.database.checkpoint.create import COMPRESSED
from taly.database.checkpoint.session import connected
from taly.database.restore.fence import OTHER_SESSIONS, Fence
from taly.database.restore.job import Job
from taly.database.restore.places import is_local
from taly.database.restore.start import Live, Start, find_start
from taly.errors import Refused
from taly.model.check import Finding, Severity
from taly.planning.codes import finding

MARGIN = 1.1
SPARE_BYTES = 64 << 20
RESCUE_SHARE = 0.02
"""Of the database: what a rescue bundle is given room for; compressed, it is mostly far less."""
POOLED = "its URL leads through a pooler: sessions and locks do not hold there"

LIVE = """
SELECT d.oid::bigint, pg_database_size(d.oid), pg_has_role(d.datdba, 'USAGE'), r.rolname,
  (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  pg_has_role(current_user, 'pg_signal_backend', 'MEMBER'),
  (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()),
  ARRAY(SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()
        ORDER BY 1)
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = current_database()
"""
SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"
MAY_END = "SELECT pg_has_role(%s, 'USAGE'), rolsuper FROM pg_roles WHERE rolname = %s"
DATA = "SHOW data_directory"

Find = Callable[..., None]
"""Takes a code, a sentence and a hint."""


def check_start(job: Job, fence: Fence) -> tuple[Start | None, list[Finding]]:
    """Look at everything. Without a Start there is an error among the findings."""
    found: list[Finding] = []

    def find(code: str, text: str, hint: str = "") -> None:
        found.append(finding(code, job.step.component, text, hint))

    if job.target.pooled:
        find("restore-pooler", POOLED, f"export {job.target.url_env}=postgresql://…")
    live = _live(job)
    _check_rights(job, fence, live, find)
    _check_use(job, live, find)
    _check_sessions(job, fence, live, find)
    start = find_start(job, fence, live, find)
    if start is not None:
        _check_room(job, fence, start, find)
    return start, found


def start_of(job: Job, fence: Fence) -> Start:
    """The same for the step itself; raises Refused with the first error."""
    start, found = check_start(job, fence)
    for first in found:
        if first.severity is Severity.ERROR:
            raise Refused(first.text, reference=first.code, hint=first.hint)
    assert start is not None, "without one there is an error"
    return start


def _live(job: Job) -> Live:
    with connected(job.target, autocommit=True) as connection:
        unable = can_carry(connection)
        row = connection.execute(LIVE).fetchone()
        assert row is not None, "we are connected to it"
        oid, size, is_owner, owner, is_superuser, may_signal, prepared, slots = row
        system = ""
        with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction):
            found = connection.execute(SYSTEM).fetchone()
            system = str(found[0]) if found else ""
        return Live(
            oid=oid,
            system_identifier=system,
            bytes=size,
            owner=owner,
            is_owner=is_owner,
            is_superuser=is_superuser,
            may_signal=may_signal,
            prepared=prepared,
            slots=tuple(slots),
            cannot_carry=unable,
            server_version=connection.info.server_version,
        )


def _check_rights(job: Job, fence: Fence, live: Live, find: Find) -> None:
    user = f"the user in {job.target.url_env}"
    # A rename needs it as well as a copy does.
    if not fence.one(copies.MAY_CREATE):
        find(
            "restore-no-createdb",
            f"{job.target.place}: {user} may neither create nor rename databases",
            f"ALTER ROLE … CREATEDB, for {user}",
        )
    if live.cannot_carry:
        find(
            "restore-cannot-carry",
            f"{job.target.place}: {live.cannot_carry}",
            f"GRANT SET ON PARAMETER session_replication_role TO {user}",
        )
    if not live.is_owner:
        find(
            "restore-not-owner",
            f"{job.target.place} belongs to {live.owner}, and only its owner can rename it",
            f"GRANT {live.owner} TO {user}",
        )


def _check_use(job: Job, live: Live, find: Find) -> None:
    if live.prepared:
        find(
            "restore-prepared-transactions",
            f"{job.target.place} has {live.prepared} prepared transactions (two-phase commit): it"
            " cannot be renamed while they are open",
            "SELECT gid FROM pg_prepared_xacts",
        )
    if live.slots:
        find(
            "restore-replication-slots",
            f"{job.target.place} has replication slots ({', '.join(live.slots)}): they stay with"
            " the database that is put aside, and who reads them has to begin anew",
        )


def _check_sessions(job: Job, fence: Fence, live: Live, find: Find) -> None:
    """Whether everybody who is connected now could be sent away."""
    if live.is_superuser:
        return
    for user in sorted({str(row[1]) for row in fence.rows(OTHER_SESSIONS, (live.oid, []))}):
        ((ours, is_superuser),) = fence.rows(MAY_END, (user, user))
        if is_superuser or not (ours or live.may_signal):
            find(
                "restore-sessions-of-others",
                f"{job.target.place}: user {user} is connected, and the user in"
                f" {job.target.url_env} may not end that session",
                f"GRANT pg_signal_backend TO the user in {job.target.url_env}",
            )


def _check_room(job: Job, fence: Fence, start: Start, find: Find) -> None:
    backup = start.checkpoint.manifest.database.bytes if start.checkpoint else 0
    size = 0 if job.undoes else max(start.live.bytes, backup)
    data = _data_directory(job, fence)
    if data is None:
        find(
            "restore-room-unknown",
            f"the server does not tell how much room it has; {_mb(int(size * MARGIN))} are needed",
        )
    else:
        _check_disk(job, data, int(size * MARGIN) + SPARE_BYTES, "the side database", find)
    if start.checkpoint is not None and start.checkpoint.manifest.backup.on_rds:
        dumped = int(backup * COMPRESSED) + SPARE_BYTES
        _check_disk(job, job.checkpoints, dumped, "a dump of the temporary instance", find)
    kept = int(start.live.bytes * RESCUE_SHARE) + SPARE_BYTES
    _check_disk(job, job.rescue, kept, "the rescue bundle", find)


def _check_disk(job: Job, folder: Path, needed: int, what: str, find: Find) -> None:
    free = job.free(folder)
    if free < needed:
        find(
            "restore-no-room",
            f"{what} may need {_mb(needed)} on the disk of {folder}, and {_mb(free)} are free",
            f"df -h {folder}",
        )


def _data_directory(job: Job, fence: Fence) -> Path | None:
    """Where the server keeps its files; None when it does not tell or runs elsewhere."""
    if not is_local(job.target):
        return None
    with suppress(Exception):
        path = Path(str(fence.one(DATA)))
        if (path / "base").is_dir():
            return path
    return None


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"
