"""How rescue bundles and replays look, on a terminal of 80 columns and as JSON."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from taly.cli.output import WIDTH, err, fit, out, size

if TYPE_CHECKING:
    from rich.table import Table

    from taly.database.rescue.bundle import Reader, RescuedRow
    from taly.database.rescue.manifest import TableFacts
    from taly.database.rescue.outcome import Fate, Merged, TableOutcome
    from taly.errors import Refused

CELL = 24
"""Characters of a value that are shown."""
ESCAPED = str.maketrans({"\n": "⏎", "\r": "␍", "\t": "⇥", "\x1b": "␛"})
SAID: "dict[Fate, str]" = {
    "inserted": "{} rows are back",
    "updated": "{} rows have their values back",
    "deleted": "{} rows deleted again",
    "nothing": "{} rows were as rescued already",
    "newer": "{} rows are newer in all that differs: they stay",
    "gone": "{} rows were deleted since: they stay deleted",
    "kept": "{} rows that live had deleted stay (--deletes)",
    "left": "{} rows stay in the bundle",
}
STYLES: "dict[Fate, str]" = {
    "inserted": "good",
    "updated": "good",
    "left": "warn",
    "newer": "warn",
    "gone": "warn",
}

STATES = {
    "done": "[good]done[/]",
    "prepared": "[warn]prepared[/]",
    "taken-back": "[quiet]taken back[/]",
}


def listed(readers: "Sequence[Reader]", when: Callable[[datetime], str]) -> "Table":
    """A line for each bundle."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="quiet")
    for title in ("run", "when", "component", "tables", "rows", "size", "state"):
        right = title in ("tables", "rows", "size")
        table.add_column(title, no_wrap=True, justify="right" if right else "left")
    for reader in readers:
        manifest = reader.manifest
        table.add_row(
            manifest.run,
            when(manifest.made_at),
            fit(manifest.component, 20),
            str(len(manifest.tables)),
            f"{manifest.rows:,}",
            size(manifest.bytes),
            STATES[manifest.state],
        )
    return table


def print_bundle(reader: "Reader", tables: "Sequence[TableFacts]", limit: int) -> None:
    """Why each row is there, and a few of them."""
    manifest = reader.manifest
    say = out().print
    say(manifest.step, style="name", markup=False, soft_wrap=True)
    say(
        f"  of {manifest.place}, {manifest.rows:,} rows, {reader.path}",
        markup=False,
        soft_wrap=True,
    )
    if manifest.state == "taken-back":
        say("  taken back: its run was undone, and the rows came back with that", style="quiet")
    if manifest.state == "prepared":
        say("  prepared: its step did not say that it was done", style="warn")
    if not tables:
        say("  nothing had to be set aside")
    for facts in tables:
        say(f"\n  {facts.label}: {facts.rows:,} rows", style="name", markup=False)
        for why, count in sorted(facts.reasons.items(), key=lambda item: -item[1]):
            say(f"    {count:,} × {why}", markup=False)
        if limit:
            _print_rows(facts, list(islice(reader.rows(facts), limit)))


def _print_rows(facts: "TableFacts", rows: "list[RescuedRow]") -> None:
    """As many columns as fit; how many more there are is said."""
    from rich.table import Table
    from rich.text import Text

    used = {name for row in rows for name in row.columns}
    ordered = [*facts.key, *(name for name in facts.columns if name not in facts.key)]
    names = [name for name in ordered if name in used]
    cells = {name: [cell(row.row.get(name), name in row.columns) for row in rows] for name in names}
    shown: list[str] = []
    left = WIDTH - 6
    for name in names:
        width = max(len(one) for one in [fit(name, CELL), *cells[name]]) + 2
        if width > left:
            break
        left -= width
        shown.append(name)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="quiet")
    for name in shown:
        table.add_column(Text(fit(name, CELL)), no_wrap=True)
    for number in range(len(rows)):
        table.add_row(*(Text(cells[name][number]) for name in shown))
    from rich.padding import Padding

    out().print(Padding(table, (0, 0, 0, 4)))
    if more := len(names) - len(shown):
        out().print(f"    and {more} more columns: --json has all", style="quiet")


def cell(value: str | None, there: bool = True) -> str:
    """A value on one line; NULL is not the empty text."""
    if not there:
        return ""
    if value is None:
        return "NULL"
    shown = fit(value[: CELL + 1].translate(ESCAPED), CELL)
    return "".join(one if one.isprintable() else "·" for one in shown) or "''"


