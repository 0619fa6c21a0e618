"""What is printed about databases: for someone tired, within eighty columns."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO

from database_world import differences, outlook, plan_of
from factories import environment, finished_run, ran
from rich.console import Console

from taly.cli.output import THEME, size
from taly.cli.plan_database import databases
from taly.cli.plan_view import print_plan, step_name
from taly.cli.run_databases import database_lines
from taly.cli.run_view import TELL_EVERY_S, PlainView
from taly.model.environment import Component
from taly.model.events import Recorded, StepActed, StepProgressed
from taly.model.plan import DatabaseOutlook, DatabaseVerdict, Plan, TableCount
from taly.model.run import Run, StepPhase
from taly.planning.planner import PlanOptions

DAY = 24 * 60.0
DB = replace(ran("db", (0, "m1"), (DAY, "m2")), auto_deploy=None)
API = ran("api", (1, "a1"), (DAY + 1, "a2"))
PLATFORM = environment(
    Component(name="db", provider="fake"),
    Component(name="api", provider="fake", after=("db",)),
)
ALL = ("keep", "revert", "restore")
COUNTS = (
    TableCount(table="public.bookings", written=1204, exact=True, rescued=19, why="status is new"),
    TableCount(table="public.visits_with_a_rather_long_name", written=2_000_000, exact=False),
)


def plan(seen: DatabaseOutlook, **options: object) -> Plan:
    found = {"db": differences(seen)}
    return plan_of(PLATFORM, [DB, API], found, options=PlanOptions(**options))


def printed(made: Plan) -> str:
    console = Console(width=80, theme=THEME, record=True, file=StringIO())
    print_plan(console, made, made.findings)
    return console.export_text()


def rich(verdict: DatabaseVerdict) -> DatabaseOutlook:
    """An outlook with everything in it."""
    made = plan(outlook(verdict, *ALL)).made_at
    return replace(
        outlook(verdict, *ALL, conversions=("public.bookings.price: text → integer",)),
        counts=COUNTS,
        pause_s=1.0,
        backup_at=made - timedelta(minutes=47),
    )


class TestPlan:
    def test_everything_stands_within_eighty_columns(self) -> None:
        text = printed(plan(rich("restore"), accept_conversions=True))
        assert max(map(len, text.splitlines())) <= 80
        for said in (
            "db: restore",
            "restore works",
            "· a pause",
            "the old code breaks",
            "v7, 47 min old",
            "writers wait about 1 s",
            "public.bookings: 1,204 rows since, 19 to the rescue bundle: status is new",
            "~2,000,000 rows since",
            "~ is an estimate",
            "public.bookings.price: text → integer",
        ):
            assert " ".join(said.split()) in " ".join(text.split()), said

    def test_another_way_than_the_best_is_said_in_the_headline(self) -> None:
        text = printed(plan(outlook("revert", *ALL), database="restore"))
        assert "db: restore, as you asked for; revert suits best" in text

    def test_a_way_that_was_asked_for_in_vain(self) -> None:
        text = printed(plan(outlook("revert", "keep", "revert"), database="restore"))
        assert "db: revert suits best, and is not what was asked for" in text
        assert "cannot: restore lacks something" in text

    def test_no_way_at_all(self) -> None:
        assert "db: restore is needed, and cannot be done" in printed(
            plan(outlook("restore", "keep"))
        )

    def test_a_platform_without_a_database_has_no_block(self) -> None:
        made = plan(outlook("revert", *ALL))
        parts = tuple(replace(part, database=None) for part in made.components)
        assert databases(replace(made, components=parts)) is None

    def test_a_revert_is_called_by_its_migration(self) -> None:
        made = plan(outlook("revert", *ALL))
        step = made.step("revert:db:two")
        named = replace(step, address={**step.address, "migration": "20250407140000_price"})
        assert step_name(named) == "revert price"


class TestRun:
    def lines(self, verdict: DatabaseVerdict, receipt: dict[str, str]) -> list[str]:
        made = plan(outlook(verdict, *ALL))
        run = finished_run(made, "run-7")
        steps = {
            id_: replace(step, attempt=replace(step.attempt, receipt=receipt))
            if step.attempt and ":db" in id_
            else step
            for id_, step in run.steps.items()
        }
        return [text.plain for text in database_lines(replace(run, steps=steps))]

    def test_a_restore_says_what_became_of_everything_and_what_to_type(self) -> None:
        receipt = {
            "carried": "1204", "rescued": "19", "deleted": "1", "pause_s": "0.32",
            "put-aside": "app_taly_before_run-7", "bytes": "2300000000",
        }  # fmt: skip
        assert self.lines("restore", receipt) == [
            "db: restored",
            "  · 1,204 rows carried over",
            "  · 1 row deleted since stay deleted",
            "  · 19 rows to the rescue bundle",
            "    look at them: taly rescue show run-7",
            "  · writers waited 0.32 s",
            "  · the database that was live is put aside: app_taly_before_run-7, 2.3 GB",
            "    when you are sure: taly forget run-7",
        ]

    def test_a_revert_names_each_migration(self) -> None:
        assert self.lines("revert", {"rescued": "0", "put-back": "3"}) == [
            "db: two reverted",
            "  · 3 rows put back",
            "db: one reverted",
            "  · 3 rows put back",
        ]

    def test_a_run_without_databases_says_nothing_of_them(self) -> None:
        made = plan(outlook("keep", *ALL), database="keep")
        assert list(database_lines(finished_run(made))) == []

    def test_a_step_that_is_not_done_is_not_told_as_done(self) -> None:
        made = plan(outlook("restore", *ALL))
        run = Run(id="run-7", plan=made, steps=finished_run(made).steps)
        waiting = {id_: replace(one, phase=StepPhase.WAITING) for id_, one in run.steps.items()}
        assert list(database_lines(replace(run, steps=waiting))) == []


class TestProgress:
    def test_a_log_has_a_line_now_and_then_and_not_every_second(self) -> None:
        made = plan(outlook("restore", *ALL))
        console = Console(width=100, record=True, file=StringIO())
        view = PlainView(made, console)
        for second in range(31):
            event = StepProgressed(
                step="restore:db", note=f"{second} MB of 31, 5 s left", fraction=second / 31
            )
            at = made.made_at + timedelta(seconds=second)
            view.on_event(Recorded(seq=second + 1, at=at, fence=1, event=event))
        lines = console.export_text().splitlines()
        assert len(lines) == 1 + 30 // TELL_EVERY_S
        assert lines[1].endswith("restore db: 10 MB of 31, 5 s left (32%)")

    def test_what_has_no_fraction_is_always_told(self) -> None:
        made = plan(outlook("restore", *ALL))
        console = Console(width=100, record=True, file=StringIO())
        view = PlainView(made, console)
        for number, note in enumerate(("writes wait", "swap")):
            event = StepProgressed(step="restore:db", note=note)
            view.on_event(Recorded(seq=number + 1, at=made.made_at, fence=1, event=event))
        view.on_event(Recorded(seq=9, at=made.made_at, fence=1, event=StepActed(step="restore:db")))
        assert len(console.export_text().splitlines()) == 2


def test_sizes_are_told_in_their_largest_sensible_unit() -> None:
    told = [size(one) for one in (None, 7, 8_027_495, 2_300_000_000)]
    assert told == ["of unknown size", "7 bytes", "8 MB", "2.3 GB"]
