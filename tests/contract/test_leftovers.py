"""What a killed taly left on the server is found by its name, and what a run still needs is not."""

from pathlib import Path

from tests.contract.checkpoint_stage import Stage

from taly.database.connection import target_of
from taly.database.leftovers import left_over
from taly.database.restore.names import aside_name, side_name


def test_side_databases_of_runs_that_are_over_are_left_over(
    tmp_path: Path, postgres_url: str
) -> None:
    stage = Stage(tmp_path, postgres_url)
    target = target_of({}, {"DATABASE_URL": postgres_url})
    name = target.place.rpartition("/")[2]
    long = side_name("a" * 60, "run-1bbbbb")
    made = [side_name(name, "run-1aaaaa"), long, aside_name(name, "run-1ccccc"), "tally_side"]
    try:
        for one in made:
            stage.run(f'CREATE DATABASE "{one}"')
        assert set(left_over(target, "")) >= set(made[:2])
        assert not set(left_over(target, "")) & set(made[2:])
        assert made[0] not in left_over(target, "run-1aaaaa")
        assert long in left_over(target, "run-1aaaaa")
    finally:
        for one in made:
            stage.run(f'DROP DATABASE IF EXISTS "{one}"')
