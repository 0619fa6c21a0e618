"""A platform with a database whose steps are those of the real provider's shape."""

from factories import T0, at, fake_steps, releases, snapshot

from taly.model.environment import Environment
from taly.model.plan import (
    DatabaseOutlook,
    DatabaseVerdict,
    DatabaseWay,
    Forecast,
    Migration,
    Plan,
    Step,
    StepKind,
)
from taly.model.ports import Differences
from taly.model.release import Deployment, Observed
from taly.planning.planner import PlanOptions, make_plan

COSTS = {"keep": "the old code breaks", "revert": "tables are locked", "restore": "a pause"}


def steps_of(before: Observed, target: Deployment) -> tuple[Step, ...]:
    """Both ways for a component called db…; roll back and freeze for any other."""
    if not before.component.startswith("db") or before.live.id == target.id:
        return fake_steps(before, target)
    name = before.component
    middle = f"{before.live.id}-half"
    address = {**before.address, "rescue": "r"}
    newest = database_step(
        StepKind.REVERT, name, "two", before.live.id, middle, {**address, "migration": "two"}
    )
    oldest = database_step(
        StepKind.REVERT, name, "one", middle, target.id, {**address, "migration": "one"}, newest.id
    )
    restore = database_step(StepKind.RESTORE, name, "", before.live.id, target.id, address)
    return (newest, oldest, restore)


def database_step(
    kind: StepKind,
    name: str,
    migration: str,
    was: str,
    wanted: str,
    address: dict[str, str],
    *needs: str,
) -> Step:
    """A step of a database, as the real provider makes it."""
    return Step(
        id=":".join(part for part in (kind.value, name, migration) if part),
        kind=kind,
        component=name,
        provider="fake",
        title=f"{kind.value} {name} {migration}",
        address=address,
        before={"deployment": was},
        wanted={"deployment": wanted},
        needs=needs,
        forecast=Forecast(seconds=30.0, basis="a guess"),
    )


def outlook(
    verdict: DatabaseVerdict, *possible: str, conversions: tuple[str, ...] = ()
) -> DatabaseOutlook:
    """An outlook in which these ways are possible."""
    return DatabaseOutlook(
        verdict=verdict,
        ways=tuple(
            DatabaseWay(
                verdict=way,
                possible=way in possible,
                why=f"{way} {'works' if way in possible else 'lacks something'}",
                costs=(COSTS[way],),
            )
            for way in ("keep", "revert", "restore")
        ),
        checkpoint="v7" if "restore" in possible else "",
        backup_at=at(0) if "restore" in possible else None,
        conversions=conversions,
    )


def differences(seen: DatabaseOutlook | None, verdict: DatabaseVerdict = "revert") -> Differences:
    """One migration that does not suit, unless the outlook says keep."""
    migration = Migration(
        name="2026_two", verdict=verdict, reasons=("it renames a column",), undo="automatic"
    )
    return Differences(migrations=(migration,), database=seen)


def plan_of(
    env: Environment,
    seen: list[Observed],
    found: dict[str, Differences],
    *,
    to: str = "R1",
    options: PlanOptions | None = None,
) -> Plan:
    """The plan for that platform."""
    known = releases(*seen, of=env)
    release = known.named(to)
    assert release is not None, T0
    return make_plan(
        env,
        snapshot(*seen),
        release,
        known.live,
        "because",
        steps_of,
        found,
        options or PlanOptions(),
        releases=known.all,
    )
