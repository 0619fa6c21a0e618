"""The postgres provider against a real database that Prisma-like deploys made."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from taly.clock import SystemClock
from taly.database.connection import reading, target_of
from taly.database.ledger import LOCK
from taly.database.provider import PostgresProvider
from taly.errors import TalyError, UsageError, VendorRefused, VendorUnavailable
from taly.model.environment import Component
from taly.model.plan import Step, StepKind
from taly.model.ports import InFlight, Other, StepOptions, Wanted
from taly.model.release import Barred, Deployment, Observed
from taly.sandbox.emulator import Deploy, SandboxComponent
from taly.sandbox.migrate import migrate_deploy
from taly.sandbox.postgres import PostgresEmulator
from taly.sandbox.world import VirtualClock, World

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NOTE = ("20260303101500_add_booking_note", 'ALTER TABLE "bookings" ADD COLUMN "note" TEXT;\n')
RENAME = (
    "20260304101500_rename_start",
    'ALTER TABLE "bookings" RENAME COLUMN "starts_at" TO "begins_at";\n',
)
NO_SHOW = (
    "20260304101500_no_show",
    "ALTER TYPE \"booking_status\" ADD VALUE 'no_show';\n",
)


class Platform:
    """A database with its history, and the provider that reads it."""

    def __init__(self, directory: Path, url: str) -> None:
        self.clock = VirtualClock()
        self.clock.seek(T0)
        self.url = url
        self.emulator = PostgresEmulator(World(clock=self.clock), directory, url)
        self.emulator.add(SandboxComponent(name="database", vendor="postgres"))
        self.environ = {"DATABASE_URL": url}
        self.component = Component(
            name="database",
            provider="postgres",
            settings=self.emulator.settings("database"),
        )

    def deploy(self, migration: tuple[str, str] | None = None, **more: Any) -> None:
        """A deploy a day after the one before."""
        self.clock.seek(self.clock.now() + DAY)
        outcome = more.pop("outcome", "ok")
        settings = dict(more)
        if migration is not None:
            settings["migration"] = {"name": migration[0], "sql": migration[1]}
        self.emulator.deploy(
            Deploy(component="database", commit="aaa1111", outcome=outcome, settings=settings)
        )

    @property
    def provider(self) -> PostgresProvider:
        """The provider under test."""
        return PostgresProvider(self.environ, SystemClock())

    def observe(self) -> Observed:
        """What it sees now."""
        return self.provider.observe(self.component)

    def execute(self, query: str) -> None:
        """By hand."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(query.encode())

    def file(self, name: str) -> Path:
        """A migration's text."""
        return self.emulator.migrations / name / "migration.sql"


@pytest.fixture
def platform(tmp_path: Path, postgres_url: str) -> Platform:
    """The base schema, deployed on 3 March."""
    made = Platform(tmp_path, postgres_url)
    made.deploy()
    return made


def verify(observed: Observed, **wanted: str) -> Step:
    """A verification step."""
    return Step(
        id="verify:database",
        kind=StepKind.VERIFY,
        component="database",
        provider="postgres",
        title="",
        address=observed.address,
        wanted=wanted or observed.state,
    )


def target(observed: Observed, label: str) -> Deployment:
    """The deployment of that label."""
    return next(deployment for deployment in observed.history if deployment.label == label)


