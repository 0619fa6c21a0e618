"""Makes the emulated vendors that a scenario needs, and the credentials that open them."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg

from taly.errors import UsageError
from taly.sandbox.aws import FrontDoor
from taly.sandbox.emulator import Emulator
from taly.sandbox.http import Listener
from taly.sandbox.iam import IamEmulator
from taly.sandbox.running import extra_needed
from taly.sandbox.world import World
from taly.transport import SANDBOX_MARK

REGION = "eu-central-1"
APP_RUNNER_SERVICES = ("apprunner", "ecr", "cloudtrail")
MARK = SANDBOX_MARK
"""Stands in every secret of a sandbox, so that a leak can be searched for."""

CLASSES: Mapping[str, str] = {
    "postgres": "taly.sandbox.postgres:PostgresEmulator",
    "serverless": "taly.sandbox.serverless:ServerlessEmulator",
    "apprunner": "taly.sandbox.apprunner:AppRunnerEmulator",
    "vercel": "taly.sandbox.vercel:VercelEmulator",
    "netlify": "taly.sandbox.netlify:NetlifyEmulator",
}
"""In starting order; they are stopped in reverse, so that the database outlives its readers."""


def made_up_secret() -> str:
    """A secret of this sandbox alone, marked as one."""
    return f"{MARK}{secrets.token_hex(12)}"


@dataclass(slots=True, kw_only=True)
class Vendors:
    """The emulators of one sandbox, and the listeners of their APIs."""

    emulators: dict[str, Emulator]
    environ: dict[str, str]
    """What a client needs to reach them, under the names that the vendors' own clients read."""
    listeners: list[Listener] = field(default_factory=list)
    by_vendor: dict[str, Listener] = field(default_factory=dict)
    """AWS's services have one in common."""

    def restart(self, vendor: str, away_s: float) -> None:
        """Cut a vendor's API off for so many real seconds; LookupError if it has none here."""
        self.by_vendor[vendor].restart(away_s)

    def serve(self, world: World) -> None:
        """Open the vendors' APIs on loopback and add their addresses to `environ`."""
        emulators: Mapping[str, Any] = self.emulators
        if "vercel" in emulators:
            url = self._listen(emulators["vercel"].wsgi, "vercel")
            self.environ |= {"VERCEL_API_URL": url, "VERCEL_TOKEN": made_up_secret()}
        if "netlify" in emulators:
            url = self._listen(emulators["netlify"].wsgi, "netlify") + "/api/v1"
            self.environ |= {"NETLIFY_API_URL": url, "NETLIFY_AUTH_TOKEN": made_up_secret()}
        database = emulators.get("postgres")
        rds = database.rds if database is not None else None
        if rds is not None or emulators.keys() & {"apprunner", "serverless"}:
            aws = self._serve_aws(world, emulators, rds)
            self.environ |= aws
            if database is not None:
                database.aws_environ = aws
        world.secrets.update(value for value in self.environ.values() if MARK in value)

    def _serve_aws(self, world: World, emulators: Mapping[str, Any], rds: Any) -> dict[str, str]:
        app_runner = emulators["apprunner"].wsgi if "apprunner" in emulators else None
        by_service = dict.fromkeys(APP_RUNNER_SERVICES, app_runner) if app_runner else {}
        door = FrontDoor(
            by_service={
                **by_service,
                **({"rds": rds.wsgi} if rds is not None else {}),
                **dict.fromkeys(("iam", "sts"), IamEmulator(world).wsgi),
            },
            otherwise=emulators["serverless"].wsgi if "serverless" in emulators else None,
        )
        return {
            "AWS_ENDPOINT_URL": self._listen(door, "apprunner", "serverless"),
            "AWS_ACCESS_KEY_ID": "AKIASANDBOX000000000",
            "AWS_SECRET_ACCESS_KEY": made_up_secret(),
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def _listen(self, app: Any, *vendors: str) -> str:
        listener = Listener(app).start()
        self.by_vendor |= dict.fromkeys(self.emulators.keys() & set(vendors), listener)
        self.listeners.append(listener)
        return listener.url


def make_vendors(
    world: World,
    names: Iterable[str],
    *,
    directory: Path,
    database_url: str | None,
    database: Mapping[str, Any] | None = None,
) -> Vendors:
    """Make the emulators of these vendors; the slow ones (PostgreSQL, moto) at the same time.

    `database`: the settings of the database's component, which say whether it is on RDS.

    If one cannot be made, those that could are stopped again, and its error is raised.
    """
    wanted = [name for name in CLASSES if name in set(names)]
    made: dict[str, Emulator] = {}
    app_environ: dict[str, str] = {}
    first: dict[str, Callable[[], Any]] = {
        "postgres": lambda: _database(world, directory, database_url, database or {}),
        "serverless": lambda: _class("serverless")(world),
        "vercel": lambda: _class("vercel")(world),
        "netlify": lambda: _class("netlify")(world),
    }
    with ThreadPoolExecutor() as pool:
        futures = {name: pool.submit(first[name]) for name in wanted if name in first}
    try:
        _collect(futures, made)
        if "postgres" in made:
            emulator: Any = made["postgres"]
            app_environ["DATABASE_URL"] = emulator.database_url
        if "apprunner" in wanted:
            made["apprunner"] = _class("apprunner")(world, environ=dict(app_environ))
    except BaseException:
        stop_all(made.values())
        raise
    return Vendors(emulators={name: made[name] for name in wanted}, environ=app_environ)


def _collect(futures: Mapping[str, Future[Any]], made: dict[str, Emulator]) -> None:
    errors = []
    for name, future in futures.items():
        error = future.exception()
        if error is None:
            made[name] = future.result()
        else:
            errors.append(error)
    if errors:
        raise errors[0]


def stop_all(emulators: Iterable[Emulator]) -> list[Exception]:
    """Stop them all, whatever one of them does; the errors that they raised."""
    errors = []
    for emulator in emulators:
        try:
            emulator.stop()
        except Exception as error:
            errors.append(error)
    return errors


def _database(world: World, directory: Path, url: str | None, settings: Mapping[str, Any]) -> Any:
    """The emulated database, its server started; UsageError when the given one is silent."""
    if url:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.Error as error:
            raise UsageError(
                f"the database given with --database-url does not answer: {type(error).__name__}",
                reference="database-unreachable",
                hint="psql URL -c 'select 1'",
            ) from error
    on_rds = None
    if identifier := str(settings.get("rds", "")):
        from taly.sandbox.postgres import OnRds

        on_rds = OnRds(identifier=identifier, region=REGION, settings=settings)
    database = _class("postgres")(world, directory=directory, database_url=url, on_rds=on_rds)
    try:
        _ = database.database_url
    except BaseException:
        database.stop()
        raise
    return database


def _class(vendor: str) -> Any:
    module, _, name = CLASSES[vendor].partition(":")
    with extra_needed():
        return getattr(import_module(module), name)
