"""Reading a checkout: each tool's files, and what cannot be used with its reason."""

import time
from pathlib import Path

import pytest
import yaml

from taly.app.checkout import scan
from taly.checkout import Found
from taly.providers.serverless import yaml_file
from taly.providers.serverless.checkout import resolve


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def only(root: Path, files: dict[str, str], stage: str = "prod") -> Found:
    put(root, files)
    (found,) = scan(root, stage=stage)
    return found


def test_serverless_yml_gives_service_stage_region_and_stack(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        {
            "functions/mail/serverless.yml": """
service: taly-send-email
provider:
  name: aws
  stage: ${opt:stage, 'dev'}
  region: ${env:AWS_REGION, 'eu-central-1'}
  stackName: ${self:service}-${sls:stage}
resources:
  Outputs:
    Url: !Sub "https://${AWS::Region}"
"""
        },
    )
    assert found.settings == {
        "service": "taly-send-email",
        "stage": "prod",
        "region": "eu-central-1",
        "stack": "taly-send-email-prod",
    }


def test_an_unresolvable_variable_is_left_out_not_guessed(tmp_path: Path) -> None:
    text = "service: mail\nprovider:\n  region: ${ssm:/region}\n"
    assert only(tmp_path, {"serverless.yml": text}).settings == {"service": "mail"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file is empty"),
        ("service: [", "cannot be read"),
        ("provider: aws\n", "it names no service"),
    ],
)
def test_a_serverless_yml_that_cannot_be_used_says_why(
    tmp_path: Path, text: str, reason: str
) -> None:
    assert reason in only(tmp_path, {"serverless.yml": text}).unusable


def test_a_serverless_program_is_not_run(tmp_path: Path) -> None:
    found = only(tmp_path, {"serverless.ts": "throw new Error('never run')"})
    assert "by hand" in found.unusable


def test_vercel_link_gives_project_and_team(tmp_path: Path) -> None:
    found = only(
        tmp_path, {"web/.vercel/project.json": '{"projectId": "prj_1", "orgId": "team_9"}'}
    )
    assert (found.name, found.settings) == ("web", {"project": "prj_1", "team": "team_9"})


def test_netlify_link_gives_the_site(tmp_path: Path) -> None:
    found = only(tmp_path, {"pay/.netlify/state.json": '{"siteId": "s-1"}'})
    assert (found.name, found.settings) == ("pay", {"site": "s-1"})


def test_prisma_gives_migrations_and_the_urls_variable(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        {
            "api/prisma/schema.prisma": 'datasource db {\n  url = env("PG_URL")\n}\n',
            "api/prisma/migrations/1_init/migration.sql": "SELECT 1;",
        },
    )
    assert found.settings == {"url_env": "PG_URL", "migrations": "api/prisma/migrations"}


def test_a_dockerfile_is_named_after_its_package(tmp_path: Path) -> None:
    found = only(tmp_path, {"api/Dockerfile": "", "api/package.json": '{"name": "@taly/backend"}'})
    assert (found.provider, found.name) == ("apprunner", "backend")


def test_what_is_installed_or_generated_is_not_read(tmp_path: Path) -> None:
    put(tmp_path, {"node_modules/x/serverless.yml": "service: x", "dist/Dockerfile": ""})
    assert scan(tmp_path, stage="") == []


def test_a_circle_of_variables_ends() -> None:
    document = {"a": "${self:b}", "b": "${self:a}"}
    assert "${" in resolve("${self:a}", document, "")


def test_yaml_s_values_are_what_stands_there_and_merged_keys_count(tmp_path: Path) -> None:
    text = """
defaults: &defaults
  region: eu-central-1
  stage: on
service: 0123
provider:
  <<: *defaults
  stackName: 2026-01-01
"""
    found = only(tmp_path, {"serverless.yml": text})
    assert found.name == "0123"
    assert found.settings == {
        "service": "0123",
        "stage": "on",
        "region": "eu-central-1",
        "stack": "2026-01-01",
    }


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: y}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS + "service: *a11\n", "more than 50000 values"),
        (MERGES + "service: {<<: *a11, name: m}\n", "more than 50000 values"),
        ("service: &a [*a]\n", "one that holds itself"),
        ("service: " + "[" * 3000, "nested too deeply"),
        ("service: " + "{a: " * 100_000, "larger than 256 kB"),
        ("service: " + "{a: " * 60_000, "nested too deeply"),
        ("- x\n" * 60_000, "more than 50000 values"),
        ("service: mail\n" + "#" * 256_000, "larger than 256 kB"),
        ("service: *nowhere\n", "cannot be read"),
        ("service: !!python/object/apply:os.system [true]\n", "cannot be read"),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("fast", [True, False])
def test_hostile_yaml_is_refused_at_once(
    tmp_path: Path, text: str, reason: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With libyaml and without."""
    if not fast:
        monkeypatch.setattr(yaml_file, "_Fast", yaml.SafeLoader)
    begun = time.process_time()
    assert reason in only(tmp_path, {"serverless.yml": text}).unusable
    assert time.process_time() - begun < 4


def test_a_number_too_long_to_be_printed_is_a_text(tmp_path: Path) -> None:
    for number in ("0x" + "f" * 6000, "1" + ":30" * 3000, "1" * 6000):
        text = f"service: m\nprovider: {{stage: {number}}}\n"
        assert only(tmp_path, {"serverless.yml": text}).settings["stage"] == number
