"""What is believed of a checkpoint: only what was restored and compared; and the window's end."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.checkpoint_stage import Stage

from taly.database.checkpoint.contents import contents, tables
from taly.database.checkpoint.folder import Checkpoint, Unreadable, every, load
from taly.database.checkpoint.manifest import MANIFEST, Manifest, sealed
from taly.database.checkpoint.prune import Pruned, prune
from taly.database.checkpoint.session import snapshot
from taly.errors import ExitCode, Refused, TalyError, UsageError, VerificationFailed


@pytest.fixture
def stage(tmp_path: Path, postgres_url: str) -> Iterator[Stage]:
    one = Stage(tmp_path, postgres_url).about_to_go_bad()
    yield one
    one.drop_ours()


def flip(path: Path, at: int = -20) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def rewritten(made: Checkpoint, **changes: Any) -> Checkpoint:
    """The same with another manifest, whose seal fits."""
    (made.path / MANIFEST).write_bytes(sealed(made.manifest.model_copy(update=changes)))
    return load(made.path)


def failed(stage: Stage, made: Checkpoint) -> VerificationFailed:
    databases = stage.databases()
    with pytest.raises(VerificationFailed) as caught:
        stage.verify(made)
    assert caught.value.exit_code is ExitCode.VERIFICATION_FAILED
    assert stage.databases() == databases, "no scratch database is left"
    return caught.value


def test_a_bit_that_changed_is_found_and_its_file_named(stage: Stage) -> None:
    made = stage.checkpoint("dump")
    files = [path for path in made.path.rglob("*") if path.is_file() and path.name != MANIFEST]
    assert {path.parent.name for path in files} >= {"dump", "destroyed", "20250202_bad"}
    for path in files:
        flip(path)
        error = failed(stage, made)
        assert error.reference == "checkpoint-damaged"
        assert path.relative_to(made.path).as_posix() in error.message
        flip(path)
    assert stage.verify(made).restored


def test_a_file_that_is_cut_or_gone_is_named(stage: Stage) -> None:
    made = stage.checkpoint()
    path = made.path / made.manifest.destroyed[0].file
    path.write_bytes(path.read_bytes()[:-1])
    assert "bytes, and" in failed(stage, made).message
    path.unlink()
    assert "destroyed/0001.copy.gz: No such file" in failed(stage, made).message


def test_a_backup_that_restores_to_something_else_is_not_believed(stage: Stage) -> None:
    made = stage.checkpoint("dump")
    tables = made.manifest.tables
    fewer = [
        one.model_copy(update={"rows": 39}) if one.name == "keyless" else one for one in tables
    ]
    error = failed(stage, rewritten(made, tables=tuple(fewer)))
    assert error.reference == "checkpoint-differs"
    assert "public.keyless: 40 rows, and there were 39" in error.message
    other = [
        one.model_copy(update={"checksum": "7"}) if one.name == "keyless" else one for one in tables
    ]
    message = failed(stage, rewritten(made, tables=tuple(other))).message
    assert "public.keyless: as many rows, with other values" in message
    message = failed(stage, rewritten(made, tables=tables[1:], large_objects=3)).message
    assert "was not there" in message
    assert "0 large objects, and there were 3" in message


def test_one_changed_value_changes_the_checksum(stage: Stage) -> None:
    before = stage.checkpoint("template").manifest.tables
    stage.run('UPDATE "User" SET "price" = 1.1 WHERE "price" = 1.10')
    after = stage.checkpoint("template").manifest.tables
    differing = [one.name for one, two in zip(before, after, strict=True) if one != two]
    assert differing == ["User"]


def test_a_dump_that_pg_restore_refuses_is_not_believed(stage: Stage) -> None:
    made = stage.checkpoint("dump")
    toc = made.path / "dump" / "toc.dat"
    toc.write_bytes(b"nonsense")
    from taly.database.checkpoint.folder import fact_of

    files = [
        fact_of(made.path, toc) if one.path == "dump/toc.dat" else one
        for one in made.manifest.files
    ]
    error = failed(stage, rewritten(made, files=tuple(files)))
    assert error.reference == "checkpoint-not-restorable"
    assert "pg_restore" in error.message


def test_large_objects_are_restored_too(stage: Stage) -> None:
    stage.run("SELECT lo_from_bytea(0, '\\x0011')")
    try:
        made = stage.checkpoint("dump")
        assert made.manifest.large_objects == 1
        assert stage.verify(made).restored
    finally:
        stage.run("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


def test_a_template_that_is_gone_is_no_backup(stage: Stage) -> None:
    made = stage.checkpoint("template")
    stage.run(f'DROP DATABASE "{made.manifest.backup.template}"')
    assert made.manifest.backup.template in failed(stage, made).message


def test_a_checkpoint_of_the_format_before_is_proved_by_its_own_sums(stage: Stage) -> None:
    made = stage.checkpoint("dump")
    assert made.manifest.sums == "mixed"
    with snapshot(stage.target) as connection:
        plain = contents(connection, tables(connection), lambda *_: None, "plain")
    assert plain != made.manifest.tables
    body = made.manifest.model_copy(update={"tables": plain, "format_version": "1.1"})
    told = body.model_dump(mode="json", exclude={"sums"})
    seal = hashlib.sha256(
        json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
    (made.path / MANIFEST).write_text(json.dumps({**told, "seal": seal.hexdigest()}), "utf-8")
    assert stage.verify(load(made.path)).restored


def test_without_a_backup_only_files_are_checked(stage: Stage) -> None:
    proof = stage.verify(stage.checkpoint())
    assert not proof.restored
    assert proof.tables == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.update(by="eve"), "it was changed"),
        (lambda body: body.update(format_version="2.0"), "format 2.0"),
        (lambda body: body.pop("seal"), "not all of it"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(
    stage: Stage, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    made = stage.checkpoint()
    body = json.loads((made.path / MANIFEST).read_text("utf-8"))
    change(body)
    (made.path / MANIFEST).write_text(json.dumps(body), "utf-8")
    with pytest.raises(Refused, match=said):
        load(made.path)
    [unreadable] = every(stage.base)
    assert isinstance(unreadable, Unreadable)
    assert said in unreadable.reason


def test_what_nests_too_deep_is_no_manifest(stage: Stage) -> None:
    made = stage.checkpoint()
    (made.path / MANIFEST).write_text("[" * 100_000, "utf-8")
    with pytest.raises(Refused, match="no such document"):
        load(made.path)


def test_a_manifest_is_read_strictly(stage: Stage) -> None:
    made = stage.checkpoint()
    odd = Manifest.model_construct(**{**dict(made.manifest), "large_objects": "3"})
    with pytest.warns(UserWarning, match="large_objects"):
        data = sealed(odd)
    (made.path / MANIFEST).write_bytes(data)
    with pytest.raises(Refused, match="large_objects"):
        load(made.path)


def test_the_window_ends_once(stage: Stage) -> None:
    made = stage.checkpoint()
    stage.deploy()
    closed = stage.after()
    assert closed.after is not None
    assert closed.after.applied == ("20250202_bad",)
    assert closed.after.instant.xmin > made.manifest.instant.xmin
    assert (closed.path / "catalog-after.json").exists()
    stage.run("INSERT INTO keyless VALUES (1, 'a user')")
    assert stage.after() == closed, "a later end would take users' work for the migration's"
    stage.migration("20250303_next", "SELECT 1")
    stage.deploy()
    with pytest.raises(Refused) as caught:
        stage.after()
    assert caught.value.reference == "checkpoint-closed"
    flip(closed.path / "catalog-after.json")
    assert "catalog-after.json" in failed(stage, closed).message


def test_the_window_tells_users_work_from_the_migrations(stage: Stage) -> None:
    stage.checkpoint()
    stage.deploy()
    closed = stage.after()
    assert closed.after is not None
    stage.run("UPDATE keyless SET y = 'user' WHERE ctid = (SELECT min(ctid) FROM keyless)")
    start, end = closed.manifest.instant.xmin, closed.after.instant.xmin
    since = "SELECT count(*) FROM keyless WHERE age(xmin) <= age('{}'::xid)"
    assert stage.run(since.format(start)) == [(40,)]
    assert stage.run(since.format(end)) == [(1,)]


def test_what_did_not_go_as_planned_is_noted(stage: Stage) -> None:
    stage.checkpoint()
    stage.migration("20250201_unknown", "SELECT 1")
    stage.deploy(fail="20250202_bad")
    closed = stage.after()
    assert closed.after is not None
    assert closed.after.applied == ()
    notes = "\n".join(closed.after.notes)
    assert "20250202_bad did not finish" in notes
    assert "20250202_bad was pending and is not applied" in notes
    assert "20250201_unknown was applied, and the checkpoint does not know it" in notes


def test_a_window_of_another_database_is_not_closed(stage: Stage) -> None:
    made = stage.checkpoint()
    database = made.manifest.database.model_copy(update={"oid": 1})
    rewritten(made, database=database)
    with pytest.raises(Refused) as caught:
        stage.after()
    assert caught.value.reference == "checkpoint-of-another-database"


def test_without_a_checkpoint_there_is_no_window(stage: Stage) -> None:
    for given in ({}, {"name": "v1-20250101T000000Z"}):
        with pytest.raises(UsageError) as caught:
            stage.after(**given)
        assert caught.value.reference == "checkpoint-unknown"


def pruned(stage: Stage, keep: int) -> Pruned:
    return prune(
        stage.base,
        environment="production",
        component="database",
        keep=keep,
        target=lambda: stage.target,
    )


def test_prune_keeps_the_newest_and_drops_the_copies_of_the_others(stage: Stage) -> None:
    copied = stage.checkpoint("template")
    others = [stage.checkpoint() for _ in range(2)]
    foreign = stage.checkpoint(environment="staging")
    broken = stage.base / "broken"
    broken.mkdir()
    done = pruned(stage, 1)
    assert done.removed == (others[0].name, copied.name)
    assert [one.name for one in done.unreadable] == ["broken"]
    assert stage.left() == sorted(["broken", foreign.name, others[1].name])
    assert copied.manifest.backup.template not in stage.databases()


def test_a_copy_that_cannot_be_dropped_keeps_its_checkpoint(stage: Stage) -> None:
    stage.checkpoint("template")
    lost = replace(stage.target, url="postgresql://taly:x@127.0.0.1:1/taly")
    with pytest.raises(TalyError):
        prune(
            stage.base,
            environment="production",
            component="database",
            keep=0,
            target=lambda: lost,
        )
    assert len(stage.left()) == 1
    assert len(pruned(stage, 0).removed) == 1
