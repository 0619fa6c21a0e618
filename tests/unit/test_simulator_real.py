"""The simulator's second mode: the real providers against the emulated vendors, in virtual time.

`taly-simulate --vendors real` plays more of them.
"""

import re
import socket
from collections.abc import Iterable
from itertools import islice, pairwise
from pathlib import Path
from unittest.mock import patch

import pytest

from taly.engine.reconcile import _Reconciliation
from taly.model.ports import Unclear
from taly.simulate import main as program
from taly.simulate.batch import Summary, _played, fixed_and_fresh, found_after, simulate
from taly.simulate.faults import KINDS
from taly.simulate.planted import OF_PROVIDERS
from taly.simulate.real.parts import Site
from taly.simulate.real.planted import BUGS
from taly.simulate.real.story import RealSimulation
from taly.simulate.report import vendor_lines
from taly.simulate.runner import one
from taly.simulate.world import PERSON

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"
SEEDS = 30

pytestmark = pytest.mark.xdist_group("simulator")


def test_no_invariant_is_violated_by_the_real_providers() -> None:
    summary = simulate(range(SEEDS), jobs=2, real=True)
    assert summary.failing == {}, "replay: taly-simulate --vendors real --seed N --trace"
    assert summary.seeds == SEEDS
    struck = {(vendor, kind) for vendor, kind, _ in summary.coverage.by_vendor}
    assert {vendor for vendor, _ in struck} == {"apprunner", "netlify", "serverless", "vercel"}
    lines = list(vendor_lines(summary.coverage))
    assert len(lines) == 4 * (2 + len(KINDS["write"]) + len(KINDS["read"]))
    assert max(len(line) for line in lines) <= 80


def test_a_seed_in_which_something_was_published_over_a_restore_after_the_end() -> None:
    """The simulator's own mistake: it had done that itself."""
    assert one(588, real=True).violations == []


def test_a_seed_in_which_nobody_can_know_which_image_serves() -> None:
    """A push moves the tag while an undo deploys it: unknown within two minutes, then certain."""
    verdict = one(1154, real=True)
    assert verdict.violations == []
    said = next(line for line in verdict.trace if "stored" in line and "not known which" in line)
    assert "it is not known which image serves: sha256:" in said
    assert float(said.split()[0]) < 120
    undo = next(line.split()[3] for line in verdict.trace if line.endswith("(undo)"))
    sent = [line for line in verdict.trace if f" sends {undo}:roll-back:c0 " in line]
    assert len(sent) == 2, "once more, by digest, when somebody had resumed it"
    assert verdict.outcomes == ["rollback succeeded", "undo succeeded"]


def test_the_end_of_what_nobody_can_know_is_looked_at() -> None:
    """What may be sent again there, may not be sent by a process that nobody asked."""

    def may_act(self: _Reconciliation, seen: object) -> bool:
        return isinstance(seen, Unclear) or real(self, seen)

    real = _Reconciliation._may_act
    with patch.object(_Reconciliation, "_may_act", may_act):
        assert "changed c0 twice" in " ".join(one(1154, real=True).violations)


@pytest.mark.parametrize(
    ("seed", "what"),
    [
        (6062, "an image that was gone, and a success that the emulator pretended"),
        (6850, "what the simulator published over a restore had been asked for once"),
        (7546, "the same"),
    ],
)
def test_a_seed_that_showed_a_mistake_of_the_sandbox_or_simulator(seed: int, what: str) -> None:
    assert one(seed, real=True).violations == [], what


def test_a_person_may_publish_by_hand_after_the_verification() -> None:
    """Netlify shows no operation of it; it is somebody's wish all the same (seed 1189)."""
    for seed in range(0, 40, 2):
        simulation = RealSimulation(seed)
        simulation._close()
        sites = [one for one in simulation.platform.parts.values() if isinstance(one, Site)]
        if sites:
            break
    site = sites[0]
    assert site.hand(site.others()[0])
    assert site.operations[-1].by == PERSON


def test_make_simulate_plays_both_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    def played(seeds: Iterable[int], *, plant: str, real: bool, **_: float) -> Summary:
        return _played([*islice(seeds, 6 if real else 2)], plant, real)

    with patch.object(program, "simulate", played), pytest.raises(SystemExit) as end:
        program.main(["--seeds", "2", "--seconds", "9", "--real-seconds", "1"])
    out = capsys.readouterr().out
    assert end.value.code == 0, out
    generic, _, real = out.partition("The real providers")
    assert generic.count("seeds in") == real.count("seeds in") == 1
    assert "\napprunner " in real or "\nvercel " in real, "the table of a vendor"
    assert [*islice(fixed_and_fresh(5000), 21)] == [*range(10), *range(5000, 5010), 10]


def test_a_seed_is_the_same_whatever_was_played_before_it() -> None:
    """The clients of AWS are shared by all seeds: nothing of one may reach the next."""
    first = [one(seed, real=True).trace for seed in range(4)]
    again = [one(seed, real=True).trace for seed in reversed(range(4))]
    assert first == again[::-1]
    assert all(trace != other for trace, other in pairwise(first))


def test_nothing_is_sent_over_a_socket() -> None:
    with patch.object(socket.socket, "connect", side_effect=AssertionError("a connection")):
        assert one(1, real=True).violations == []


@pytest.mark.parametrize("name", sorted(BUGS))
def test_a_bug_of_a_provider_is_found(name: str) -> None:
    seed = counted()[name] - 1
    assert found_after(name, range(max(0, seed - 1), seed + 1), real=True) is not None


def test_the_table_of_providers_bugs_is_the_simulators() -> None:
    assert [(name, what) for name, what, _ in rows()] == [(n, bug[0]) for n, bug in BUGS.items()]
    assert tuple(BUGS) == OF_PROVIDERS


def rows() -> list[tuple[str, str, str]]:
    """The table of the documentation."""
    return re.findall(
        r"^\| `((?:apprunner|netlify|vercel|serverless)-[a-z-]+)` \| (.+?) \| (\d+) \|",
        PAGE.read_text("utf-8"),
        re.M,
    )


def counted() -> dict[str, int]:
    """How many seeds it took, from 0 on, by that table."""
    return {name: int(count) for name, _, count in rows()}