@contextmanager
def held_lock(url: str) -> Iterator[None]:
    """Prisma's advisory lock, held by somebody else."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        yield


def test_each_set_of_migrations_is_a_deployment_with_its_time(platform: Platform) -> None:
    platform.deploy(NOTE)
    platform.deploy(RENAME)
    observed = platform.observe()
    assert [deployment.label for deployment in observed.history] == [
        "rename_start",
        "add_booking_note",
        "init",
    ]
    periods = [(one.live[0].start, one.live[0].end) for one in reversed(observed.history)]
    assert periods == [
        (T0 + DAY, T0 + 2 * DAY),
        (T0 + 2 * DAY, T0 + 3 * DAY),
        (T0 + 3 * DAY, None),
    ]
    assert observed.live == observed.history[0]
    assert observed.state == {"migrations": observed.live.id}
    assert observed.auto_deploy is None
    assert "3 applied" in observed.live.evidence[0].says


def test_migrations_of_one_deploy_are_one_deployment(platform: Platform) -> None:
    for name in ("20260305000001_a", "20260305000002_b"):
        platform.file(name).parent.mkdir()
        platform.file(name).write_text("SELECT 1;")
    migrate_deploy(platform.url, platform.emulator.migrations, now=T0 + 3 * DAY)
    assert [one.label for one in platform.observe().history] == ["b", "init"]


def test_row_marked_rolled_back_does_not_count_and_its_set_returns(platform: Platform) -> None:
    """rolled_back_at non-NULL = row ignored; the set before it is live a second time."""
    platform.deploy(NOTE)
    at = T0 + 5 * DAY
    platform.execute(
        f"UPDATE _prisma_migrations SET rolled_back_at = '{at.isoformat()}'"
        f" WHERE migration_name = '{NOTE[0]}'"
    )
    observed = platform.observe()
    assert observed.live.label == "init"
    assert [(period.start, period.end) for period in observed.live.live] == [
        (T0 + DAY, T0 + 2 * DAY),
        (at, None),
    ]
    assert not target(observed, "add_booking_note").is_live


def test_resolved_failure_is_ignored(platform: Platform) -> None:
    platform.deploy(NOTE, outcome="failed")
    platform.emulator.change("database", {"kind": "resolve-rolled-back", "name": NOTE[0]})
    observed = platform.observe()
    assert (observed.live.label, observed.blocked) == ("init", "")


@pytest.mark.parametrize("half", [False, True])
def test_failed_migration_blocks_and_is_no_target(platform: Platform, half: bool) -> None:
    """Half applied or not at all depends on Prisma's version: never assumed, always refused."""
    platform.deploy(NOTE, outcome="failed", half_applied=half)
    observed = platform.observe()
    assert observed.blocked.startswith("migration-failed: ")
    assert NOTE[0] in observed.blocked
    assert observed.live.label == "add_booking_note"
    assert isinstance(observed.live.restorable, Barred)
    assert observed.live.restorable.reference == "migration-failed"
    found = platform.provider.differences(observed, target(observed, "init"))
    assert [(one.name, one.verdict) for one in found.migrations] == [(NOTE[0], "revert")]
    assert [one.code for one in found.findings] == ["migration-failed"]
    wanted = target(observed, "init").id
    assert isinstance(platform.provider.probe(verify(observed, migrations=wanted), None), Other)


def test_deploy_under_way_is_in_flight_not_failed(platform: Platform) -> None:
    platform.deploy(NOTE, outcome="failed")
    with held_lock(platform.url):
        observed = platform.observe()
        probe = platform.provider.probe(verify(observed), None)
        findings = platform.provider.check(verify(observed))
    assert [operation.id for operation in observed.in_flight] == [NOTE[0]]
    assert observed.blocked == ""
    assert isinstance(probe, InFlight)
    assert [one.code for one in findings] == ["operation-in-flight"]
    assert platform.observe().in_flight == ()


def test_another_applications_advisory_lock_is_not_prismas(platform: Platform) -> None:
    with psycopg.connect(platform.url) as connection:
        connection.execute("SELECT pg_advisory_lock(1, %s)", (LOCK,))
        connection.execute("SELECT pg_advisory_lock(0, %s)", (LOCK,))
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK + 1,))
        assert platform.observe().in_flight == ()


def test_migration_that_old_code_can_live_with_is_kept(platform: Platform) -> None:
    platform.deploy(NOTE)
    observed = platform.observe()
    found = platform.provider.differences(observed, target(observed, "init"))
    assert [(one.name, one.verdict) for one in found.migrations] == [(NOTE[0], "keep")]
    assert found.findings == ()


def test_only_migrations_after_the_target_are_judged(platform: Platform) -> None:
    platform.deploy(NOTE)
    platform.deploy(RENAME)
    observed = platform.observe()
    found = platform.provider.differences(observed, target(observed, "add_booking_note"))
    assert [(one.name, one.verdict, one.undo) for one in found.migrations] == [
        (RENAME[0], "revert", "automatic")
    ]
    assert "starts_at" in found.migrations[0].reasons[0]


@pytest.mark.parametrize(("used", "verdict"), [(False, "keep"), (True, "restore")])
def test_enum_value_is_asked_of_the_live_rows(platform: Platform, used: bool, verdict: str) -> None:
    platform.deploy(NO_SHOW)
    if used:
        platform.execute("UPDATE bookings SET status = 'no_show' WHERE id = 1")
    observed = platform.observe()
    found = platform.provider.differences(observed, target(observed, "init"))
    assert found.migrations[0].verdict == verdict


