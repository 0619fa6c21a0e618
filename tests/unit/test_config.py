"""taly.toml: what is accepted, and that every mistake is named at once."""

from pathlib import Path

import pytest

from taly.config import find_config, load_config
from taly.errors import UsageError
from taly.planning.carry import read_hints

GOOD = """
environment = "production"

[components.database]
provider = "postgres"
migrations = "backend/prisma/migrations"

[components.backend]
provider = "apprunner"
service = "taly-backend"
region = "eu-central-1"
after = ["database"]

[components.backend.health]
url = "https://api.taly.example/health"
expect = { status = "ok", version = "{commit}" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "taly.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_config(write(folder, text))
    assert caught.value.hint
    return caught.value.message


def test_a_good_file_becomes_an_environment(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    backend = config.environment.component("backend")
    assert config.environment.name == "production"
    assert backend.after == ("database",)
    assert backend.health is not None
    assert backend.health.expect == {"status": "ok", "version": "{commit}"}
    assert backend.settings == {"service": "taly-backend", "region": "eu-central-1"}


def test_paths_start_at_the_file_not_at_the_present_folder(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    migrations = config.environment.component("database").settings["migrations"]
    assert migrations == str(tmp_path / "backend/prisma/migrations")
    assert Path(config.store).is_relative_to(tmp_path)


def test_all_mistakes_are_named_at_once_with_their_key_path(tmp_path: Path) -> None:
    text = """
environment = "pro duction"
colour = "red"
[policy]
on_failure = "panic"
[components.backend]
provider = "apprunner"
regin = "eu-central-1"
after = ["databse"]
[components.backend.health]
url = "ftp://x"
successes = 0
[components.web]
site = "x"
"""
    message = refused(tmp_path, text)
    for part in (
        "environment:",
        "colour: there is no such setting",
        "policy.on_failure:",
        "components.backend.service: missing",
        "components.backend.regin: there is no such setting",
        "components.backend.after: there is no component 'databse'",
        "components.backend.health.url:",
        "components.backend.health.successes:",
        "components.web.provider: missing",
    ):
        assert part in message
    assert "9 mistakes" in message


def test_a_circle_of_after_is_a_mistake(tmp_path: Path) -> None:
    text = """
environment = "production"
[components.a]
provider = "netlify"
site = "a"
after = ["b"]
[components.b]
provider = "netlify"
site = "b"
after = ["a"]
"""
    assert "a circle between a, b" in refused(tmp_path, text)


def test_not_toml_says_where(tmp_path: Path) -> None:
    assert "line 2" in refused(tmp_path, 'environment = "p"\ncolour = red\n')


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "environment: missing" in refused(tmp_path, "")


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    below = tmp_path / "apps" / "web"
    below.mkdir(parents=True)
    assert find_config(below) == path


def test_no_file_names_the_command_that_helps(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_config(tmp_path)
    assert caught.value.reference == "config-missing"
    assert "taly init" in caught.value.hint


def test_a_setting_of_a_plug_in_is_passed_on(tmp_path: Path) -> None:
    text = """
environment = "production"
[components.edge]
provider = "fastly"
service_id = "abc"
"""
    component = load_config(write(tmp_path, text)).environment.component("edge")
    assert component.settings == {"service_id": "abc"}


DATABASE = '[components.database]\nprovider = "postgres"\n'
HINTS = """
[components.database.columns."bookings.status"]
enum_map = { waitlisted = "requested" }

[components.database.columns."public.bookings.price"]
transform = "price_minor / 10"
"""


def test_the_folders_of_a_database_start_at_the_file_too(tmp_path: Path) -> None:
    text = f'environment = "p"\n{DATABASE}rescue = "../kept"\n'
    settings = load_config(write(tmp_path, text)).environment.component("database").settings
    assert settings["checkpoints"] == str(tmp_path / ".taly/checkpoints")
    assert settings["rescue"] == str(tmp_path / "../kept")
    assert settings["hints"] == ""
    assert all(isinstance(value, str) for value in settings.values())


def test_hints_for_columns_are_handed_on_as_the_carry_over_reads_them(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, f'environment = "p"\n{DATABASE}{HINTS}'))
    found = read_hints(config.environment.component("database").settings["hints"])
    by_column = {hint.column: hint for hint in found}
    assert by_column["bookings.status"].enum_map == (("waitlisted", "requested"),)
    assert by_column["public.bookings.price"].transform == "price_minor / 10"


def test_mistakes_in_hints_are_named_with_their_place(tmp_path: Path) -> None:
    text = (
        f'environment = "p"\n{DATABASE}'
        '[components.database.columns."price"]\nfill = "0"\n'
        '[components.database.columns."bookings.price"]\ntransfrom = "0"\n'
        '[components.database.columns."bookings.room"]\nfill = 0\n'
    )
    message = refused(tmp_path, text)
    assert "components.database.columns.bookings.price.transfrom: there is no such" in message
    assert "components.database.columns.bookings.room.fill" in message
    assert "components.database.columns.price" in message


def test_a_team_s_bucket_is_taken_with_its_prefix(tmp_path: Path) -> None:
    for place in ("s3://my-team", "s3://my-team/taly", "s3://my.team-1/a/b_c"):
        config = load_config(
            write(tmp_path, f'shared = "{place}"\nshared_region = "eu-west-1"\n{GOOD}')
        )
        assert (config.shared, config.shared_region) == (place, "eu-west-1")
        assert Path(config.store).is_relative_to(tmp_path), "each machine keeps its own store"
    assert load_config(write(tmp_path, GOOD)).shared == ""


@pytest.mark.parametrize(
    "place",
    [
        "my-team",
        "s3://",
        "s3://My_Team",
        "s3://team/",
        "s3://team//a",
        "s3://team/a b",
        "gs://team",
    ],
)
def test_what_is_no_bucket_is_a_mistake(tmp_path: Path, place: str) -> None:
    message = refused(tmp_path, f'shared = "{place}"\n{GOOD}')
    assert "shared: s3://bucket or s3://bucket/prefix" in message


@pytest.mark.parametrize("store", ['"postgresql://ops/taly"', '{ env = "STORE" }'])
def test_a_store_that_all_reach_and_a_bucket_are_one_too_many(tmp_path: Path, store: str) -> None:
    message = refused(tmp_path, f'shared = "s3://team"\nstore = {store}\n{GOOD}')
    assert "shared: all of the team reach `store` already" in message
