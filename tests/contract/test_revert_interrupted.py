"""A revert that is cut short, at any moment and in any way, leaves all as it was."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.contract.revert_stage import RUN, Project
from tests.contract.test_revert_refusals import INIT, ONE, SCHEMA, Untouched, applied
from tests.lost_answer import losing_an_answer

from taly.clock import SystemClock
from taly.database.provider import PostgresProvider
from taly.errors import Interrupted, LeaseLost, VendorUnavailable
from taly.model.ports import Wanted


@pytest.fixture
def project(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migration(INIT, SCHEMA)
    assert made.deploy().code == "ok"
    return made


class When:
    """A `say` that does something at the first note that begins so."""

    def __init__(self, note: str, what: Callable[[], None]) -> None:
        self.note, self.what = note, what
        self.done = False

    def __call__(self, note: str, fraction: float | None = None) -> None:
        if not self.done and note.startswith(self.note):
            self.done = True
            self.what()


PHASES = (
    "waits for the tables",
    "looks at User",
    "saves Tag",
    "saves User",
    "DROP TABLE",
    "ALTER TABLE",
    "reads 0001",
    "puts User back",
    "compares User",
    "commits",
)


@pytest.mark.parametrize("error", [Interrupted, LeaseLost])
def test_told_to_stop_at_any_moment_leaves_all_as_it_was(
    project: Project, error: type[BaseException]
) -> None:
    applied(project)
    untouched = Untouched(project)

    def stop() -> None:
        if error is LeaseLost:
            raise LeaseLost
        raise Interrupted("told to stop", reference="step-cancelled")

    for phase in PHASES if error is Interrupted else ("saves Tag", "commits"):
        with pytest.raises(error):
            project.revert(ONE, say=When(phase, stop))
        untouched.check()
        assert not any((project.rescue / RUN).iterdir())
    project.revert(ONE)
    assert project.applied() == [INIT]


def test_a_connection_lost_in_any_phase_changes_nothing(project: Project) -> None:
    applied(project)
    untouched = Untouched(project)
    for phase in PHASES:
        with pytest.raises(VendorUnavailable):
            project.revert(ONE, say=When(phase, lambda: kill(project)))
        assert project.applied() == [INIT, ONE]
        if phase == "commits":
            # Whether it was committed was open for us: the bundle stays, complete.
            assert project.bundle(ONE).manifest.state == "prepared"
        else:
            untouched.check()
    project.revert(ONE)
    assert project.applied() == [INIT]
    assert project.bundle(ONE).manifest.state == "done"


def test_a_commit_whose_answer_is_lost_is_known_by_the_next_look(project: Project) -> None:
    """It was done, and nothing says so: taking it for undone would take it back a second time."""
    applied(project)
    server = urlsplit(project.url)
    assert server.hostname is not None
    assert server.port is not None
    with losing_an_answer((server.hostname, server.port)) as way:
        through = project.url.replace(f":{server.port}/", f":{way.port}/")
        place = project.target_for(through).place
        environ = {"DATABASE_URL": through}
        step = project.step(ONE, place=place)
        provider = PostgresProvider(environ, SystemClock())

        def arm() -> None:
            way.armed = True

        with pytest.raises(VendorUnavailable):
            provider.act(step, f"{RUN}:{step.id}", When("commits", arm))
        way.armed = False
        assert way.lost == 1
        assert project.applied() == [INIT]
        assert project.bundle(ONE).manifest.tables, "what was rescued stays, complete"
        seen = provider.probe(step, None)
        assert isinstance(seen, Wanted), seen
        assert [way.lost, project.rolled_back()] == [1, [ONE]]


def kill(project: Project) -> None:
    with psycopg.connect(project.url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'taly' AND datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )


KILLED = """
import os, signal, sys
from tests.contract.revert_stage import Project
from tests.contract.test_revert_interrupted import ONE, When
from pathlib import Path
class There(Project):
    def __post_init__(self):
        self.target = self.target_for(self.url)
say = When(sys.argv[3], lambda: os.kill(os.getpid(), signal.SIGKILL))
There(Path(sys.argv[1]), sys.argv[2]).revert(ONE, say=say)
"""


def test_killed_at_any_moment_leaves_all_or_nothing(project: Project) -> None:
    applied(project)
    untouched = Untouched(project)
    for phase in ("saves User", "commits"):
        command = [sys.executable, "-c", KILLED, str(project.folder), project.url, phase]
        done = subprocess.run(command, check=False, cwd=Path(__file__).parents[2])
        assert done.returncode == -9
        untouched.check(bundle=phase == "commits")
    project.revert(ONE)
    assert project.applied() == [INIT]
    assert [path.name for path in (project.rescue / RUN).iterdir()] == [
        project.bundle(ONE).path.name
    ]
