"""One seed played, and a failing one made as small as it gets."""

from collections.abc import Sequence
from unittest.mock import patch

from taly.engine.journal import Heartbeat
from taly.simulate.faults import Fault
from taly.simulate.story import Simulation, Verdict

LISTEN_S = 5.0
"""A simulated process listens for a cancel this often: half a second would only cost time."""


def one(seed: int, *, smallest: bool = False) -> Verdict:
    """What comes of this seed; with `smallest`, without the faults that a failure does not need."""
    verdict = _play(seed, None)
    return _shrunk(verdict) if smallest and verdict.violations else verdict


def _play(seed: int, faults: Sequence[Fault] | None) -> Verdict:
    with patch.object(Heartbeat, "LISTEN_S", LISTEN_S):
        return Simulation(seed, faults).run()


def _shrunk(verdict: Verdict) -> Verdict:
    """The same seed with as few faults as still make it fail, left out one at a time."""
    smallest, again = verdict, True
    while again:
        again = False
        for fault in smallest.faults:
            fewer = [one for one in smallest.faults if one is not fault]
            tried = _play(verdict.seed, fewer)
            if tried.violations:
                smallest, again = tried, True
                break
    return smallest
