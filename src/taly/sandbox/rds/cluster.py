"""Physical copies of a running PostgreSQL, as RDS makes them: same rows, same xids, same OIDs."""

import shutil
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import psycopg

from taly.sandbox.binaries import find_binaries
from taly.sandbox.server import Server

LEFT_OUT = ("postmaster.pid", "postmaster.opts", "pg_wal", "pg_replslot", "pg_stat_tmp", "log")
ARCHIVED_S = 15.0
ARCHIVED = "SELECT last_archived_wal >= %s FROM pg_stat_archiver"
# `%%` is for psycopg, `%p` and `%f` for PostgreSQL.
START = {
    False: "SELECT pg_start_backup('taly', true, false)",
    True: "SELECT pg_backup_start('taly', true)",
}
STOP = {
    False: "SELECT labelfile FROM pg_stop_backup(false, false)",
    True: "SELECT labelfile FROM pg_backup_stop(false)",
}


ARCHIVING = {"archive_mode": "on", "archive_command": "cp %p ../archive/%f"}
"""The options of a server whose write-ahead log is kept, so that it can be replayed."""


def open_archive(server: Server) -> Path:
    """The folder of a running server's log: beside its data, where its account can reach it."""
    folder = server.data.with_name("archive")
    folder.mkdir()
    server.own(folder)
    return folder


def copy(server: Server, into: Path) -> None:
    """Copy the cluster of a running server, as it is when this returns."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        since_15 = session.info.server_version >= 150_000
        session.execute(START[since_15].encode())
        shutil.copytree(server.data, into, ignore=_ignored, symlinks=True)
        row = session.execute(STOP[since_15].encode()).fetchone()
        assert row is not None, "it gives a row"
        (into / "backup_label").write_text(row[0], encoding="utf-8")
        shutil.copytree(
            server.data / "pg_wal", into / "pg_wal", ignore=shutil.ignore_patterns("archive_status")
        )
    for name in ("pg_replslot", "pg_stat_tmp", "pg_wal/archive_status"):
        (into / name).mkdir(exist_ok=True)


def _ignored(directory: str, names: list[str]) -> set[str]:
    return set(LEFT_OUT) & set(names)


def archive_all(server: Server) -> None:
    """Have the write-ahead log up to now archived.

    It ends with a transaction: a replay up to an instant wants to see one behind it.
    """
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute("SELECT pg_current_xact_id()")
        row = session.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
        assert row is not None, "it gives a row"
        session.execute("SELECT pg_switch_wal()")
        end = time.monotonic() + ARCHIVED_S
        while time.monotonic() < end:
            done = session.execute(ARCHIVED, row).fetchone()
            if done and done[0]:
                return
            time.sleep(0.02)


class CopiedServer(Server):
    """A server whose cluster is a copy of another one's; its passwords are that one's too."""

    def __init__(
        self,
        directory: Path,
        cluster: Path,
        password: str,
        *,
        archive: Path | None = None,
        at: datetime | None = None,
    ) -> None:
        """`at`: replay the archive up to that instant; else the copy is taken as it is."""
        super().__init__(directory, find_binaries())
        self.password = password
        self._cluster = cluster
        self._archive, self._at = archive, at

    def _make_cluster(self) -> None:
        shutil.copytree(self._cluster, self.data, symlinks=True)
        if self._at is not None:
            shutil.rmtree(self.data / "pg_wal")
            (self.data / "pg_wal").mkdir(mode=0o700)
            (self.data / "recovery.signal").touch()
            with (self.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
                file.writelines(f"{name} = '{value}'\n" for name, value in self._recovery().items())
        self.data.chmod(0o700)
        self.own(self.data)

    def _recovery(self) -> Mapping[str, str]:
        assert self._at is not None, "it is asked for then only"
        return {
            "restore_command": f'cp "{self._archive}/%f" "%p"',
            "recovery_target_time": self._at.isoformat(),
            "recovery_target_action": "promote",
        }

    def _make_database(self) -> None:
        """It is in the copy. A server that replays is ready before it can be written to."""
        while self._recovers():
            time.sleep(0.02)

    def _recovers(self) -> bool:
        with psycopg.connect(self.url("postgres"), autocommit=True) as session:
            row = session.execute("SELECT pg_is_in_recovery()").fetchone()
        return bool(row and row[0])
