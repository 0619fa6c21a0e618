"""One seed played, and a failing one made as small as it gets."""

from collections.abc import Sequence
from unittest.mock import patch

from taly.engine.journal import Heartbeat
from taly.simulate.faults import Fault
from taly.simulate.story import Simulation, Verdict

LISTEN_S = 5.0
"""A simulated process listens for a cancel this often: half a second would only cost time."""


def one(seed: int, *, smallest: bool = False, real: bool = False) -> Verdict:
    """What comes of this seed; with `smallest`, without the faults that a failure does not need.

    `real`: the real providers are played, against the emulated vendors.
    """
    verdict = _play(seed, None, real)
    return _shrunk(verdict, real) if smallest and verdict.violations else verdict


def _play(seed: int, faults: Sequence[Fault] | None, real: bool) -> Verdict:
    kind = Simulation
    if real:
        from taly.simulate.real.story import RealSimulation  # half a second, for those who need it

        kind = RealSimulation
    with patch.object(Heartbeat, "LISTEN_S", LISTEN_S):
        return kind(seed, faults).run()


def _shrunk(verdict: Verdict, real: bool) -> Verdict:
    """The same seed with as few faults as still make it fail, left out one at a time."""
    smallest, again = verdict, True
    while again:
        again = False
        for fault in smallest.faults:
            fewer = [one for one in smallest.faults if one is not fault]
            tried = _play(verdict.seed, fewer, real)
            if tried.violations:
                smallest, again = tried, True
                break
    return smallest
