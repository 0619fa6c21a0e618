"""Each machine has an audit trail of its own, and every machine verifies all of them."""

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shared_machines import Machine, anna, machine, place, runner
from shared_stage import Memory
from tests.engine_world import NOON

from taly.app.audit import audited, audited_file, exported
from taly.cli import audit as commands
from taly.cli.main import run
from taly.engine.audit import Walked
from taly.engine.store import Marked
from taly.errors import OutcomeUnknown, UsageError
from taly.model.events import Act
from taly.model.release import Mark

__all__ = ["anna", "machine", "place", "runner"]


def at(one: Machine) -> Any:
    """As much of a context as the audit needs."""
    config = SimpleNamespace(shared="s3://team/taly")
    environment = SimpleNamespace(name="production")
    return SimpleNamespace(store=one.store, config=config, environment=environment)


def ran(one: Machine) -> str:
    """A run from its beginning to its end on that machine, and an act before it."""
    one.store.note("production", NOON, Act(kind="forgot", by=one.name, about={"run": "x"}))
    lease = one.begin()
    one.finish(lease)
    return str(lease.run_id)


def shared(one: Machine) -> dict[str, Walked]:
    """The shared trails as that machine verifies them, by whose they are."""
    return {each.machine: each for each in audited(at(one), ()).trails if each.trail}


def altered(place: Memory, key: str, change: Callable[[str], str]) -> None:
    (name,) = [name for name in place.keys("") if name.endswith(key)]
    stored = place.get(name)
    assert stored is not None
    body = stored.body.decode()
    assert change(body) != body
    place.overwrite(name, change(body).encode())


def test_every_machine_verifies_every_machines_trail(anna: Machine, runner: Machine) -> None:
    ran(anna)
    ran(runner)
    ran(anna)
    for one in (anna, runner):
        found = audited(at(one), ())
        assert found.is_intact
        assert not found.unproven
        there = shared(one)
        assert {name: (each.runs, each.acts, each.last) for name, each in there.items()} == {
            "anna-laptop": (2, 2, 6),
            "ci-runner-7": (1, 1, 3),
        }


WAYS = {
    "an act": ("000000001-000000003.jsonl", lambda text: text.replace("forgot", "fergot"), ""),
    "an event": ("000000001-000000003.jsonl", lambda text: text.replace("succee", "succea"), ""),
    "a line less": ("000000001-000000003.jsonl", lambda text: text.partition("\n")[2], ""),
    "no text": ("000000001-000000003.jsonl", lambda text: "\x00{", "export"),
    "a run's event": ("audit.jsonl", lambda text: text.replace('"succeeded"', '"failed"'), "run-"),
    "a run's author": (
        "audit.jsonl",
        lambda text: text.replace('"by_whom":"ci-runner-7"', '"by_whom":"anna"'),
        "first line",
    ),
    "a run's plan": ("audit.jsonl", lambda text: text.replace("roll-back:b", "roll-back:x"), ""),
    "a run that is none": ("audit.jsonl", lambda text: text[9:], "is no run of taly's"),
    "a run's last event": (
        "audit.jsonl",
        lambda text: "\n".join(text.splitlines()[:-1]),
        "its events are not those",
    ),
}


def test_what_others_ran_and_marked_does_not_belong_to_our_own_trail(
    anna: Machine, runner: Machine
) -> None:
    """Once every machine but the first said that its own store was altered."""
    ran(runner)
    marked = Marked(content_id="c1", mark=Mark.BAD, why="", by="ci", at=NOON)
    runner.store.mark_release("production", marked)
    ran(anna)
    assert anna.store.marks("production") == {"c1": marked}
    assert audited(at(anna), ()).is_intact


@pytest.mark.parametrize("what", WAYS)
def test_what_was_altered_in_the_bucket_is_found_on_any_machine(
    what: str, anna: Machine, runner: Machine, place: Memory
) -> None:
    ran(runner)
    key, change, says = WAYS[what]
    altered(place, key, change)
    for one in (anna, runner):
        found = audited(at(one), ())
        assert not found.is_intact
        (wrong,) = [each for each in found.trails if each.finding]
        assert wrong.finding is not None
        assert says in wrong.finding.says


def test_a_trail_that_was_removed_is_missed_by_its_runs(
    anna: Machine, runner: Machine, place: Memory
) -> None:
    ran(runner)
    for key in place.keys("production/trails/"):
        del place._objects[key]
    (wrong,) = [one for one in audited(at(anna), ()).trails if one.finding]
    assert wrong.finding is not None
    assert (wrong.finding.kind, wrong.finding.says) == ("missing", "it was removed")


