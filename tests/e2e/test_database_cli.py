"""`taly database`: status, verdict and diff, through the real command line."""

import json
from collections.abc import Callable
from typing import Any

from taly.errors import ExitCode
from tests.e2e.conftest import Sandbox
from tests.e2e.test_json_docs import documented, fits, paths


def ask(box: Sandbox, *arguments: str) -> dict[str, Any]:
    """The JSON of a command, every key of which is documented with its type."""
    done = box.taly("database", *arguments, "--json")
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    known = documented()[answer["kind"]]
    for path, value in paths(answer, known):
        assert path in known, path
        assert fits(value, known[path]), f"{path}: {value!r}"
    return answer


def test_the_database_alone(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("breaking-migration", 200.0, shared=True)

    status = ask(box, "status")
    assert {one["state"] for one in status["migrations"]} == {"applied"}
    assert not status["left_over"]

    quick = ask(box, "verdict")
    proved = ask(box, "verdict", "--prove")
    assert quick["release"] == proved["release"]
    last = proved["migrations"][-1]
    assert last["verdict"] != "keep"
    assert last["down"]["proven"] is True
    assert quick["migrations"][-1]["down"]["proven"] is None

    shown = box.taly("database", "verdict", "--prove", "--sql")
    assert shown.returncode == ExitCode.OK
    assert "proven on an empty copy of the schema" in shown.stdout
    assert all(f"{statement};" in shown.stdout for statement in last["down"]["statements"])
    assert not ask(box, "status")["left_over"]


def test_the_schema_against_a_checkpoint(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("breaking-migration", 200.0, shared=True)
    made = box.taly("checkpoint", "--backup", "none", "--json")
    assert made.returncode == ExitCode.OK, made.stderr
    name = json.loads(made.stdout)["checkpoint"]["name"]
    assert ask(box, "diff", name)["differences"] == []

    [file] = box.directory.rglob(f"{name}/catalog.json")
    saved = json.loads(file.read_text(encoding="utf-8"))
    saved["catalog"]["tables"].pop()
    other = box.directory / "other.json"
    other.write_text(json.dumps(saved), encoding="utf-8")
    differs = box.taly("database", "diff", "other.json")
    assert differs.returncode == ExitCode.VERIFICATION_FAILED
    assert "was not there before" in differs.stdout
    assert [one["kind"] for one in ask(box, "diff", "other.json")["differences"]] == ["added"]


def test_what_cannot_be_compared(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("breaking-migration", 200.0, shared=True)
    for arguments in (("diff", "nowhere"), ("status", "--component", "backend")):
        done = box.taly("database", *arguments)
        assert done.returncode in (ExitCode.USAGE, ExitCode.REFUSED), done.stdout
        assert "hint:" in done.stderr
