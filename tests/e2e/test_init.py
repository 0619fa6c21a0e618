"""`taly init` in a generated monorepo: ten components, one broken, one unknown."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def monorepo(root: Path, components: dict[str, Any], migrations: Path) -> None:
    """A checkout as the teams' tools leave it, for the components of a sandbox."""
    for name, settings in components.items():
        match settings["provider"]:
            case "serverless":
                text = f"service: {settings['service']}\nprovider:\n  name: aws\n"
                write(root / "functions" / name / "serverless.yml", text)
            case "vercel":
                link = {"projectId": settings["project"], "orgId": f"team_{settings['team']}"}
                write(root / "apps" / name / ".vercel" / "project.json", json.dumps(link))
            case "netlify":
                link = {"siteId": settings["site"]}
                write(root / "apps" / name / ".netlify" / "state.json", json.dumps(link))
            case "apprunner":
                write(root / "apps" / name / "Dockerfile", "FROM node:20\n")
    write(
        root / "apps/backend/prisma/schema.prisma",
        'datasource db {\n  provider = "postgresql"\n  url = env("DATABASE_URL")\n}\n',
    )
    for migration in sorted(migrations.glob("*/migration.sql")):
        target = root / "apps/backend/prisma/migrations" / migration.parent.name / migration.name
        write(target, migration.read_text(encoding="utf-8"))
    write(root / "functions/broken/serverless.yml", "")
    write(root / "functions/unknown/serverless.yml", "service: nobody-deployed-this\n")


@pytest.fixture
def checkout(sandbox: Callable[..., Sandbox], tmp_path: Path) -> tuple[Sandbox, Path]:
    box = sandbox("taly-kept", 200.0)
    components = tomllib.loads((box.directory / "taly.toml").read_text())["components"]
    root = tmp_path / "checkout"
    monorepo(root, components, box.directory / "prisma" / "migrations")
    return box, root


def test_init_writes_a_file_with_which_status_works(checkout: tuple[Sandbox, Path]) -> None:
    """Must show 10."""
    box, root = checkout
    done = box.taly("init", "--no-input", "--json", "--output", str(root / "taly.toml"), str(root))
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert len(said["components"]) == 10
    assert said["not_observed"] == {}
    left_out = {item["what"]: item["why"] for item in said["left_out"]}
    assert left_out["functions/broken/serverless.yml"] == "the file is empty"
    assert any("nobody-deployed-this" in what for what in left_out)
    status = box.taly("status", "--json", "--config", str(root / "taly.toml"))
    assert status.returncode == ExitCode.OK, status.stderr
    components = json.loads(status.stdout)["components"]
    assert all(one["observed"] for one in components.values()), components
    assert box.control.writes() == []


def test_what_init_wrote_can_plan_the_same_rollback(checkout: tuple[Sandbox, Path]) -> None:
    box, root = checkout
    config = str(root / "taly.toml")
    box.taly("init", "--no-input", "--output", config, str(root))
    done = box.taly("plan", "--to", "R3", "--json", "--config", config)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    going = [
        one
        for one in json.loads(done.stdout)["plan"]["components"]
        if one["disposition"] == "roll-back"
    ]
    assert len(going) == 9


def test_init_does_not_replace_a_file(checkout: tuple[Sandbox, Path]) -> None:
    box, root = checkout
    write(root / "taly.toml", "mine")
    done = box.taly("init", "--no-input", "--output", str(root / "taly.toml"), str(root))
    assert done.returncode == ExitCode.USAGE
    assert (root / "taly.toml").read_text() == "mine"


def test_init_where_nothing_is_says_so(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    box = sandbox("taly-small", 200.0, shared=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = box.taly("init", "--no-input", "--output", str(empty / "taly.toml"), str(empty))
    assert done.returncode == ExitCode.USAGE
    assert "init-found-nothing" in done.stderr
