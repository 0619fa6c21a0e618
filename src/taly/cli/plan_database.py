"""What a plan says about a database: what becomes of it, what else could, what is at stake."""

from collections.abc import Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from taly.cli.output import span
from taly.model.plan import (
    ComponentPlan,
    DatabaseOutlook,
    DatabaseWay,
    Disposition,
    Plan,
    StepKind,
    TableCount,
)

STYLES = {"keep": "good", "revert": "warn", "restore": "bad"}
TAKEN = {StepKind.REVERT: "revert", StepKind.RESTORE: "restore"}
MAX_TABLES = 8
Row = tuple[Text, Text]


def databases(plan: Plan) -> RenderableType | None:
    """A block for each database whose schema differs; None when there is none."""
    blocks = [
        block(part.component, part.database, chosen(plan, part), plan.made_at)
        for part in plan.components
        if part.database is not None
    ]
    return Group(*blocks) if blocks else None


def chosen(plan: Plan, part: ComponentPlan) -> str:
    """The way that the plan takes; empty when it takes none."""
    if part.disposition is Disposition.KEPT:
        return "keep"
    kinds = [step.kind for step in plan.steps if step.component == part.component]
    return next((TAKEN[kind] for kind in kinds if kind in TAKEN), "")


def block(
    name: str, outlook: DatabaseOutlook, taken: str | None, now: datetime | None
) -> RenderableType:
    """The verdict first, then the alternatives, then what is at stake.

    `taken` is the way of a plan, empty where it has none; None where there is no plan.
    """
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(width=8, no_wrap=True)
    table.add_column()
    ways = sorted(outlook.ways, key=lambda way: way.verdict != (taken or outlook.verdict))
    for way in ways:
        for row in _way(way, outlook, taken or ""):
            table.add_row(*row)
    for row in (*_backup(outlook, now), *_counts(outlook), *_conversions(outlook)):
        table.add_row(*row)
    return Group(Text(f"{name}: ", style="name").append_text(_head(outlook, taken)), table)


def _head(outlook: DatabaseOutlook, taken: str | None) -> Text:
    best = outlook.verdict
    if taken:
        text = Text(taken, style=STYLES[taken])
        said = f", as you asked for; {best} suits best" if taken != best else ""
        return text.append(said, style="warn")
    if not any(way.possible and way.verdict == best for way in outlook.ways):
        return Text(f"{best} is needed, and cannot be done", style="bad")
    if taken is None:
        return Text(best, style=STYLES[best])
    return Text(f"{best} suits best, and is not what was asked for", style="bad")


def _way(way: DatabaseWay, outlook: DatabaseOutlook, taken: str) -> Iterator[Row]:
    first = way.verdict == (taken or outlook.verdict)
    style = STYLES[way.verdict] if first else "quiet"
    cannot = "" if way.possible else "cannot: "
    yield Text(way.verdict, style=style), Text(f"{cannot}{way.why}", style="" if first else "quiet")
    if way.possible:
        for cost in way.costs:
            yield Text(""), Text(f"· {cost}", style="quiet")


def _backup(outlook: DatabaseOutlook, now: datetime | None) -> Iterator[Row]:
    if outlook.checkpoint:
        age = ""
        if outlook.backup_at is not None and now is not None:
            old = span(max(0.0, (now - outlook.backup_at).total_seconds()))
            age = f", {old} old"
        elif outlook.backup_at is None:
            age = ", without a backup"
        yield Text("backup"), Text(f"{outlook.checkpoint}{age}")
    if outlook.pause_s is not None:
        yield Text("pause"), Text(f"writers wait about {span(outlook.pause_s)}")


def _counts(outlook: DatabaseOutlook) -> Iterator[Row]:
    shown = outlook.counts[:MAX_TABLES]
    for number, count in enumerate(shown):
        yield Text("" if number else "written"), _count(count)
    left = outlook.counts[MAX_TABLES:]
    if left:
        mark = "" if all(one.exact for one in left) else "~"
        rows = f"{mark}{sum(one.written for one in left):,}"
        yield Text(""), Text(f"{rows} rows in {len(left)} more tables", style="quiet")
    if any(not one.exact for one in outlook.counts):
        yield Text(""), Text("~ is an estimate: there was no time to count", style="quiet")


def _count(count: TableCount) -> Text:
    mark = "" if count.exact else "~"
    rows = "row" if count.written == 1 else "rows"
    text = Text(f"{count.table}: {mark}{count.written:,} {rows} since")
    if count.rescued:
        text.append(f", {count.rescued:,} to the rescue bundle: {count.why}", style="warn")
    return text


def _conversions(outlook: DatabaseOutlook) -> Iterator[Row]:
    for number, said in enumerate(outlook.conversions):
        yield Text("" if number else "reads", style="warn"), Text(said)
