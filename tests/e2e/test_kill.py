"""kill -9 of the real process at random moments; `taly resume` goes on, and writes nothing twice.

TALY_TEST_SEED=<the number that a failure prints> repeats the moments.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from taly.errors import ExitCode
from tests.e2e.bookings import counted
from tests.e2e.conftest import Sandbox
from tests.e2e.killing import Victim
from tests.e2e.test_rollback import body

SEED = int(os.environ.get("TALY_TEST_SEED") or random.SystemRandom().randrange(10**6))
SPEED = 200.0
"""An App Runner update takes 1.5 s: time enough to be killed while it is under way."""
SPAN_S = 1.0
"""Real seconds within which a process is killed, from when it names its run."""
PREPARING = {"CloudFormation.CreateChangeSet", "CloudFormation.DeleteChangeSet"}
"""A change set changes nothing until it is executed; one that a dead process left is removed."""
KILLS = 20
KILLS_A_RUN = 5
DATABASE_KILLS = 8
DATABASE_SPAN_S = 2.0
RESTORE_SPAN_S = 0.6
"""A restore and its carry-over take that many real seconds, whatever the clock's speed."""
TORN = 3
"""Kills, at least, that strike while the database goes back."""
LOST_REPLIES = (
    {"kind": "lose-reply", "component": "backend", "call": "UpdateService"},
    {"kind": "lose-reply", "component": "payments", "call": "/restore"},
    {"kind": "lose-reply", "component": "dashboard", "call": "/rollback/"},
    {"kind": "lose-reply", "component": "taly-send-email", "call": "ExecuteChangeSet"},
)

pytestmark = pytest.mark.xdist_group("kill")
Writes = Counter[tuple[str, str]]


def last_call(box: Sandbox) -> int:
    return max((call["number"] for call in box.control.calls()), default=0)


def writes_since(box: Sandbox, call: int) -> Writes:
    """(component, call) → how often it changed something; what only prepares is left out."""
    writes = box.control.writes(call)
    return Counter(
        (one["component"], one["target"]) for one in writes if one["target"] not in PREPARING
    )


def begun(box: Sandbox, run: str, *command: str) -> Victim:
    """A process that goes on with the run; with a new one where there is none yet."""
    if run:
        return Victim(box.start_taly("resume", run), resumes=True)
    return Victim(box.start_taly(*command, "--yes"), resumes=False)


def battered(box: Sandbox, dice: random.Random, kills: int, *command: str) -> tuple[str, int]:
    """Start a run, kill it and each who resumes it, until it is over: its id, the kills."""
    run, struck, was_alive = "", 0, True
    while was_alive and struck < kills:
        victim = begun(box, run, *command)
        was_alive = victim.killed_in_run(dice.uniform(0, SPAN_S))
        run, struck = named(victim, run), struck + was_alive
    return run, struck


def torn(box: Sandbox, dice: random.Random, kills: int, *command: str) -> tuple[str, int, int]:
    """The same, every other kill aimed at the restore: the run, the kills, those that hit it."""
    run, struck, hit, was_alive = "", 0, 0, True
    while was_alive and struck < kills:
        victim = begun(box, run, *command)
        if struck % 2:
            was_alive = victim.killed_in_run(dice.uniform(0, DATABASE_SPAN_S))
        else:
            was_alive = victim.killed_in_restore(dice.uniform(0, RESTORE_SPAN_S))
        run, struck = named(victim, run), struck + was_alive
        hit += was_alive and victim.restores
    return run, struck, hit


def named(victim: Victim, run: str) -> str:
    """The run that it worked on; one that resumed it when it was over names none."""
    assert victim.run or "run-finished" in "".join(victim.said), victim.said
    return victim.run or run


def finished(box: Sandbox, run: str) -> dict[str, Any]:
    """Resume it, unless it ended in the instant of the kill; it has succeeded wholly."""
    done = box.taly("resume", run, "--json")
    if "run-finished" in done.stderr:
        done = box.taly("show", run, "--json")
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    shown = body(done)
    assert shown["outcome"] == "succeeded", shown
    assert {step["phase"] for step in shown["steps"]} == {"done"}, shown
    return shown


def live(box: Sandbox) -> tuple[str, bool]:
    status = body(box.taly("status", "--json"))
    return status["live_release"], all(
        one["in_release"] and not one["in_flight"] for one in status["components"].values()
    )


def unkilled(box: Sandbox, *command: str) -> tuple[str, Writes]:
    before = last_call(box)
    done = box.taly(*command, "--yes", "--json")
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    return body(done)["run"], writes_since(box, before)


def test_killed_at_random_moments_twenty_times_every_run_ends_and_nothing_is_written_twice(
    sandbox: Callable[..., Sandbox],
) -> None:
    """Must show 3: rollback and undo in turn, each killed several times, in one environment."""
    print(f"TALY_TEST_SEED={SEED}")
    box, dice = sandbox("taly-small", SPEED), random.Random(SEED)
    run, there = unkilled(box, "rollback", "--to", "R3")
    _, back = unkilled(box, "undo", run)
    assert set(there.values()) == set(back.values()) == {1}, (there, back)
    kills, turn, forth = 0, 0, False
    while kills < KILLS:
        turn += 1
        assert turn <= KILLS, f"only {kills} kills struck a living process"
        forth = not forth
        before = last_call(box)
        command = ("rollback", "--to", "R3") if forth else ("undo", run)
        run, struck = battered(box, dice, KILLS_A_RUN, *command)
        kills += struck
        finished(box, run)
        assert writes_since(box, before) == (there if forth else back), (turn, struck)
    assert live(box) == ("R3" if forth else "R4", True), turn


def test_killed_while_the_database_goes_back_no_booking_is_lost(
    sandbox: Callable[..., Sandbox],
) -> None:
    """Customers book all the time; killed in the restore, in the carry-over and in the swap."""
    print(f"TALY_TEST_SEED={SEED}")
    box, dice = sandbox("taly-small-back", SPEED), random.Random(SEED)
    run, kills, hits, forth = "", 0, 0, False
    while kills < DATABASE_KILLS or hits < TORN:
        forth = not forth
        before = last_call(box)
        command = ("rollback", "--to", "R3") if forth else ("undo", run)
        run, struck, hit = torn(box, dice, KILLS_A_RUN, *command)
        kills, hits = kills + struck, hits + hit
        assert kills < KILLS, f"only {hits} of {kills} kills struck while the database went back"
        finished(box, run)
        assert set(writes_since(box, before).values()) == {1}
        assert live(box) == ("R3" if forth else "R4", True)
        found = counted(box)
        assert found.whole, found


def test_killed_while_answers_are_lost_still_one_write_a_change(
    sandbox: Callable[..., Sandbox],
) -> None:
    """The write was applied, its answer never came, and then the process died."""
    print(f"TALY_TEST_SEED={SEED}")
    box, dice = sandbox("taly-small", SPEED), random.Random(SEED)
    box.control.faults(*LOST_REPLIES)
    run, _ = battered(box, dice, 2, "rollback", "--to", "R3")
    finished(box, run)
    assert box.control.faults() == [], "every answer was lost that should be"
    writes = writes_since(box, 0)
    assert set(writes.values()) == {1}, writes
    assert {component for component, _ in writes} == {
        *("backend", "payments", "dashboard", "taly-send-email")
    }
    assert live(box) == ("R3", True)
