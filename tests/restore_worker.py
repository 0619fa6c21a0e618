"""Processes of their own that take a database back or forth, so that tests can kill them.

python -m tests.restore_worker

Each line of its standard input is a JSON list: STEP.json, URL, RUN, NOW, DEATH. For each a process
is forked, which saves it the imports; two lines of standard output tell its number, and how it
ended. DEATH: `say:3` = SIGKILL at the third kind of progress note; `before:swap._commit` or
`after:swap._commit` = right there; `never`.
"""

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from taly.database.restore import restore
from taly.model.plan import Step, StepKind
from tests.contract.restore_stage import SteppingClock

REACHED = "reached"
"""A file beside the step's: written right before it dies, so that a test knows it did there."""


def die(beside: Path) -> None:
    """As the power does it."""
    (beside / REACHED).touch()
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Dying:
    """A `say` that kills at the n-th kind of note."""

    number: int
    beside: Path

    def __post_init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, note: str, fraction: float | None = None) -> None:
        kind = re.sub(r"[\d,.]+", "N", re.sub(r"public\.\w+", "T", note))
        if kind not in self.heard:
            self.heard.append(kind)
            if len(self.heard) == self.number:
                die(self.beside)


def lay(where: str, when: str, beside: Path) -> None:
    """Make a function of the restore deadly."""
    module_name, function = where.split(".")
    module = import_module(f"taly.database.restore.{module_name}")
    real: Callable[..., Any] = getattr(module, function)

    def deadly(*given: Any, **named: Any) -> Any:
        if when == "before":
            die(beside)
        found = real(*given, **named)
        die(beside)
        return found

    setattr(module, function, deadly)


def work(file: str, url: str, run: str, now: str, death: str) -> None:
    """Do the step; the receipt is written beside it."""
    path = Path(file)
    body = json.loads(path.read_text("utf-8"))
    step = Step(**{**body, "kind": StepKind(body["kind"])})
    when, _, where = death.partition(":")
    say = Dying(int(where) if when == "say" else 0, path.parent)
    if when in ("before", "after"):
        lay(where, when, path.parent)
    receipt = restore(
        step,
        f"{run}:{step.id}",
        environ={"DATABASE_URL": url},
        clock=SteppingClock(datetime.fromisoformat(now)),
        say=say,
    )
    (path.parent / f"{run}.receipt").write_text(json.dumps(dict(receipt)), "utf-8")


def serve() -> None:
    """One process after the other."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            try:
                work(*json.loads(line))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
