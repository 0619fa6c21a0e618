"""The simulator's second mode: the real providers against the emulated vendors, in virtual time.

`taly-simulate --vendors real` plays more of them.
"""

import re
import socket
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pytest

from taly.simulate.batch import found_after, simulate
from taly.simulate.faults import KINDS
from taly.simulate.planted import OF_PROVIDERS
from taly.simulate.real.planted import BUGS
from taly.simulate.report import vendor_lines
from taly.simulate.runner import one

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"
SEEDS = 30

pytestmark = pytest.mark.xdist_group("simulator")


def test_no_invariant_is_violated_by_the_real_providers() -> None:
    summary = simulate(range(SEEDS), jobs=2, real=True)
    assert summary.failing == {}, "replay: taly-simulate --vendors real --seed N --trace"
    assert summary.seeds == SEEDS
    struck = {(vendor, kind) for vendor, kind, _ in summary.coverage.by_vendor}
    assert {vendor for vendor, _ in struck} == {"apprunner", "netlify", "vercel"}
    lines = list(vendor_lines(summary.coverage))
    assert len(lines) == 3 * (2 + len(KINDS["write"]) + len(KINDS["read"]))
    assert max(len(line) for line in lines) <= 80


def test_a_seed_in_which_something_was_published_over_a_restore_after_the_end() -> None:
    """The simulator's own mistake: it had done that itself."""
    assert one(588, real=True).violations == []


def test_a_seed_is_the_same_whatever_was_played_before_it() -> None:
    """The clients of AWS are shared by all seeds: nothing of one may reach the next."""
    first = [one(seed, real=True).trace for seed in range(4)]
    again = [one(seed, real=True).trace for seed in reversed(range(4))]
    assert first == again[::-1]
    assert all(trace != other for trace, other in pairwise(first))


def test_nothing_is_sent_over_a_socket() -> None:
    with patch.object(socket.socket, "connect", side_effect=AssertionError("a connection")):
        assert one(1, real=True).violations == []


def test_a_bug_of_a_provider_is_found() -> None:
    assert found_after("apprunner-trusts-reply", range(10), real=True) is not None


def test_the_table_of_providers_bugs_is_the_simulators() -> None:
    rows = re.findall(
        r"^\| `((?:apprunner|netlify|vercel)-[a-z-]+)` \| (.+?) \| (\d+) \|",
        PAGE.read_text("utf-8"),
        re.M,
    )
    assert [(name, what) for name, what, _ in rows] == [(n, bug[0]) for n, bug in BUGS.items()]
    assert tuple(BUGS) == OF_PROVIDERS
