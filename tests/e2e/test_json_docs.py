"""docs/reference/json.md names every key that a command prints with its type, and no other."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taly.cli.demo import Claim, Stage, finish
from taly.model.check import Severity
from taly.model.plan import ConfigChangeKind, Disposition, StepKind
from taly.model.release import Confidence, Mark
from taly.model.run import StepPhase
from tests.e2e.conftest import Sandbox

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
SPEED = 200.0
COMMON = {"format_version": {"text"}, "kind": {"text"}}
TYPES = {str: "text", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
RARE = {
    "releases": {"unobserved[]", "releases[].ambiguous[]"},
    "plan": {
        "plan.components[].removals[]",
        "plan.components[].database.conversions[]",
        "plan.steps[].health.header.NAME",
    },
    "init": {"unreachable.NAME", "not_observed.NAME"},
}
"""Entries of lists and maps that are empty on the platforms below."""

Keys = dict[str, set[str]]


def documented() -> dict[str, Keys]:
    """Kind → key path → the types that it may have."""
    found: dict[str, Keys] = {}
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        kind, _, text = part.partition("\n")
        rows = re.findall(r"^\| `([^`]+)` \| ([a-z, ]+) \|", text, re.MULTILINE)
        keys = {path: set(re.split(r", | or ", types)) for path, types in rows}
        assert len(keys) == len(rows), f"{kind}: a key stands there twice"
        found[kind] = keys | COMMON
    return found


def paths(value: Any, known: Keys, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key path in a document with its value; keys that differ are `NAME`."""
    for key, inner in value.items():
        path = f"{prefix}NAME" if f"{prefix}NAME" in known else f"{prefix}{key}"
        yield path, inner
        if isinstance(inner, dict):
            yield from paths(inner, known, f"{path}.")
        for entry in inner if isinstance(inner, list) else ():
            if isinstance(entry, dict):
                yield from paths(entry, known, f"{path}[].")
            else:
                yield f"{path}[]", entry


def fits(value: Any, types: set[str]) -> bool:
    """Whether a value has one of the documented types."""
    if value is None:
        return "null" in types
    if isinstance(value, str) and "time" in types:
        return bool(TIME.fullmatch(value))
    return TYPES[type(value)] in types


def check(kind: str, *documents: dict[str, Any]) -> None:
    """What the documents print is what the page says."""
    known, seen = documented()[kind], set()
    for document in documents:
        assert document["kind"] == kind
        for path, value in paths(document, known):
            seen.add(path)
            assert path in known, f"{kind}: {path} is not documented"
            assert fits(value, known[path]), f"{kind}: {path} is {value!r}, not {known[path]}"
    assert known.keys() - seen <= RARE.get(kind, set()), f"{kind}: documented and never printed"


def ask(box: Sandbox, *arguments: str) -> dict[str, Any]:
    done = box.taly(*arguments, "--json")
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_what_only_reads(sandbox: Callable[..., Sandbox]) -> None:
    good, busy = sandbox("taly", SPEED, shared=True), sandbox("in-flight", 2.0)
    expired = sandbox("expired-image", SPEED)
    check(
        "status",
        json.loads(good.taly("status", "--json", VERCEL_TOKEN="").stdout),
        ask(busy, "status"),
        *ambiguous_and_kept(expired),
    )
    check("releases", ask(good, "releases"), ask(expired, "releases"))
    back = sandbox("taly-small-back", SPEED, shared=True)
    check("plan", ask(good, "plan"), ask(expired, "plan", "--to", "R3"), ask(back, "plan"))
    check("sandbox", ask(good, "sandbox", "status"))
    check("error", ask(good, "plan", "--to", "no-such-release"))


def ambiguous_and_kept(box: Sandbox) -> Iterator[dict[str, Any]]:
    """A function whose code was changed past its stack; then a rollback that keeps the database."""
    box.control.change("taly-send-email", kind="hotfix", commit="0ddba11")
    yield ask(box, "status")
    assert box.taly("rollback", "--to", "R2", "--yes").returncode == 0
    yield ask(box, "status")


def test_what_runs(sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    box = sandbox("taly-small", SPEED)
    run = ask(box, "rollback", "--yes")
    runs = ask(box, "runs")
    shown = ask(box, "show", run["run"])
    assert shown == run
    check("run", run, ask(box, "undo", run["run"], "--yes"), ask(box, "unfreeze", "--yes"))
    check("runs", runs)
    commit = ask(box, "releases")["releases"][-1]["commit"]
    check("record", ask(box, "record", "--commit", commit, "--label", "v4"))
    file = str(tmp_path / "taly.toml")
    check("init", ask(box, "init", "--no-input", "--output", file))


def test_what_the_demo_ends_with(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stage = Stage(directory=tmp_path, quiet=True)
    stage.claims.append(Claim(says="it holds", held=True, seen="seen"))
    stage.figures["seconds"] = 1.0
    assert finish(stage, True) == 0
    check("demo", json.loads(capsys.readouterr().out))


@pytest.mark.parametrize(
    "words", [StepKind, Disposition, ConfigChangeKind, StepPhase, Severity, Mark, Confidence]
)
def test_every_word_that_a_key_can_have_is_named(words: Any) -> None:
    assert not [word.value for word in words if f"`{word.value}`" not in PAGE]
