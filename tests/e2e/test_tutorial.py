"""The tutorial, typed line by line; and the scenario of the how-to page on rehearsals."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from taly.sandbox.scenario_file import parse
from tests.e2e.conftest import Sandbox

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = (DOCS / "tutorial" / "first-rollback.md").read_text(encoding="utf-8")
ASKS = {"rollback", "undo", "unfreeze"}
"""Commands that ask; a test has nobody to answer."""


def sections() -> dict[int, list[list[str]]]:
    """Number of the section → its taly commands, those that start and end the sandbox left out."""
    found: dict[int, list[list[str]]] = {}
    for number, text in re.findall(
        r"^## (\d)\.(.*?)(?=^## |\Z)", TUTORIAL, re.MULTILINE | re.DOTALL
    ):
        lines = re.findall(r"^\$ taly (.+)$", text, re.MULTILINE)
        typed = [shlex.split(line) for line in lines]
        found[int(number)] = [
            one for one in typed if one[:2] not in (["sandbox", "up"], ["sandbox", "down"])
        ]
    return found


def plain(text: str) -> str:
    """A text without its folds, and with its figures and names of plans made alike."""
    named = re.sub(r"plan [0-9a-f]{8}", "plan 0", " ".join(text.split()))
    return re.sub(r"\d[\d,]*", "0", named)


def transcript() -> list[str]:
    """What the README shows of `taly plan`, in the pieces between its omissions."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^\$ taly plan\n(production: .*?)^next: ", text, re.M | re.S)
    return [plain(part) for part in shown.split("…") if part.strip()]


def play(box: Sandbox, commands: list[list[str]]) -> str:
    """Type them; what the last one printed."""
    said = ""
    for words in commands:
        run = (
            json.loads(box.taly("runs", "--json").stdout)["runs"][0]["id"] if "RUN" in words else ""
        )
        typed = [run if word == "RUN" else word for word in words]
        done = box.real_taly(*typed, "--yes") if words[0] in ASKS else box.taly(*typed)
        assert done.returncode == 0, f"{typed}: {done.stdout}{done.stderr}"
        said = done.stdout
    return said


def test_the_tutorial_says_what_happens(sandbox: Callable[..., Sandbox]) -> None:
    box = sandbox("taly", 200.0)
    typed = sections()
    assert list(typed) == [1, 2, 3, 4, 5, 6, 7, 8]
    seen = play(box, typed[2])
    assert "live: R4" in seen
    assert seen.count("HTTP 500") == 4
    assert "last good: R3" in play(box, typed[3])
    plan = play(box, typed[4])
    assert "database: restore" in plan
    assert "rows since" in plan
    assert "Configuration that differs" in plan
    assert not [part for part in transcript() if part not in plain(plan)]
    after = play(box, typed[5])
    assert "live: R3" in after
    assert after.count(" held ") == 4
    assert after.count(" ok") == 4
    undone = play(box, typed[6])
    assert "live: R4" in undone
    assert " held " not in undone
    again = play(box, typed[7])
    assert "live: R3" in again
    assert " held " not in again
    assert again.count(" ok") == 4


def test_the_scenario_of_the_rehearsal_is_one() -> None:
    text = (DOCS / "how-to" / "rehearse.md").read_text(encoding="utf-8")
    (scenario,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert parse(scenario, where="the page").name == "monday"
