"""The simulator: no violation on many seeds, the same seed always the same."""

import pytest

from taly.simulate.batch import simulate
from taly.simulate.runner import one


def test_no_invariant_is_violated() -> None:
    summary = simulate(range(300), jobs=2)
    assert summary.failing == {}
    assert summary.seeds == 300


@pytest.mark.parametrize("seed", [16, 61, 216])
def test_a_seed_is_always_the_same(seed: int) -> None:
    assert one(seed).trace == one(seed).trace