def print_merged(merged: "Sequence[Merged]", *, dry_run: bool) -> None:
    """What a replay did, or would do."""
    say = err().print
    if dry_run:
        say("A dry run: all of this was done, and taken back again.", style="warn")
    for one in merged:
        say(one.step, style="name", markup=False, soft_wrap=True)
        for table in one.tables:
            _print_table(table)
        for newer in one.examples:
            key = ", ".join(f"{name} {cell(value)}" for name, value in newer.key.items())
            text = f"newer: {newer.table} {key}: {newer.column} is {cell(newer.now)},"
            say(f"    {text} rescued was {cell(newer.rescued)}", style="quiet", markup=False)
        for note in one.notes:
            say(f"    {note}", style="warn", markup=False)
        if one.report is not None:
            say(f"  each of them: {one.report}", markup=False, soft_wrap=True)


def _print_table(table: "TableOutcome") -> None:
    say = err().print
    say(f"  {table.table}: {table.rows:,} rows rescued", markup=False)
    if table.already:
        say(f"    {table.already:,} rows were put back before")
    for fate, text in SAID.items():
        if count := table.fates.get(fate, 0):
            say(f"    {text.format(f'{count:,}')}", style=STYLES.get(fate), markup=False)
    for why, count in table.left.most_common():
        say(f"      {count:,} × {why}", style="warn", markup=False)
    for column, count in table.missing.items():
        say(f"    {count:,} values of {column} stay: it is not there", style="warn", markup=False)
    if table.newer_values:
        say(f"    {table.newer_values:,} values are newer, and stay", style="warn")


def progress() -> Callable[[str, int, int], None]:
    """Lines on stderr while it takes long: not more than one a second."""
    last = time.monotonic()

    def report(step: str, done: int, whole: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 1.0:
            last = time.monotonic()
            err().print(f"{step}: {done:,} of {whole:,} rows", style="quiet", markup=False)

    return report


def listed_body(good: "Sequence[Reader]", bad: "Sequence[Refused]") -> dict[str, Any]:
    """`taly rescue list --json`."""
    return {
        "rescues": [_about(one) for one in good],
        "unreadable": [{"reason": one.message} for one in bad],
    }


def shown_body(
    run: str, chosen: "Sequence[tuple[Reader, list[TableFacts]]]", limit: int
) -> dict[str, Any]:
    """`taly rescue show --json`."""
    return {
        "run": run,
        "bundles": [
            {**_about(reader), "contents": [_contents(reader, facts, limit) for facts in tables]}
            for reader, tables in chosen
        ],
    }


def _about(reader: "Reader") -> dict[str, Any]:
    manifest = reader.manifest
    return {
        "run": manifest.run,
        "step": manifest.step,
        "component": manifest.component,
        "place": manifest.place,
        "made_at": manifest.made_at,
        "state": manifest.state,
        "tables": len(manifest.tables),
        "rows": manifest.rows,
        "bytes": manifest.bytes,
        "path": str(reader.path),
    }


def _contents(reader: "Reader", facts: "TableFacts", limit: int) -> dict[str, Any]:
    return {
        "table_schema": facts.table_schema,
        "name": facts.name,
        "columns": list(facts.columns),
        "types": list(facts.types),
        "key": list(facts.key),
        "rows": facts.rows,
        "kinds": facts.kinds.model_dump(),
        "reasons": facts.reasons,
        "first": [
            {"kind": row.kind, "why": row.why, "values": row.row, "base": row.base}
            for row in islice(reader.rows(facts), limit)
        ],
    }


def replayed_body(
    run: str, places: Sequence[str], merged: "Sequence[Merged]", *, dry_run: bool
) -> dict[str, Any]:
    """`taly rescue replay --json`."""
    return {
        "run": run,
        "into": list(places),
        "dry_run": dry_run,
        "complete": not any(one.left for one in merged),
        "bundles": [
            {
                "step": one.step,
                "report": str(one.report or ""),
                "notes": one.notes,
                "tables": [_outcome(table) for table in one.tables],
                "newer": [
                    {
                        "table": newer.table,
                        "key": newer.key,
                        "column": newer.column,
                        "rescued": newer.rescued,
                        "now": newer.now,
                    }
                    for newer in one.examples
                ],
            }
            for one in merged
        ],
    }


def _outcome(table: "TableOutcome") -> dict[str, Any]:
    return {
        "table": table.table,
        "rows": table.rows,
        "already": table.already,
        **{fate: table.fates.get(fate, 0) for fate in SAID},
        "values": table.values,
        "newer_values": table.newer_values,
        "left_because": dict(table.left),
        "missing_columns": dict(table.missing),
    }
