"""Backups that RDS has: made, proved, restored into a temporary instance, and taken away."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.checkpoint_stage import silent
from tests.contract.rds_stage import INSTANCE, Account, RdsScene, account
from tests.contract.restore_stage import NEW, OLD

from taly.database.checkpoint.after import end_window
from taly.database.checkpoint.create import create
from taly.database.checkpoint.folder import Checkpoint, every
from taly.database.checkpoint.manifest import Backup
from taly.database.checkpoint.on_rds import MARK
from taly.database.checkpoint.prune import prune
from taly.database.checkpoint.verify import verify
from taly.database.sources.names import TAG, instance_name, snapshot_name
from taly.database.sources.rds import Rds
from taly.errors import (
    Interrupted,
    Refused,
    TalyError,
    UsageError,
    VendorRefused,
    VerificationFailed,
)

RUN = "run-1aaaaa"
TEMPORARY = instance_name(f"{RUN} database")
BOOK = """INSERT INTO "Booking" ("guest", "price") VALUES (1, {})"""


@pytest.fixture(scope="module")
def rds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with account(tmp_path_factory.mktemp("rds")) as found:
        yield found
        assert found.validated.problems == []
        assert found.validated.checked


@pytest.fixture
def scene(rds: Account, tmp_path: Path) -> Iterator[RdsScene]:
    with rds.played(tmp_path) as found:
        yield found
    rds.world.faults.clear()
    assert rds.instances() - {INSTANCE} == set(), "a temporary instance was left"


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Do something between the checkpoint's instant and the moment of RDS's copy."""
    create_snapshot = Rds.create_snapshot

    def at(what: Callable[[], object]) -> None:
        def later(self: Rds, instance: str, name: str, tags: Mapping[str, str]) -> None:
            what()
            create_snapshot(self, instance, name, tags)

        monkeypatch.setattr(Rds, "create_snapshot", later)

    return at


def made(scene: RdsScene, backup: Backup = "rds-snapshot", **changes: Any) -> Checkpoint:
    return create(scene.order(backup, **changes))


def migrated(scene: RdsScene) -> None:
    assert scene.stage.deploy().code == "ok"
    scene.stage.now = scene.clock.now()
    stage = scene.stage
    end_window(
        stage.base,
        stage.target,
        environment="production",
        component="database",
        name="",
        by="ada",
        now=stage.now,
    )


def prices(scene: RdsScene, above: int = 9000) -> list[int]:
    query = f'SELECT "price"::int FROM "Booking" WHERE "price" > {above} ORDER BY 1'
    return [price for (price,) in scene.stage.run(query)]