def test_types_before_come_from_the_earlier_migrations(platform: Platform) -> None:
    """The live catalog knows only the new type."""
    name = "20260304101500_wide_price"
    platform.deploy((name, 'ALTER TABLE "bookings" ALTER "price_cents" TYPE BIGINT;'))
    observed = platform.observe()
    [found] = platform.provider.differences(observed, target(observed, "init")).migrations
    assert (found.verdict, found.undo) == ("keep", "automatic")
    platform.file("20250106090000_init").unlink()
    [found] = platform.provider.differences(observed, target(observed, "init")).migrations
    assert found.verdict == "restore"


@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
def test_other_line_ends_are_the_same_migration(platform: Platform, ends: bytes) -> None:
    text = "ALTER TABLE bookings\n  ADD COLUMN note TEXT;\n"
    applied = text if ends == b"\r\n" else text.replace("\n", "\r\n")
    platform.deploy((NOTE[0], "SELECT 1;"))
    digest = hashlib.sha256(applied.encode()).hexdigest()
    platform.execute(
        f"UPDATE _prisma_migrations SET checksum = '{digest}' WHERE migration_name = '{NOTE[0]}'"
    )
    platform.file(NOTE[0]).write_bytes(text.encode().replace(b"\n", ends))
    observed = platform.observe()
    found = platform.provider.differences(observed, target(observed, "init"))
    assert (found.findings, found.migrations[0].verdict) == ((), "keep")


def test_edited_text_is_not_believed(platform: Platform) -> None:
    """`migrate deploy` never compares checksums; the verdict would be about another text."""
    platform.deploy(RENAME)
    platform.file(RENAME[0]).write_text("SELECT 1;")
    observed = platform.observe()
    found = platform.provider.differences(observed, target(observed, "init"))
    assert [one.code for one in found.findings] == ["migration-checksum-differs"]
    assert found.migrations[0].verdict == "restore"


def test_missing_text_is_an_error(platform: Platform) -> None:
    platform.deploy(NOTE)
    platform.file(NOTE[0]).unlink()
    observed = platform.observe()
    found = platform.provider.differences(observed, target(observed, "init"))
    assert [one.code for one in found.findings] == ["migration-text-missing"]
    assert found.migrations[0].verdict == "restore"
    without = replace(observed, address={**observed.address, "directory": ""})
    found = platform.provider.differences(without, target(observed, "init"))
    assert [one.code for one in found.findings] == ["migration-text-missing"]


def test_name_in_the_ledger_cannot_lead_out_of_the_directory(platform: Platform) -> None:
    platform.deploy(NOTE)
    platform.execute(
        "UPDATE _prisma_migrations SET migration_name = '../migrations/' || migration_name"
        f" WHERE migration_name = '{NOTE[0]}'"
    )
    observed = platform.observe()
    oldest = observed.history[-1]
    found = platform.provider.differences(observed, oldest)
    assert [one.code for one in found.findings] == ["migration-text-missing"]


def test_target_with_a_migration_that_is_gone_is_refused(platform: Platform) -> None:
    platform.deploy(NOTE)
    before = platform.observe()
    platform.execute(
        f"UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = '{NOTE[0]}'"
    )
    found = platform.provider.differences(platform.observe(), target(before, "add_booking_note"))
    assert [one.code for one in found.findings] == ["migration-not-applied"]


def test_probe_compares_what_is_applied(platform: Platform) -> None:
    observed = platform.observe()
    assert isinstance(platform.provider.probe(verify(observed), None), Wanted)
    platform.deploy(NOTE)
    assert isinstance(platform.provider.probe(verify(observed), None), Other)


def test_a_step_that_is_no_databases_is_refused(platform: Platform) -> None:
    observed = platform.observe()
    assert platform.provider.steps(observed, observed.live, StepOptions()) == ()
    with pytest.raises(VendorRefused, match="knows no step"):
        platform.provider.act(verify(observed), "run-1:step")


def test_reading_really_cannot_write(platform: Platform) -> None:
    from taly.database.connection import reading, target_of

    where = target_of({}, platform.environ)
    with pytest.raises(VendorRefused, match="read-only"), reading(where) as connection:
        connection.execute("DELETE FROM bookings")


def test_prismas_own_url_parameters_are_understood(platform: Platform) -> None:
    """libpq refuses a URL with a parameter that it does not know."""
    platform.environ["DATABASE_URL"] += (
        "?schema=public&connection_limit=5&pool_timeout=2&pgbouncer=true&sslmode=prefer"
    )
    observed = platform.observe()
    assert observed.live.label == "init"
    assert "pooler" in observed.notes[0]
    assert [one.code for one in platform.provider.check(verify(observed))] == ["database-pooler"]


