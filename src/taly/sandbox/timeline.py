"""What a scenario's entries mean in time: one list of happenings, in order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from taly.sandbox.emulator import Emulator
from taly.sandbox.scenario import DeployWhat, InFlightEntry, Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One deploy or console change of one component, at one instant."""

    at: datetime
    component: str
    what: str
    """In words, for `GET /_sandbox/state` and for errors."""
    do: Callable[[], None]


def past(scenario: Scenario, emulators: Mapping[str, Emulator], ready: datetime) -> list[Happening]:
    """Everything before `ready`, oldest first."""
    happenings = [
        *_changes(scenario, emulators, ready),
        *(
            happening
            for entry in scenario.deploys
            for happening in deploys(scenario, emulators, entry, ready + entry.at, entry.stagger)
        ),
    ]
    return sorted((one for one in happenings if one.at < ready), key=lambda one: one.at)


def under_way(
    scenario: Scenario, emulators: Mapping[str, Emulator], ready: datetime
) -> list[Happening]:
    """The deploys that have begun and not ended at `ready`, oldest first."""
    begun = [
        happening
        for entry in scenario.in_flight
        for happening in deploys(
            scenario, emulators, scenario.recalled(entry), _begin(entry, ready), timedelta(0)
        )
    ]
    return sorted(begun, key=lambda one: one.at)


def to_come(
    scenario: Scenario, emulators: Mapping[str, Emulator], ready: datetime
) -> list[Happening]:
    """Everything after `ready`, soonest first."""
    happenings = [
        *_changes(scenario, emulators, ready),
        *(
            happening
            for entry in scenario.pushes
            for happening in deploys(
                scenario, emulators, scenario.recalled(entry), ready + entry.after, entry.stagger
            )
        ),
    ]
    return sorted((one for one in happenings if one.at >= ready), key=lambda one: one.at)


def deploys(
    scenario: Scenario,
    emulators: Mapping[str, Emulator],
    what: DeployWhat,
    at: datetime,
    stagger: timedelta,
) -> Iterator[Happening]:
    """One happening a component, those that come after others later by `stagger` a step."""
    for wave, names in enumerate(scenario.waves(what)):
        for name in names:
            emulator = emulators[scenario.component(name).vendor]
            deploy = what.of(name)
            yield Happening(
                at=at + wave * stagger,
                component=name,
                what=f"deploy of {deploy.commit[:7]} to {name}",
                do=partial(emulator.deploy, deploy),
            )


def _changes(
    scenario: Scenario, emulators: Mapping[str, Emulator], ready: datetime
) -> Iterator[Happening]:
    for entry in scenario.changes:
        emulator = emulators[scenario.component(entry.component).vendor]
        yield Happening(
            at=ready + entry.at,
            component=entry.component,
            what=f"console change of {entry.component}: {entry.change.get('kind', '?')}",
            do=partial(emulator.change, entry.component, entry.change),
        )


def _begin(entry: InFlightEntry, ready: datetime) -> datetime:
    return min(ready, ready + entry.started)