def test_what_is_written_before_during_and_after_the_snapshot_is_there_afterwards(
    scene: RdsScene, rds: Account, between: Callable[[Callable[[], object]], None]
) -> None:
    run = scene.stage.run

    def before_the_copy() -> None:
        run(BOOK.format(9001))
        run("""UPDATE "Booking" SET "price" = 9101 WHERE "price" = 101""")
        run("""DELETE FROM "Booking" WHERE "price" = 102""")

    def while_it_is_made(what: str, done: int, whole: int) -> None:
        if what == "checksums" and 9002 not in prices(scene):
            run(BOOK.format(9002))
            run("""UPDATE "Booking" SET "price" = 9103 WHERE "price" = 103""")
            run("""DELETE FROM "Booking" WHERE "price" = 104""")

    between(before_the_copy)
    checkpoint = made(scene, report=while_it_is_made)
    assert checkpoint.manifest.backup.snapshot in rds.snapshots()
    settled = {one.name: one for one in checkpoint.manifest.settled}
    assert settled["Booking"].rows == 1500 - 4
    assert settled["Booking"].touched
    migrated(scene)
    run(BOOK.format(9003))
    run("""UPDATE "Booking" SET "price" = 9106 WHERE "price" = 106""")
    noted = run("""SELECT count(*) FROM "Booking" WHERE "price" BETWEEN 200 AND 300""")

    receipt = scene.back(checkpoint)

    assert prices(scene) == [9001, 9002, 9003, 9101, 9103, 9106]
    assert run("""SELECT "price"::int FROM "Booking" WHERE "price" IN (102, 104)""") == []
    assert run("""SELECT count(*) FROM "Booking" WHERE "note" IS NOT NULL""")[0][0] > 490
    assert run("""SELECT count(*) FROM "Booking" WHERE "price" BETWEEN 200 AND 300""") == noted
    assert receipt["carried"] == "4", "the others were in the copy already"
    assert not run("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0][0]
    assert rds.writes()[-3:] == [
        "CreateDBSnapshot",
        "RestoreDBInstanceFromDBSnapshot",
        "DeleteDBInstance",
    ]
    assert not list(scene.stage.base.glob(".partial*"))

    scene.undo(RUN)
    assert prices(scene) == [9001, 9002, 9003, 9101, 9103, 9106]


def test_a_point_in_time_is_restored_with_all_that_was_written_since(
    scene: RdsScene, rds: Account
) -> None:
    run = scene.stage.run

    def while_it_is_made(what: str, done: int, whole: int) -> None:
        if what == "checksums" and not prices(scene):
            run(BOOK.format(9001))
            run("""DELETE FROM "Booking" WHERE "price" = 102""")

    checkpoint = made(scene, "rds-pitr", report=while_it_is_made)
    assert checkpoint.manifest.backup.restore_to is not None
    migrated(scene)
    run(BOOK.format(9002))
    scene.back(checkpoint)
    assert prices(scene) == [9001, 9002]
    assert run("""SELECT 1 FROM "Booking" WHERE "price" = 102""") == []
    assert run("""SELECT count(*) FROM "Booking" WHERE "note" IS NOT NULL""") == [(499,)]
    assert rds.writes()[-2:] == ["RestoreDBInstanceToPointInTime", "DeleteDBInstance"]


def test_a_snapshot_is_proved_by_restoring_it(
    scene: RdsScene, rds: Account, between: Callable[[Callable[[], object]], None]
) -> None:
    checkpoint = made(scene)
    proof = verify(checkpoint, scene.stage.target, silent, scene.where)
    assert proof.restored
    assert proof.rows > 2000
    assert rds.writes()[-1] == "DeleteDBInstance"

    # Another copy under its name: a row that nobody had touched is not as it was.
    calls = Rds(scene.aws, "")
    name = checkpoint.manifest.backup.snapshot
    calls.delete_snapshot(name)
    scene.stage.run("""UPDATE "Booking" SET "note" = 'forged' WHERE "price" = 300""")
    calls.create_snapshot(INSTANCE, name, {TAG: checkpoint.name})
    _await(lambda: rds.state()["snapshots"][name] == "available")
    with pytest.raises(VerificationFailed, match="Booking: 1499 rows that were settled, and there"):
        verify(checkpoint, scene.stage.target, silent, scene.where)

    migrated(scene)
    before = scene.everything(scene.stage.target.place.rpartition("/")[2])
    with pytest.raises(VendorRefused) as refused:
        scene.back(checkpoint)
    assert refused.value.reference == "restore-backup-differs"
    assert scene.everything(scene.stage.target.place.rpartition("/")[2]) == before
    assert not [name for name in scene.stage.databases() if "_side_" in name]


def _await(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come")


@pytest.mark.parametrize(
    ("fault", "reference"),
    [
        ("rds-quota", "aws-instance-quota-exceeded"),
        ("rds-kms", "aws-k-m-s-key-not-accessible-fault"),
        ("rds-restore-fails", "restore-rds-failed"),
    ],
)
def test_what_rds_refuses_changes_nothing_and_leaves_nothing(
    scene: RdsScene, rds: Account, fault: str, reference: str
) -> None:
    checkpoint = made(scene)
    migrated(scene)
    rds.strike(fault)
    with pytest.raises(VendorRefused) as refused:
        scene.back(checkpoint)
    assert refused.value.reference == reference
    assert refused.value.hint
    assert "left behind" not in refused.value.message
    assert scene.stage.run(
        "SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT"
        " NULL AND rolled_back_at IS NULL ORDER BY 1"
    ) == [(OLD,), (NEW,)]


def test_a_snapshot_that_fails_makes_no_checkpoint_and_is_deleted(
    scene: RdsScene, rds: Account
) -> None:
    before = rds.snapshots()
    rds.strike("rds-snapshot-fails")
    with pytest.raises(VendorRefused) as refused:
        made(scene)
    assert refused.value.reference == "rds-snapshot-failed"
    assert rds.snapshots() == before
    assert every(scene.stage.base) == []


def test_ctrl_c_names_what_cannot_be_deleted_yet_and_the_next_try_takes_it_over(
    scene: RdsScene, rds: Account
) -> None:
    checkpoint = made(scene)
    migrated(scene)

    def say(note: str, fraction: float | None = None) -> None:
        if note.startswith("restores the RDS snapshot") and TEMPORARY in rds.instances():
            raise Interrupted("stop", reference="step-cancelled")

    with pytest.raises(Interrupted) as stopped:
        scene.back(checkpoint, say=say)
    assert f"--db-instance-identifier {TEMPORARY} --skip-final-snapshot" in stopped.value.message
    assert TEMPORARY in rds.instances()
    scene.back(checkpoint)
    assert rds.writes()[-2:] == ["RestoreDBInstanceFromDBSnapshot", "DeleteDBInstance"]


def test_an_instance_of_that_name_that_is_not_ours_is_left_alone(
    scene: RdsScene, rds: Account
) -> None:
    checkpoint = made(scene)
    migrated(scene)
    calls = Rds(scene.aws, "")
    like = calls.instance(INSTANCE)
    assert like is not None
    calls.restore(checkpoint.manifest.backup.snapshot, like, TEMPORARY, {"owner": "somebody"})
    _await(lambda: rds.state()["instances"][TEMPORARY] == "available")
    with pytest.raises(VendorRefused) as refused:
        scene.back(checkpoint)
    assert refused.value.reference == "restore-rds-not-ours"
    assert TEMPORARY in rds.instances()
    calls.delete_instance(TEMPORARY)


def test_the_temporary_instance_is_as_the_live_one_is_and_not_public(
    scene: RdsScene, rds: Account
) -> None:
    calls = Rds(scene.aws, "")
    like = calls.instance(INSTANCE)
    assert like is not None
    checkpoint = made(scene)
    calls.restore(checkpoint.manifest.backup.snapshot, like, TEMPORARY, {TAG: "x"})
    found = calls.instance(TEMPORARY)
    assert found is not None
    assert found.status == "creating"
    assert found.address == ""
    for name in (
        *("DBInstanceClass", "VpcSecurityGroups", "DBParameterGroups", "StorageType"),
        *("StorageEncrypted", "KmsKeyId", "Engine"),
    ):
        assert found.body[name] == like.body[name], name
    assert found.body["PubliclyAccessible"] is False
    assert found.tags == {TAG: "x"}
    _await(lambda: rds.state()["instances"][TEMPORARY] == "available")
    calls.delete_instance(TEMPORARY)


def test_prune_deletes_our_snapshots_and_nobody_elses(scene: RdsScene, rds: Account) -> None:
    calls = Rds(scene.aws, "")
    ours, forged = made(scene), made(scene)
    for one in (ours, forged):
        assert one.manifest.backup.snapshot == snapshot_name(INSTANCE, "database", one.name)
    calls.delete_snapshot(forged.manifest.backup.snapshot)
    calls.create_snapshot(INSTANCE, forged.manifest.backup.snapshot, {"owner": "somebody"})

    def pruned() -> None:
        prune(
            scene.stage.base,
            environment="production",
            component="database",
            keep=0,
            target=lambda: scene.stage.target,
            rds=lambda region: Rds(scene.aws, region),
        )

    with pytest.raises(VendorRefused, match="left alone"):
        pruned()
    assert forged.manifest.backup.snapshot in rds.snapshots()
    assert [one.name for one in every(scene.stage.base) if isinstance(one, Checkpoint)] != []
    _await(lambda: rds.state()["snapshots"][forged.manifest.backup.snapshot] == "available")
    calls.delete_snapshot(forged.manifest.backup.snapshot)
    pruned()
    assert ours.manifest.backup.snapshot not in rds.snapshots()


def test_prune_deletes_the_snapshot_of_a_checkpoint_that_was_killed(
    scene: RdsScene, rds: Account
) -> None:
    calls, name = Rds(scene.aws, ""), "killed-20261123T134500Z"
    identifier = snapshot_name(INSTANCE, "database", name)
    partial = scene.stage.base / f".partial-{name}"
    partial.mkdir(parents=True)
    (partial / MARK).write_text(f"{identifier}\n\n{name}\n", "utf-8")
    calls.create_snapshot(INSTANCE, identifier, {TAG: name})
    _await(lambda: rds.state()["snapshots"][identifier] == "available")
    pruned = prune(
        scene.stage.base,
        environment="production",
        component="database",
        keep=5,
        target=lambda: scene.stage.target,
        rds=lambda region: Rds(scene.aws, region),
    )
    assert pruned.left_over == (partial.name,)
    assert identifier not in rds.snapshots()


def test_the_plan_says_that_the_snapshot_is_gone(scene: RdsScene) -> None:
    checkpoint = made(scene)
    migrated(scene)
    assert not [one for one in scene.check(checkpoint) if "rds" in one.code]
    Rds(scene.aws, "").delete_snapshot(checkpoint.manifest.backup.snapshot)
    assert "restore-rds-gone" in {one.code for one in scene.check(checkpoint)}


def test_a_database_that_is_not_on_rds_says_so(scene: RdsScene) -> None:
    with pytest.raises(UsageError, match="does not say which RDS"):
        made(scene, on_rds=replace(scene.where, instance=""))
    with pytest.raises(Refused, match="is not there"):
        made(scene, on_rds=replace(scene.where, instance="nobody"))
    assert every(scene.stage.base) == []


def test_a_migration_meanwhile_makes_no_checkpoint(scene: RdsScene, rds: Account) -> None:
    before = rds.snapshots()

    def deploy(what: str, done: int, whole: int) -> None:
        if what == "rds-snapshot" and done == whole:
            scene.stage.run(
                "INSERT INTO _prisma_migrations (id, checksum, migration_name,"
                " finished_at) VALUES ('x', 'x', '20990101_x', now())"
            )

    with pytest.raises(TalyError, match="a migration was applied while"):
        made(scene, report=deploy)
    assert rds.snapshots() == before