def test_ledger_in_another_schema(platform: Platform) -> None:
    platform.execute('CREATE SCHEMA "App"; ALTER TABLE _prisma_migrations SET SCHEMA "App"')
    platform.component = replace(
        platform.component, settings={**platform.component.settings, "schema": "App"}
    )
    observed = platform.observe()
    assert observed.live.label == "init"
    assert platform.provider.check(verify(observed)) == ()


def test_empty_ledger_is_a_database_without_migrations(platform: Platform) -> None:
    platform.execute("DELETE FROM _prisma_migrations")
    observed = platform.observe()
    assert (observed.live.label, len(observed.history)) == ("no migrations", 1)


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        ("DROP TABLE _prisma_migrations", "ledger-missing"),
        ("CREATE SCHEMA prisma_contract; CREATE TABLE prisma_contract.marker (a int)", "prisma-8"),
        (
            "CREATE ROLE reader LOGIN PASSWORD 'SANDBOXSECRETreader'; GRANT USAGE ON SCHEMA public"
            " TO reader",
            "ledger-forbidden",
        ),
        ("ALTER TABLE _prisma_migrations DROP COLUMN checksum", "ledger-unreadable"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(
    platform: Platform, change: str, reference: str
) -> None:
    platform.execute(change)
    try:
        if reference == "ledger-forbidden":
            place = platform.url.partition("@")[2]
            platform.environ["DATABASE_URL"] = f"postgresql://reader:SANDBOXSECRETreader@{place}"
        with pytest.raises(VendorRefused) as caught:
            platform.observe()
        assert caught.value.reference == reference
        assert caught.value.hint
    finally:
        if reference == "ledger-forbidden":
            platform.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_prisma_8_packages_in_the_checkout_are_refused(platform: Platform) -> None:
    package = platform.emulator.migrations / "app" / "20260902T1300_init"
    package.mkdir(parents=True)
    (package / "migration.json").write_text("{}")
    with pytest.raises(VendorRefused) as caught:
        platform.observe()
    assert caught.value.reference == "prisma-8"


@pytest.mark.parametrize(
    ("url", "kind", "reference"),
    [
        ("", UsageError, "database-url-missing"),
        ("mysql://u:SANDBOXSECRET@h/d", UsageError, "database-url-invalid"),
        ("prisma+postgres://accelerate/?api_key=SANDBOXSECRET", UsageError, "database-url-invalid"),
        ("postgresql://u:SANDBOXSECRET@h:port/d", UsageError, "database-url-invalid"),
        ("postgresql://u:12/SANDBOXSECRET@127.0.0.1:1/d", UsageError, "database-url-invalid"),
        ("postgresql://u:SANDBOXSECRET@127.0.0.1:1/d", VendorUnavailable, "database-unreachable"),
        ("{wrong password}", VendorRefused, "database-refused"),
        ("{wrong name}", VendorRefused, "database-refused"),
    ],
)
def test_bad_urls_and_dead_databases_are_told_apart_and_never_repeated(
    platform: Platform, url: str, kind: type[TalyError], reference: str
) -> None:
    url = url.replace("{wrong password}", platform.url.replace("SANDBOX", "SANDBOXSECRETx"))
    url = url.replace("{wrong name}", platform.url + "_nope")
    platform.environ["DATABASE_URL"] = url
    with pytest.raises(kind) as caught:
        platform.observe()
    assert caught.value.reference == reference
    assert "SANDBOXSECRET" not in caught.value.message + caught.value.hint
    assert caught.value.__cause__ is None


def test_dead_database_is_a_finding_of_the_check(platform: Platform) -> None:
    step = verify(platform.observe())
    platform.environ["DATABASE_URL"] = platform.url + "_nope"
    assert [one.severity.value for one in platform.provider.check(step)] == ["error"]


def test_no_secret_in_what_is_observed(platform: Platform) -> None:
    platform.deploy(NOTE)
    observed = platform.observe()
    found = platform.provider.differences(observed, target(observed, "init"))
    assert "SANDBOXSECRET" not in str(asdict(observed)) + str(asdict(found))


def test_one_provider_serves_many_threads(platform: Platform) -> None:
    provider, seen = platform.provider, []
    threads = [
        threading.Thread(target=lambda: seen.append(provider.observe(platform.component).live.id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_a_silent_network_is_noticed(platform: Platform) -> None:
    with reading(target_of({}, {"DATABASE_URL": platform.url})) as connection:
        given = connection.info.get_parameters()
    assert {"keepalives_idle", "keepalives_interval", "tcp_user_timeout"} <= given.keys()
