"""Reading a checkout: each tool's files, and what cannot be used with its reason."""

from pathlib import Path

import pytest

from taly.app.checkout import Found, resolve, scan


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
