"""Machines of a team, each with a store of its own, and one shared place between them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from shared_stage import Memory
from tests.engine_world import NOON, FakeVendor, plan, step

from taly.engine.owner import Owner
from taly.engine.runner import Engine
from taly.engine.shared import SharedStore
from taly.engine.store.sqlite import SqliteDatabase
from taly.model.events import RunFinished
from taly.model.plan import Plan

CHAIN = plan(step("a"), step("b", needs=("roll-back:a",)), step("c", needs=("roll-back:b",)))


@dataclass
class Machine:
    """One laptop or CI runner."""

    name: str
    folder: Path
    place: Memory
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = SharedStore(
            SqliteDatabase(self.folder / self.name / "taly.db"),
            self.place,
            "production",
            folder=self.folder / self.name / "shared",
            notice=self.notices.append,
        )
        self.owner = Owner(by=self.name, host=self.name, machine=self.name, pid=1, started="1")

    def engine(self, vendor: FakeVendor, lease_s: float = 20.0) -> Engine:
        return Engine(
            store=self.store,
            providers={"fake": vendor},
            clock=vendor.clock,
            owner=self.owner,
            lease_s=lease_s,
        )

    def begin(self, wanted: Plan = CHAIN, lease_s: float = 20.0) -> Any:
        return self.store.create_run(wanted, self.owner, at=NOON, version="1", lease_s=lease_s)

    def finish(self, lease: Any, after: int = 1) -> None:
        self.store.append(lease, [(NOON, RunFinished(outcome="succeeded"))], after=after)


@pytest.fixture
def place() -> Memory:
    return Memory()


@pytest.fixture
def machine(tmp_path: Path, place: Memory) -> Iterator[Callable[[str], Machine]]:
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(Machine(name, tmp_path, place))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def anna(machine: Callable[[str], Machine]) -> Machine:
    return machine("anna-laptop")


@pytest.fixture
def runner(machine: Callable[[str], Machine]) -> Machine:
    return machine("ci-runner-7")
