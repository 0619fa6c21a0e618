"""The simulated vendors: one set of traits each, shaped after the real ones."""

from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """How a vendor behaves."""

    name: str
    settle_s: float
    """What its provider says of the worst lag."""
    lag_s: float
    """The worst lag that its reads really have; less than `settle_s`."""
    takes_s: tuple[float, float] = (0.0, 0.0)
    """How long an operation takes: shortest and longest."""
    shows_operations: bool = True
    """Whether a read tells what is in flight."""
    refuses_while_busy: bool = True
    """Whether it turns a write away while an operation is in flight."""
    operations_lag: float = 1.0
    """How much of the lag holds for what is in flight: 0 = its end is seen before its effect."""
    has_auto: bool = True
    """Whether a push goes live by itself."""
    auto_in_update: bool = False
    """Whether rolling back sets auto-deploy in the same write."""
    auto_at_end: bool = True
    """Whether a push that is being built looks at auto-deploy once more when it is done."""
    cancels: bool = True
    """Whether an operation in flight can be cancelled."""
    tokens: bool = False
    """Whether it knows a request again by its client token."""
    long_writes: bool = False
    """Whether a write takes minutes within one call, and changes the world in one instant."""


KINDS: tuple[Traits, ...] = (
    # App Runner: one update for image and auto-deploy, minutes long; never two at a time.
    Traits(
        name="service", settle_s=5.0, lag_s=4.0, takes_s=(20.0, 120.0), auto_in_update=True,
        auto_at_end=False, cancels=False,
    ),
    # Netlify: publishes at once or a little later, shows no operation, takes every write.
    Traits(
        name="site", settle_s=2.0, lag_s=1.8, takes_s=(0.0, 8.0), shows_operations=False,
        refuses_while_busy=False,
    ),
    # Vercel: a job of seconds that also turns auto-assignment off.
    Traits(name="project", settle_s=3.0, lag_s=2.8, takes_s=(2.0, 20.0), auto_in_update=True),
    # CloudFormation: minutes, a client token, no pushes of its own.
    Traits(
        name="stack", settle_s=5.0, lag_s=3.0, takes_s=(15.0, 90.0), has_auto=False, cancels=False,
        tokens=True,
    ),
    # PostgreSQL: no lag; a write takes minutes and ends in one instant.
    Traits(
        name="database", settle_s=0.0, lag_s=0.0, has_auto=False, cancels=False, long_writes=True,
    ),
)  # fmt: skip


def draw_traits(random: Random) -> tuple[Traits, ...]:
    """The five vendors, each a little different in every seed."""
    return tuple(_varied(random, kind) for kind in KINDS)


def _varied(random: Random, kind: Traits) -> Traits:
    lag = kind.lag_s * random.choice((0.0, random.random(), 1.0, 1.0))
    short, long = kind.takes_s
    return replace(
        kind,
        lag_s=lag,
        takes_s=(short, random.uniform(short, long)),
        operations_lag=random.choice((0.0, 1.0)),
        refuses_while_busy=kind.refuses_while_busy and random.random() < 0.5,
    )
