"""A Prisma project, and its migrations taken back and applied again through the port's words."""

import hashlib
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from postgast import split
from tests.contract.checkpoint_stage import Stage

from taly.clock import SystemClock
from taly.database.checkpoint.contents import contents, tables
from taly.database.checkpoint.session import snapshot
from taly.database.ledger import digest
from taly.database.rescue.bundle import Reader, open_bundle
from taly.database.revert import apply_again, revert
from taly.database.snapshot import read_catalog
from taly.model.catalog import Catalog
from taly.model.plan import Step, StepKind
from taly.model.ports import Say, silent
from taly.planning.catalog_diff import differences
from taly.sandbox.migrate import ledger_rows

RUN = "run-1abcde"


class Project(Stage):
    """One database, its checkout, its checkpoints and rescue bundles."""

    @property
    def rescue(self) -> Path:
        return self.folder / ".taly" / "rescue"

    def step(
        self, migration: str, kind: StepKind = StepKind.REVERT, undoes: str = "", **address: str
    ) -> Step:
        names = self.applied()
        less = {"migrations": digest([name for name in names if name != migration])}
        more = {"migrations": digest([*(name for name in names if name != migration), migration])}
        back = kind is StepKind.REVERT
        return Step(
            id=f"{kind}:database:{migration}",
            kind=kind,
            component="database",
            provider="postgres",
            title=f"{kind} {migration}",
            address={
                "url_env": "DATABASE_URL",
                "schema": "public",
                "place": self.target.place,
                "directory": str(self.migrations),
                "checkpoints": str(self.base),
                "rescue": str(self.rescue),
                "hints": "",
                "migration": migration,
                "undoes": undoes,
                **address,
            },
            before=more if back else less,
            wanted=less if back else more,
        )

    def revert(
        self, migration: str, *, run: str = RUN, say: Say = silent, **address: str
    ) -> Mapping[str, str]:
        step = self.step(migration, **address)
        environ = {"DATABASE_URL": address.pop("url", self.url)}
        return revert(step, f"{run}:{step.id}", environ=environ, clock=SystemClock(), say=say)

    def apply(
        self, migration: str, *, run: str, undoes: str = RUN, say: Say = silent, **address: str
    ) -> Mapping[str, str]:
        step = self.step(migration, StepKind.APPLY, undoes, **address)
        environ = {"DATABASE_URL": self.url}
        return apply_again(step, f"{run}:{step.id}", environ=environ, clock=SystemClock(), say=say)

    def bundle(self, migration: str, run: str = RUN) -> Reader:
        return open_bundle(self.rescue, run, "database", step=f"revert:database:{migration}")

    def rescued(self, migration: str, run: str = RUN) -> list[tuple[str, dict[str, str | None]]]:
        """Every row of the bundle: table and values."""
        reader = self.bundle(migration, run)
        return [(table.name, row.row) for table in reader.tables for row in reader.rows(table)]

    def applied(self) -> list[str]:
        return [
            str(row["migration_name"]) for row in ledger_rows(self.url) if not row["rolled_back_at"]
        ]

    def rolled_back(self) -> list[str]:
        return [
            str(row["migration_name"]) for row in ledger_rows(self.url) if row["rolled_back_at"]
        ]

    def catalog(self) -> Catalog:
        with psycopg.connect(self.url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            return read_catalog(connection)

    def unlike(self, before: Catalog) -> list[str]:
        return [one.text for one in differences(before, self.catalog())]

    def contents(self) -> dict[str, tuple[int, str]]:
        """Rows and checksum of every table but the ledger."""
        with snapshot(self.target) as connection:
            found = contents(connection, tables(connection), lambda *_: None)
        return {
            f"{one.table_schema}.{one.name}": (one.rows, one.checksum)
            for one in found
            if one.name != "_prisma_migrations"
        }

    def apply_statements(self, name: str, *, fail_after: int | None = None) -> bool:
        """As Prisma does from 7.4 on: each statement by itself; whether all of it worked."""
        data = (self.migrations / name / "migration.sql").read_bytes()
        self.now += timedelta(seconds=1)
        row = str(uuid.uuid4())
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO _prisma_migrations (id, checksum, migration_name) VALUES (%s, %s, %s)",
                (row, hashlib.sha256(data).hexdigest(), name),
            )
            for number, statement in enumerate(split(data.decode())):
                try:
                    if number == fail_after:
                        raise psycopg.errors.RaiseException("as the test wants it")
                    connection.execute(statement.encode())
                except psycopg.Error as error:
                    connection.execute(
                        "UPDATE _prisma_migrations SET logs = %s WHERE id = %s", (str(error), row)
                    )
                    return False
            connection.execute(
                "UPDATE _prisma_migrations SET finished_at = now(), applied_steps_count = 1"
                " WHERE id = %s",
                (row,),
            )
        return True

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.run(sql)
