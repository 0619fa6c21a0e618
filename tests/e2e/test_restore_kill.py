"""kill -9 anywhere in a restore or its undo, with people writing: nothing acknowledged is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest

from taly.database.checkpoint.folder import Checkpoint
from taly.database.rescue.bundle import open_bundle
from taly.database.restore import forget, put_aside
from taly.sandbox.server import Server
from tests import restore_worker
from tests.contract.restore_stage import DATABASE, NEW, OLD, Scene, played
from tests.contract.restore_writers import Writers, writing

RUNS = 20
POINTS = (
    *("after:going.make_side", "after:going._bundle", "after:swap._wait_for_lock"),
    *("before:swap._check_still_locked", "before:swap._commit", "after:swap._commit"),
    *("before:running._confirm", "after:going.note_later", "after:running._confirm"),
)
WAIT_S = 120
OURS = """
SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'taly%'
UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgname LIKE 'taly%'
"""


@pytest.fixture
def scene(tmp_path: Path, postgres_server: Server) -> Iterator[Scene]:
    with played(tmp_path, postgres_server) as one:
        yield one


class Play:
    """Back and forth, run after run, each done by as many processes as it takes."""

    def __init__(self, scene: Scene, made: Checkpoint) -> None:
        self.scene, self.made = scene, made
        self.folder = scene.stage.folder
        self.number = 0
        self.seen: list[Writers] = []
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.restore_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def close(self) -> None:
        """No more processes."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.close()
        self._nursery.wait(WAIT_S)
        self._nursery.stdout.close()

    @property
    def run(self) -> str:
        return f"run-{self.number}aaaaa"

    def next(self) -> None:
        """The next run goes the other way."""
        self.number += 1
        if self.number % 2:
            step = self.scene.step((OLD,), checkpoint=self.made.name)
        else:
            step = self.scene.step((OLD, NEW), undoes=f"run-{self.number - 1}aaaaa")
        (self.folder / "step.json").write_text(json.dumps(asdict(step)), "utf-8")
        self.now = (self.scene.stage.now + timedelta(minutes=10 * self.number)).isoformat()

    def start(self, death: str = "never") -> int:
        """A process that goes on with the run; its number."""
        assert self._nursery.stdin is not None
        (self.folder / restore_worker.REACHED).unlink(missing_ok=True)
        given = (str(self.folder / "step.json"), self.scene.stage.url, self.run, self.now, death)
        self._nursery.stdin.write(json.dumps(given) + "\n")
        self._nursery.stdin.flush()
        return self._line()

    def ended(self) -> int:
        """How the process that was started last ended; waits for it."""
        return self._line()

    def _line(self) -> int:
        assert self._nursery.stdout is not None
        return int(self._nursery.stdout.readline())

    def died(self, death: str) -> bool:
        """Let one go on until it dies; False when it came to its end before."""
        self.start(death)
        status = self.ended()
        if (self.folder / restore_worker.REACHED).exists():
            assert status == -signal.SIGKILL
            return True
        assert status == 0
        return False

    def finish(self) -> None:
        """Another process brings it to its end."""
        assert not self.died("never")

    def check(self, writers: Writers) -> None:
        """Nothing acknowledged is missing, and nothing is left over."""
        scene, rescue = self.scene, self.folder / ".taly" / "rescue"
        self.seen.append(writers)
        for one in self.seen:
            assert one.missing(scene.stage.url, rescue) == [], self.run
        receipt = json.loads((self.folder / f"{self.run}.receipt").read_text("utf-8"))
        asides = {one.run: one.name for one in put_aside(scene.stage.target)}
        assert asides[self.run] == receipt["put-aside"]
        assert scene.names() == sorted([DATABASE, *asides.values()])
        assert open_bundle(rescue, self.run, "database").manifest.state == "done"
        for database in (DATABASE, receipt["put-aside"]):
            with psycopg.connect(scene.url_of(database)) as connection:
                assert connection.execute(OURS).fetchall() == [], database
        for run in asides.keys() - {self.run}:
            forget(scene.stage.target, run)


@pytest.fixture
def play(scene: Scene) -> Iterator[Play]:
    made = scene.stage.checkpoint("template")
    assert scene.stage.deploy().code == "ok"
    one = Play(scene, scene.stage.after(made.name))
    yield one
    one.close()


def test_killed_at_every_kind_of_note_and_resumed(play: Play) -> None:
    """One run: each process gets one phase further than the one before it."""
    play.next()
    with writing(play.scene.stage.url) as writers:
        writers.wait_for(20)
        phases = 1
        while play.died(f"say:{phases}"):
            phases += 1
        writers.wait_for(10)
    assert phases > 10
    play.check(writers)


def test_killed_at_the_worst_instants_and_at_random_over_twenty_runs(play: Play) -> None:
    random, usual_s = Random(7), 1.0
    for _ in range(RUNS):
        play.next()
        with writing(play.scene.stage.url, seed=play.number) as writers:
            writers.wait_for(10)
            if play.number <= len(POINTS):
                assert play.died(POINTS[play.number - 1])
            else:
                process = play.start()
                time.sleep(random.uniform(0.05, usual_s))  # the instant itself is left to chance
                with suppress(ProcessLookupError):  # it had ended already
                    os.kill(process, signal.SIGKILL)
                play.ended()
            began = time.monotonic()
            play.finish()
            usual_s = time.monotonic() - began
            writers.wait_for(5)
        play.check(writers)
