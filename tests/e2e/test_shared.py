"""Two checkouts of one platform, a laptop's and a CI's, that share a bucket and no database."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from taly.app.context import Context, open_context
from taly.app.history import load_history, mark, record
from taly.app.permissions import permissions_of
from taly.aws import AwsClients
from taly.cli import main
from taly.errors import ExitCode
from taly.model.release import Mark
from tests.e2e.conftest import Sandbox, SandboxFactory, until
from tests.e2e.test_rollback import quiet

BUCKET = "team-shared"
SHARED = f"s3://{BUCKET}/taly"
SPEED = 200.0
UPDATE = "AppRunner.UpdateService"
UPDATE_S = 6.0
"""Real seconds that the update takes to be answered: time for the other machine to come."""

Here = Callable[..., tuple[int, str, str]]


@dataclass
class Checkout:
    """One machine's folder; its own .taly lies in it."""

    box: Sandbox
    folder: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "taly", *arguments]

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.box.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def context(self) -> Context:
        """The same without a process of its own."""
        return open_context(
            config_path=str(self.folder / "taly.toml"), environ=self.box.environment()
        )


def checkout(box: Sandbox, folder: Path, top: str) -> Checkout:
    folder.mkdir()
    lease = "[policy]\nlease_s = 5.0"
    text = (box.directory / "taly.toml").read_text()
    text = text.replace("[policy]", lease)
    text = text.replace('"prisma/migrations"', f'"{box.directory}/prisma/migrations"')
    (folder / "taly.toml").write_text(f"{top}\n{text}")
    return Checkout(box, folder)


def s3(box: Sandbox) -> Any:
    return AwsClients(box.environment()).client("s3", "eu-central-1")


def everything(box: Sandbox) -> Iterator[tuple[str, str]]:
    """Every object of the bucket, by its key."""
    for one in s3(box).list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        body = s3(box).get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
        yield one["Key"], body.decode()


def locked(box: Sandbox) -> bool:
    return any("lock.json" in one["target"] for one in box.control.writes())


@pytest.fixture
def box(sandbox: SandboxFactory) -> Sandbox:
    one = sandbox("taly-small", SPEED)
    s3(one).create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    return one


@pytest.fixture
def here(box: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Types a command in a checkout, in this process: (exit code, stdout, stderr)."""

    def typed(where: Checkout, *arguments: str) -> tuple[int, str, str]:
        for name, value in box.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(where.folder)
        capfd.readouterr()
        code = main.run(list(arguments))
        return code, *capfd.readouterr()

    return typed


def test_two_checkouts_share_lock_releases_marks_and_runs(
    box: Sandbox, tmp_path: Path, here: Here
) -> None:
    local = checkout(box, tmp_path / "local", "")
    laptop = checkout(box, tmp_path / "laptop", f'shared = "{SHARED}"')
    runner = checkout(box, tmp_path / "runner", f'shared = "{SHARED}"')

    _, plan, _ = here(local, "plan")
    assert "The lock is this machine's alone: nobody elsewhere is held off or sees" in plan
    _, plan, _ = here(laptop, "plan")
    assert f"The lock is kept in {SHARED}." in plan
    box.control.faults({"call": "lock.json", "kind": "refuse", "count": 99})
    code, _, said = here(laptop, "rollback", "--yes")
    assert code == ExitCode.UNKNOWN
    assert "shared-unreachable" in said
    assert not [one for one in box.control.writes() if " /team-shared" not in one["target"]]
    box.control.clear_faults()

    box.control.faults({"call": UPDATE, "kind": "delay", "seconds": UPDATE_S})
    first = laptop.start("rollback", "--yes", "--json")
    until(lambda: locked(box), what="the rollback is under way")
    code, _, said = here(runner, "rollback", "--yes")
    _, listed, _ = here(runner, "runs", "--json")
    out, err = first.communicate(timeout=120)
    assert first.returncode == ExitCode.OK, err
    run = json.loads(out)["run"]
    assert code == ExitCode.LOCKED, said
    assert f"{run} (rollback, since " in " ".join(said.split())
    assert "holds the environment" in " ".join(said.split())
    seen = [(one["id"], one["outcome"], one["alive"]) for one in json.loads(listed)["runs"]]
    assert seen == [(run, None, True)]

    code, report, said = here(runner, "report", run)
    assert code == ExitCode.OK, said
    assert "Succeeded" in report
    both_know(laptop.context(), runner.context(), run)

    until(lambda: quiet(box))
    asks_what_is_granted(box, laptop.context())
    undone = runner.start("undo", run, "--yes", "--json")
    out, err = undone.communicate(timeout=120)
    assert undone.returncode == ExitCode.OK, out + err
    for key, body in everything(box):
        assert "SANDBOXSECRET" not in body, key
        assert box.environ["DATABASE_URL"] not in body, key


def asks_what_is_granted(box: Sandbox, context: Context) -> None:
    """Of the shared bucket: objects under the prefix read and written, its keys listed."""
    granted = permissions_of(context).read
    assert granted is not None
    *_, objects, bucket = granted["Statement"]
    assert objects["Resource"] == [f"arn:aws:s3:::{BUCKET}/taly/*"]
    assert bucket["Resource"] == [f"arn:aws:s3:::{BUCKET}"]
    asked = {
        one["target"].partition("?")[0].replace("taly/production", "taly")
        for one in box.control.calls()
        if BUCKET in one["target"]
    } - {f"S3.PUT /{BUCKET}"}  # the test made the bucket
    names = {"S3.GET": "s3:GetObject", "S3.PUT": "s3:PutObject"}
    used = {
        "s3:ListBucket"
        if target == f"S3.GET /{BUCKET}"
        else names[target.partition(f" /{BUCKET}/taly/")[0]]
        for target in asked
    }
    assert used == {*objects["Action"], *bucket["Action"]}


def both_know(own: Context, other: Context, run: str) -> None:
    """Names, the mark that the run left, marks and records that people make: on both machines."""
    names = [one.name for one in load_history(own).releases]
    assert names == [one.name for one in load_history(other).releases]
    given = dict(own.store.release_names("production"))
    assert given == dict(other.store.release_names("production"))
    (left,) = other.store.marks("production").values()
    assert (left.mark, left.why) == (Mark.BAD, f"rolled back in {run}")
    pinned = record(other, commit="c0ffee", label="after the rollback")
    until(lambda: own.store.recorded_releases("production") == [pinned])
    mark(own, "R1", Mark.BAD, "never again")
    until(lambda: len(other.store.marks("production")) == 2)
    for one in (own, other):
        one.store.close()
