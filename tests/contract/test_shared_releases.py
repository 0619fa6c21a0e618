"""Names, records and marks of releases: the same on every machine."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from shared_machines import Machine, anna, machine, place, runner
from shared_stage import Memory, until
from tests.engine_world import NOON

from taly.engine.shared import SharedStore
from taly.engine.store import Marked, RecordedRelease, open_store
from taly.errors import OutcomeUnknown, UsageError
from taly.model.release import Mark

__all__ = ["anna", "machine", "place", "runner"]


def marked(content_id: str, mark: Mark = Mark.BAD) -> Marked:
    return Marked(content_id=content_id, mark=mark, why="payments fail", by="anna", at=NOON)


def recorded(content_id: str, at: datetime = NOON) -> RecordedRelease:
    return RecordedRelease(
        content_id=content_id,
        members={"backend": "d1"},
        commit="c0ffee",
        label="v1",
        at=at,
        by="ci",
    )


def test_names_are_the_same_everywhere_also_when_given_at_once(
    machine: Callable[[str], Machine],
) -> None:
    machines = [machine(f"m{number}") for number in range(4)]
    gate = threading.Barrier(4)

    def name(one: Machine) -> Sequence[Any]:
        mine = [f"own-{one.name}", "common"]
        gate.wait()
        given = one.store.name_releases("production", mine, {"common": {"backend": "d1"}})
        return [given[content_id] for content_id in mine]

    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(name, machines))
    assert len({common for _, common in given}) == 1
    names = [dict(machine("late").store.release_names("production"))] + [
        dict(one.store.name_releases("production", ["common"])) for one in machines
    ]
    assert sorted(names[0].values()) == ["R1", "R2", "R3", "R4", "R5"]
    assert {one["common"] for one in names} == {given[0][1]}
    assert machines[0].store.release_members("production")["common"] == {"backend": "d1"}


def test_marks_and_records_are_seen_by_all(anna: Machine, runner: Machine) -> None:
    anna.store.mark_release("production", marked("c1"))
    runner.store.record_release("production", recorded("c2"))
    anna.store.record_release("production", recorded("c1", NOON.replace(hour=11)))
    for one in (anna, runner):
        until(lambda one=one: len(one.store.recorded_releases("production")) == 2)
        assert one.store.marks("production") == {"c1": marked("c1")}
        assert [r.content_id for r in one.store.recorded_releases("production")] == ["c1", "c2"]
    runner.store.mark_release("production", marked("c1", Mark.GOOD))
    until(lambda: anna.store.marks("production")["c1"].mark is Mark.GOOD)


def test_the_first_machine_brings_what_it_knew(
    tmp_path: Path, machine: Callable[[str], Machine]
) -> None:
    before = open_store(tmp_path / "old" / "taly.db")
    before.name_releases("production", ["c1", "c2"], {"c2": {"backend": "d2"}})
    before.mark_release("production", marked("c1"))
    before.record_release("production", recorded("c2"))
    before.close()
    old, new = machine("old"), machine("new")
    assert old.store.name_releases("production", ["c3"]) == {"c3": "R3"}
    assert new.store.release_names("production") == {"c1": "R1", "c2": "R2", "c3": "R3"}
    assert new.store.marks("production") == {"c1": marked("c1")}
    assert new.store.recorded_releases("production") == [recorded("c2")]


def test_without_the_shared_place_names_are_read_and_none_is_given(
    anna: Machine, place: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna.store.name_releases("production", ["c1"])
    monkeypatch.setattr("taly.engine.shared.releases.FRESH_S", -1.0)
    place.down = True
    assert anna.store.name_releases("production", ["c1"]) == {"c1": "R1"}
    assert any("out of reach" in one for one in anna.notices)
    with pytest.raises(OutcomeUnknown):
        anna.store.name_releases("production", ["c2"])
    with pytest.raises(OutcomeUnknown):
        anna.store.mark_release("production", marked("c1"))
    place.down = False
    assert anna.store.marks("production") == {}, "nor was it marked on this machine alone"


@pytest.mark.parametrize(
    ("key", "ask"),
    [
        ("releases.json", lambda store: store.name_releases("production", ["c1"])),
        ("runs/run-000001/progress.jsonl", lambda store: store.runs("production")),
    ],
)
def test_what_a_newer_taly_wrote_is_refused_not_overwritten(
    anna: Machine, place: Memory, key: str, ask: Callable[[SharedStore], object]
) -> None:
    newer = b'{"format_version": 99}'
    place.overwrite(f"production/{key}", newer)
    with pytest.raises(UsageError) as refusal:
        ask(anna.store)
    assert refusal.value.reference == "shared-unreadable"
    kept = place.get(f"production/{key}")
    assert kept is not None
    assert kept.body == newer
