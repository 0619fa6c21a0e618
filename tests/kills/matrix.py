"""The loops that kill: at each boundary once, and at random moments."""

import random
import time
from collections.abc import Callable

from tests.kills.boundaries import Boundary
from tests.kills.stage import Stage, named
from tests.kills.warm import Taly, without_dbos

Cell = tuple[str, str]
"""(side, event of a step): one boundary of one step."""
REPEATED = ("lease-taken", "step-progressed")
"""Events whose number depends on timing: one kill for each kind, not for each step. Nor is there
one for each step within a transaction: what it writes there is the same for all."""
MOMENT_S = 0.35
"""Real seconds within which a process is killed at random, from its first event on."""


def cells_of(boundary: Boundary) -> set[Cell]:
    """What a death at this boundary would try out."""
    side, events, _ = boundary
    return {
        (side, one.partition(" ")[0] if side == "within" or one.startswith(REPEATED) else one)
        for one in events
    }


def killed_at_each_boundary(stage: Stage, struck: set[Cell]) -> int:
    """One run, in which each process dies at the first boundary that nobody died at before.

    Ends when a process reaches the end; the number of kills. `struck` grows.
    """
    before, deaths, run = stage.world.last_call(), 0, ""
    while True:
        command = ("resume", run) if run else stage.command()
        process = stage.start(*command, waits=True, tweak=without_dbos)
        while (boundary := process.boundary()) is not None:
            run = run or _stored(boundary)
            if fresh := cells_of(boundary) - struck:
                struck |= fresh
                assert process.kill()
                deaths += 1
                break
            process.go_on()
        else:
            ended = process.ended()
            assert ended.code == 0 or "run-finished" in ended.err, ended
            run = run or named(ended.err)
            break
    stage.tally.kills += deaths
    stage.close(run, before)
    return deaths


def killed_at_random(
    stage: Stage, dice: random.Random, kills: int, meanwhile: Callable[[], None] | None = None
) -> int:
    """One run, killed at so many random moments, or fewer when it is quicker; the kills."""
    before, deaths, run = stage.world.last_call(), 0, ""
    while deaths < kills:
        process = stage.start(*(("resume", run) if run else stage.command()))
        run = _begun(process) or run
        if not run:
            continue
        time.sleep(dice.uniform(0, MOMENT_S))
        if not process.kill():
            break
        deaths += 1
        if meanwhile is not None:
            meanwhile()
    stage.tally.kills += deaths
    stage.close(run, before)
    return deaths


def _stored(boundary: Boundary) -> str:
    """The run, if its first event stands by now: within its transaction there is none yet."""
    side, _, run = boundary
    return "" if side == "within" else run


def _begun(process: Taly) -> str:
    """The run, once the first event of this process is written; empty: it ended before."""
    while (boundary := process.boundary()) is not None:
        if run := _stored(boundary):
            return run
    return ""
