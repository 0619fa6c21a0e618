"""A plan, drawn for someone tired: what changes, what is checked, how long it takes."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from taly.cli.output import WIDTH, clock_span, fit, hanging
from taly.cli.plan_database import databases
from taly.model.check import Finding, Severity
from taly.model.plan import ComponentPlan, Disposition, Plan, Step, StepKind
from taly.planning.forecast import Slot, schedule

NAME_WIDTH = 31
TIME_WIDTH = 7
MIGRATING = (StepKind.REVERT, StepKind.APPLY)
MAX_ROWS = 40
LABEL_WIDTH = 20

DISPOSITIONS = {
    Disposition.ROLL_BACK: ("→", "name"),
    Disposition.ALREADY_THERE: ("=", "good"),
    Disposition.KEPT: ("=", "good"),
    Disposition.SKIPPED: ("–", "quiet"),
    Disposition.REFUSED: ("×", "bad"),
}

SEVERITIES = {
    Severity.ERROR: ("×", "bad"),
    Severity.WARNING: ("!", "warn"),
    Severity.NOTE: ("·", "quiet"),
}


def print_plan(console: Console, plan: Plan, findings: tuple[Finding, ...]) -> None:
    """Print the whole plan."""
    console.print(headline(plan))
    console.print(Text(plan.why, style="quiet"))
    if plan.components:
        console.print()
        console.print(components_table(plan))
    for block in (migrations(plan), databases(plan), configuration(plan), removals(plan)):
        if block is not None:
            console.print()
            console.print(block)
    if plan.steps:
        console.print()
        console.print(gantt(plan, min(WIDTH, console.width)))
    if findings:
        console.print()
        for finding in ordered(findings):
            console.print(finding_lines(finding))


def headline(plan: Plan) -> Text:
    """`production: R4 → R3 · plan 3f9a1c0b`."""
    text = Text(plan.environment, style="name")
    match plan.purpose:
        case "rollback":
            text.append(f": {plan.from_release} → {plan.to_release}")
        case "undo":
            text.append(f": undo of {plan.to_release}")
        case "unfreeze":
            text.append(": auto-deploys as they were")
    text.append(f" · plan {plan.digest[:8]}", style="quiet")
    return text


def components_table(plan: Plan) -> Table:
    """One row a component: where it is, where it goes."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="quiet")
    table.add_column("", width=1)
    table.add_column("component", no_wrap=True, max_width=22)
    table.add_column("live now", no_wrap=True, max_width=LABEL_WIDTH)
    table.add_column("goes to", no_wrap=False)
    for component in plan.components[:MAX_ROWS]:
        sign, style = DISPOSITIONS[component.disposition]
        table.add_row(
            Text(sign, style=style),
            Text(component.component),
            Text(fit(component.from_label, LABEL_WIDTH)),
            Text(_destination(component), style=style if style != "name" else ""),
        )
    if (left := len(plan.components) - MAX_ROWS) > 0:
        table.add_row("", f"… and {left} more", "", "")
    return table


def _destination(component: ComponentPlan) -> str:
    if component.disposition is Disposition.ROLL_BACK:
        return component.to_label
    return component.why


def migrations(plan: Plan) -> RenderableType | None:
    """What each migration between the two releases means; None when there is none."""
    rows = [
        (migration.verdict, migration.name, reason)
        for component in plan.components
        for migration in component.migrations
        for reason in migration.reasons or ("",)
    ]
    if not rows:
        return None
    styles = {"keep": "good", "revert": "warn", "restore": "bad"}
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(width=8, no_wrap=True)
    table.add_column()
    for verdict, name, reason in rows:
        text = Text(name).append(f"  {reason}", style="quiet")
        table.add_row(Text(verdict, style=styles[verdict]), text)
    return Group(Text("Migrations since then", style="name"), table)


def configuration(plan: Plan) -> RenderableType | None:
    """Names whose values differ, never the values; None when none does."""
    lines = [
        hanging(
            Text(f"  {component.component} "),
            Text(
                ", ".join(f"{change.name} {change.kind.value}" for change in component.config),
                style="quiet",
            ),
        )
        for component in plan.components
        if component.config
    ]
    return Group(Text("Configuration that differs", style="name"), *lines) if lines else None


def removals(plan: Plan) -> RenderableType | None:
    """Resources that going back deletes; None when there is none."""
    lines = [
        Text(f"  {component.component}  {removal}", style="bad")
        for component in plan.components
        for removal in component.removals
    ]
    return Group(Text("Deleted by going back", style="bad"), *lines) if lines else None


def gantt(plan: Plan, columns: int = WIDTH) -> RenderableType:
    """The forecast, a bar a step, on one axis of time, in so many columns."""
    wide = max(10, columns - NAME_WIDTH - TIME_WIDTH - 3)
    slots = schedule(plan.steps)
    end = max((slot.end_s for slot in slots.values()), default=1.0) or 1.0
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(width=NAME_WIDTH, no_wrap=True)
    table.add_column(width=wide, no_wrap=True)
    table.add_column(width=TIME_WIDTH, justify="right", no_wrap=True)
    steps = _rows(plan.steps)
    for step in steps:
        slot = slots[step.id]
        took = clock_span(slot.end_s - slot.start_s)
        name = fit(step_name(step), NAME_WIDTH)
        table.add_row(Text(name), _bar(slot, wide / end, step.kind, wide), took)
    hidden = len(plan.steps) - len(steps)
    foot = Text(f"about {clock_span(plan.forecast_s)} in all", style="name")
    foot.append(f", {len(plan.steps)} steps", style="quiet")
    if hidden:
        foot.append(f" ({hidden} not drawn)", style="quiet")
    return Group(table, foot)


def _rows(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return steps if len(steps) <= MAX_ROWS else steps[:MAX_ROWS]


def step_name(step: Step) -> str:
    """`roll back backend`, `verify everything`."""
    verb = step.kind.value.replace("-", " ")
    if step.kind is StepKind.VERIFY_ALL:
        return "verify everything"
    if migration := step.address.get("migration", "") if step.kind in MIGRATING else "":
        return f"{verb} {migration.partition('_')[2] or migration}"
    return f"{verb} {step.component}"


def _bar(slot: Slot, scale: float, kind: StepKind, wide: int) -> Text:
    left = min(wide - 1, int(slot.start_s * scale))
    width = max(1, min(wide - left, round((slot.end_s - slot.start_s) * scale)))
    style = "good" if kind in (StepKind.VERIFY, StepKind.VERIFY_ALL) else "command"
    return Text(" " * left).append("━" * width, style=style)


def ordered(findings: tuple[Finding, ...]) -> list[Finding]:
    """The worst first."""
    rank = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    return sorted(findings, key=lambda finding: (rank[finding.severity], finding.component))


def finding_lines(finding: Finding) -> RenderableType:
    """`× target-gone backend: image … is no longer in ECR`, with its hint below."""
    sign, style = SEVERITIES[finding.severity]
    text = Text().append(finding.code, style=style)
    where = f" {finding.component}: " if finding.component else " "
    text.append(where + finding.text)
    if finding.hint:
        text.append("\nhint: ", style="quiet").append(finding.hint, style="command")
    return hanging(Text(sign, style=style), text)
