"""The platform of a seed: its components, their order, and what was released on them."""

from collections.abc import Callable, Mapping
from random import Random

from taly.model.environment import Component, Environment, HealthCheck
from taly.simulate.timeline import Timeline
from taly.simulate.traits import Traits
from taly.simulate.world import Deployed, Part, Platform, Values

DAY_S = 86400.0


Make = Callable[[str, str, tuple[str, ...]], Component]
"""(name, vendor, the components that come before it) → the component."""


def draw_environment(random: Random, vendors: tuple[str, ...]) -> Environment:
    """One to four components, deployed in an order in which some wait for others."""

    def make(name: str, vendor: str, after: tuple[str, ...]) -> Component:
        health = _health(random, name, vendor)
        return Component(name=name, provider=vendor, health=health, after=after)

    return draw_order(random, vendors, make)


def draw_order(random: Random, vendors: tuple[str, ...], make: Make) -> Environment:
    """One to four components of these vendors, as `make` makes them."""
    components: list[Component] = []
    for number in range(random.choice((1, 1, 2, 2, 3, 4))):
        name = f"c{number}"
        earlier = [one.name for one in components]
        after = tuple(random.sample(earlier, k=min(len(earlier), random.randint(0, 2))))
        vendor = random.choice(vendors)
        components.append(make(name, vendor, after))
    return Environment(name="production", components=tuple(components))


def _health(random: Random, name: str, vendor: str) -> HealthCheck | None:
    if vendor == "database" or random.random() < 0.15:
        return None
    return HealthCheck(
        url=f"http://{name}.app/", expect={"commit": "{commit}"}, successes=2, deadline_s=60.0
    )


def draw_platform(
    random: Random,
    timeline: Timeline,
    environment: Environment,
    traits: Mapping[str, Traits],
    note: Callable[[str], None],
) -> Platform:
    """Two or three releases lie behind it, the last of them bad, live for half an hour."""
    count = random.choice((2, 3))
    parts = []
    for component in environment.components:
        moved = [0, *(i for i in range(1, count) if i == count - 1 or random.random() < 0.6)]
        if len(moved) > 1 and random.random() < 0.1:
            moved.remove(count - 1)  # the bad release did not touch this one
        parts.append(_part(random, component.name, traits[component.provider], moved, count))
    return Platform(timeline, parts, note)


def _part(random: Random, name: str, traits: Traits, moved: list[int], count: int) -> Part:
    auto = {"auto_deploy": random.random() < 0.8} if traits.has_auto else {}
    deployments, states = [], []
    for i in moved:
        at = -(count - i) * DAY_S if i < count - 1 else -1800.0
        deployed = Deployed(id=f"{name}-d{i}", commit=f"{0xC0FFEE0000 + i:040x}", at=at)
        deployments.append(deployed)
        state: Values = {"deploy": deployed.id, **auto}
        states.append((at, state))
    if traits.long_writes:
        deployments.extend(
            [Deployed(id=f"{one.id}-half", commit="", at=one.at) for one in deployments]
        )
    return Part(
        name=name, traits=traits, deployments=deployments, states=states,
        lags=Random(f"{random.random()} {name}"),
    )  # fmt: skip
