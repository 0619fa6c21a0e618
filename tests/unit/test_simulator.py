"""The simulator: no violation on many seeds, every planted bug found, a seed always the same.

`make simulate` plays more of them; this is what every run of the tests can afford.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taly.simulate.batch import found_after, simulate
from taly.simulate.faults import ALL_KINDS, Fault
from taly.simulate.main import main
from taly.simulate.planted import BUGS, OF_PROVIDERS, planted
from taly.simulate.report import coverage_lines
from taly.simulate.runner import one

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"
FIXED, FRESH = 1000, 300
BUDGET = 1000
"""Seeds within which every planted bug is found."""

pytestmark = pytest.mark.xdist_group("simulator")


def first_seed(bug: str) -> int:
    found = found_after(bug, range(BUDGET))
    assert found is not None
    return found[0] - 1


def test_no_invariant_is_violated_on_the_fixed_seeds() -> None:
    summary = simulate(range(FIXED), jobs=2)
    assert summary.failing == {}, "replay: taly-simulate --seed N --trace"
    assert summary.seeds == FIXED
    struck = {kind for kind, _ in summary.coverage.hits}
    assert struck == set(ALL_KINDS), "every kind of fault strikes somewhere"


def test_a_seed_that_once_found_a_verification_that_was_too_early() -> None:
    assert simulate([1795456187054], jobs=1).failing == {}


def test_a_seed_whose_fault_waited_until_the_next_run() -> None:
    """The simulator's own mistake: it judged that run by the plan of the one before."""
    assert simulate([1795457728756], jobs=1).failing == {}


def test_no_invariant_is_violated_on_fresh_seeds() -> None:
    first = int(time.time()) * 1000
    assert simulate(range(first, first + FRESH), jobs=2).failing == {}, "replay: --seed N --trace"


@pytest.mark.parametrize("name", sorted(BUGS))
def test_every_planted_bug_is_found(name: str) -> None:
    found = found_after(name, range(BUDGET))
    assert found is not None, BUGS[name].what


def test_the_table_of_planted_bugs_is_the_simulators() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \| (\d+) \|", PAGE.read_text("utf-8"), re.M)
    rows = [row for row in rows if row[0] not in OF_PROVIDERS]
    assert [(name, what) for name, what, _ in rows] == [
        (name, bug.what) for name, bug in BUGS.items()
    ]
    assert all(1 <= int(count) <= BUDGET for _, _, count in rows)
    assert len(rows) >= 12


def test_a_planted_bug_is_gone_when_the_block_ends() -> None:
    seed = first_seed("failure-exits-0")
    with planted("failure-exits-0"):
        assert one(seed).violations
    assert not one(seed).violations


def test_a_seed_is_the_same_in_every_process() -> None:
    """Neither the hashes of texts nor the machine's clock has a say in it."""
    code = "\n".join(
        (
            "from taly.simulate.runner import one",
            "for seed in range(30):",
            " print(one(seed).trace)",
        )
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(traces) == 1
    assert traces.pop().count(b" stored ") > 300


def test_a_failing_seed_is_shown_with_only_the_faults_that_it_needs() -> None:
    seed = first_seed("vendor-only")
    with planted("vendor-only"):
        verdict = one(seed, smallest=True)
    assert verdict.violations
    assert [fault.kind for fault in verdict.faults] == ["shown-not-served"]


def test_the_command_says_what_failed_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    seed = str(first_seed("failure-exits-0"))
    with pytest.raises(SystemExit) as end:
        main(["--seed", seed, "--trace", "--plant", "failure-exits-0"])
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "VIOLATION (iv)" in out
    assert "starts run-" in out


def test_the_coverage_table_fits_80_columns() -> None:
    lines = list(coverage_lines(simulate(range(20), jobs=1).coverage))
    assert max(len(line) for line in lines) <= 80
    assert len(lines) == 1 + len(ALL_KINDS)


def test_a_fault_says_where_it_strikes() -> None:
    fault = Fault(point="write", kind="reply-lost", step="freeze", nth=2)
    assert str(fault) == "reply-lost at write 2 of freeze, 0.0 s"