def test_another_trail_in_its_place_does_not_begin_as_its_name_says(
    anna: Machine, runner: Machine, place: Memory
) -> None:
    ran(runner)
    ran(anna)
    keys = place.keys("production/trails/")
    bodies = [stored.body for key in keys if (stored := place.get(key)) is not None]
    for key, body in zip(keys, reversed(bodies), strict=True):
        place.overwrite(key, body)
    says = [one.finding.says for one in audited(at(anna), ()).trails if one.finding]
    assert says == ["it does not begin as its name says"] * 2


def test_a_store_whose_end_was_cut_off_is_found_by_what_it_had_told(
    anna: Machine, tmp_path: Path
) -> None:
    """Alone it could not be: nothing in the store says that there was more."""
    ran(anna)
    ran(anna)
    with sqlite3.connect(tmp_path / "anna-laptop" / "taly.db") as raw:
        raw.execute("delete from event where position > 3")
        raw.execute("delete from act where position > 3")
        raw.execute("delete from run where id = (select max(id) from run)")
        (chain,) = raw.execute("select chain from event where position = 3").fetchone()
        raw.execute("update chain_head set position = 3, chain = ?", (chain,))
    raw.close()
    local, there = audited(at(anna), ()).trails
    assert (local.finding, local.last) == (None, 3)
    assert there.finding is not None
    assert "is not what its own store has there" in there.finding.says


def test_what_could_not_be_seen_is_said_and_is_no_success(
    anna: Machine, place: Memory, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    ran(anna)
    place.down = True
    found = audited(at(anna), ())
    assert [one.finding for one in found.trails] == [None], "our own is verified"
    assert isinstance(found.unseen, OutcomeUnknown)
    monkeypatch.setattr(commands, "opened", lambda *_: at(anna))
    assert run(["audit", "verify"]) == 7
    said = capsys.readouterr()
    assert "production  intact" in said.out
    assert "other machines' audit trails were not verified" in " ".join(said.err.split())
    assert run(["audit", "verify", "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["unseen"]


def test_the_command_names_whose_trail_is_broken(
    anna: Machine, runner: Machine, place: Memory, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    ran(runner)
    monkeypatch.setattr(commands, "opened", lambda *_: at(anna))
    assert run(["audit", "verify"]) == 0
    assert "production  intact  as ci-runner-7 shared it" in capsys.readouterr().out
    altered(place, "000000001-000000003.jsonl", lambda text: text.replace("forgot", "fergot"))
    assert run(["audit", "verify"]) == 5
    assert "production, ci-runner-7's trail " in capsys.readouterr().err


def test_an_export_holds_all_machines_and_is_verified_offline(
    anna: Machine, runner: Machine, tmp_path: Path
) -> None:
    ran(anna)
    theirs = ran(runner)
    file = tmp_path / "audit.jsonl"
    whole = list(exported(at(anna)))
    file.write_text("\n".join(whole))
    assert len(whole) == 6
    found = audited_file(file, ())
    assert found.is_intact
    assert sorted(one.last for one in found.trails) == [3, 3]
    file.write_text("\n".join(whole).replace("succee", "succea", 1))
    assert not audited_file(file, ()).is_intact
    file.write_text("\n".join([whole[0], *whole[2:]]))
    assert not audited_file(file, ()).is_intact
    part = [json.loads(line) for line in exported(at(anna), run=theirs)]
    assert [(one["run"], one["seq"]) for one in part] == [(theirs, 1), (theirs, 2)]
    assert {one["host"] for one in part} == {"ci-runner-7"}


def test_a_run_elsewhere_that_is_not_over_is_refused_not_exported_as_nothing(
    anna: Machine, runner: Machine
) -> None:
    lease = runner.begin()
    runner.store.team().runs.tell(lease.run_id)
    with pytest.raises(UsageError) as refusal:
        exported(at(anna), run=lease.run_id)
    assert refusal.value.reference == "trail-not-shared"


def test_a_head_that_one_machine_kept_is_found_in_its_shared_trail(
    anna: Machine, runner: Machine
) -> None:
    ran(runner)
    head = runner.store.chain_head("production")
    assert head is not None
    assert audited(at(anna), (head.chain,)).is_intact
    assert not audited(at(anna), ("0" * 64,)).is_intact


def test_a_run_of_an_older_taly_is_named_as_proven_by_nothing(
    anna: Machine, runner: Machine, place: Memory
) -> None:
    theirs = ran(runner)
    altered(place, "audit.jsonl", lambda text: re.sub('"trail":"[0-9a-f]+"', '"trail":""', text))
    for key in place.keys("production/trails/"):
        del place._objects[key]
    found = audited(at(anna), ())
    assert found.unproven == [theirs]
