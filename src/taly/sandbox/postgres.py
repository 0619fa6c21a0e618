"""The emulated platform's database: a real PostgreSQL, deployed to as Prisma does."""

import random
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

from taly.errors import UsageError
from taly.sandbox.binaries import find_binaries
from taly.sandbox.ci import Ci, Said
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.migrate import (
    Deployed,
    ledger_rows,
    migrate_deploy,
    resolve_rolled_back,
)
from taly.sandbox.server import Server, find_server
from taly.sandbox.world import World

if TYPE_CHECKING:
    from taly.sandbox.rds import RdsEmulator

NAMES = ("Ada", "Basil", "Carmen", "Dilek", "Emil", "Farah", "Goran", "Hana", "Ivo", "Juno")
BEFORE_S = 60.0
"""Virtual seconds that CI's checkpoint of the past comes before its migration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRds:
    """That the database is an RDS instance, and what it is like."""

    identifier: str
    region: str
    settings: Mapping[str, Any]


class PostgresEmulator:
    """One database. Deploys apply migrations; nothing else in it is emulated.

    A deploy's settings: `migration = {name, sql}` adds a migration; none = the deploy changes
    nothing here. `checkpoint = dump | template | none | rds-snapshot | rds-pitr` makes CI run
    `taly checkpoint` (with that backup) before it and `taly checkpoint --after` behind it; where
    the first refuses, CI stops. `half_applied = true` with outcome `failed` leaves all
    statements but the last applied. The first deploy applies the base schema and books some
    customers in (component setting `bookings`: how many).

    With the component setting `rds` (an instance's name) the server is an emulated RDS instance:
    who is let in is no superuser, and the RDS API makes and restores snapshots of it.

    `change` kinds: `sql` (`sql`: run by hand, past the ledger) and `resolve-rolled-back` (`name`).
    """

    vendor = "postgres"

    def __init__(
        self,
        world: World,
        directory: Path,
        database_url: str | None = None,
        on_rds: OnRds | None = None,
    ) -> None:
        """Prepare; a server is started when the first component is added, if no URL is given."""
        if on_rds and database_url:
            raise UsageError(
                "this scenario's database is an RDS instance: the sandbox starts it itself",
                reference="sandbox-rds-own-server",
                hint="taly sandbox up, without --database-url",
            )
        self._on_rds = on_rds
        self.rds: RdsEmulator | None = None
        """The RDS API, where the database is an instance of it."""
        self.aws_environ: dict[str, str] = {}
        """What CI needs to reach that API."""
        self._world = world
        self._directory = directory
        self._given_url = database_url
        self._server: Server | None = None
        self._url = ""
        self._component = ""
        self._bookings = 0
        self._deploys: list[dict[str, Any]] = []
        self._lock = threading.RLock()

    @property
    def database_url(self) -> str:
        """The connection URL, with its password; starts the server if it must."""
        with self._lock:
            if not self._url:
                self._url = self._given_url or self._start_server()
                self._world.secrets.add(urlsplit(self._url).password or self._url)
            return self._url

    @property
    def migrations(self) -> Path:
        """Where the migration files lie, as in a checkout."""
        return self._directory / "prisma" / "migrations"

    def add(self, component: SandboxComponent) -> None:
        """Take the component in; the sandbox has one database. Raises UsageError for a second."""
        with self._lock:
            if self._component:
                raise UsageError(
                    f"the sandbox has one database, {self._component}; {component.name} is another",
                    reference="sandbox-one-database",
                )
            if self._given_url and _tables(self._given_url):
                raise UsageError(
                    "the database given with --database-url is not empty",
                    reference="database-not-empty",
                    hint="createdb taly_sandbox",
                )
            self._component = component.name
            self._bookings = int(component.settings.get("bookings", 40))
            with as_file(files("taly.sandbox") / "prisma") as packaged:
                shutil.copytree(packaged, self._directory / "prisma", dirs_exist_ok=True)
            _ = self.database_url

    def deploy(self, deploy: Deploy) -> None:
        """Run `prisma migrate deploy` from a checkout of that commit. Takes no virtual time."""
        with self._lock:
            if not self._deploys:
                now = self._world.clock.now()
                base = migrate_deploy(self.database_url, self.migrations, now=now)
                self._note(deploy, base)
                _seed(self.database_url, now, self._bookings)
            if migration := deploy.settings.get("migration"):
                self._checked_out(migration)
                self._migrated(deploy, migration["name"])

    def _checked_out(self, migration: Mapping[str, str]) -> None:
        folder = self.migrations / migration["name"]
        folder.mkdir(exist_ok=True)
        (folder / "migration.sql").write_text(migration["sql"], encoding="utf-8")

    def _migrated(self, deploy: Deploy, name: str) -> None:
        """CI's job: a checkpoint where the deploy wants one, the migrations, the window's end."""
        backup = deploy.settings.get("checkpoint")
        environ = {**self.aws_environ, "DATABASE_URL": self.database_url}
        ci = Ci(directory=self._directory, environ=environ)
        if backup:
            with self._world.clock.earlier(BEFORE_S):
                said = ci.before(deploy.commit, str(backup))
            if said.code != 0:
                self._stopped(deploy, said)
                return
        result = migrate_deploy(
            self.database_url,
            self.migrations,
            now=self._world.clock.now(),
            fail=name if deploy.outcome == "failed" else "",
            half=bool(deploy.settings.get("half_applied")),
        )
        self._note(deploy, result)
        if backup and (said := ci.after()).code != 0:
            self._stopped(deploy, said)

    def _stopped(self, deploy: Deploy, said: Said) -> None:
        """A step of CI's job failed: the job ends there. In the past nobody would see it."""
        if self._world.clock.stands:
            raise UsageError(
                f"CI's `taly checkpoint` ended with status {said.code}: {said.brief}",
                reference="scenario-checkpoint",
                hint="taly sandbox schema",
            )
        stopped = Deployed(code="stopped", applied=(), failed="taly checkpoint", said=said.brief)
        self._note(deploy, stopped)

    def change(self, component: str, change: Mapping[str, Any]) -> None:
        """Something done by hand: kinds `sql` and `resolve-rolled-back`."""
        kind = change.get("kind")
        if kind == "sql":
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                connection.execute(str(change["sql"]).encode())
        elif kind == "resolve-rolled-back":
            now = self._world.clock.now()
            resolve_rolled_back(self.database_url, str(change["name"]), now=now)
        else:
            raise UsageError(
                f"postgres knows no change of kind {kind!r} (kinds: sql, resolve-rolled-back)",
                reference="scenario-change-unknown",
            )

    def state(self) -> dict[str, Any]:
        """The ledger, and what each deploy said."""
        with self._lock:
            if not self._component:
                return {}
            rows = [
                {name: _plain(value) for name, value in row.items()}
                for row in ledger_rows(self.database_url)
            ]
            rds = {"rds": self.rds.state()} if self.rds else {}
            return {self._component: {"ledger": rows, "deploys": list(self._deploys), **rds}}

    def settings(self, component: str) -> dict[str, str]:
        """What taly.toml needs: where the URL is found and where the migrations lie."""
        return {
            "url_env": "DATABASE_URL",
            "migrations": str(self.migrations),
            "schema": "public",
            **({"rds": self._on_rds.identifier} if self._on_rds else {}),
        }

    def url(self, component: str) -> str:
        """Empty: users do not reach a database."""
        return ""

    def start(self) -> None:
        """Nothing: seeding already needed the server."""

    def stop(self) -> None:
        """End the server, if it is ours."""
        with self._lock:
            if self.rds is not None:
                self.rds.stop()
            if self._server is not None:
                self._server.stop()
                self._server = None
                self._url = ""

    def _start_server(self) -> str:
        if self._on_rds is not None:
            return self._start_instance(self._on_rds)
        self._server = find_server(self._directory)
        return self._server.start()

    def _start_instance(self, on_rds: OnRds) -> str:
        # Imported here: moto's RDS takes longer to load than a sandbox without one should.
        from taly.sandbox.rds import RdsEmulator
        from taly.sandbox.rds.cluster import ARCHIVING, open_archive
        from taly.sandbox.rds.roles import make_master

        self._server = Server(self._directory, find_binaries(), ARCHIVING)
        url = make_master(self._server.start(), self._server.password)
        archive = open_archive(self._server)
        self.rds = RdsEmulator(self._world, archive.with_name("rds"), on_rds.region)
        self.rds.add(on_rds.identifier, self._server, on_rds.settings, archive)
        return url

    def _note(self, deploy: Deploy, result: Deployed) -> None:
        self._deploys.append(
            {
                "at": self._world.clock.now().isoformat(),
                "commit": deploy.commit,
                "code": result.code,
                "applied": list(result.applied),
                "failed": result.failed,
                "said": result.said,
            }
        )


def _seed(url: str, now: datetime, bookings: int) -> None:
    """Some customers and bookings, the same on every machine."""
    chance = random.Random(4)  # not a secret: the same rows every time
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO customers (name, email) VALUES (%s, %s)",
            [(name, f"{name.lower()}@example.com") for name in NAMES],
        )
        with cursor.copy(
            "COPY bookings (customer_id, starts_at, status, price_cents, created_at) FROM STDIN"
        ) as copy:
            for _ in range(bookings):
                copy.write_row(
                    (
                        chance.randint(1, len(NAMES)),
                        now + timedelta(hours=chance.randint(24, 24 * 30)),
                        chance.choice(("requested", "confirmed", "cancelled")),
                        chance.randrange(1500, 12000, 50),
                        now,
                    )
                )


def _tables(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
    return int(row[0]) if row else 0


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
