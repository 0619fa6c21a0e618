"""The emulated platform's database: a real PostgreSQL, deployed to as Prisma does."""

import random
import shutil
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from taly.errors import UsageError
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.migrate import (
    Deployed,
    ledger_rows,
    migrate_deploy,
    resolve_rolled_back,
)
from taly.sandbox.server import Server, find_server
from taly.sandbox.world import World

NAMES = ("Ada", "Basil", "Carmen", "Dilek", "Emil", "Farah", "Goran", "Hana", "Ivo", "Juno")


class PostgresEmulator:
    """One database. Deploys apply migrations; nothing else in it is emulated.

    A deploy's settings: `migration = {name, sql}` adds a migration; none = the deploy changes
    nothing here. `half_applied = true` with outcome `failed` leaves all statements but the last
    applied. The first deploy applies the base schema and books some customers in.

    `change` kinds: `sql` (`sql`: run by hand, past the ledger) and `resolve-rolled-back` (`name`).
    """

    vendor = "postgres"

    def __init__(self, world: World, directory: Path, database_url: str | None = None) -> None:
        """Prepare; a server is started when the first component is added, if no URL is given."""
        self._world = world
        self._directory = directory
        self._given_url = database_url
        self._server: Server | None = None
        self._url = ""
        self._component = ""
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
            with as_file(files("taly.sandbox") / "prisma") as packaged:
                shutil.copytree(packaged, self._directory / "prisma", dirs_exist_ok=True)
            _ = self.database_url

    def deploy(self, deploy: Deploy) -> None:
        """Run `prisma migrate deploy` from a checkout of that commit. Takes no virtual time."""
        with self._lock:
            now = self._world.clock.now()
            first = not self._deploys
            if first:
                base = migrate_deploy(self.database_url, self.migrations, now=now)
                self._note(deploy, base)
                _seed(self.database_url, now)
            migration = deploy.settings.get("migration")
            if not migration:
                return
            folder = self.migrations / migration["name"]
            folder.mkdir(exist_ok=True)
            (folder / "migration.sql").write_text(migration["sql"], encoding="utf-8")
            result = migrate_deploy(
                self.database_url,
                self.migrations,
                now=now,
                fail=migration["name"] if deploy.outcome == "failed" else "",
                half=bool(deploy.settings.get("half_applied")),
            )
            self._note(deploy, result)

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
            return {self._component: {"ledger": rows, "deploys": list(self._deploys)}}

    def settings(self, component: str) -> dict[str, str]:
        """What taly.toml needs: where the URL is found and where the migrations lie."""
        return {
            "url_env": "DATABASE_URL",
            "migrations": str(self.migrations),
            "schema": "public",
        }

    def url(self, component: str) -> str:
        """Empty: users do not reach a database."""
        return ""

    def start(self) -> None:
        """Nothing: seeding already needed the server."""

    def stop(self) -> None:
        """End the server, if it is ours."""
        with self._lock:
            if self._server is not None:
                self._server.stop()
                self._server = None
                self._url = ""

    def _start_server(self) -> str:
        self._server = find_server(self._directory)
        return self._server.start()

    def _note(self, deploy: Deploy, result: Deployed) -> None:
        self._deploys.append(
            {
                "at": self._world.clock.now().isoformat(),
                "commit": deploy.commit,
                "code": result.code,
                "applied": list(result.applied),
                "failed": result.failed,
            }
        )


def _seed(url: str, now: datetime) -> None:
    """Some customers and bookings, the same on every machine."""
    chance = random.Random(4)  # not a secret: the same rows every time
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO customers (name, email) VALUES (%s, %s)",
            [(name, f"{name.lower()}@example.com") for name in NAMES],
        )
        cursor.executemany(
            "INSERT INTO bookings (customer_id, starts_at, status, price_cents, created_at)"
            " VALUES (%s, %s, %s, %s, %s)",
            [
                (
                    chance.randint(1, len(NAMES)),
                    now + timedelta(hours=chance.randint(24, 24 * 30)),
                    chance.choice(("requested", "confirmed", "cancelled")),
                    chance.randrange(1500, 12000, 50),
                    now,
                )
                for _ in range(40)
            ],
        )


def _tables(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
    return int(row[0]) if row else 0


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
